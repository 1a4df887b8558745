/* SPDX-License-Identifier: Apache-2.0 */
/* What inflate.c and its decoders share. */
#pragma once

#include "materialize/codec/inflate.h"

/* A decoder fills its two output buffers in turn, so that what it gave stays while it makes the
 * next; both together are about the second-level cache. */
#define INFLATE_WINDOW (256u << 10)

/* Compressed input: p,n is what the decoder has not used yet. */
struct inflate_input {
	const uint8_t *p;
	size_t n;
	bool end; /* no more behind n */
	struct inflate_source src;
	uint64_t taken;
	uint8_t head[512];   /* the bytes that were looked at to choose the decoder */
	const uint8_t *held; /* a window behind head */
	size_t held_n;
	inflate_point_fn *on_point; /* may be NULL */
	void *point_user;
};
/* The input is used up: get the next window, or set end. */
int inflate_refill(struct inflate_input *in, struct varve_err *e);

struct inflate_codec {
	enum varve_compression kind;
	int (*open)(void **ret, struct varve_err *e);
	void (*free)(void *state);
	/* The next window of output, which outlives one further call; *ret_n 0 at the end of the
	 * stream. */
	int (*next)(void *state, struct inflate_input *in, const uint8_t **ret, size_t *ret_n,
		    struct varve_err *e);
};
/* A decoder that goes on where another one was. */
int inflate_gzip_resume(void **ret, const struct inflate_point *p, struct varve_err *e);
extern const struct inflate_codec inflate_gzip, inflate_zstd, inflate_xz, inflate_bzip2;
