/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File bodies of a layer as they come out of inflate, cut into batches that threads write to files.
 * A small body is whole in one batch; a larger one may lie in several, which several threads may
 * write at the same time.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BATCH_BYTES (1u << 20)

/* A file that is written from several batches. */
struct body_file {
	struct body_file *next; /* for a list of its owner's */
	pthread_mutex_t lock;   /* while the file is being made */
	int fd;                 /* -1: not made yet, or closed */
	atomic_uint_fast64_t remaining;
};
/* remaining: bytes that will be written. NULL without memory. */
struct body_file *body_file_new(uint64_t remaining);
/* n bytes of it are written, or will never be.
 * True: they were the last, and nobody else uses it. */
bool body_file_less(struct body_file *f, uint64_t n);
/* Closes the file. f may be NULL. */
void body_file_free(struct body_file *f);

/* One file's stored body. */
struct body {
	uint64_t id;            /* no two of a layer have the same */
	uint64_t len;           /* bytes */
	struct body_file *file; /* NULL: the whole body is in one batch */
	/* Of whoever writes it; not looked at here. */
	void *place;
	int64_t mtime;
	uint32_t mtime_ns, mode;
};
struct batch_piece {
	struct body body;
	uint64_t off;    /* in the body */
	uint32_t pos, n; /* in the batch's bytes */
};
/* Inflated bytes of one layer, cut into pieces; filled by one thread, then written by one. */
struct batch {
	struct batch *next;
	void *layer; /* of whoever fills it */
	struct batch_piece *pieces;
	size_t n_pieces, cap;
	uint32_t used;
	unsigned char *bytes;
};

/* Bytes that a batch takes; of NULL: of an empty one. */
static inline uint32_t batch_room(const struct batch *b)
{
	return BATCH_BYTES - (b ? b->used : 0);
}
/* True: a body of len bytes begins in the next batch; a small one stays whole so. */
bool batch_ends_before(const struct batch *b, uint64_t len);
/* As many bytes of a body as there is room for; off: of the first, in the body. 0: no memory. */
size_t batch_add(struct batch *b, const struct body *body, uint64_t off, const void *p, size_t n);

/* Batches that wait to be written, and empty ones. Whoever uses it has a lock of its own. */
struct batch_queue {
	struct batch *first, **last;
	struct batch *empty;
	unsigned n, max; /* there are, there may be */
};
void batch_queue_init(struct batch_queue *q, unsigned max);
void batch_queue_done(struct batch_queue *q);
/* True: batch_take() has one. */
static inline bool batch_queue_has_empty(const struct batch_queue *q)
{
	return q->empty || q->n < q->max;
}
/* An empty batch, of the caller until batch_put() or batch_give(). NULL: there is none, or no
 * memory. */
struct batch *batch_take(struct batch_queue *q);
/* It waits to be written. */
void batch_put(struct batch_queue *q, struct batch *b);
/* The one that has waited longest. NULL: none waits. */
struct batch *batch_next(struct batch_queue *q);
/* It was written, or not used. */
void batch_give(struct batch_queue *q, struct batch *b);
/* The memory of the empty ones. */
void batch_free_empty(struct batch_queue *q);
