/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip (RFC 1952) by ISA-L, or by zlib where that is not built in. All members are followed; CRC-32
 * and length of each are verified; what follows the last one and is no member is ignored, as gzip
 * itself does.
 */
#include "materialize/codec/inflate_codec.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif

/* Where a member's header is being read. */
enum stage { FIXED, EXTRA_LEN, EXTRA, NAME, COMMENT, HEADER_CRC, BODY };

struct gzip {
#ifdef HAVE_ISAL
	struct inflate_state s;
	enum stage stage;
	uint32_t left; /* bytes of the stage */
	uint32_t extra;
	uint8_t flags;
#else
	z_stream s;
#endif
	bool in_member; /* between the first header byte and the verified trailer */
	bool ended;     /* what follows is no member */
	uint64_t total,
		last_point; /* bytes made, also by who was here before; where the last point is */
	unsigned turn;      /* which buffer */
	uint8_t out[2][INFLATE_WINDOW];
};

#ifdef HAVE_ISAL

static int engine_init(struct gzip *g)
{
	isal_inflate_init(&g->s);
	g->s.crc_flag = ISAL_GZIP_NO_HDR_VER;
	return 0;
}

static void engine_done(struct gzip *g)
{
	(void)g;
}

static void engine_reset(struct gzip *g)
{
	isal_inflate_reset(&g->s);
	g->s.crc_flag = ISAL_GZIP_NO_HDR_VER;
	g->stage = FIXED;
	g->left = 10;
}

static bool bad_fixed(const struct gzip *g, uint8_t c)
{
	return (g->left == 8 && c != 8) || (g->left == 7 && c & 0xe0);
}

static void next_stage(struct gzip *g)
{
	static const uint8_t flag[] = {
		[EXTRA_LEN] = 4, [EXTRA] = 4, [NAME] = 8, [COMMENT] = 16, [HEADER_CRC] = 2};

	do {
		g->stage++;
	} while (g->stage < BODY && !(g->flags & flag[g->stage]));
	g->left = g->stage == EXTRA ? g->extra : 2;
	if (g->stage == EXTRA && g->left == 0)
		next_stage(g);
}

/*
 * The header of a member, byte by byte (RFC 1952, 2.3). ISA-L 2.30 has one of its own, but computes
 * the header checksum wrongly when the header does not come in one piece; a decoder need not look
 * at it.
 */
static int take_header(struct gzip *g, struct inflate_input *in, struct varve_err *e)
{
	while (g->stage < BODY && in->n > 0) {
		uint8_t c = *in->p++;

		in->n--;
		if (g->stage == NAME || g->stage == COMMENT) {
			if (c == 0)
				next_stage(g);
			continue;
		}
		if (g->stage == FIXED && bad_fixed(g, c))
			return varve_fail(e, VARVE_E_FORMAT, "gzip: damaged header");
		if (g->stage == FIXED && g->left == 7)
			g->flags = c;
		if (g->stage == EXTRA_LEN)
			g->extra = g->left == 2 ? c : g->extra | (uint32_t)c << 8;
		if (--g->left == 0)
			next_stage(g);
	}
	return 0;
}

/* Where a decoder is between two windows: everything but the pointers. */
static int tell_point(struct gzip *g, const struct inflate_input *in, struct varve_err *e)
{
	struct inflate_state *s = &g->s;
	struct inflate_point p = {
		.in = in->taken - in->n - in->held_n,
		.out = g->total,
		.state = s,
		.state_n = sizeof(*s),
	};

	if (!in->on_point || !g->in_member || g->stage != BODY ||
	    g->total - g->last_point < INFLATE_POINT_EVERY)
		return 0;
	s->next_in = s->next_out = NULL;
	s->avail_in = s->avail_out = 0;
	/* Behind what is valid lie old bytes that nobody reads: zeros pack better. */
	if (s->tmp_out_valid >= 0 && (size_t)s->tmp_out_valid < sizeof(s->tmp_out_buffer))
		memset(s->tmp_out_buffer + s->tmp_out_valid, 0,
		       sizeof(s->tmp_out_buffer) - (size_t)s->tmp_out_valid);
	g->last_point = g->total;
	return in->on_point(in->point_user, &p, e);
}

