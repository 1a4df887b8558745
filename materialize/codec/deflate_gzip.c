/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One gzip member compressed by many threads: blocks of fixed size, each primed with the 32 KiB
 * before it and ended at a byte boundary, so that the result depends on the data and the level
 * only.
 */
#include "materialize/codec/deflate_gzip.h"
#include "materialize/codec/sink.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "store/base/compiler.h"
#include "store/base/err.h"

#define BLOCK       (512u << 10)
#define WINDOW      (32u << 10)
#define LEVEL       6
#define MAX_THREADS 64u

enum slot_state { SLOT_FREE, SLOT_FULL, SLOT_BUSY, SLOT_DONE };

struct slot {
	enum slot_state state;
	bool last;
	size_t n, n_dict, n_out;
	uint32_t crc;
	int zerr;
	uint8_t dict[WINDOW];
	uint8_t in[BLOCK];
	uint8_t *out; /* out_size */
};

struct sink_gzip {
	struct sink sink;
	struct sink *below;
	int level;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	pthread_t threads[MAX_THREADS];
	unsigned n_threads;
	bool stop, head_written;
	struct slot *slots;
	unsigned n_slots;
	uint64_t fill, write, take; /* running numbers; slot is number % n_slots */
	size_t out_size;
	uint32_t crc;
	uint64_t total;
};

/* A sync flush costs five bytes beyond deflateBound. */
static size_t bound(void)
{
	return compressBound(BLOCK) + 64;
}

static void compress_slot(struct slot *s, z_stream *z, size_t out_size)
{
	int r = deflateReset(z);

	if (r == Z_OK && s->n_dict)
		r = deflateSetDictionary(z, s->dict, (uInt)s->n_dict);
	z->next_in = s->in;
	z->avail_in = (uInt)s->n;
	z->next_out = s->out;
	z->avail_out = (uInt)out_size;
	if (r == Z_OK)
		r = deflate(z, s->last ? Z_FINISH : Z_SYNC_FLUSH);
	if (s->last ? r == Z_STREAM_END : r == Z_OK)
		s->zerr = z->avail_in ? Z_BUF_ERROR : 0;
	else
		s->zerr = r == Z_OK ? Z_BUF_ERROR : r;
	s->n_out = out_size - z->avail_out;
	s->crc = (uint32_t)crc32(0, s->in, (uInt)s->n);
}

