/* SPDX-License-Identifier: Apache-2.0 */
/* A plan as one tar archive, with files added or replaced (wsl). */
#pragma once

#include "materialize/codec/sink.h"
#include "materialize/plan/plan.h"

/* A regular file of root, 0644, that stands in the archive instead of the plan's, if it has one. */
struct export_extra {
	const char *path; /* "etc/wsl.conf" */
	const void *data;
	size_t n;
	int64_t mtime;
};
struct export_tree_result {
	uint64_t entries, lost_xattrs, sockets;
};
/* Depth first, names sorted by bytes, then the extras. Finishes the sink. */
int export_tree(const struct varve_plan *p, struct sink *sink, const char *spool_dir,
		const struct export_extra *extras, size_t n_extras, struct export_tree_result *ret,
		struct varve_err *e);
