/* SPDX-License-Identifier: Apache-2.0 */
/* Keep the records of trees in line with the disk; the list of trees for the caller. */
#include "materialize/trees/trees.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/catalog.h"

bool tree_is_remembered(const struct tree_scan *s, const struct tree *t)
{
	const struct varve_install_record *first = s->sidecars.items;

	return t->record && t->kind != TREE_DELETED && s->sidecars.n && t->record >= first &&
	       t->record < first + s->sidecars.n;
}

static enum varve_install_state state_of(enum tree_kind kind)
{
	return kind == TREE_PREVIOUS  ? VARVE_INSTALL_PREVIOUS
	       : kind == TREE_STAGING ? VARVE_INSTALL_STAGING
				      : VARVE_INSTALL_READY;
}

/* Or it may be: below a mount nobody can see. */
static bool on_disk(const struct tree_scan *s, const struct varve_install_record *in)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct tree *t = &s->trees[i];

		if (t->hidden ? !strcmp(t->directory, in->directory)
			      : t->record == in && t->kind != TREE_DELETED)
			return true;
	}
	return false;
}

/* Ids of records whose tree is gone. Another file system at this place (not mounted?) proves
 * nothing. */
static size_t gone(const struct roots *r, const struct tree_scan *s, const char **ids)
{
	struct stat st;
	size_t n = 0;

	if (fstat(r->fd, &st))
		return 0;
	for (size_t i = 0; i < s->records.n; i++) {
		const struct varve_install_record *in = &s->records.items[i];

		if (in->dev == (uint64_t)st.st_dev && !on_disk(s, in))
			ids[n++] = in->id;
	}
	return n;
}

int tree_records_update(const struct roots *r, const char *const *del, struct varve_err *e)
{
	struct tree_scan s = {0};
	VARVE_FREE struct varve_install_record *put = NULL;
	VARVE_FREE const char **ids = NULL;
	size_t n_put = 0, n_ids = 0, n_del = 0;
	struct stat st;
	int x;

	x = tree_scan(r, &s, e);
	if (x < 0)
		return x;
	while (del && del[n_del])
		n_del++;
	put = calloc(s.n + 1, sizeof(*put));
	ids = calloc(s.records.n + n_del + 1, sizeof(*ids));
	if (!put || !ids) {
		tree_scan_done(&s);
		return varve_fail_oom(e);
	}
	n_ids = gone(r, &s, ids);
	for (size_t i = 0; i < n_del; i++)
		ids[n_ids++] = del[i];
	for (size_t i = 0; i < s.n && !fstat(r->fd, &st); i++) {
		const struct tree *t = &s.trees[i];
		struct varve_install_record in;

		if (!t->record || t->kind == TREE_DELETED)
			continue;
		in = *t->record;
		in.roots = r->path;
		in.directory = t->directory;
		in.state = state_of(t->kind);
		in.dev = (uint64_t)st.st_dev;
		in.generation = t->kind == TREE_PREVIOUS ? t->generation : in.generation;
		if (strcmp(in.directory, t->record->directory) != 0 ||
		    in.state != t->record->state || in.dev != t->record->dev ||
		    in.generation != t->record->generation || tree_is_remembered(&s, t))
			put[n_put++] = in;
	}
	if (n_put || n_ids)
		x = catalog_update_installs(r->store, put, n_put, n_ids ? ids : NULL, e);
	tree_scan_done(&s);
	return x;
}

/* --- the public list --- */
