/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of the tree and how to walk them; for tree_*.c only. */
#pragma once

#include "materialize/plan/tree.h"
#include "store/base/compiler.h"
#include "store/base/siphash.h"

#define TREE_NAME_MAX   255u
#define TREE_LINKS_MAX  40u /* symlinks followed for one path, as the kernel does */
#define TREE_TARGET_MAX 4095u
/*
 * What one plan may spend on targets of symlinks: so much, and so much more for each entry. A unit
 * is a component that is walked or 64 bytes that are copied.
 */
#define TREE_WANDER_MAX   20000000u
#define TREE_WANDER_ENTRY 64u
#define TREE_WARNINGS_MAX 1000u
#define TREE_POLL_EVERY   4096u /* entries between two looks whether to end; a power of two */

/* A name. Removed ones stay in the array, unlinked. */
struct tree_node {
	const char *name; /* NUL-terminated, in a toc or the arena */
	uint32_t name_len, hash;
	uint32_t parent;
	uint32_t inode; /* PLAN_NONE: a hard link whose target has not come yet */
	uint32_t first_child, next, prev;
	uint32_t hash_next;
	uint32_t touched; /* the last layer + 1 that named it or something below it */
	uint32_t hidden;  /* the last layer + 1 that took away all below it that is of lower ones */
	uint32_t path_len; /* of the whole path */
	uint32_t depth;
};
/* A hard link that waits for its target; its node's first_child is the index here. */
struct tree_pending {
	uint32_t node;
	const char *path, *link;
	uint32_t link_len;
};
struct tree {
	struct varve_plan_options opt;
	const struct varve_ctx *ctx;
	struct tree_node *nodes;
	uint32_t n_nodes, cap_nodes;
	struct plan_inode *inodes; /* xattrs: the packed form of the toc, until frozen */
	uint32_t n_inodes, cap_inodes;
	uint32_t *buckets, n_buckets;
	struct siphash_key secret; /* an image cannot choose names that fall into one bucket */
	struct arena *arena;
	uint32_t layer; /* the present one */
	uint32_t stamp; /* layer + 1 */
	bool overlay;   /* see tree_read_overlay() */
	uint64_t entries;
	uint64_t wandered; /* work that targets of symlinks cost so far */
	uint64_t n_acl;
	struct tree_pending *pending;
	uint32_t n_pending, cap_pending;
	uint32_t plnk; /* hidden directory for the aufs link store of this layer, or PLAN_NONE */
	/* the directory of the entry before, while no name was removed since */
	const char *last_dir;
	size_t last_dir_len;
	uint32_t last_node;
	struct buf path, link, walk[2];
	char **warnings;
	uint32_t n_warnings;
	uint64_t all_warnings;
};

/* --- tree_nodes.c --- */
uint32_t tree_lookup(const struct tree *t, uint32_t dir, const char *name, size_t n);
/* New name under dir; the caller sets its inode. */
int tree_add(struct tree *t, uint32_t dir, const char *name, size_t n, uint32_t *ret,
	     struct varve_err *e);
int tree_add_inode(struct tree *t, uint32_t *ret, struct varve_err *e);
/* With everything below it. */
void tree_remove(struct tree *t, uint32_t node);
/* Name and ancestors belong to the present layer. */
void tree_touch(struct tree *t, uint32_t node);
uint32_t tree_type(const struct tree *t, uint32_t node); /* S_IF...; 0 for a waiting hard link */
void tree_warn(struct tree *t, const char *fmt, ...) VARVE_PRINTF(2, 3);

/* --- tree_resolve.c --- */
/*
 * Lexically: no "", "." and ".."; never above the root. b gets the components joined by "/".
 * *ret_climbed: ".." went above the root.
 */
int tree_clean(const struct tree *t, const char *path, size_t n, struct buf *b, bool *ret_climbed,
	       struct varve_err *e);
/*
 * The directory that a clean path means, symlinks followed inside the tree. x NULL: look only, *ret
 * PLAN_NONE if it does not exist. Otherwise missing ones are made, dated like x.
 */
int tree_resolve_dir(struct tree *t, const char *path, size_t n, const struct toc_entry *x,
		     uint32_t *ret, struct varve_err *e);

/* --- tree_overlay.c --- */
enum overlay_mark {
	OVERLAY_NONE,
	OVERLAY_WHITEOUT,  /* hides what the layers below have of its name */
	OVERLAY_OPAQUE,    /* a directory that hides what they have below it */
	OVERLAY_NOT_WHOLE, /* its content, or its metadata, are elsewhere */
};
enum overlay_mark tree_overlay_mark(const struct toc_entry *x);
