/* SPDX-License-Identifier: Apache-2.0 */
/* See batch.h. */
#include "materialize/layer/batch.h"

#include "store/base/compiler.h"
#include "store/base/invariant.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL_BODY (128u << 10) /* is not cut at the end of a batch */
#define PIECES_MAX 4096u        /* of a batch: tiny files are shared among threads, too */

struct body_file *body_file_new(uint64_t remaining)
{
	struct body_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->fd = -1;
	atomic_init(&f->remaining, remaining);
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

bool body_file_less(struct body_file *f, uint64_t n)
{
	assert(n && atomic_load(&f->remaining) >= n);
	return atomic_fetch_sub(&f->remaining, n) == n;
}

void body_file_free(struct body_file *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		(void)close(f->fd);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

bool batch_ends_before(const struct batch *b, uint64_t len)
{
	uint32_t room = batch_room(b);

	return !room || (len <= SMALL_BODY && len > room) || (b && b->n_pieces >= PIECES_MAX);
}

static struct batch_piece *add_piece(struct batch *b)
{
	if (b->n_pieces == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 64;
		struct batch_piece *p = realloc(b->pieces, cap * sizeof(*p));

		if (!p)
			return NULL;
		b->pieces = p;
		b->cap = cap;
	}
	return &b->pieces[b->n_pieces++];
}

size_t batch_add(struct batch *b, const struct body *body, uint64_t off, const void *p, size_t n)
{
	struct batch_piece *piece = b->n_pieces ? &b->pieces[b->n_pieces - 1] : NULL;
	size_t k = VARVE_MIN(n, (size_t)batch_room(b));

	assert(k && off <= body->len && n <= body->len - off);
	/* Bytes that continue the last piece make it longer. */
	if (!piece || piece->body.id != body->id || piece->off + piece->n != off) {
		piece = add_piece(b);
		if (!piece)
			return 0;
		*piece = (struct batch_piece){.body = *body, .off = off, .pos = b->used};
	}
	memcpy(b->bytes + b->used, p, k);
	piece->n += (uint32_t)k;
	b->used += (uint32_t)k;
	return k;
}

void batch_queue_init(struct batch_queue *q, unsigned max)
{
	*q = (struct batch_queue){.max = max};
	q->last = &q->first;
}

static void batch_free(struct batch *b)
{
	if (!b)
		return;
	free(b->pieces);
	free(b->bytes);
	free(b);
}

struct batch *batch_take(struct batch_queue *q)
{
	struct batch *b = q->empty;

	if (b) {
		q->empty = b->next;
	} else if (q->n < q->max) {
		b = calloc(1, sizeof(*b));
		if (b)
			b->bytes = malloc(BATCH_BYTES);
		if (!b || !b->bytes) {
			batch_free(b);
			return NULL;
		}
		q->n++;
	} else {
		return NULL;
	}
	b->next = NULL;
	b->layer = NULL;
	b->n_pieces = 0;
	b->used = 0;
	return b;
}

void batch_put(struct batch_queue *q, struct batch *b)
{
	assert(!b->next);
	*q->last = b;
	q->last = &b->next;
}

struct batch *batch_next(struct batch_queue *q)
{
	struct batch *b = q->first;

	if (!b)
		return NULL;
	q->first = b->next;
	if (!q->first)
		q->last = &q->first;
	b->next = NULL;
	return b;
}

void batch_give(struct batch_queue *q, struct batch *b)
{
	assert(!b->next && q->n);
	b->next = q->empty;
	q->empty = b;
}

void batch_free_empty(struct batch_queue *q)
{
	while (q->empty) {
		struct batch *b = q->empty;

		q->empty = b->next;
		q->n--;
		batch_free(b);
	}
}

void batch_queue_done(struct batch_queue *q)
{
	struct batch *b;

	while ((b = batch_next(q)))
		batch_give(q, b);
	batch_free_empty(q);
}
