/* SPDX-License-Identifier: Apache-2.0 */
/* Apply the entries of one layer to the tree: replace, merge, link, white out. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/plan/plan.h"
#include "materialize/plan/tree_internal.h"
#include "store/base/arena.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define FORGET_EVERY ((size_t)4 << 20) /* bytes of a toc */

#define WH        ".wh."
#define WH_META   ".wh..wh."
#define WH_OPAQUE ".wh..wh..opq"
#define WH_PLNK   ".wh..wh.plnk/"

/* What every Linux file system keeps (ext4 with 256-byte inodes has the narrowest range in use). */
#define MTIME_MIN (-2147483648ll)
#define MTIME_MAX 15032385535ll

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int unsafe(struct varve_err *e, const char *why)
{
	return varve_fail(e, VARVE_E_UNSAFE, "%s", why);
}

static void set_inode(struct tree *t, uint32_t inode, const struct toc_entry *x)
{
	struct plan_inode *i = &t->inodes[inode];
	uint32_t n_names = i->n_names;

	*i = (struct plan_inode){
		.mode = x->mode,
		.uid = x->uid,
		.gid = x->gid,
		.mtime = x->mtime,
		.mtime_ns = x->mtime_ns,
		.size = x->size,
		.body_off = x->body_off,
		.body_len = x->body_len,
		.layer = t->layer,
		.n_names = n_names,
		.rdev_major = x->rdev_major,
		.rdev_minor = x->rdev_minor,
		.n_extents = x->n_extents,
		.n_xattrs = x->n_xattrs,
		.crc = x->crc,
		.has_crc = x->has_crc,
		.xattrs = x->n_xattrs ? (const void *)x->xattrs : NULL,
	};
	if (S_ISLNK(x->mode))
		i->target = x->link;
	else
		i->extents = x->extents;
	if (x->flags & TAR_ACL)
		t->n_acl++;
	if (x->flags & TAR_TIME_CLAMPED || x->mtime < MTIME_MIN || x->mtime > MTIME_MAX)
		tree_warn(t, "%s: its time is beyond what file systems keep", TEXT_SAFE(x->path));
}

/* --- whiteouts --- */

/*
 * Take away what the layers below put there; what this layer has named stays, in whatever order. A
 * directory where that is done has nothing of them any more, whatever follows in this layer: it is
 * never walked again.
 */
static void hide(struct tree *t, uint32_t node, bool itself)
{
	uint32_t child, next;

	if (itself && t->nodes[node].touched != t->stamp) {
		tree_remove(t, node);
		return;
	}
	if (tree_type(t, node) != S_IFDIR || t->nodes[node].hidden == t->stamp)
		return;
	t->nodes[node].hidden = t->stamp;
	for (child = t->nodes[node].first_child; child != PLAN_NONE; child = next) {
		next = t->nodes[child].next;
		hide(t, child, true);
	}
}

static int white_out(struct tree *t, size_t dir_len, const char *base, const struct toc_entry *x,
		     struct varve_err *e)
{
	const char *name = base + strlen(WH);
	uint32_t dir, node;
	int r;

	if (S_ISDIR(x->mode) && !(x->flags & TAR_HARDLINK))
		return unsafe(e, "a directory must not have the name of a whiteout");
	if (*name == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return unsafe(e, "a whiteout that names no file");
	r = tree_resolve_dir(t, t->path.p, dir_len, NULL, &dir, e);
	if (r < 0 || dir == PLAN_NONE)
		return r;
	if (strcmp(base, WH_OPAQUE) == 0) {
		hide(t, dir, false);
		return 0;
	}
	node = tree_lookup(t, dir, name, strlen(name));
	if (node != PLAN_NONE)
		hide(t, node, true);
	return 0;
}

/*
 * A squashfs marks what it removes as overlayfs does. 1: the entry is such a whiteout, and was
 * dealt with; 0: an ordinary entry, behind which *ret_opaque says what becomes of the lower
 * content.
 */
static int overlay_mark(struct tree *t, size_t dir_len, const char *base, const struct toc_entry *x,
			bool *ret_opaque, struct varve_err *e)
{
	enum overlay_mark mark = t->overlay ? tree_overlay_mark(x) : OVERLAY_NONE;
	uint32_t dir, node;
	int r;

	*ret_opaque = mark == OVERLAY_OPAQUE;
	if (mark == OVERLAY_NOT_WHOLE)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "overlayfs keeps a part of it in another layer (redirect or "
				  "metacopy), which no image can name; make the layer anew from a "
				  "mounted overlay");
	if (mark != OVERLAY_WHITEOUT)
		return 0;
	r = tree_resolve_dir(t, t->path.p, dir_len, NULL, &dir, e);
	if (r < 0)
		return r;
	node = dir == PLAN_NONE ? PLAN_NONE : tree_lookup(t, dir, base, strlen(base));
	if (node != PLAN_NONE)
		hide(t, node, true);
	return 1;
}

