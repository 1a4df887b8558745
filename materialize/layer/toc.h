/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Table of contents of a layer: one record per tar entry, in tar order, in one file that is mapped
 * and walked.
 *
 * File: header, then records of varying length, each a multiple of 8 bytes, native byte order (a
 * file of another order or version counts as absent). It is a cache: checksummed, verified record
 * by record, made again when in doubt.
 */
#pragma once

#include "materialize/tar/tar.h"
#include "store/blob.h"
#include "store/derived.h"

/* One record, decoded; everything points into the mapping and lives as long as it. */
struct toc_entry {
	const char *path; /* as in the tar; trailing slashes are gone (but "/" stays) */
	const char *link;
	uint32_t path_len, link_len;
	unsigned flags; /* enum tar_entry_flag */
	uint32_t mode, uid, gid, mtime_ns;
	int64_t mtime;
	uint64_t size, body_off, body_len;
	uint32_t rdev_major, rdev_minor;
	uint32_t crc; /* CRC-32 of the stored body, if has_crc */
	bool has_crc;
	uint32_t n_extents, n_xattrs;
	const struct file_extent *extents;
	const char *xattrs; /* packed: walk with toc_xattr() */
};

/* --- making one --- */
struct toc_writer;
/* file NULL: everything stays in memory (toc_writer_take). The file is borrowed. */
int toc_writer_new(struct toc_writer **ret, struct aux_file *file, struct varve_err *e);
void toc_writer_free(struct toc_writer *w);
int toc_writer_add(struct toc_writer *w, const struct tar_entry *t, struct varve_err *e);
/* Bytes of the body of the last entry; leave it out and there is no checksum of it. */
void toc_writer_body(struct toc_writer *w, const void *p, size_t n);
uint64_t toc_writer_entries(const struct toc_writer *w);
/* size: of the whole uncompressed stream. */
int toc_writer_finish(struct toc_writer *w, const struct varve_digest *diff_id, uint64_t size,
		      struct varve_err *e);
/* After finish of one in memory: free() it. */
void *toc_writer_take(struct toc_writer *w, size_t *ret_n);

/* --- reading one --- */
struct toc;
/*
 * -VARVE_E_NOTFOUND: absent, of another version, or damaged (make it again). diff_id may be NULL in
 * toc_open_memory.
 */
int toc_open(struct toc **ret, struct varve_store *s, const struct varve_digest *diff_id,
	     struct varve_err *e);
/* p is borrowed. */
int toc_open_memory(struct toc **ret, const void *p, size_t n, struct varve_err *e);
void toc_free(struct toc *t);
uint64_t toc_entries(const struct toc *t);
uint64_t toc_stream_size(const struct toc *t);
/* *cursor starts at 0. 1: *ret is the next entry; 0: the end. */
int toc_next(const struct toc *t, size_t *cursor, struct toc_entry *ret);
/* The records before cursor are hardly needed again: their pages may go (they come back when they
 * are read). */
void toc_forget(const struct toc *t, size_t cursor);
/* Decode the xattr at p; returns where the next one is. */
const char *toc_xattr(const char *p, struct varve_xattr *ret);