static void *worker(void *arg)
{
	struct sink_gzip *g = arg;
	z_stream z = {0};
	bool ready = deflateInit2(&z, g->level, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK;

	(void)pthread_mutex_lock(&g->lock);
	for (;;) {
		struct slot *s;

		while (!g->stop && g->take == g->fill)
			(void)pthread_cond_wait(&g->work, &g->lock);
		if (g->stop)
			break;
		s = &g->slots[g->take++ % g->n_slots];
		s->state = SLOT_BUSY;
		(void)pthread_mutex_unlock(&g->lock);
		if (ready)
			compress_slot(s, &z, g->out_size);
		else
			s->zerr = Z_MEM_ERROR;
		(void)pthread_mutex_lock(&g->lock);
		s->state = SLOT_DONE;
		(void)pthread_cond_broadcast(&g->done);
	}
	(void)pthread_mutex_unlock(&g->lock);
	if (ready)
		(void)deflateEnd(&z);
	return NULL;
}

/* Wait for the oldest block and pass it on. */
static int write_oldest(struct sink_gzip *g, struct varve_err *e)
{
	static const uint8_t head[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
	struct slot *s = &g->slots[g->write % g->n_slots];
	int r = 0;

	(void)pthread_mutex_lock(&g->lock);
	while (s->state != SLOT_DONE)
		(void)pthread_cond_wait(&g->done, &g->lock);
	(void)pthread_mutex_unlock(&g->lock);
	if (s->zerr)
		return varve_fail(e, ENOMEM, "deflate: error %d", s->zerr);
	if (!g->head_written)
		r = sink_write(g->below, head, sizeof(head), e);
	g->head_written = true;
	if (r == 0)
		r = sink_write(g->below, s->out, s->n_out, e);
	g->crc = (uint32_t)crc32_combine(g->crc, s->crc, (z_off_t)s->n);
	g->total += s->n;
	s->state = SLOT_FREE;
	g->write++;
	return r;
}

/* The block that is being filled goes to the workers, and the next one is made ready. */
static int submit(struct sink_gzip *g, bool last, struct varve_err *e)
{
	struct slot *s = &g->slots[g->fill % g->n_slots], *next;
	int r;

	s->last = last;
	(void)pthread_mutex_lock(&g->lock);
	s->state = SLOT_FULL;
	g->fill++;
	(void)pthread_cond_signal(&g->work);
	(void)pthread_mutex_unlock(&g->lock);
	if (last)
		return 0;
	if (g->fill - g->write == g->n_slots) {
		r = write_oldest(g, e);
		if (r < 0)
			return r;
	}
	next = &g->slots[g->fill % g->n_slots];
	next->n = 0;
	next->zerr = 0;
	next->n_dict = VARVE_MIN(s->n, WINDOW);
	memcpy(next->dict, s->in + s->n - next->n_dict, next->n_dict);
	return 0;
}

static int gzip_write(struct sink *sink, const void *data, size_t n, struct varve_err *e)
{
	struct sink_gzip *g = (struct sink_gzip *)sink;
	const uint8_t *p = data;

	while (n > 0) {
		struct slot *s = &g->slots[g->fill % g->n_slots];
		size_t k = VARVE_MIN(n, BLOCK - s->n);
		int r;

		memcpy(s->in + s->n, p, k);
		s->n += k;
		p += k;
		n -= k;
		if (s->n == BLOCK) {
			r = submit(g, false, e);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int gzip_finish(struct sink *sink, struct varve_err *e)
{
	struct sink_gzip *g = (struct sink_gzip *)sink;
	uint8_t tail[8];
	unsigned i;
	int r = submit(g, true, e);

	while (r == 0 && g->write < g->fill)
		r = write_oldest(g, e);
	if (r < 0)
		return r;
	for (i = 0; i < 4; i++) {
		tail[i] = (uint8_t)(g->crc >> 8 * i);
		tail[4 + i] = (uint8_t)(g->total >> 8 * i);
	}
	return sink_write(g->below, tail, sizeof(tail), e);
}

static void gzip_free(struct sink *sink)
{
	struct sink_gzip *g = (struct sink_gzip *)sink;
	unsigned i;

	(void)pthread_mutex_lock(&g->lock);
	g->stop = true;
	(void)pthread_cond_broadcast(&g->work);
	(void)pthread_mutex_unlock(&g->lock);
	for (i = 0; i < g->n_threads; i++)
		(void)pthread_join(g->threads[i], NULL);
	for (i = 0; g->slots && i < g->n_slots; i++)
		free(g->slots[i].out);
	free(g->slots);
	(void)pthread_cond_destroy(&g->work);
	(void)pthread_cond_destroy(&g->done);
	(void)pthread_mutex_destroy(&g->lock);
	free(g);
}

int sink_gzip_new(struct sink **ret, struct sink *below, int level, unsigned threads,
		  struct varve_err *e)
{
	struct sink_gzip *g = calloc(1, sizeof(*g));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned i;
	int r = 0;

	if (!g)
		return varve_fail_oom(e);
	if (!threads)
		threads = cores > 0 ? (unsigned)cores : 1;
	threads = VARVE_MIN(threads, MAX_THREADS);
	g->sink = (struct sink){gzip_write, gzip_finish, gzip_free};
	g->below = below;
	g->level = level ? level : LEVEL;
	g->out_size = bound();
	g->n_slots = 2 * threads + 1;
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_cond_init(&g->work, NULL);
	(void)pthread_cond_init(&g->done, NULL);
	g->slots = calloc(g->n_slots, sizeof(*g->slots));
	for (i = 0; g->slots && i < g->n_slots; i++)
		if (!(g->slots[i].out = malloc(g->out_size)))
			r = -ENOMEM;
	if (!g->slots || r < 0) {
		gzip_free(&g->sink);
		return varve_fail_oom(e);
	}
	for (; g->n_threads < threads; g->n_threads++) {
		r = pthread_create(&g->threads[g->n_threads], NULL, worker, g);
		if (r != 0)
			break;
	}
	if (!g->n_threads) {
		gzip_free(&g->sink);
		errno = r;
		return varve_fail_errno(e, "threads for compression");
	}
	*ret = &g->sink;
	return 0;
}
