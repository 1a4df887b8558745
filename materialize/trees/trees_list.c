/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a roots dir, for whoever asks the library. */

#include "materialize/trees/trees.h"
#include "store/base/compiler.h"
#include "store/catalog.h"
#include <string.h>

struct list_priv {
	struct tree_scan scan;
};

static void fill_item(struct varve_tree *out, const struct tree *t)
{
	*out = (struct varve_tree){
		.label = t->label,
		.directory = t->directory,
		.active = t->kind == TREE_ACTIVE,
		.previous = t->kind == TREE_PREVIOUS,
		.generation = t->generation,
	};
	if (!t->record)
		return;
	out->reference = t->record->reference;
	out->platform = t->record->platform;
	out->source = t->record->source;
	out->origin = t->record->origin;
	out->target = t->record->target;
	out->settings = t->record->settings;
	out->manifest = t->record->manifest;
	out->installed_at = t->record->installed_at;
	out->made = t->record->made;
	out->ours = varve_digest_is_set(&t->record->manifest);
}

static int list_trees(struct roots *r, struct varve_tree_list *ret, struct varve_err *e)
{
	struct list_priv *p;
	size_t n = 0;
	int x;

	p = calloc(1, sizeof(*p));
	if (!p)
		return varve_fail_oom(e);
	x = tree_scan(r, &p->scan, e);
	if (x >= 0)
		ret->items = calloc(p->scan.n + 1, sizeof(*ret->items));
	if (x < 0 || !ret->items) {
		tree_scan_done(&p->scan);
		free(p);
		return x < 0 ? x : varve_fail_oom(e);
	}
	for (size_t i = 0; i < p->scan.n; i++) {
		const struct tree *t = &p->scan.trees[i];

		if (!t->odd && t->kind != TREE_STAGING && t->kind != TREE_DELETED)
			fill_item(&ret->items[n++], t);
	}
	ret->n = n;
	ret->priv = p;
	return 0;
}

int varve_trees_remember(struct varve_store *s, const char *roots, uint64_t *ret,
			 struct varve_err *e)
{
	struct tree_scan scan;
	struct roots r;
	uint64_t n = 0;
	int x;

	x = tree_scan_open(&r, &scan, s, roots, e);
	if (x < 0)
		return x;
	for (size_t i = 0; i < scan.n; i++)
		n += tree_is_remembered(&scan, &scan.trees[i]);
	x = tree_records_update(&r, NULL, e);
	tree_scan_close(&r, &scan);
	if (x >= 0)
		*ret = n;
	return x < 0 ? x : 0;
}

int varve_trees(struct varve_store *s, const char *roots, struct varve_tree_list *ret,
		struct varve_err *e)
{
	struct roots r;
	int x;

	*ret = (struct varve_tree_list){0};
	if (roots && roots[0] == '/' && access(roots, F_OK) && errno == ENOENT)
		return 0; /* nothing was installed yet */
	x = roots_open(&r, s, roots, false, e);
	if (x < 0)
		return x;
	x = r.writable && r.journalled ? swap_pending(&r, e) : 0;
	if (x > 0) {
		x = roots_lock(&r, e);
		if (x >= 0)
			roots_unlock(&r);
	}
	if (x >= 0)
		x = list_trees(&r, ret, e);
	roots_close(&r);
	return x;
}

void varve_tree_list_free(struct varve_tree_list *l)
{
	struct list_priv *p = l->priv;

	if (p)
		tree_scan_done(&p->scan);
	free(p);
	free(l->items);
	*l = (struct varve_tree_list){0};
}
