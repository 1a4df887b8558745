/* SPDX-License-Identifier: Apache-2.0 */
/* The files that gc removes beside blobs: partial downloads, trash, scratch, dead leases, derived
 * data, orphans. */
#pragma once

#include "store/care/gc_sweep.h"

struct gc_file {
	const char *what; /* of struct varve_gc_item */
	const char *path; /* relative to the store */
	const char *name; /* last part of it */
	const char *reason;
	uint64_t size;
	bool remove;
	bool for_budget; /* a partial that goes only when a budget needs its room */
	bool claim;      /* who uses it holds its flock */
	bool is_orphan;  /* a blob without a record: digest says which */
	struct varve_digest digest;
};
struct gc_files {
	struct gc_file *items;
	size_t n, cap;
	struct arena *strings;
};

/* Look at everything; nothing is removed. st: begun, so that derived data and orphans can be judged
 * by its graph. */
int gc_files_scan(struct gc_files *f, struct gc_state *st, struct varve_err *e);
bool gc_file_goes(const struct gc_file *f, const struct gc_state *st);
/* Bytes of what goes in any case, but for derived data; and of partials that a budget may take. */
void gc_files_sum(const struct gc_files *f, uint64_t *ret_freed, uint64_t *ret_partials);
enum gc_files_when {
	GC_FILES_FREE,   /* without the lock: what is in trash/, and what can be made again */
	GC_FILES_LOCKED, /* under the exclusive lock, into trash: the rest */
};
/* Remove what is still free to go. Counts into ret. */
int gc_files_remove(struct gc_files *f, struct gc_state *st, enum gc_files_when when,
		    struct gc_trash *trash, struct varve_gc_result *ret, struct varve_err *e);
void gc_files_done(struct gc_files *f);