/* Files of the aufs link store: not part of the tree, but targets of hard links (W17). */
static int keep_plnk(struct tree *t, const char *name, const struct toc_entry *x,
		     struct varve_err *e)
{
	uint32_t node, inode;
	int r = 0;

	if (strchr(name, '/') || !S_ISREG(x->mode) || x->flags & TAR_HARDLINK)
		return 0;
	if (t->plnk == PLAN_NONE) {
		r = tree_add(t, PLAN_NONE, WH_META "plnk", strlen(WH_META "plnk"), &t->plnk, e);
		if (r == 0)
			r = tree_add_inode(t, &inode, e);
		if (r < 0)
			return r;
		t->inodes[inode].mode = S_IFDIR;
		t->inodes[inode].n_names = 1;
		t->nodes[t->plnk].inode = inode;
	}
	node = tree_lookup(t, t->plnk, name, strlen(name));
	if (node != PLAN_NONE)
		tree_remove(t, node);
	name = arena_strn(&t->arena, name, strlen(name));
	if (!name)
		return varve_fail_oom(e);
	r = tree_add_inode(t, &inode, e);
	if (r == 0)
		r = tree_add(t, t->plnk, name, strlen(name), &node, e);
	if (r < 0)
		return r;
	set_inode(t, inode, x);
	t->inodes[inode].n_names = 1;
	t->nodes[node].inode = inode;
	return 0;
}

/*
 * 1: the entry is a whiteout, or belongs to one, and was dealt with; 0: an ordinary name.
 */
static int special_name(struct tree *t, size_t dir_len, const char *base, const struct toc_entry *x,
			struct varve_err *e)
{
	const char *p = t->path.p, *slash;
	int r;

	if (!strstr(p, WH))
		return 0;
	if (starts(p, WH_PLNK)) {
		r = keep_plnk(t, p + strlen(WH_PLNK), x, e);
		return r < 0 ? r : 1;
	}
	for (; (slash = strchr(p, '/')) != NULL; p = slash + 1) {
		if (starts(p, WH_META) && !starts(p, WH_OPAQUE "/"))
			return 1;
		if (starts(p, WH))
			return unsafe(e, "a directory must not have the name of a whiteout");
	}
	if (!starts(base, WH))
		return 0;
	if (starts(base, WH_META) && strcmp(base, WH_OPAQUE) != 0)
		return 1; /* bookkeeping of aufs */
	r = white_out(t, dir_len, base, x, e);
	return r < 0 ? r : 1;
}

/* --- hard links --- */

/* The node that a link names, PLAN_NONE if there is none (yet). */
static int link_target(struct tree *t, const char *link, size_t n, uint32_t *ret,
		       struct varve_err *e)
{
	const char *slash, *base;
	size_t dir_len;
	uint32_t dir;
	bool climbed;
	int r = tree_clean(t, link, n, &t->link, &climbed, e);

	if (r < 0)
		return r;
	if (starts(t->link.p, WH_PLNK) && t->plnk != PLAN_NONE) {
		base = t->link.p + strlen(WH_PLNK);
		*ret = tree_lookup(t, t->plnk, base, strlen(base));
		return 0;
	}
	slash = memrchr(t->link.p, '/', t->link.n);
	base = slash ? slash + 1 : t->link.p;
	dir_len = slash ? (size_t)(slash - t->link.p) : 0;
	r = tree_resolve_dir(t, t->link.p, dir_len, NULL, &dir, e);
	if (r < 0)
		return r;
	if (*base == 0)
		*ret = PLAN_ROOT;
	else
		*ret = dir == PLAN_NONE ? PLAN_NONE : tree_lookup(t, dir, base, strlen(base));
	return 0;
}

