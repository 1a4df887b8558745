/* SPDX-License-Identifier: Apache-2.0 */
/* Write a plan as a squashfs image: the same plan and options, the same bytes. */
#pragma once

#include "materialize/plan/plan.h"

struct squashfs_write_options {
	const char *compressor; /* NULL: zstd */
	int level;              /* 0: default */
	unsigned threads;       /* 0: as many as cores */
};
struct squashfs_write_result {
	uint64_t entries, size;
	uint64_t lost_xattrs; /* names without user., trusted. or security. */
	uint64_t lost_times;  /* before 1970 or after 2106; fractions are never kept */
};
/* fd: an empty file, read and written by position. name: for messages. */
int squashfs_write(const struct varve_plan *p, int fd, const char *name,
		   const struct squashfs_write_options *opt, struct squashfs_write_result *ret,
		   struct varve_err *e);
