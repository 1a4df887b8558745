/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of an image to nodes of its tree: "..",
 * symlinks and missing parents, all inside the root. */
#include <string.h>
#include <sys/stat.h>

#include "materialize/plan/plan.h"
#include "materialize/plan/tree_internal.h"
#include "store/base/arena.h"
#include "store/base/err.h"
#include "store/base/text.h"

static int too_long(const struct tree *t, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_LIMIT, "a path of more than %u bytes (limits.max_path)",
			  t->opt.limits.max_path);
}

int tree_clean(const struct tree *t, const char *path, size_t n, struct buf *b, bool *ret_climbed,
	       struct varve_err *e)
{
	struct span rest = span_of(path, n), c;
	bool more = true;

	*ret_climbed = false;
	buf_reset(b);
	if (n > t->opt.limits.max_path)
		return too_long(t, e);
	while (more) {
		more = span_cut(&rest, '/', &c);
		if (c.n == 0 || (c.n == 1 && c.p[0] == '.'))
			continue;
		if (c.n == 2 && c.p[0] == '.' && c.p[1] == '.') {
			const char *slash = memrchr(b->p, '/', b->n);

			if (b->n == 0)
				*ret_climbed = true;
			b->n = slash ? (size_t)(slash - b->p) : 0;
			b->p[b->n] = 0;
			continue;
		}
		if (c.n > TREE_NAME_MAX)
			return varve_fail(e, VARVE_E_LIMIT,
					  "a name of %zu bytes: file systems take at most %u", c.n,
					  TREE_NAME_MAX);
		if (b->n > 0)
			buf_addc(b, '/');
		buf_add(b, c.p, c.n);
	}
	return buf_error(b) < 0 ? varve_fail_oom(e) : 0;
}

/* A directory nobody described: 0755 root, dated like the entry that needs it (R12). */
static int make_implied(struct tree *t, uint32_t dir, struct span name, const struct toc_entry *x,
			uint32_t *ret, struct varve_err *e)
{
	const char *copy = arena_strn(&t->arena, name.p, name.n);
	struct plan_inode *i;
	uint32_t inode;
	int r;

	if (!copy)
		return varve_fail_oom(e);
	r = tree_add_inode(t, &inode, e);
	if (r == 0)
		r = tree_add(t, dir, copy, name.n, ret, e);
	if (r < 0)
		return r;
	i = &t->inodes[inode];
	i->mode = S_IFDIR | 0755;
	i->mtime = x->mtime;
	i->mtime_ns = x->mtime_ns;
	i->n_names = 1;
	t->nodes[*ret].inode = inode;
	return 0;
}

/* Links can make every entry walk 160 KB of targets: what the plan costs must not be theirs to
 * choose. */
static int wander(struct tree *t, uint64_t work, struct varve_err *e)
{
	uint64_t max = t->opt.limits.max_link_work;

	if (!max)
		max = TREE_WANDER_MAX + TREE_WANDER_ENTRY * t->entries;
	t->wandered += work;
	if (t->wandered <= max)
		return 0;
	return varve_fail(e, VARVE_E_LIMIT,
			  "the image's symbolic links lead over more than %llu steps "
			  "(limits.max_link_work)",
			  (unsigned long long)max);
}

/* Put the target of a symlink in front of what is left of the path. */
static int splice(struct tree *t, uint32_t link, unsigned *n_links, struct span *rest,
		  struct varve_err *e)
{
	const char *target = t->inodes[t->nodes[link].inode].target;
	struct buf *b = &t->walk[*n_links % 2];
	int r;

	if (++*n_links > TREE_LINKS_MAX)
		return varve_fail(e, ELOOP, "too many levels of symbolic links at %s",
				  TEXT_SAFE(t->nodes[link].name));
	buf_reset(b);
	buf_adds(b, target);
	buf_addc(b, '/');
	buf_add(b, rest->p, rest->n);
	if (buf_error(b) == -ENOMEM)
		return varve_fail_oom(e);
	if (buf_error(b) < 0)
		return too_long(t, e);
	r = wander(t, 1 + b->n / 64, e);
	if (r < 0)
		return r;
	*rest = span_of(b->p, b->n);
	return target[0] == '/';
}

/*
 * One component below *dir. 1: a symlink was put in front of rest, go on from where *dir is now; 0:
 * *dir is the child or PLAN_NONE.
 */
static int step(struct tree *t, uint32_t *dir, struct span name, const struct toc_entry *x,
		unsigned *n_links, struct span *rest, struct varve_err *e)
{
	uint32_t child = tree_lookup(t, *dir, name.p, name.n);
	int r;

	if (child != PLAN_NONE && tree_type(t, child) == S_IFDIR) {
		*dir = child;
		return 0;
	}
	if (child != PLAN_NONE && tree_type(t, child) == S_IFLNK) {
		r = splice(t, child, n_links, rest, e);
		if (r > 0)
			*dir = PLAN_ROOT;
		return r;
	}
	if (!x) {
		*dir = PLAN_NONE;
		return 0;
	}
	if (name.n > TREE_NAME_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "a name of %zu bytes", name.n);
	/* The entry's own path was looked at before; the target of a symlink can say anything. */
	if (span_starts(name, ".wh."))
		return varve_fail(e, VARVE_E_UNSAFE,
				  "a directory must not have the name of a whiteout");
	if (child != PLAN_NONE) {
		tree_warn(t, "%s: a parent was not a directory and became one", TEXT_SAFE(x->path));
		tree_remove(t, child);
	}
	return make_implied(t, *dir, name, x, dir, e);
}

int tree_resolve_dir(struct tree *t, const char *path, size_t n, const struct toc_entry *x,
		     uint32_t *ret, struct varve_err *e)
{
	struct span rest = span_of(path, n), c;
	uint32_t dir = PLAN_ROOT;
	unsigned n_links = 0;

	while (rest.n > 0 && dir != PLAN_NONE) {
		int r = n_links ? wander(t, 1, e) : 0;

		if (r < 0)
			return r;
		(void)span_cut(&rest, '/', &c);
		if (c.n == 0 || (c.n == 1 && c.p[0] == '.'))
			continue;
		if (c.n == 2 && c.p[0] == '.' && c.p[1] == '.') {
			/* Only targets of symlinks hold these here. */
			if (dir != PLAN_ROOT)
				dir = t->nodes[dir].parent;
			continue;
		}
		r = step(t, &dir, c, x, &n_links, &rest, e);
		if (r < 0)
			return r;
	}
	*ret = dir;
	return 0;
}
