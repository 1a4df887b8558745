/* SPDX-License-Identifier: Apache-2.0 */
/* Read layers for apply.c: open them, cut them, give half of one away. */
#include "materialize/apply/apply_layer.h"
#include "materialize/apply/apply_cut.h"
#include "materialize/layer/layer_parts.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"

#include "store/base/compiler.h"

#define PART_MIN ((uint64_t)8 << 20) /* for a point, half of one is inflated twice */

static int open_layer(struct apply_shared *a, struct layer *l, struct varve_err *e)
{
	const struct varve_plan *plan = a->plan;
	const struct varve_plan_layer *of = &plan->summary.layers[l->index];
	int r;

	pthread_mutex_lock(&a->store);
	if (l->part) {
		r = layer_stream_open_near(&l->stream, plan->store, &of->digest, &of->diff_id,
					   plan->inodes[l->bodies.inodes[0]].body_off, &l->pos, e);
	} else {
		r = layer_stream_open(&l->stream, plan->store, &of->digest, e);
	}
	pthread_mutex_unlock(&a->store);
	return r;
}

/*
 * A rotten blob is the better explanation of a layer that cannot be read. One thread finds out, and
 * the blob is set aside: whoever else fails at that layer, maybe for that reason, says the same.
 */
static int explain(struct apply_shared *a, const struct layer *l, int r, struct varve_err *e)
{
	const struct varve_plan *plan = a->plan;

	if (r == -VARVE_E_INTERRUPTED)
		return r;
	pthread_mutex_lock(&a->store);
	if (r == -VARVE_E_FORMAT && a->judged != l->index + 1) {
		a->judged = l->index + 1;
		a->why = (struct varve_err)VARVE_ERR_INIT;
		a->verdict =
			layer_verify(plan->store, &plan->summary.layers[l->index].digest, &a->why);
	}
	if (a->judged == l->index + 1 && a->verdict == -VARVE_E_DIGEST) {
		r = -VARVE_E_DIGEST;
		*e = a->why;
	}
	pthread_mutex_unlock(&a->store);
	return r;
}

static int end_layer(struct apply_shared *a, struct layer *l, struct varve_err *e)
{
	int r = layer_stream_drain(l->stream, e);

	if (r == 0) {
		pthread_mutex_lock(&a->store); /* a rotten blob is noted there */
		r = layer_stream_end(l->stream, e);
		if (r == -VARVE_E_DIGEST) { /* and it is set aside: nobody else can find out */
			a->judged = l->index + 1;
			a->verdict = r;
			a->why = *e;
		}
		pthread_mutex_unlock(&a->store);
	}
	layer_stream_free(VARVE_TAKE(l->stream));
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
	/* Behind the middle of one large file there may be nothing, or hardly anything. */
	if (low == l->bodies.n ||
	    last->body_off + last->body_len - inodes[bodies[low]].body_off < PART_MIN)
		return false;
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
		r = end_layer(a, l, e);
		*ret_done = true;
	}
	return r;
}
