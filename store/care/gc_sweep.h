/* SPDX-License-Identifier: Apache-2.0 */
/* The work of gc after the decision: records in batches, small files unlinked, others to trash/,
 * and what is in there goes when nobody waits for the lock any more. */
#pragma once

#include "store/care/gc_mark.h"
#include "store/layout.h"

/* What was moved to trash/, to be unlinked later. */
struct gc_trash {
	char (*names)[LAYOUT_PATH_MAX];
	size_t n, cap;
};

/*
 * A rename is quick, and gives the name free at once. Where even a name in trash/ finds no room,
 * the file goes here and now. A missing one is success.
 */
int gc_trash_move(struct gc_trash *trash, struct varve_store *s, const char *path,
		  struct varve_err *e);
/* Unlink all of it; a tree is walked. What cannot be unlinked is left to the next gc. */
void gc_trash_empty(struct gc_trash *trash, struct varve_store *s);
void gc_trash_done(struct gc_trash *trash);

/* Has a record, and gc takes it. */
bool gc_blob_goes(const struct gc_state *st, uint32_t i);
/*
 * Under the exclusive lock: records, durably, and then the files of each batch. On a full disk in
 * small batches, with the ballast for the first, and with the room that each one gives for the
 * next. Counts into ret.
 */
int gc_sweep(struct gc_state *st, struct gc_trash *trash, bool *ret_names_changed,
	     struct varve_gc_result *ret, struct varve_err *e);
