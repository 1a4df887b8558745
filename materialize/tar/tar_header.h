/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed 512-byte tar block and the records of
 * pax headers, decoded. Pure; used by tar.c only. */
#pragma once

#include "materialize/tar/extent.h"
#include "materialize/tar/tar.h"
#include "store/base/siphash.h"
#include "varve-materialize.h"

#define TAR_BLOCK 512u

enum tar_format { TAR_V7, TAR_USTAR, TAR_STAR, TAR_GNU };

struct tar_block {
	char type;
	enum tar_format format;
	char path[257], link[101];
	uint32_t mode, uid, gid;
	int64_t mtime;
	uint64_t size;
	uint32_t rdev_major, rdev_minor;
};
bool tar_block_is_zero(const uint8_t *b);
bool tar_block_checksum_ok(const uint8_t *b);
/* Octal or base-256 of a header field. */
bool tar_number(const uint8_t *p, size_t n, int64_t *ret);
/*
 * Ids are left as far as a pax header replaces them: bad_uid/bad_gid say that the field has no
 * usable value.
 */
int tar_block_parse(struct tar_block *ret, const uint8_t *b, bool *ret_bad_uid, bool *ret_bad_gid,
		    struct varve_err *e);

/* What the pax header before an entry said; spans point into its text. */
struct tar_meta {
	bool has_path, has_link, has_uid, has_gid, has_size, has_mtime, acl, clamped;
	struct span path, link;
	uint32_t uid, gid, mtime_ns;
	int64_t mtime;
	uint64_t size;
	struct varve_xattr *xattrs;
	uint32_t n_xattrs, cap_xattrs;
	uint16_t *xattr_slots; /* finds them by name, once they are many */
	struct siphash_key secret;
	/* GNU.sparse.* */
	bool sparse, has_realsize, sparse_1_0;
	unsigned sparse_major, sparse_minor;
	uint64_t realsize;
	struct file_extent *extents;
	uint32_t n_extents, cap_extents;
	bool half_extent; /* 0.0: an offset waits for its numbytes */
	uint64_t half_off;
};
