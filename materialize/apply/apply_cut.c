/* SPDX-License-Identifier: Apache-2.0 */
/* See apply_cut.h. What no file needs is skipped; small files stay in one piece. */
#include "materialize/apply/apply_cut.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/hash.h"

#define SMALL_FILE   (128u << 10) /* is not cut at the end of a batch */
#define WINDOW_BYTES (256u << 10) /* one inflate: fits the second-level cache */

static struct piece *add_piece(struct batch *b, struct varve_err *e)
{
	if (b->n_pieces == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 64;
		struct piece *p = realloc(b->pieces, cap * sizeof(*p));

		if (!p) {
			varve_fail_oom(e);
			return NULL;
		}
		b->pieces = p;
		b->cap = cap;
	}
	return &b->pieces[b->n_pieces++];
}

/* Bytes that continue the last piece of the same file make it longer. */
static int append(struct batch *b, const struct layer *l, uint32_t inode, size_t n,
		  struct varve_err *e)
{
	struct piece *p = b->n_pieces ? &b->pieces[b->n_pieces - 1] : NULL;

	if (!p || p->inode != inode || p->off + p->n != l->next_done) {
		p = add_piece(b, e);
		if (!p)
			return -ENOMEM;
		*p = (struct piece){.inode = inode, .pos = b->used, .off = l->next_done};
	}
	memcpy(b->bytes + b->used, l->window, n);
	p->n += (uint32_t)n;
	b->used += (uint32_t)n;
	return 0;
}

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

static int fill_batch(struct apply_shared *a, struct layer *l, struct batch *b, struct varve_err *e)
{
	const struct varve_plan *plan = a->plan;
	const struct plan_body_list *list = &l->bodies;
	int r;

	while (l->next < list->n && b->used < BATCH_BYTES) {
		uint32_t inode = list->inodes[l->next];
		const struct plan_inode *in = &plan->inodes[inode];
		uint64_t want = in->body_off + l->next_done;
		uint64_t left = in->body_len - l->next_done;
		size_t n;

		if (!l->next_done && left <= SMALL_FILE && left > BATCH_BYTES - b->used)
			break;
		skip_to(l, want);
		if (!l->window_n) {
			r = next_window(a, l, inode, e);
			if (r < 0)
				return r;
			continue;
		}
		n = (size_t)VARVE_MIN(VARVE_MIN((uint64_t)l->window_n, left),
				      (uint64_t)(BATCH_BYTES - b->used));
		r = append(b, l, inode, n, e);
		if (r < 0)
			return r;
		skip_to(l, want + n);
		l->next_done += n;
		if (n == left) {
			l->next++;
			l->next_done = 0;
		}
	}
	return 0;
}

/* Only the first and the last file of a batch can be in other batches as well. */
static int mark_cut_files(struct apply_shared *a, struct layer *l, struct batch *b,
			  struct varve_err *e)
{
	struct piece *first = b->pieces, *last;

	if (!b->n_pieces)
		return 0;
	last = &b->pieces[b->n_pieces - 1];
	if (first->off)
		first->big = l->big;
	if (!last->big && last->n != a->plan->inodes[last->inode].body_len) {
		last->big = apply_big_new(a, last->inode);
		if (!last->big)
			return varve_fail_oom(e);
	}
	l->big = l->next_done ? last->big : NULL;
	return 0;
}

int apply_cut(struct apply_shared *a, struct layer *l, struct batch *b, struct varve_err *e)
{
	int r = fill_batch(a, l, b, e);

	return r < 0 ? r : mark_cut_files(a, l, b, e);
}
