/* SPDX-License-Identifier: Apache-2.0 */
/* Walk a plan and write it as tar. */
#include "materialize/export/export_tree.h"
#include "materialize/plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/export/export_bodies.h"
#include "materialize/export/tar_out.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/handle.h"

#define PATH_BYTES (1u << 20)

struct walk {
	const struct varve_plan *p;
	struct tar_out tar;
	struct bodies *bodies;
	uint32_t *first; /* per inode: the name under which it was written, PLAN_NONE if not yet */
	const struct export_extra *extras;
	size_t n_extras;
	struct buf path, link;
	uint64_t sockets, bytes;
};

static int put_body(void *user, const void *p, size_t n, struct varve_err *e)
{
	struct walk *w = user;

	w->bytes += n;
	progress_emit(store_ctx(w->p->store), &(struct varve_progress){
						      .stage = VARVE_STAGE_WRITE,
						      .done = w->bytes,
						      .total = w->p->summary.bytes,
					      });
	return tar_out_body(&w->tar, p, n, e);
}

static bool is_replaced(const struct walk *w, const char *path)
{
	size_t i;

	for (i = 0; i < w->n_extras; i++)
		if (!strcmp(w->extras[i].path, path))
			return true;
	return false;
}

static int put_name(struct walk *w, uint32_t name, struct varve_err *e)
{
	uint32_t inode = w->p->names[name].inode;
	const struct plan_inode *in = &w->p->inodes[inode];
	struct tar_out_entry en = {
		.mode = in->mode,
		.uid = in->uid,
		.gid = in->gid,
		.mtime = in->mtime,
		.mtime_ns = in->mtime_ns,
		.size = in->size,
		.body_len = in->body_len,
		.rdev_major = in->rdev_major,
		.rdev_minor = in->rdev_minor,
		.n_extents = in->n_extents,
		.extents = in->extents,
		.n_xattrs = in->n_xattrs,
		.xattrs = in->xattrs,
	};
	int r = plan_path(w->p, name, &w->path);

	if (r < 0)
		return varve_fail_oom(e);
	en.path = w->path.p;
	if (is_replaced(w, en.path))
		return 0;
	if (S_ISSOCK(in->mode)) {
		w->sockets++;
		return 0;
	}
	en.link = S_ISLNK(in->mode) ? in->target : NULL;
	if (w->first[inode] != PLAN_NONE) {
		if (plan_path(w->p, w->first[inode], &w->link) < 0)
			return varve_fail_oom(e);
		en.link = w->link.p;
		en.hardlink = true;
	}
	r = tar_out_entry(&w->tar, &en, e);
	if (r == 0 && !en.hardlink && S_ISREG(in->mode) && in->body_len)
		r = bodies_read(w->bodies, inode, put_body, w, e);
	if (w->first[inode] == PLAN_NONE)
		w->first[inode] = name;
	return r < 0 ? varve_wrap(e, r, "entry %s", w->path.p) : 0;
}

/* Depth first without recursion: down, then right, then up to the next right. */
static int put_names(struct walk *w, struct varve_err *e)
{
	uint32_t name = PLAN_ROOT;

	for (;;) {
		int r = put_name(w, name, e);

		if (r < 0)
			return r;
		if (w->p->names[name].first_child != PLAN_NONE) {
			name = w->p->names[name].first_child;
			continue;
		}
		while (name != PLAN_ROOT && w->p->names[name].next_sibling == PLAN_NONE)
			name = w->p->names[name].parent;
		if (name == PLAN_ROOT)
			return 0;
		name = w->p->names[name].next_sibling;
	}
}

/* The directories above an added file that the tree has not. */
static int put_parents(struct walk *w, const struct export_extra *x, struct varve_err *e)
{
	const char *slash = strchr(x->path, '/');

	for (; slash; slash = strchr(slash + 1, '/')) {
		struct tar_out_entry en = {.mode = S_IFDIR | 0755, .mtime = x->mtime};
		int r;

		buf_reset(&w->path);
		buf_add(&w->path, x->path, (size_t)(slash - x->path));
		if (buf_error(&w->path))
			return varve_fail_oom(e);
		if (plan_lookup(w->p, w->path.p, true) != PLAN_NONE)
			continue;
		en.path = w->path.p;
		r = tar_out_entry(&w->tar, &en, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_extra(struct walk *w, const struct export_extra *x, struct varve_err *e)
{
	struct tar_out_entry en = {
		.path = x->path,
		.mode = S_IFREG | 0644,
		.mtime = x->mtime,
		.size = x->n,
		.body_len = x->n,
	};
	int r = put_parents(w, x, e);

	if (r == 0)
		r = tar_out_entry(&w->tar, &en, e);
	return r == 0 && x->n ? tar_out_body(&w->tar, x->data, x->n, e) : r;
}

static int run(struct walk *w, struct varve_err *e)
{
	size_t i;
	int r = put_names(w, e);

	for (i = 0; r == 0 && i < w->n_extras; i++)
		r = put_extra(w, &w->extras[i], e);
	if (r == 0)
		r = tar_out_end(&w->tar, e);
	return r == 0 ? bodies_end(w->bodies, e) : r;
}

int export_tree(const struct varve_plan *p, struct sink *sink, const char *spool_dir,
		const struct export_extra *extras, size_t n_extras, struct export_tree_result *ret,
		struct varve_err *e)
{
	struct walk w = {.p = p, .extras = extras, .n_extras = n_extras};
	int r;

	tar_out_init(&w.tar, sink);
	buf_init(&w.path, PATH_BYTES);
	buf_init(&w.link, PATH_BYTES);
	w.first = malloc((p->n_inodes + 1) * sizeof(*w.first));
	if (w.first)
		memset(w.first, 0xff, (p->n_inodes + 1) * sizeof(*w.first));
	r = w.first ? bodies_new(&w.bodies, p, spool_dir, e) : varve_fail_oom(e);
	if (r == 0)
		r = run(&w, e);
	*ret = (struct export_tree_result){w.tar.n_entries, w.tar.lost_xattrs, w.sockets};
	bodies_free(w.bodies);
	free(w.first);
	buf_done(&w.path);
	buf_done(&w.link);
	tar_out_done(&w.tar);
	return r;
}