int inflate_gzip_resume(void **ret, const struct inflate_point *p, struct varve_err *e)
{
	struct gzip *g;
	int r;

	if (p->state_n != sizeof(g->s))
		return varve_fail(e, VARVE_E_NOTFOUND, "restart point of another decoder");
	r = inflate_gzip.open(ret, e);
	if (r < 0)
		return r;
	g = *ret;
	memcpy(&g->s, p->state, sizeof(g->s));
	g->in_member = true;
	g->stage = BODY;
	g->total = g->last_point = p->out;
	return 0;
}

/*
 * The tables of ISA-L in the middle of a block with Huffman codes of its own, condensed: another
 * version that builds them differently gives another number, and then old points do not fit.
 */
uint32_t inflate_point_kind(void)
{
	static const uint8_t block[] = {
		0x25, 0x50, 0x51, 0x16, 0xc3, 0x30, 0x08, 0x3a, 0x2b, 0x20, 0xa6, 0x59, 0xbb,
		0xb7, 0xfb, 0xff, 0x0d, 0xd3, 0x1f, 0xa3, 0x82, 0x88, 0x21, 0x0a, 0x22, 0x04,
		0x02, 0x6c, 0x40, 0x5b, 0xbc, 0x91, 0x04, 0x34, 0x24, 0x2a, 0x59, 0x91, 0x22,
		0x1d, 0xa2, 0xba, 0xf0, 0x0c, 0x42, 0x94, 0xd5, 0xac, 0x30, 0x7a, 0xb3, 0x50,
		0xfa, 0xa5, 0x59, 0xa3, 0x02, 0x1f, 0x25, 0x6a, 0x39, 0x91, 0xeb, 0x83, 0x11,
	};
	struct inflate_state *s = calloc(1, sizeof(*s));
	uint8_t out[16];
	uint32_t crc;

	if (!s)
		return 0;
	isal_inflate_init(s);
	s->next_in = (uint8_t *)(uintptr_t)block;
	s->avail_in = sizeof(block);
	s->next_out = out;
	s->avail_out = sizeof(out);
	(void)isal_inflate(s);
	crc = crc32_gzip_refl(sizeof(*s), (const uint8_t *)&s->lit_huff_code,
			      sizeof(s->lit_huff_code));
	crc = crc32_gzip_refl(crc, (const uint8_t *)&s->dist_huff_code, sizeof(s->dist_huff_code));
	crc = crc32_gzip_refl(crc, (const uint8_t *)&s->read_in_length, sizeof(s->read_in_length));
	crc = crc32_gzip_refl(crc, s->tmp_out_buffer, 64);
	free(s);
	return crc ? crc : 1;
}

/* 1: the member ended and was verified. *ret_out: bytes made. */
static int engine_run(struct gzip *g, struct inflate_input *in, size_t at, size_t *ret_out,
		      struct varve_err *e)
{
	size_t give;
	int r = take_header(g, in, e);

	*ret_out = 0;
	if (r < 0 || g->stage < BODY)
		return r;
	give = VARVE_MIN(in->n, (size_t)1 << 30);
	/* The interface is not const; it reads only. */
	g->s.next_in = (uint8_t *)(uintptr_t)in->p;
	g->s.avail_in = (uint32_t)give;
	g->s.next_out = g->out[g->turn] + at;
	g->s.avail_out = (uint32_t)(INFLATE_WINDOW - at);
	r = isal_inflate(&g->s);
	if (r == ISAL_INCORRECT_CHECKSUM)
		return varve_fail(e, VARVE_E_FORMAT,
				  "gzip: the content does not match its checksum");
	/* Of damaged data it may have counted more bytes than there are (ISA-L 2.30). */
	if (r < 0 || g->s.avail_in > give)
		return varve_fail(e, VARVE_E_FORMAT, "gzip: damaged data (%d)", r);
	*ret_out = INFLATE_WINDOW - at - g->s.avail_out;
	in->p += give - g->s.avail_in;
	in->n -= give - g->s.avail_in;
	return g->s.block_state == ISAL_BLOCK_FINISH;
}

#else

static int engine_init(struct gzip *g)
{
	return inflateInit2(&g->s, 15 + 16) == Z_OK ? 0 : -1;
}

static void engine_done(struct gzip *g)
{
	(void)inflateEnd(&g->s);
}

static void engine_reset(struct gzip *g)
{
	(void)inflateReset(&g->s);
}

