/* SPDX-License-Identifier: Apache-2.0 */
/* Stored layers as streams of uncompressed bytes: layer_stream.c the whole, layer_parts.c parts. */
#pragma once

#include "varve-store.h"

#include <stdint.h>

/*
 * The uncompressed bytes of a stored layer, in order. The compressed bytes are verified against the
 * blob's digest on the way; the verdict is the result of layer_stream_end, which reads what is left
 * of the blob (compressed bytes only).
 */
struct layer_stream;
int layer_stream_open(struct layer_stream **ret, struct varve_store *s,
		      const struct varve_digest *blob, struct varve_err *e);
/* A window of the next bytes, at most max; valid until the next call. *ret_n 0: end. */
int layer_stream_next(struct layer_stream *ls, size_t max, const void **ret, size_t *ret_n,
		      struct varve_err *e);
/* Read what is left of the blob, which takes time but not the store: the end is quick then. */
int layer_stream_drain(struct layer_stream *ls, struct varve_err *e);
/* VARVE_E_DIGEST when the blob has rotted. Call before what was read becomes visible. */
int layer_stream_end(struct layer_stream *ls, struct varve_err *e);
void layer_stream_free(struct layer_stream *ls);

/*
 * Parts of a layer at once. Restart points are made while a gzip layer is read for the first time
 * (an uncompressed layer has them everywhere); they are a cache, so there may be none.
 */
/*
 * A stream that begins at the last point before off; *ret_off: where that is. What it reads is NOT
 * verified: its layer_stream_end() does nothing; the blob as a whole must have been before anything
 * becomes visible. That covers the compressed bytes: the state of the decoder at a point is a cache
 * of the store's own, with a checksum.
 */
int layer_stream_open_near(struct layer_stream **ret, struct varve_store *s,
			   const struct varve_digest *blob, const struct varve_digest *diff_id,
			   uint64_t off, uint64_t *ret_off, struct varve_err *e);
/* The same; its first byte is that at off. */
int layer_stream_open_at(struct layer_stream **ret, struct varve_store *s,
			 const struct varve_digest *blob, const struct varve_digest *diff_id,
			 uint64_t off, struct varve_err *e);
