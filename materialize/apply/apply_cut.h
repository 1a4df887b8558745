/* SPDX-License-Identifier: Apache-2.0 */
/* Cut the inflated bytes of a layer into batches of bodies that threads can write. */
#pragma once

#include "materialize/apply/apply.h"
#include "materialize/layer/layer_stream.h"

#define BATCH_BYTES (1u << 20)

/* A piece of one file's stored body inside a batch. */
struct piece {
	uint32_t inode;
	uint32_t pos, n;       /* in the batch's bytes */
	uint64_t off;          /* in the body */
	struct apply_big *big; /* NULL: the whole body is here */
};
/* Inflated bytes of one layer, cut into pieces; written by one thread. */
struct batch {
	struct batch *next;
	struct piece *pieces;
	size_t n_pieces, cap;
	uint32_t used;
	unsigned char *bytes;
};
struct layer {
	uint32_t index;
	struct plan_body_list bodies; /* to be inflated */
	bool claimed, done;
	bool part; /* the later half of another one: opened at its first body, verified by the
		      other */
	bool asked, splits; /* has it points where a part can begin? */
	struct layer_stream *stream;
	uint64_t pos; /* of the window, in the uncompressed stream */
	const unsigned char *window;
	size_t window_n;
	uint32_t next;         /* body that is being cut */
	uint64_t next_done;    /* bytes of it that are in batches */
	struct apply_big *big; /* of it, if it was cut */
};

/*
 * Fill a batch with the next bodies of a layer whose stream is open. Only the first and the last
 * piece of a batch can be of a file that is in other batches too.
 */
int apply_cut(struct apply_shared *a, struct layer *l, struct batch *b, struct varve_err *e);
