/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do work on hostile data where it can write nowhere but below given directories (Landlock), make
 * no socket of any kind and run no program (seccomp). Only threads are caged, never the process:
 * hooks and the caller's own threads stay free. Callbacks of the caller that are called meanwhile
 * are caged, too.
 */
#pragma once

#include "store/base/err.h"
#include "store/base/log.h"

#define CAGE_DIRS_MAX 5

struct cage {
	const struct varve_ctx *ctx;
	const char *dirs[CAGE_DIRS_MAX]; /* absolute paths; NULL ones are ignored */
};
/*
 * Run fn(arg) in a thread of its own that is caged; so are the threads that it starts. Returns fn's
 * result. Where the kernel has no Landlock, fn runs all the same and an informational message says
 * so.
 */
int cage_run(const struct cage *c, int (*fn)(void *arg), void *arg, struct varve_err *e);
/*
 * The directories of a store that reading a layer may write in: where tables of contents are made,
 * and where a rotten blob is moved from and to. Adds them to c; free with cage_store_done().
 */
struct varve_store;
struct cage_store {
	char *tmp, *blobs, *trash;
};
int cage_store(struct cage *c, struct cage_store *paths, struct varve_store *s,
	       struct varve_err *e);
void cage_store_done(struct cage_store *paths);
/* Cage the calling thread for good. 1: done; 0: this kernel cannot. */
int cage_enter(const struct cage *c, struct varve_err *e);
