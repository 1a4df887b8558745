/* SPDX-License-Identifier: Apache-2.0 */
/* The files that gc removes beside blobs: partial downloads, trash, scratch, dead leases, derived
 * data, orphans. */
#pragma once

#include "store/gc_mark.h"

struct gc_file {
	const char *what; /* of struct varve_gc_item */
	const char *path; /* relative to the store */
	const char *name; /* last part of it */
	const char *reason;
	uint64_t size;
	bool remove;
	bool is_orphan; /* a blob without a record: digest says which */
	struct varve_digest digest;
};
struct gc_files {
	struct gc_file *items;
	size_t n, cap;
	struct pool strings;
};

/* Look at everything; nothing is removed. st: begun, so that derived data and orphans can be judged
 * by its graph. */
int gc_files_scan(struct gc_files *f, struct gc_state *st, struct varve_err *e);
/* Sum over those to be removed of one kind (NULL: all). */
uint64_t gc_files_bytes(const struct gc_files *f, const char *what);
/* Under the exclusive lock: remove what is still free to go. Counts into ret. */
int gc_files_remove(struct gc_files *f, struct gc_state *st, struct varve_gc_result *ret,
		    struct varve_err *e);
void gc_files_done(struct gc_files *f);
