/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan as the writers (directory, tar, squashfs) see it: names and inodes of the final tree,
 * and per layer the file bodies in stream order. Made by tree.c from tocs; no I/O after
 * varve_plan_new().
 */
#pragma once

#include "materialize/tar/extent.h"
#include "store/base/buf.h"
#include "varve-materialize.h"

#define PLAN_NONE UINT32_MAX
#define PLAN_ROOT 0u /* index of the root's name and inode */

/* One inode of the final tree: a hard-link group is one inode with several names. */
struct plan_inode {
	uint32_t mode; /* S_IFMT type and 07777 bits */
	uint32_t uid, gid;
	uint32_t mtime_ns;
	int64_t mtime;
	uint64_t size;     /* logical size of a file */
	uint64_t body_off; /* regular files: where the body starts in the layer's uncompressed
			      stream */
	uint64_t body_len; /* stored bytes: size, or the sum of the extents */
	uint32_t layer;    /* which layer supplies it; PLAN_NONE: implied directory */
	uint32_t first_name, n_names;
	uint32_t rdev_major : 12, rdev_minor : 20;
	uint32_t n_extents; /* 0: not sparse (body at offset 0) */
	uint32_t n_xattrs : 31, has_crc : 1;
	uint32_t crc; /* CRC-32 of the stored body, if has_crc */
	union {
		const struct file_extent *extents; /* regular files */
		const char *target;                /* symlinks */
	};
	const struct varve_xattr *xattrs;
};
/* One name. The root is name 0 with an empty name. Children are sorted by bytes. */
struct plan_name {
	const char *name;
	uint32_t parent; /* index of the directory's name */
	uint32_t inode;
	uint32_t first_child;  /* PLAN_NONE if none */
	uint32_t next_sibling; /* PLAN_NONE if last */
	uint32_t next_link;    /* next name of the same inode, PLAN_NONE if last */
};
/* Regular files with body_len > 0 that one layer supplies, sorted by body_off: bodies never
 * overlap. */
struct plan_body_list {
	const uint32_t *inodes;
	uint32_t n;
};
struct varve_plan {
	struct varve_store *store;
	struct varve_digest manifest;
	struct plan_name *names;
	uint32_t n_names;
	struct plan_inode *inodes;
	uint32_t n_inodes;
	struct plan_body_list *bodies; /* one a layer; empty list: the layer need not be opened */
	struct varve_plan_summary summary;
	bool keep_dirlinks; /* made with that option */
	void *priv;         /* arenas, tocs, lease: of tree.c and plan.c */
};

/*
 * Names come in an order in which a parent precedes its children (index order). Writes the path of
 * a name relative to the root, without leading slash, into b (reset first); "." for the root.
 */
int plan_path(const struct varve_plan *p, uint32_t name, struct buf *b);
/* Find a path (symlinks in parents followed inside the tree; the last one too if follow). PLAN_NONE
 * if absent. */
uint32_t plan_lookup(const struct varve_plan *p, const char *path, bool follow);
/* The same; "" and NULL are the root, absence is VARVE_E_NOTFOUND. */
int plan_find(const struct varve_plan *p, const char *path, bool follow, uint32_t *ret,
	      struct varve_err *e);