static int tell_point(struct gzip *g, const struct inflate_input *in, struct varve_err *e)
{
	(void)g;
	(void)in;
	(void)e;
	return 0;
}

int inflate_gzip_resume(void **ret, const struct inflate_point *p, struct varve_err *e)
{
	(void)ret;
	(void)p;
	return varve_fail(e, VARVE_E_NOTFOUND, "restart points need ISA-L");
}

uint32_t inflate_point_kind(void)
{
	return 0;
}

static int engine_run(struct gzip *g, struct inflate_input *in, size_t at, size_t *ret_out,
		      struct varve_err *e)
{
	size_t give = VARVE_MIN(in->n, (size_t)1 << 30);
	int r;

	g->s.next_in = (uint8_t *)(uintptr_t)in->p;
	g->s.avail_in = (uInt)give;
	g->s.next_out = g->out[g->turn] + at;
	g->s.avail_out = (uInt)(INFLATE_WINDOW - at);
	r = inflate(&g->s, Z_NO_FLUSH);
	*ret_out = INFLATE_WINDOW - at - g->s.avail_out;
	in->p += give - g->s.avail_in;
	in->n -= give - g->s.avail_in;
	if (r == Z_MEM_ERROR)
		return varve_fail_oom(e);
	if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
		return varve_fail(e, VARVE_E_FORMAT, "gzip: damaged data (%s)",
				  g->s.msg ? g->s.msg : "no reason given");
	return r == Z_STREAM_END;
}

#endif

static int gzip_open(void **ret, struct varve_err *e)
{
	/* Not cleared: the output buffer is large and written before it is read. */
	struct gzip *g = malloc(sizeof(*g));

	if (!g)
		return varve_fail_oom(e);
	memset(g, 0, offsetof(struct gzip, out));
	if (engine_init(g) < 0) {
		free(g);
		return varve_fail_oom(e);
	}
	*ret = g;
	return 0;
}

static void gzip_free(void *state)
{
	struct gzip *g = state;

	engine_done(g);
	free(g);
}

/*
 * The two bytes that begin a member, also when a window ends between them. 1: they were there and
 * the decoder has had the first; 0: something else, which is consumed.
 */
static int take_magic(struct gzip *g, struct inflate_input *in, struct varve_err *e)
{
	static const uint8_t first = 0x1f;
	struct inflate_input one = {.p = &first, .n = 1};
	size_t made;
	int r = 0;

	if (in->n == 0 || in->p[0] != first)
		return 0;
	in->p++;
	if (--in->n == 0)
		r = inflate_refill(in, e);
	if (r < 0 || in->n == 0 || in->p[0] != 0x8b)
		return r;
	engine_reset(g);
	r = engine_run(g, &one, 0, &made, e);
	return r < 0 ? r : 1;
}

/* Between members: 1 another one begins, 0 the end. */
static int next_member(struct gzip *g, struct inflate_input *in, struct varve_err *e)
{
	int r = 0;

	if (in->n == 0)
		r = inflate_refill(in, e);
	if (r == 0)
		r = take_magic(g, in, e);
	g->in_member = r > 0;
	g->ended = r == 0;
	return r;
}

static int gzip_next(void *state, struct inflate_input *in, const uint8_t **ret, size_t *ret_n,
		     struct varve_err *e)
{
	struct gzip *g = state;
	size_t at = 0;

	g->turn ^= 1;
	while (at < INFLATE_WINDOW && !g->ended) {
		size_t made = 0;
		bool starved = false;
		int r;

		if (!g->in_member) {
			r = next_member(g, in, e);
			if (r < 0)
				return r;
			if (r == 0)
				break;
		}
		if (in->n == 0) {
			r = inflate_refill(in, e);
			if (r < 0)
				return r;
			starved = in->n == 0;
		}
		r = engine_run(g, in, at, &made, e);
		if (r < 0)
			return r;
		at += made;
		if (r > 0)
			g->in_member = false;
		else if (starved && made == 0)
			return varve_fail(e, VARVE_E_FORMAT, "gzip: cut off");
	}
	*ret = g->out[g->turn];
	*ret_n = at;
	g->total += at;
	return tell_point(g, in, e);
}

const struct inflate_codec inflate_gzip = {VARVE_COMP_GZIP, gzip_open, gzip_free, gzip_next};
