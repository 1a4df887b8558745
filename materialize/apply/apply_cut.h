/* SPDX-License-Identifier: Apache-2.0 */
/* Read what a plan wants of a layer, and fill batches with it. */
#pragma once

#include "materialize/apply/apply.h"
#include "materialize/layer/batch.h"
#include "materialize/layer/layer_stream.h"

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
	uint32_t next;      /* index of the body that is being cut */
	uint64_t next_done; /* bytes of it that are in batches */
	struct body body;   /* it, once there are */
};

/* Fill a batch with the next bodies of a layer whose stream is open. The id of a body is the index
 * of its inode in the plan. */
int apply_cut(struct apply_shared *a, struct layer *l, struct batch *b, struct varve_err *e);
