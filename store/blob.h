/* SPDX-License-Identifier: Apache-2.0 */
/* Look up and read stored blobs; facts of layers. */
#pragma once

#include "store/base/buf.h"
#include "varve-store.h"

/*
 * 1: present (recorded, and the file is there with its size), 0: not, <0: failed. A file that is
 * there without a record (cut between publish and commit, or put there by another tool) is hashed
 * and adopted. Lower stores count as present. Take a lease that names d BEFORE asking
 * (docs/store-format.md, "Order of writing").
 */
int blob_stat(struct varve_store *s, const struct varve_digest *d, struct varve_blob_info *ret,
	      struct varve_err *e);
/* VARVE_E_NOTFOUND if absent. *ret_size may be NULL. The content is not verified here. */
int blob_open(struct varve_store *s, const struct varve_digest *d, int *ret_fd, uint64_t *ret_size,
	      struct varve_err *e);
/* The same, for who reads content: whose file it is. */
struct blob_file {
	int fd;
	uint64_t size;
	/*
	 * Nobody but us, root and trusted owners can change the file: what was verified once stays
	 * so. Else each read may give other bytes, and only those count that were hashed as they
	 * were used.
	 */
	bool proven;
	const struct varve_store *from; /* s, or one of its lower stores */
};
int blob_open_file(struct varve_store *s, const struct varve_digest *d, struct blob_file *ret,
		   struct varve_err *e);
/* VARVE_E_DIGEST: the bytes that s has in from (itself or a lower one) are not what d says. */
int blob_fail_digest(const struct varve_store *from, const struct varve_store *s,
		     const struct varve_digest *d, struct varve_err *e);
/*
 * Whoever owns a lower store could make a hole of terabytes of a blob, which would be read to its
 * end before its digest tells. size: what the document that names d says. VARVE_E_DIGEST.
 */
int blob_check_size(const struct varve_store *s, const struct varve_digest *d,
		    const struct blob_file *f, uint64_t size, struct varve_err *e);
/* The same of a blob that is not open; 0 also if it is missing. */
int blob_check_stored(struct varve_store *s, const struct varve_digest *d, uint64_t size,
		      struct varve_err *e);
/* A whole document into b (its ceiling applies), verified against d. */
int blob_read(struct varve_store *s, const struct varve_digest *d, struct buf *b,
	      struct varve_err *e);
/* Record what reading a layer found out. */
int blob_set_facts(struct varve_store *s, const struct varve_digest *d,
		   const struct varve_layer_facts *facts, struct varve_err *e);
/* Record that a materialize found d damaged: it
 * counts as missing from now on and is fetched again. */
int blob_set_damaged(struct varve_store *s, const struct varve_digest *d, struct varve_err *e);

struct index_txn;
/* What the record says alone: 1 there is one, 0 none. */
struct blob_seen {
	bool present;
	uint64_t size;
	int64_t mtime_ns;
};
/* A blob was published with verified content; its record comes with the next catalog_commit(). */
void blob_note_published(struct varve_store *s, const struct varve_digest *d);
void blob_forget_published(struct varve_store *s);
/*
 * A blob file is not what its name says: its record says missing and the file is moved to the
 * trash, so that the next pull fetches it. Only if the file still has the inode that was looked at.
 */
int blob_quarantine(struct varve_store *s, const struct varve_digest *d, uint64_t ino,
		    struct varve_err *e);
/* A file without a valid record: 1 it is what its name says and recorded now, 0 it was not and was
 * set aside. */
int blob_adopt(struct varve_store *s, const struct varve_digest *d, struct varve_err *e);
int blob_recorded(struct varve_store *s, const struct varve_digest *d, struct blob_seen *ret);
/* It was hashed and is right: the record says when, and how the file looked. */
int blob_put_verified(struct index_txn *t, const struct varve_digest *d, int64_t mtime_ns,
		      struct varve_err *e);
/* Where it can be had again, newest first, NULL-terminated; free() each. */
int blob_origins(struct varve_store *s, const struct varve_digest *d, char *list[],
		 struct varve_err *e);
/* fsync the directories of blobs: their names are durable before a record claims them. */
int blob_sync_names(struct varve_store *s, struct varve_err *e);
