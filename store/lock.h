/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store lock: SH for short critical sections of writers, EX for the moment in which gc decides.
 * The gate is a turnstile that keeps a stream of SH holders from starving gc (docs/store-format.md,
 * "Locks"). Lock order: gate, lock, partial, rootfs name, mirror, database. flock only: released by
 * the kernel, right across PID namespaces.
 */
#pragma once

#include "varve-base.h"

#include <sys/file.h>

struct store_lock {
	int fd;
};
#define LOCK_INIT                                                                                  \
	{                                                                                          \
		-1                                                                                 \
	}

/* mode LOCK_SH or LOCK_EX. root: the store's directory. Not recursive within a thread.
 * VARVE_E_INTERRUPTED while it waits for others. */
int lock_acquire(struct store_lock *ret, int root, int mode, const struct varve_ctx *ctx,
		 struct varve_err *e);
void lock_release(struct store_lock *l); /* harmless when not held */
