/* SPDX-License-Identifier: Apache-2.0 */
/* The store handle, for the files of this folder only. */
#pragma once

#include "store/base/buf.h"
#include "store/index/index.h"
#include "varve-store.h"

#include <pthread.h>
#include <sys/stat.h>

struct varve_store {
	const struct varve_ctx *ctx;
	char *path; /* absolute */
	int root;   /* its directory */
	bool read_only;
	bool no_index; /* read only and no usable database: index is made from index.json, in memory
			*/
	struct index *index;
	struct varve_store **lower;
	size_t n_lower;
	struct varve_limits limits; /* none is 0 */
	pthread_mutex_t mutex;      /* what follows; layer readers are threads of their own */
	struct aux_memory *aux_memory;
	struct varve_digest *published; /* by this handle, and not recorded yet */
	size_t n_published;
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
/* What the record says alone: 1 there is one, 0 none. */
struct blob_seen {
	bool present;
	uint64_t size;
	int64_t mtime_ns;
};
int blob_recorded(struct varve_store *s, const struct varve_digest *d, struct blob_seen *ret);
/* It was hashed and is right: the record says when, and how the file looked. */
int blob_put_verified(struct index_txn *t, const struct varve_digest *d, int64_t mtime_ns,
		      struct varve_err *e);
/* Where it can be had again, newest first, NULL-terminated; free() each. */
int blob_origins(struct varve_store *s, const struct varve_digest *d, char *list[],
		 struct varve_err *e);
/* fsync the directories of blobs: their names are durable before a record claims them. */
int blob_sync_names(struct varve_store *s, struct varve_err *e);

/* errno values and codes that mean "no room": also a file size limit. */
bool store_disk_full(int err);
/* Free bytes for us on the store's file system; UINT64_MAX if unknown. */
uint64_t store_fs_free(const struct varve_store *s);
static inline int64_t stat_mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}
