/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a toc file; for toc_*.c only. */
#pragma once

#include "materialize/layer/toc.h"

#define TOC_MAGIC                                                                                  \
	0x31434f5445565256ull /* "VRVETOC1" read as little endian: the byte order is part of it */
#define TOC_VERSION 2u
#define TOC_HAS_CRC 0x8000u /* in flags: crc is that of the body */

struct toc_file_header {
	uint64_t magic;
	uint32_t version;
	uint32_t crc; /* of the records (CRC-32 as in gzip) */
	uint64_t entries;
	uint64_t bytes; /* of the records */
	uint64_t stream_size;
	uint32_t header_crc; /* of this header with this field zero */
	uint8_t algo;
	uint8_t digest[64];
	uint8_t reserved[3];
};
_Static_assert(sizeof(struct toc_file_header) % 8 == 0, "records are aligned");

/*
 * Followed by: extents (16 bytes each), path, NUL, link, NUL, xattrs (each: u32 name length, u32
 * value length, name, NUL, value), zeros to a multiple of 8.
 */
struct toc_record {
	uint32_t len; /* of all, this struct included */
	uint32_t mode, uid, gid;
	int64_t mtime;
	uint64_t size, body_off, body_len;
	uint32_t mtime_ns;
	uint32_t path_len, link_len;
	uint32_t n_extents;
	uint16_t n_xattrs, flags;
	uint32_t rdev; /* major in the upper 12 bits */
	uint32_t crc;
	uint32_t xattr_len;
};
_Static_assert(sizeof(struct toc_record) % 8 == 0, "extents are aligned");

struct toc {
	const uint8_t *p; /* records */
	size_t n;
	struct toc_file_header h;
	struct varve_digest diff_id;
	void *map; /* NULL: the bytes are the caller's */
	size_t map_size;
};
int toc_damaged(struct varve_err *e);
uint32_t toc_crc(uint32_t crc, const void *p, size_t n);
