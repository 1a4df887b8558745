/* SPDX-License-Identifier: Apache-2.0 */
/* Records of installed trees. */
#include "store/base/arena.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"
#include "store/catalog.h"
#include "store/mirror.h"
#include "store/record.h"
#include "store/store.h"

#include <string.h>

void varve_install_list_free(struct varve_install_list *l)
{
	if (!l)
		return;
	free(l->items);
	if (l->priv)
		arena_free(*(struct arena **)l->priv);
	free(l->priv);
	*l = (struct varve_install_list){0};
}

struct installs {
	const char *roots;
	struct varve_install_list list;
	size_t cap;
};

static int add_strings(struct arena **p, struct varve_install_record *in, struct span id,
		       const struct span s[INSTALL_STRINGS], struct varve_err *e)
{
	const char **out[INSTALL_STRINGS] = {&in->roots,     &in->label,  &in->directory,
					     &in->reference, &in->source, &in->origin,
					     &in->settings};
	size_t i;

	in->id = arena_strn(p, id.p, id.n);
	if (!in->id)
		return varve_fail_oom(e);
	for (i = 0; i < INSTALL_STRINGS; i++) {
		*out[i] = s[i].p ? arena_strn(p, s[i].p, s[i].n) : NULL;
		if (s[i].p && !*out[i])
			return varve_fail_oom(e);
	}
	return 0;
}

static int add_install(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct installs *q = user;
	struct varve_install_record *more, in;
	struct span str[INSTALL_STRINGS];
	int r;

	if (!install_record_get(value, &in, str))
		return varve_fail(e, VARVE_E_CORRUPT,
				  "record of an installed tree: run varve check --rebuild");
	if (q->roots &&
	    !(str[0].n == strlen(q->roots) && memcmp(str[0].p, q->roots, str[0].n) == 0))
		return 0;
	if (q->list.n == q->cap) {
		q->cap = q->cap ? q->cap * 2 : 16;
		more = realloc(q->list.items, q->cap * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		q->list.items = more;
	}
	r = add_strings(q->list.priv, &in, key, str, e);
	if (r == 0)
		q->list.items[q->list.n++] = in;
	return r;
}

static int each_install(struct index_txn *t, void *user, struct varve_err *e)
{
	return index_each(t, INDEX_INSTALL, NULL, 0, add_install, user, e);
}

int varve_store_installs(struct varve_store *s, const char *roots, struct varve_install_list *ret,
			 struct varve_err *e)
{
	struct installs q = {.roots = roots};
	int r;

	q.list.priv = calloc(1, sizeof(struct arena *));
	if (!q.list.priv)
		return varve_fail_oom(e);
	r = index_view(s->index, each_install, &q, e);
	if (r < 0)
		varve_install_list_free(&q.list);
	else
		*ret = q.list;
	return r;
}
