/* SPDX-License-Identifier: Apache-2.0 */
/* Write tar (POSIX pax) to a sink: the same entries give the same bytes. */
#pragma once

#include "materialize/codec/sink.h"
#include "materialize/plan/plan.h"

struct tar_out {
	struct sink *sink;
	struct buf pax;
	uint64_t left; /* body bytes that the entry still promises */
	unsigned pad;
	/* Of a sparse entry: what it is cut into for the archive, and how far that is written. */
	struct file_extent *regions;
	size_t n_regions, region;
	uint64_t at;                       /* offset in the file */
	const struct file_extent *extents; /* of the body that comes: until its last byte */
	uint32_t n_extents, extent;
	uint64_t extent_done;
	uint64_t n_entries;
	uint64_t lost_xattrs; /* names with '=' cannot be said in pax */
};
struct tar_out_entry {
	const char *path; /* relative, without trailing slash; "." is the root */
	const char *link; /* target of a symlink; path of the first name of a hard link */
	bool hardlink;
	uint32_t mode; /* type and permission bits */
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t size;     /* logical */
	uint64_t body_len; /* bytes that follow: size, or the sum of the extents */
	uint32_t rdev_major, rdev_minor;
	uint32_t n_extents;
	const struct file_extent *extents;
	uint32_t n_xattrs;
	const struct varve_xattr *xattrs;
};

void tar_out_init(struct tar_out *t, struct sink *sink);
void tar_out_done(struct tar_out *t);
/* Headers. Sockets have no form in tar: the caller leaves them out. */
int tar_out_entry(struct tar_out *t, const struct tar_out_entry *en, struct varve_err *e);
/* The next bytes of the body (of a sparse file of its extents, one after the other; en->extents
 * must live until then); the padding follows the last of them by itself. */
int tar_out_body(struct tar_out *t, const void *p, size_t n, struct varve_err *e);
/* The end of the archive; finishes the sink. */
int tar_out_end(struct tar_out *t, struct varve_err *e);
