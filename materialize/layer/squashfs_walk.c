/* SPDX-License-Identifier: Apache-2.0 */
/* Walk the directories of a squashfs image that may lie about them. */
#include "materialize/layer/squashfs_internal.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define DEPTH_MAX   1024u
#define PATH_BYTES  (32u << 10)
#define ENTRIES_MAX 10000000u

struct child {
	char *name;
	sqfs_inode_generic_t *inode;
};
struct children {
	struct child *items;
	size_t n, cap;
};
struct walk {
	struct squashfs *q;
	int (*fn)(struct squashfs *q, const char *path, sqfs_inode_generic_t *inode, void *user,
		  struct varve_err *e);
	void *user;
	struct buf path;
	uint64_t entries;
	uint8_t *seen; /* bitmap of directories by inode number: no directory has two names */
};

static void children_done(struct children *c)
{
	size_t i;

	for (i = 0; i < c->n; i++) {
		free(c->items[i].name);
		sqfs_free(c->items[i].inode);
	}
	free(c->items);
}

static int check_name(const char *name, size_t n, struct varve_err *e)
{
	if (n == 0 || memchr(name, '\0', n) || memchr(name, '/', n) || !strcmp(name, ".") ||
	    !strcmp(name, ".."))
		return varve_fail(e, VARVE_E_UNSAFE, "squashfs: \"%s\" is no name",
				  TEXT_SAFE(name));
	return 0;
}

static int add_child(struct walk *w, struct children *c, const sqfs_dir_entry_t *ent,
		     struct varve_err *e)
{
	size_t n = (size_t)ent->size + 1;
	struct child *k;
	int r;

	if (++w->entries > ENTRIES_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "squashfs: more than %u entries", ENTRIES_MAX);
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 32;

		k = reallocarray(c->items, cap, sizeof(*k));
		if (!k)
			return varve_fail_oom(e);
		c->items = k;
		c->cap = cap;
	}
	k = &c->items[c->n];
	*k = (struct child){.name = malloc(n + 1)};
	if (!k->name)
		return varve_fail_oom(e);
	memcpy(k->name, ent->name, n);
	k->name[n] = '\0';
	c->n++;
	r = check_name(k->name, n, e);
	if (r < 0)
		return r;
	r = sqfs_dir_reader_get_inode(w->q->dirs, &k->inode);
	if (r)
		return squashfs_fail(e, r, "inode");
	if (k->inode->base.inode_number > w->q->super.inode_count || !k->inode->base.inode_number)
		return varve_fail(e, VARVE_E_FORMAT, "squashfs: inode number %u of %u",
				  k->inode->base.inode_number, w->q->super.inode_count);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct child *)a)->name, ((const struct child *)b)->name);
}

static int read_dir(struct walk *w, const sqfs_inode_generic_t *dir, struct children *c,
		    struct varve_err *e)
{
	size_t i;
	int r = sqfs_dir_reader_open_dir(w->q->dirs, dir, 0);

	if (r)
		return squashfs_fail(e, r, "directory");
	for (;;) {
		sqfs_dir_entry_t *ent = NULL;

		r = sqfs_dir_reader_read(w->q->dirs, &ent);
		if (r > 0)
			break;
		if (r < 0)
			return squashfs_fail(e, r, "directory");
		r = add_child(w, c, ent, e);
		sqfs_free(ent);
		if (r < 0)
			return r;
	}
	if (c->n)
		qsort(c->items, c->n, sizeof(*c->items), by_name);
	for (i = 1; i < c->n; i++)
		if (!strcmp(c->items[i - 1].name, c->items[i].name))
			return varve_fail(e, VARVE_E_UNSAFE,
					  "squashfs: two entries have the name \"%s\"",
					  TEXT_SAFE(c->items[i].name));
	return 0;
}

static bool is_dir(const sqfs_inode_generic_t *inode)
{
	return inode->base.type == SQFS_INODE_DIR || inode->base.type == SQFS_INODE_EXT_DIR;
}

static int enter(struct walk *w, const sqfs_inode_generic_t *dir, unsigned depth,
		 struct varve_err *e)
{
	uint32_t n = dir->base.inode_number;

	if (depth > DEPTH_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "squashfs: more than %u directories deep",
				  DEPTH_MAX);
	if (w->seen[n / 8] & 1u << n % 8)
		return varve_fail(e, VARVE_E_UNSAFE,
				  "squashfs: the directory \"%s\" is also another one",
				  TEXT_SAFE(w->path.p));
	w->seen[n / 8] |= (uint8_t)(1u << n % 8);
	return 0;
}

static int walk_dir(struct walk *w, const sqfs_inode_generic_t *dir, unsigned depth,
		    struct varve_err *e)
{
	VARVE_CLEANUP(children_done) struct children c = {0};
	size_t len = w->path.n, i;
	int r = enter(w, dir, depth, e);

	if (r == 0)
		r = read_dir(w, dir, &c, e);
	for (i = 0; r == 0 && i < c.n; i++) {
		w->path.n = len;
		buf_printf(&w->path, "%s%s", len ? "/" : "", c.items[i].name);
		if (buf_error(&w->path))
			return varve_fail(e, VARVE_E_LIMIT,
					  "squashfs: a path is longer than %u bytes", PATH_BYTES);
		r = w->fn(w->q, w->path.p, c.items[i].inode, w->user, e);
		if (r == 0 && is_dir(c.items[i].inode))
			r = walk_dir(w, c.items[i].inode, depth + 1, e);
	}
	return r;
}

int squashfs_walk(struct squashfs *q,
		  int (*fn)(struct squashfs *q, const char *path, sqfs_inode_generic_t *inode,
			    void *user, struct varve_err *e),
		  void *user, struct varve_err *e)
{
	struct walk w = {.q = q, .fn = fn, .user = user};
	sqfs_inode_generic_t *root = NULL;
	int r = sqfs_dir_reader_get_root_inode(q->dirs, &root);

	if (r)
		return squashfs_fail(e, r, "root directory");
	buf_init(&w.path, PATH_BYTES);
	w.seen = calloc((size_t)q->super.inode_count / 8 + 1, 1);
	if (!w.seen)
		r = varve_fail_oom(e);
	else if (!is_dir(root) || root->base.inode_number > q->super.inode_count)
		r = varve_fail(e, VARVE_E_FORMAT, "squashfs: its root is no directory");
	if (r == 0)
		r = fn(q, ".", root, user, e);
	if (r == 0)
		r = walk_dir(&w, root, 0, e);
	sqfs_free(root);
	free(w.seen);
	buf_done(&w.path);
	return r;
}

uint32_t squashfs_nlink(const sqfs_inode_generic_t *inode)
{
	switch (inode->base.type) {
	case SQFS_INODE_BDEV:
	case SQFS_INODE_CDEV:
		return inode->data.dev.nlink;
	case SQFS_INODE_EXT_BDEV:
	case SQFS_INODE_EXT_CDEV:
		return inode->data.dev_ext.nlink;
	case SQFS_INODE_FIFO:
	case SQFS_INODE_SOCKET:
		return inode->data.ipc.nlink;
	case SQFS_INODE_EXT_FIFO:
	case SQFS_INODE_EXT_SOCKET:
		return inode->data.ipc_ext.nlink;
	case SQFS_INODE_SLINK:
		return inode->data.slink.nlink;
	case SQFS_INODE_EXT_SLINK:
		return inode->data.slink_ext.nlink;
	case SQFS_INODE_EXT_FILE:
		return inode->data.file_ext.nlink;
	default:
		return 1; /* a basic file has one name; directories do not count */
	}
}
