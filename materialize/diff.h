/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of varve_diff share: names and attributes (diff.c), content (diff_data.c). */
#pragma once

#include "plan.h"

#define DIFF_SUSPECT 0x80000000u /* in changes: this name was not told yet */

struct diff_inode {
	uint64_t ino;
	bool seen;
	bool suspect; /* its content must be compared */
	bool differs; /* and is not the image's */
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
	bool unprivileged;
	int root;
	uint64_t dev;
	struct diff_inode *inodes; /* of the plan */
	uint32_t *changes;         /* of names with a suspect inode */
	struct buf path;
	struct diff_dir *dirs;
	size_t n_dirs, cap_dirs;
};
/* Compare the suspects, then tell the names that differ in anything. */
int diff_contents(struct diff *d);