static int no_target(struct varve_err *e, const char *link, const char *why)
{
	return varve_fail(e, VARVE_E_UNSAFE, "hard link to %s, which %s", TEXT_SAFE(link), why);
}

static int add_pending(struct tree *t, uint32_t node, const struct toc_entry *x, const char *link,
		       size_t link_len, struct varve_err *e)
{
	struct tree_pending *p = t->pending;
	uint32_t cap = t->cap_pending ? t->cap_pending * 2 : 64;

	if (t->n_pending == t->cap_pending) {
		p = reallocarray(p, cap, sizeof(*p));
		if (!p)
			return varve_fail_oom(e);
		t->pending = p;
		t->cap_pending = cap;
	}
	t->nodes[node].first_child = t->n_pending;
	t->pending[t->n_pending++] = (struct tree_pending){
		.node = node,
		.path = x->path,
		.link = link,
		.link_len = (uint32_t)link_len,
	};
	return 0;
}

static int place_link(struct tree *t, uint32_t dir, uint32_t old, const char *name,
		      const struct toc_entry *x, struct varve_err *e)
{
	struct span link = span_of(x->link, x->link_len);
	uint32_t target, inode, node;
	int r = link_target(t, x->link, x->link_len, &target, e);

	if (r < 0)
		return r;
	if (target != PLAN_NONE && tree_type(t, target) == S_IFDIR)
		return no_target(e, x->link, "is a directory");
	if (target != PLAN_NONE && target == old) {
		tree_warn(t, "%s: a hard link to itself", TEXT_SAFE(x->path));
		tree_touch(t, old);
		return 0;
	}
	inode = target == PLAN_NONE ? PLAN_NONE : t->nodes[target].inode;
	if (target != PLAN_NONE && inode == PLAN_NONE) {
		/* Both wait for the same file, whatever becomes of the other name meanwhile. */
		const struct tree_pending *other = &t->pending[t->nodes[target].first_child];

		link = span_of(other->link, other->link_len);
	}
	/* Count it first: the old name may hold the target. */
	if (inode != PLAN_NONE)
		t->inodes[inode].n_names++;
	if (old != PLAN_NONE)
		tree_remove(t, old);
	r = tree_add(t, dir, name, strlen(name), &node, e);
	if (r < 0)
		return r;
	t->nodes[node].inode = inode;
	tree_touch(t, node);
	return inode == PLAN_NONE ? add_pending(t, node, x, link.p, link.n, e) : 0;
}

/*
 * Links to names that came later in the layer (H07). A waiting link may name another one: follow
 * the chain to its end and give the inode to all of it; every link is visited once.
 */
static int settle(struct tree *t, uint32_t first, struct varve_err *e)
{
	uint32_t i = first, target = PLAN_NONE, inode = PLAN_NONE, steps = 0;
	int r;

	for (;;) {
		const struct tree_pending *p = &t->pending[i];

		r = link_target(t, p->link, p->link_len, &target, e);
		if (r < 0)
			break;
		if (target == PLAN_NONE || target == p->node || steps++ > t->n_pending)
			r = no_target(e, p->link, "does not exist");
		else if (tree_type(t, target) == S_IFDIR)
			r = no_target(e, p->link, "is a directory");
		else
			inode = t->nodes[target].inode;
		if (r < 0 || inode != PLAN_NONE)
			break;
		i = t->nodes[target].first_child;
	}
	if (r < 0)
		return varve_wrap(e, r, "entry %s", TEXT_SAFE(t->pending[i].path));
	for (i = first;;) {
		struct tree_node *x = &t->nodes[t->pending[i].node];

		x->first_child = PLAN_NONE;
		x->inode = inode;
		t->inodes[inode].n_names++;
		r = link_target(t, t->pending[i].link, t->pending[i].link_len, &target, e);
		if (r < 0 || t->nodes[target].inode != PLAN_NONE)
			return r;
		i = t->nodes[target].first_child;
	}
}

