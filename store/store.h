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
	char *foreign; /* why it is not believed (trust.h); NULL: it is */
	uint32_t *trusted; /* user ids beside the caller's and root's */
	size_t n_trusted;
	struct index *index;
	struct varve_store **lower;
	size_t n_lower;
	struct varve_limits limits; /* none is 0 */
	pthread_mutex_t mutex;      /* what follows; layer readers are threads of their own */
	struct aux_memory *aux_memory;
	struct varve_digest *published; /* by this handle, and not recorded yet */
	size_t n_published;
};

/* errno values and codes that mean "no room": also a file size limit. */
bool store_disk_full(int err);
/* Free bytes for us on the store's file system; UINT64_MAX if unknown. */
uint64_t store_fs_free(const struct varve_store *s);
static inline int64_t stat_mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}
