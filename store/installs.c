/* SPDX-License-Identifier: Apache-2.0 */
/* Records of installed trees. */
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"
#include "store/catalog.h"
#include "store/mirror.h"
#include "store/pool.h"
#include "store/record.h"
#include "store/store.h"

#include <string.h>

#define ID_MAX 64

void varve_install_list_free(struct varve_install_list *l)
{
	if (!l)
		return;
	free(l->items);
	if (l->priv)
		pool_done(l->priv);
	free(l->priv);
	*l = (struct varve_install_list){0};
}

struct installs {
	const char *roots;
	struct varve_install_list list;
	size_t cap;
};

static int add_strings(struct pool *p, struct varve_install *in, struct span id,
		       const struct span s[INSTALL_STRINGS], struct varve_err *e)
{
	const char **out[INSTALL_STRINGS] = {&in->roots,     &in->label,  &in->directory,
					     &in->reference, &in->source, &in->origin,
					     &in->settings};
	size_t i;

	in->id = pool_strn(p, id.p, id.n);
	if (!in->id)
		return varve_fail_oom(e);
	for (i = 0; i < INSTALL_STRINGS; i++) {
		*out[i] = s[i].p ? pool_strn(p, s[i].p, s[i].n) : NULL;
		if (s[i].p && !*out[i])
			return varve_fail_oom(e);
	}
	return 0;
}

static int add_install(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct installs *q = user;
	struct varve_install *more, in;
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

	q.list.priv = calloc(1, sizeof(struct pool));
	if (!q.list.priv)
		return varve_fail_oom(e);
	r = index_view(s->index, each_install, &q, e);
	if (r < 0)
		varve_install_list_free(&q.list);
	else
		*ret = q.list;
	return r;
}

struct install_change {
	const struct varve_install *put;
	size_t n_put;
	const char *const *del;
};

static int change(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct install_change *c = user;
	const char *const *id;
	size_t i;
	int r = 0;

	for (id = c->del; r == 0 && id && *id; id++)
		r = index_del(t, INDEX_INSTALL, *id, strlen(*id), e);
	for (i = 0; r == 0 && i < c->n_put; i++) {
		struct buf b;

		buf_init(&b, RECORD_MAX);
		install_record_put(&b, &c->put[i]);
		r = buf_error(&b) < 0 ? varve_fail_oom(e)
				      : index_put(t, INDEX_INSTALL, c->put[i].id,
						  strlen(c->put[i].id), b.p, b.n, e);
		buf_done(&b);
	}
	return r == 0 ? index_bump(t, e) : r;
}

int catalog_update_installs(struct varve_store *s, const struct varve_install *put, size_t n_put,
			    const char *const *del, struct varve_err *e)
{
	struct install_change c = {put, n_put, del};
	size_t i;
	int r = 0;

	if (s->read_only) /* the sidecar beside the tree is the record, then */
		return 0;
	for (i = 0; r == 0 && i < n_put; i++) {
		const struct varve_install *in = &put[i];

		if (!in->id || !*in->id || strlen(in->id) > ID_MAX || !in->roots || !in->label ||
		    !in->directory || strlen(in->roots) > 4096)
			r = varve_fail(e, EINVAL, "record of an installed tree lacks a member");
	}
	if (r == 0)
		r = index_update(s->index, change, &c, e);
	return r < 0 ? r : mirror_update(s, MIRROR_IF_BEHIND, e);
}

int catalog_put_install(struct varve_store *s, const struct varve_install *in, struct varve_err *e)
{
	return catalog_update_installs(s, in, 1, NULL, e);
}
