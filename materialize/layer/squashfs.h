/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A squashfs image as a layer: its entries for a table of contents, and a virtual stream, which is
 * the bodies of its non-empty files one after the other in the order of their data on disk. Offsets
 * of bodies are positions in that stream; the same image always gives the same stream.
 */
#pragma once

#include "materialize/layer/toc.h"
#include "store/base/hash.h"

struct squashfs;

/* fd is borrowed and only read by position. VARVE_E_FORMAT: damaged; VARVE_E_UNSUPPORTED: version,
 * compressor, or built without libsquashfs; VARVE_E_UNSAFE: loops, names that are none. */
int squashfs_open(struct squashfs **ret, int fd, uint64_t size, const struct varve_limits *limits,
		  struct varve_err *e);
void squashfs_free(struct squashfs *q);
uint64_t squashfs_stream_size(const struct squashfs *q);
/* Add all entries, parents first. */
int squashfs_toc(struct squashfs *q, struct toc_writer *w, struct varve_err *e);
/* A window of the next bytes of the virtual stream, at most max; *ret_n 0: the end. */
int squashfs_next(struct squashfs *q, size_t max, const void **ret, size_t *ret_n,
		  struct varve_err *e);
