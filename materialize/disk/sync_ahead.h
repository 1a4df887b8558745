/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that writes a file system out to disk while it is still being filled, so that the sync
 * at the end is short: most bytes of a root filesystem are in files too small for hints file by
 * file (measured: docs/performance.md).
 */
#pragma once

#include <stdint.h>

struct sync_ahead;
/* The file system of the directory. NULL: there is no such thread, which the calls below accept. */
struct sync_ahead *sync_ahead_start(int dir);
/* What a file with so many bytes takes, about: whole blocks, and its inode. */
static inline uint64_t sync_ahead_size(uint64_t n)
{
	return (n + 4095) / 4096 * 4096 + 256;
}
/* So many bytes more are there to be written out; called by any thread. */
void sync_ahead_wrote(struct sync_ahead *s, uint64_t n);
/*
 * Ends and frees it. 0, or the errno of a write-back that failed: the kernel tells that once, so
 * the sync at the end may not hear of it.
 */
int sync_ahead_end(struct sync_ahead *s);
