/* SPDX-License-Identifier: Apache-2.0 */
/* See apply_cut.h. What no file needs is skipped. */
#include "materialize/apply/apply_cut.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/hash.h"
#include "store/base/invariant.h"

#define WINDOW_BYTES (256u << 10) /* one inflate: fits the second-level cache */

static int next_window(struct apply_shared *a, struct layer *l, uint32_t inode, struct varve_err *e)
{
	const struct varve_plan *plan = a->plan;
	const void *p;
	int r;

	l->pos += l->window_n;
	l->window_n = 0;
	r = layer_stream_next(l->stream, WINDOW_BYTES, &p, &l->window_n, e);
	if (r < 0)
		return r;
	l->window = p;
	if (l->window_n)
		return 0;
	return varve_fail(e, VARVE_E_FORMAT,
			  "layer %s ends before %s: its table of contents does not belong to it; "
			  "run \"varve check --read-data --repair\"",
			  DIGEST_STR(&plan->summary.layers[l->index].digest),
			  APPLY_PATH(a, plan->inodes[inode].first_name));
}

/* Move the window's start to where the next wanted byte is, or empty it. */
static void skip_to(struct layer *l, uint64_t want)
{
	size_t k = (size_t)VARVE_MIN(want - l->pos, (uint64_t)l->window_n);

	if (k == 0) /* the window may be NULL then */
		return;
	l->pos += k;
	l->window += k;
	l->window_n -= k;
}

/* The body that comes next goes into a batch, wholly or not. */
static int begin_body(struct apply_shared *a, struct layer *l, const struct batch *b,
		      struct varve_err *e)
{
	uint32_t inode = l->bodies.inodes[l->next];
	uint64_t len = a->plan->inodes[inode].body_len;

	l->body = (struct body){.id = inode, .len = len};
	if (len <= batch_room(b))
		return 0;
	l->body.file = apply_big_new(a, len);
	return l->body.file ? 0 : varve_fail_oom(e);
}

int apply_cut(struct apply_shared *a, struct layer *l, struct batch *b, struct varve_err *e)
{
	while (l->next < l->bodies.n && batch_room(b)) {
		uint32_t inode = l->bodies.inodes[l->next];
		const struct plan_inode *in = &a->plan->inodes[inode];
		uint64_t left = in->body_len - l->next_done;
		size_t n;
		int r = 0;

		assert(l->next_done < in->body_len);
		if (!l->next_done && batch_ends_before(b, in->body_len))
			break;
		skip_to(l, in->body_off + l->next_done);
		if (!l->window_n) {
			r = next_window(a, l, inode, e);
			if (r < 0)
				return r;
			continue;
		}
		if (!l->next_done)
			r = begin_body(a, l, b, e);
		if (r < 0)
			return r;
		n = (size_t)VARVE_MIN((uint64_t)l->window_n, left);
		n = batch_add(b, &l->body, l->next_done, l->window, n);
		if (!n)
			return varve_fail_oom(e);
		l->next_done += n;
		skip_to(l, in->body_off + l->next_done);
		if (n == left) {
			l->next++;
			l->next_done = 0;
		}
	}
	return 0;
}
