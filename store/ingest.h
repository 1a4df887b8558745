/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bring one blob in: partial file under a lock, hash while writing, verify, fsync, publish by name
 * (docs/store-format.md, "Order of writing"). Records are written by catalog_commit(), in one
 * transaction for a batch.
 */
#pragma once

#include "store/lease.h"
#include "varve-store.h"

struct ingest;

struct ingest_want {
	struct varve_digest digest;
	uint64_t size; /* VARVE_SIZE_UNKNOWN if nobody said */
	enum varve_blob_kind kind;
	uint64_t max_size; /* refuse beyond; 0: only size counts */
	bool once;         /* what came is given up when it fails: messages promise nothing */
};

/*
 * Adds the digest to the lease first. 0: *ret is ours to fill; 1: the blob is present, *ret NULL;
 * -VARVE_E_BUSY: another process is downloading it: call again later (ingest_partial_size tells its
 * progress). A partial that is there is hashed again: ingest_offset() says how far it goes. A known
 * size is reserved on the disk, VARVE_E_NOSPACE if it has not that much; whatever was reserved and
 * not written is given back on every failure and by ingest_close().
 */
int ingest_open(struct ingest **ret, struct varve_store *s, struct lease *l,
		const struct ingest_want *want, struct varve_err *e);
/* The same, but waits while another process has it. VARVE_E_INTERRUPTED. */
int ingest_open_wait(struct ingest **ret, struct varve_store *s, struct lease *l,
		     const struct ingest_want *want, struct varve_err *e);
uint64_t ingest_offset(const struct ingest *in);
int ingest_fd(const struct ingest *in); /* borrowed; for pread by a follower */
/* Past the declared size: VARVE_E_SIZE. Full disk: VARVE_E_NOSPACE and the partial stays. */
int ingest_write(struct ingest *in, const void *p, size_t n, struct varve_err *e);
/* What is there is void: begin again at 0. */
int ingest_restart(struct ingest *in, struct varve_err *e);
/*
 * Verify size and digest, make it durable, publish it. *ret_size may be NULL. *in is freed and NULL
 * then, but for VARVE_E_SIZE and VARVE_E_DIGEST: it is still ours, and begins again at 0.
 */
int ingest_commit(struct ingest **in, uint64_t *ret_size, struct varve_err *e);
/* Give up; keep: leave the partial for a later resume. Frees. Accepts NULL. */
void ingest_close(struct ingest *in, bool keep);

/* A small document in one go. expect may be NULL; *ret gets the sha256 digest (may be NULL). */
int ingest_bytes(struct varve_store *s, struct lease *l, enum varve_blob_kind kind, const void *p,
		 size_t n, const struct varve_digest *expect, struct varve_digest *ret,
		 struct varve_err *e);
/*
 * Bytes whose digest is known only when they are all there: a local file, a tarball behind a URL.
 * key: what will always be the same bytes ("https://…@commit/path"); a partial under it is resumed,
 * and -VARVE_E_BUSY means that another process has it. NULL: a private scratch that close() drops.
 * max_size 0: no limit but the disk. Written with ingest_write, given up with ingest_close.
 */
int ingest_open_unnamed(struct ingest **ret, struct varve_store *s, const char *key,
			enum varve_blob_kind kind, uint64_t max_size, struct varve_err *e);
/*
 * The end: the sha256 digest, which goes into the lease before the blob becomes visible. 1: the
 * blob was there before. Freed in every case.
 */
int ingest_commit_unnamed(struct ingest *in, struct lease *l, struct varve_digest *ret,
			  uint64_t *ret_size, struct varve_err *e);
/* Bytes that another process (or an earlier one) has of it so far; 0 if none. */
uint64_t ingest_partial_size(struct varve_store *s, const struct varve_digest *d);
/* Bytes that it takes on the disk already: another process may have reserved all of it. */
uint64_t ingest_partial_room(struct varve_store *s, const struct varve_digest *d);
