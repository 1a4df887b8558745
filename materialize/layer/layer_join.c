/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Concatenated archives ("cat b.tar.gz >> a.tar.gz") as one: every reader of layers stops at the
 * end of the first, so the ends in between are taken out and the whole becomes a layer of its own.
 */
#include "materialize/layer/layer_join.h"
#include "materialize/codec/deflate_gzip.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/codec/inflate.h"
#include "materialize/codec/sink.h"
#include "materialize/layer/layer_read.h"
#include "materialize/layer/layer_source.h"
#include "materialize/tar/tar.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"

#define BLOCK  512u
#define WINDOW (256u << 10)

struct splice {
	struct sink *out;
	struct tar *t; /* knows where entries end */
	size_t have;   /* of block */
	uint8_t block[BLOCK];
};

static int ignore_entry(void *user, const struct tar_entry *t, struct varve_err *e)
{
	(void)user, (void)t, (void)e;
	return 0;
}

/* Zeros between entries are the end of an archive: they are left out, here and for the parser. */
static int put_block(struct splice *s, struct varve_err *e)
{
	static const uint8_t zeros[BLOCK];
	int r;

	if (tar_between_entries(s->t) && !memcmp(s->block, zeros, BLOCK))
		return 0;
	r = tar_feed(s->t, s->block, BLOCK, e);
	return r == 0 ? sink_write(s->out, s->block, BLOCK, e) : r;
}

static int put_bytes(struct splice *s, const uint8_t *p, size_t n, struct varve_err *e)
{
	while (n > 0) {
		size_t k = VARVE_MIN(n, BLOCK - s->have);
		int r;

		memcpy(s->block + s->have, p, k);
		s->have += k;
		p += k;
		n -= k;
		if (s->have < BLOCK)
			return 0;
		s->have = 0;
		r = put_block(s, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The stream has ended; padding that its last entry lacks is made. */
static int put_end(struct splice *s, struct varve_err *e)
{
	static const uint8_t end[2 * BLOCK];
	int r = s->have ? tar_feed(s->t, s->block, s->have, e) : 0;

	if (r == 0)
		r = tar_finish(s->t, e);
	memset(s->block + s->have, 0, BLOCK - s->have);
	if (r == 0 && s->have)
		r = sink_write(s->out, s->block, BLOCK, e);
	return r == 0 ? sink_write(s->out, end, sizeof(end), e) : r;
}

int layer_join_stream(const struct varve_ctx *ctx, const struct inflate_source *in,
		      struct sink *below, struct varve_err *e)
{
	static const struct tar_events events = {ignore_entry, NULL, NULL, NULL};
	struct sink *out = NULL;
	struct splice s = {0};
	struct inflate *z = NULL;
	int r = sink_gzip_new(&out, below, 0, 0, e);

	s.out = out;
	if (r == 0)
		r = inflate_new(&z, in, 0, 0, e);
	if (r == 0)
		r = tar_new(&s.t, &events, e);
	while (r == 0) {
		const void *p;
		size_t n;

		r = ctx_check(ctx, e);
		if (r == 0)
			r = inflate_next(z, WINDOW, &p, &n, e);
		if (r < 0 || n == 0)
			break;
		r = put_bytes(&s, p, n, e);
	}
	if (r == 0)
		r = put_end(&s, e);
	if (r == 0)
		r = sink_finish(out, e);
	tar_free(s.t);
	inflate_free(z);
	sink_free(out);
	return r;
}

/* --- a stored one, for who brought it in --- */

struct put_sink {
	struct sink base;
	int (*put)(void *user, const void *p, size_t n, struct varve_err *e);
	void *user;
};

static int put_write(struct sink *s, const void *p, size_t n, struct varve_err *e)
{
	struct put_sink *to = (struct put_sink *)s;

	return to->put(to->user, p, n, e);
}

int layer_join(struct varve_store *s, const struct varve_digest *blob,
	       int (*put)(void *user, const void *p, size_t n, struct varve_err *e), void *user,
	       struct varve_err *e)
{
	struct put_sink to = {{put_write, NULL, NULL}, put, user};
	struct layer_source src;
	struct inflate_source in;
	int r = layer_source_open(&src, s, blob, true, e);

	if (r < 0)
		return r;
	in = layer_source_input(&src);
	r = layer_join_stream(store_ctx(s), &in, &to.base, e);
	if (r == 0)
		r = layer_source_verify(&src, e);
	layer_source_done(&src);
	return r;
}