static int settle_all(struct tree *t, struct varve_err *e)
{
	for (uint32_t i = 0; i < t->n_pending; i++) {
		const struct tree_node *x = &t->nodes[t->pending[i].node];
		int r;

		/* Replaced or removed since, or settled with another one. */
		if (x->parent == t->pending[i].node || x->inode != PLAN_NONE)
			continue;
		r = i % TREE_POLL_EVERY == 0 ? ctx_check(t->ctx, e) : 0;
		if (r == 0)
			r = settle(t, i, e);
		if (r < 0)
			return r;
	}
	t->n_pending = 0;
	return 0;
}

/* --- entries --- */

static int check_link_text(const struct toc_entry *x, struct varve_err *e)
{
	if (x->link_len == 0)
		return unsafe(e, x->flags & TAR_HARDLINK ? "a hard link to nothing"
							 : "a symlink to nothing");
	if (!(x->flags & TAR_HARDLINK) && x->link_len > TREE_TARGET_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "a symlink target of %u bytes (limit %u)",
				  x->link_len, TREE_TARGET_MAX);
	return 0;
}

/* --keep-dirlinks: the link stays when it leads to a directory. */
static int keeps_dirlink(struct tree *t, uint32_t node, bool *ret, struct varve_err *e)
{
	char *path = NULL;
	uint32_t dir = PLAN_NONE;
	struct buf b;
	int r = 0;

	*ret = false;
	if (!t->opt.keep_dirlinks || tree_type(t, node) != S_IFLNK)
		return 0;
	buf_init(&b, t->opt.limits.max_path + TREE_TARGET_MAX + 2);
	/* A relative target counts from the link's
	 * directory: walk there by way of the link itself. */
	for (uint32_t i = node; t->nodes[i].parent != PLAN_NONE; i = t->nodes[i].parent) {
		struct buf up;

		buf_init(&up, b.max);
		buf_add(&up, t->nodes[i].name, t->nodes[i].name_len);
		buf_addc(&up, '/');
		buf_add(&up, b.p, b.n);
		buf_done(&b);
		b = up;
	}
	path = b.p;
	r = buf_error(&b) < 0 ? varve_fail_oom(e)
			      : tree_resolve_dir(t, path, b.n, NULL, &dir, NULL);
	/* A loop or a missing target: not a link to a directory. */
	*ret = r == 0 && dir != PLAN_NONE;
	buf_done(&b);
	return 0;
}

static int place(struct tree *t, uint32_t dir, const char *name, const struct toc_entry *x,
		 struct varve_err *e)
{
	uint32_t old = tree_lookup(t, dir, name, strlen(name)), inode, node;
	bool keep = false;
	int r;

	if (x->flags & TAR_HARDLINK)
		return place_link(t, dir, old, name, x, e);
	if (S_ISDIR(x->mode) && old != PLAN_NONE) {
		r = keeps_dirlink(t, old, &keep, e);
		if (r < 0)
			return r;
		if (keep || tree_type(t, old) == S_IFDIR) {
			/* Children stay; mode, owner, time and xattrs are the new ones (R05). */
			if (!keep)
				set_inode(t, t->nodes[old].inode, x);
			tree_touch(t, old);
			return 0;
		}
	}
	if (old != PLAN_NONE)
		tree_remove(t, old);
	r = tree_add_inode(t, &inode, e);
	if (r == 0)
		r = tree_add(t, dir, name, strlen(name), &node, e);
	if (r < 0)
		return r;
	set_inode(t, inode, x);
	t->inodes[inode].n_names = 1;
	t->nodes[node].inode = inode;
	tree_touch(t, node);
	return 0;
}

static int apply_root(struct tree *t, const struct toc_entry *x, bool climbed, struct varve_err *e)
{
	bool opaque = false;
	int r;

	if (climbed)
		return unsafe(e, "names what is above the root");
	if (!S_ISDIR(x->mode) || x->flags & TAR_HARDLINK)
		return unsafe(e, "the root must be a directory (CVE-2021-29136)");
	r = overlay_mark(t, 0, "", x, &opaque, e);
	if (r < 0)
		return r;
	set_inode(t, t->nodes[PLAN_ROOT].inode, x);
	tree_touch(t, PLAN_ROOT);
	if (opaque)
		hide(t, PLAN_ROOT, false);
	return 0;
}

