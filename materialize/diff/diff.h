/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of varve_diff share: names and attributes (diff.c), content (diff_data.c). */
#pragma once

#include "materialize/plan/plan.h"

#define DIFF_SUSPECT 0x80000000u /* in changes: this name was not told yet */

struct diff_inode {
	uint64_t ino;
	bool seen;
	bool suspect; /* its content must be compared */
	bool differs; /* and is not the image's */
	bool unreadable;
};
struct diff_dir {
	char *path;
	uint32_t name;
};
struct diff {
	struct varve_plan *p;
	const struct varve_diff_options *opt;
	struct varve_diff_result *ret;
	struct varve_err *e;
	/* What the tree could not keep, or this process cannot see. */
	bool no_owners, no_devices, no_links, no_trusted, user_xattrs_only;
	int root;
	int probe; /* a nameless file beside the tree; PROBE_UNTRIED, or -1: cannot be made */
	uint64_t dev;
	struct diff_inode *inodes; /* of the plan */
	uint32_t *changes;         /* of names with a suspect inode */
	struct buf path;
	struct diff_dir *dirs;
	size_t n_dirs, cap_dirs;
};
int diff_tell(struct diff *d, enum varve_diff_kind kind, const char *path, unsigned changes,
	      uint32_t mode);

/* --- one entry (diff_attr.c) --- */
void diff_attr_init(struct diff *d);
/* VARVE_DIFF_* of what fstatat says. */
unsigned diff_stat(struct diff *d, const struct plan_inode *i, const struct stat *st);
/* All names of an inode in the plan are one file on disk, and no other name is. */
unsigned diff_links(struct diff *d, uint32_t name, const struct stat *st);
bool diff_xattrs(struct diff *d, const struct plan_inode *i, const char *proc);
/* Could the content have changed although size and mtime have not? */
bool diff_is_suspect(const struct diff *d, const struct stat *st);

/* Compare the suspects, then tell the names that differ in anything. */
int diff_contents(struct diff *d);
