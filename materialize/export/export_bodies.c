/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies out of stream order: read on, and spool what comes by too early. */
#include "materialize/export/export_bodies.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"

#define NOT_SPOOLED UINT64_MAX
#define CHUNK       (256u << 10)

struct layer {
	struct layer_stream *stream; /* NULL: not opened yet */
	uint64_t at;
	uint32_t next; /* index into the plan's list of bodies: those before were passed */
};
struct bodies {
	const struct varve_plan *plan;
	struct layer *layers;
	uint64_t *spooled; /* per inode: where in the spool */
	char *dir;
	int spool; /* -1: none needed so far */
	uint64_t spool_size;
	char *chunk;
};

int bodies_new(struct bodies **ret, const struct varve_plan *plan, const char *spool_dir,
	       struct varve_err *e)
{
	struct bodies *b = calloc(1, sizeof(*b));

	if (!b)
		return varve_fail_oom(e);
	b->plan = plan;
	b->spool = -1;
	b->layers = calloc(plan->summary.n_layers + 1, sizeof(*b->layers));
	b->spooled = malloc((plan->n_inodes + 1) * sizeof(*b->spooled));
	b->dir = strdup(spool_dir);
	b->chunk = malloc(CHUNK);
	if (!b->layers || !b->spooled || !b->dir || !b->chunk) {
		bodies_free(b);
		return varve_fail_oom(e);
	}
	memset(b->spooled, 0xff, (plan->n_inodes + 1) * sizeof(*b->spooled));
	*ret = b;
	return 0;
}

void bodies_free(struct bodies *b)
{
	size_t i;

	if (!b)
		return;
	for (i = 0; b->layers && i < b->plan->summary.n_layers; i++)
		layer_stream_free(b->layers[i].stream);
	if (b->spool >= 0)
		(void)close(b->spool);
	free(b->layers);
	free(b->spooled);
	free(b->dir);
	free(b->chunk);
	free(b);
}

static int open_spool(struct bodies *b, struct varve_err *e)
{
	b->spool = fsx_open_unnamed(b->dir);
	return b->spool < 0 ? varve_fail_errno(e, "%s: temporary file", TEXT_SAFE(b->dir)) : 0;
}

static int spool_bytes(void *user, const void *p, size_t n, struct varve_err *e)
{
	struct bodies *b = user;

	if (fsx_pwrite_all(b->spool, p, n, b->spool_size) < 0)
		return varve_fail_errno(e, "%s: temporary file", TEXT_SAFE(b->dir));
	b->spool_size += n;
	return 0;
}

/* n bytes of the stream from where it is; fn NULL: pass over them. */
static int stream_bytes(struct layer *l, uint64_t n,
			int (*fn)(void *user, const void *p, size_t n, struct varve_err *e),
			void *user, struct varve_err *e)
{
	while (n > 0) {
		const void *p;
		size_t got;
		int r = layer_stream_next(l->stream, VARVE_MIN(n, CHUNK), &p, &got, e);

		if (r < 0)
			return r;
		if (!got)
			return varve_fail(
				e, VARVE_E_CORRUPT,
				"layer ends before its table of contents does; run 'varve "
				"check --repair'");
		l->at += got;
		n -= got;
		r = fn ? fn(user, p, got, e) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int from_spool(struct bodies *b, const struct plan_inode *in, uint64_t off,
		      int (*fn)(void *user, const void *p, size_t n, struct varve_err *e),
		      void *user, struct varve_err *e)
{
	uint64_t done = 0;

	while (done < in->body_len) {
		size_t n = (size_t)VARVE_MIN(in->body_len - done, CHUNK);
		ssize_t got = fsx_pread_full(b->spool, b->chunk, n, off + done);
		int r;

		if (got < 0 || (size_t)got != n)
			return varve_fail_errno(e, "%s: temporary file", TEXT_SAFE(b->dir));
		r = fn(user, b->chunk, n, e);
		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

/* Pass over to the body of in; the bodies on the way, not asked for yet, are kept. */
static int advance(struct bodies *b, struct layer *l, const struct plan_body_list *list,
		   uint32_t inode, struct varve_err *e)
{
	for (; l->next < list->n && list->inodes[l->next] != inode; l->next++) {
		const struct plan_inode *in = &b->plan->inodes[list->inodes[l->next]];
		int r = stream_bytes(l, in->body_off - l->at, NULL, NULL, e);

		if (r == 0 && b->spool < 0)
			r = open_spool(b, e);
		b->spooled[list->inodes[l->next]] = b->spool_size;
		if (r == 0)
			r = stream_bytes(l, in->body_len, spool_bytes, b, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int bodies_read(struct bodies *b, uint32_t inode,
		int (*fn)(void *user, const void *p, size_t n, struct varve_err *e), void *user,
		struct varve_err *e)
{
	const struct plan_inode *in = &b->plan->inodes[inode];
	const struct varve_plan_layer *pl = &b->plan->summary.layers[in->layer];
	struct layer *l = &b->layers[in->layer];
	int r = ctx_check(store_ctx(b->plan->store), e);

	if (r == 0 && b->spooled[inode] != NOT_SPOOLED)
		return from_spool(b, in, b->spooled[inode], fn, user, e);
	if (r == 0 && !l->stream)
		r = layer_stream_open(&l->stream, b->plan->store, &pl->digest, e);
	if (r == 0)
		r = advance(b, l, &b->plan->bodies[in->layer], inode, e);
	if (r == 0)
		r = stream_bytes(l, in->body_off - l->at, NULL, NULL, e);
	if (r == 0)
		r = stream_bytes(l, in->body_len, fn, user, e);
	l->next++;
	return r;
}

int bodies_end(struct bodies *b, struct varve_err *e)
{
	size_t i;

	for (i = 0; i < b->plan->summary.n_layers; i++) {
		int r = b->layers[i].stream ? layer_stream_end(b->layers[i].stream, e) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}