/* The directory an entry goes to; mostly that of the entry before. */
static int parent_dir(struct tree *t, size_t dir_len, const struct toc_entry *x, uint32_t *ret,
		      struct varve_err *e)
{
	int r;

	if (t->last_dir && t->last_dir_len == dir_len &&
	    memcmp(t->last_dir, t->path.p, dir_len) == 0) {
		*ret = t->last_node;
		return 0;
	}
	r = tree_resolve_dir(t, t->path.p, dir_len, x, ret, e);
	if (r < 0)
		return r;
	t->last_dir = NULL;
	/* The toc's own text lasts; it is the cleaned one in all but odd tars. */
	if (x->path_len >= dir_len && memcmp(x->path, t->path.p, dir_len) == 0) {
		t->last_dir = x->path;
		t->last_dir_len = dir_len;
		t->last_node = *ret;
	}
	return 0;
}

static int apply_entry(struct tree *t, const struct toc_entry *x, struct varve_err *e)
{
	const char *slash, *base;
	uint32_t dir;
	size_t dir_len;
	bool climbed, opaque = false, link = S_ISLNK(x->mode) || x->flags & TAR_HARDLINK;
	int r;

	if (t->entries % TREE_POLL_EVERY == 0 && ctx_cancelled(t->ctx))
		return ctx_check(t->ctx, e);
	if (++t->entries > t->opt.limits.max_entries)
		return varve_fail(e, VARVE_E_LIMIT, "more than %llu entries (limits.max_entries)",
				  (unsigned long long)t->opt.limits.max_entries);
	if (x->path_len == 0 && !link) {
		tree_warn(t, "an entry without a name was passed over");
		return 0;
	}
	r = tree_clean(t, x->path, x->path_len, &t->path, &climbed, e);
	if (r < 0)
		return r;
	if (climbed && t->opt.strict)
		return unsafe(e, "its name climbs above the root with \"..\"");
	if (t->path.n == 0)
		return apply_root(t, x, climbed, e);
	if (climbed)
		tree_warn(t, "%s: its name climbs above the root; it stays inside",
			  TEXT_SAFE(x->path));
	slash = memrchr(t->path.p, '/', t->path.n);
	base = slash ? slash + 1 : t->path.p;
	dir_len = slash ? (size_t)(slash - t->path.p) : 0;
	r = special_name(t, dir_len, base, x, e);
	if (r == 0)
		r = overlay_mark(t, dir_len, base, x, &opaque, e);
	if (r != 0)
		return r < 0 ? r : 0;
	r = link ? check_link_text(x, e) : 0;
	if (r == 0)
		r = parent_dir(t, dir_len, x, &dir, e);
	if (r < 0)
		return r;
	/* A copy: so the toc need not stay in memory for its names. */
	base = arena_strn(&t->arena, base, strlen(base));
	if (!base)
		return varve_fail_oom(e);
	r = place(t, dir, base, x, e);
	if (r == 0 && opaque)
		hide(t, tree_lookup(t, dir, base, strlen(base)), false);
	return r;
}

int tree_apply(struct tree *t, const struct toc *toc, uint32_t layer, struct varve_err *e)
{
	struct toc_entry x;
	size_t cursor = 0, kept = 0;
	int r;

	t->layer = layer;
	t->stamp = layer + 1;
	t->last_dir = NULL;
	t->n_acl = 0;
	while (toc_next(toc, &cursor, &x) > 0) {
		r = apply_entry(t, &x, e);
		if (r < 0)
			return varve_wrap(e, r, "entry %s", TEXT_SAFE(x.path));
		if (cursor - kept >= FORGET_EVERY) {
			toc_forget(toc, cursor);
			kept = cursor;
		}
	}
	toc_forget(toc, cursor);
	r = settle_all(t, e);
	if (r < 0)
		return r;
	if (t->plnk != PLAN_NONE)
		tree_remove(t, t->plnk);
	t->plnk = PLAN_NONE;
	if (t->n_acl > 0)
		tree_warn(t, "layer %u: the ACLs of %llu entries in star's form are not applied",
			  layer, (unsigned long long)t->n_acl);
	return 0;
}
