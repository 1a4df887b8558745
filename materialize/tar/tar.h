/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tar as a stream of events: fed with windows of bytes of any size, it calls back for each entry,
 * its body and its end. Pure: no I/O. Understood: v7, ustar, star, pax (x; g is skipped), GNU (L,
 * K, S, base-256), the GNU sparse formats old, 0.0, 0.1 and 1.0. What it cannot read exactly is an
 * error, never a guess.
 */
#pragma once

#include "materialize/tar/extent.h"
#include "store/base/buf.h"
#include "varve-materialize.h"

#define TAR_META_MAX    (1u << 20) /* one pax header, long name or sparse map */
#define TAR_XATTR_MAX   (64u << 10)
#define TAR_EXTENTS_MAX 131072u
#define TAR_XATTRS_MAX  4096u
#define TAR_SIZE_MAX    ((uint64_t)16 << 40) /* logical size of one file */

enum tar_entry_flag {
	TAR_HARDLINK = 1,     /* a further name of link; mode has no meaning */
	TAR_ACL = 2,          /* had SCHILY.acl.*: not applied */
	TAR_TIME_CLAMPED = 4, /* mtime did not fit */
};
/* Strings are NUL-terminated, without NUL inside, raw bytes. Valid during the call only. */
struct tar_entry {
	struct span path, link;
	unsigned flags;
	uint32_t mode; /* S_IFMT and 07777 */
	uint32_t uid, gid;
	uint32_t mtime_ns;
	int64_t mtime;
	uint64_t size;     /* logical */
	uint64_t body_off; /* in the stream that was fed */
	uint64_t body_len;
	uint32_t rdev_major, rdev_minor;
	uint32_t n_extents;
	const struct file_extent *extents;
	uint32_t n_xattrs;
	const struct varve_xattr *xattrs;
};
struct tar_events {
	/* <0 ends the parse with that value. */
	int (*entry)(void *user, const struct tar_entry *t, struct varve_err *e);
	/* Bytes of the body of the last entry, in order; may be NULL. */
	int (*body)(void *user, const void *p, size_t n, struct varve_err *e);
	/* An entry that was passed over: what and why; may be NULL. */
	void (*note)(void *user, const char *text);
	void *user;
};

struct tar;
int tar_new(struct tar **ret, const struct tar_events *events, struct varve_err *e);
void tar_free(struct tar *t);
int tar_feed(struct tar *t, const void *p, size_t n, struct varve_err *e);
/*
 * The stream has ended: VARVE_E_FORMAT if in the middle of an entry. Within the padding behind
 * complete data it is the end of the archive: some writers (umoci insert, stacker) leave it out.
 */
int tar_finish(struct tar *t, struct varve_err *e);
/* At that place: the last entry is whole, its padding is not. */
bool tar_unpadded(const struct tar *t);
/* At the place of a header: nothing is begun. */
bool tar_between_entries(const struct tar *t);
/* A further archive followed behind the end (tar --ignore-zeros would read it). */
bool tar_concatenated(const struct tar *t);
/* What first follows behind the end and is not zero, at most a block of it; 0: nothing. */
size_t tar_tail(const struct tar *t, const void **ret);
/* Does this first block of a stream look like tar? */
bool tar_looks_like(const void *block, size_t n);
