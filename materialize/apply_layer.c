/* SPDX-License-Identifier: Apache-2.0 */
/* Read layers for apply.c: open them, cut them, give half of one away. */
#include "materialize/apply_cut.h"

#include "store/base/compiler.h"

#define PART_MIN ((uint64_t)8 << 20) /* for a point, half of one is inflated twice */

static int open_layer(struct apply_shared *a, struct layer *l, struct varve_err *e)
{
	const struct varve_plan *plan = a->plan;
	const struct varve_plan_layer *of = &plan->summary.layers[l->index];
	int r;

	pthread_mutex_lock(&a->store);
	if (l->part) {
		l->pos = plan->inodes[l->bodies.inodes[0]].body_off;
		r = layer_stream_open_at(&l->stream, plan->store, &of->digest, &of->diff_id, l->pos,
					 e);
	} else {
		r = layer_stream_open(&l->stream, plan->store, &of->digest, e);
	}
	pthread_mutex_unlock(&a->store);
	return r;
}

/* A rotten blob is the better explanation of a layer that cannot be read. */
static int explain(struct apply_shared *a, const struct layer *l, int r, struct varve_err *e)
{
	const struct varve_plan *plan = a->plan;
	struct varve_err why = VARVE_ERR_INIT;

	if (r != -VARVE_E_FORMAT)
		return r;
	pthread_mutex_lock(&a->store);
	if (layer_verify(plan->store, &plan->summary.layers[l->index].digest, &why) ==
	    -VARVE_E_DIGEST) {
		r = -VARVE_E_DIGEST;
		*e = why;
	}
	pthread_mutex_unlock(&a->store);
	return r;
}

static bool has_points(struct apply_shared *a, struct layer *l)
{
	const struct varve_plan *plan = a->plan;
	const struct varve_plan_layer *of = &plan->summary.layers[l->index];
	VARVE_FREE uint64_t *points = NULL;
	size_t n;

	if (!l->asked) {
		pthread_mutex_lock(&a->store);
		l->splits = layer_points(plan->store, &of->digest, &of->diff_id, &points, &n,
					 NULL) >= 0 &&
			    n > 1;
		pthread_mutex_unlock(&a->store);
		l->asked = true;
	}
	return l->splits;
}

bool apply_layer_split(struct apply_shared *a, struct layer *l, struct layer *ret)
{
	const struct plan_inode *inodes = a->plan->inodes;
	const uint32_t *bodies = l->bodies.inodes;
	const struct plan_inode *last = &inodes[bodies[l->bodies.n - 1]];
	uint64_t from = inodes[bodies[l->next]].body_off + l->next_done;
	uint64_t left = last->body_off + last->body_len - from;
	uint32_t low = l->next + 1, high = l->bodies.n;

	if (left < 2 * PART_MIN || !has_points(a, l))
		return false;
	while (low < high) { /* the first body behind the middle */
		uint32_t middle = low + (high - low) / 2;

		if (inodes[bodies[middle]].body_off < from + left / 2)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == l->bodies.n)
		return false; /* one large file */
	*ret = (struct layer){
		.index = l->index,
		.bodies = {bodies + low, l->bodies.n - low},
		.part = true,
		.asked = true,
		.splits = true,
	};
	l->bodies.n = low;
	return true;
}

int apply_layer_step(struct apply_shared *a, struct layer *l, struct batch *b, bool *ret_done,
		     struct varve_err *e)
{
	int r = l->stream ? 0 : open_layer(a, l, e);

	if (r >= 0)
		r = apply_cut(a, l, b, e);
	if (r < 0)
		r = explain(a, l, r, e);
	if (r >= 0 && l->next == l->bodies.n) {
		r = layer_stream_end(l->stream, e);
		layer_stream_free(VARVE_TAKE(l->stream));
		*ret_done = true;
	}
	return r;
}
