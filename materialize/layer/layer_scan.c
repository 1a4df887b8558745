/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over a layer: inflate, hash for the diffID, parse, write the table of contents. */
#include "materialize/layer/layer_scan.h"

#include "materialize/codec/hash_beside.h"
#include "materialize/layer/squashfs.h"
#include "materialize/layer/toc.h"
#include "materialize/tar/tar.h"
#include "store/base/err.h"
#include "store/base/log.h"

#define WINDOW (256u << 10)

struct scan {
	const struct varve_ctx *ctx;
	struct toc_writer *toc;
	const struct tar_events *tee;
	const struct varve_limits *limits;
};

static int too_many_entries(const struct scan *s, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_LIMIT, "more than %llu entries (limits.max_layer_entries)",
			  (unsigned long long)s->limits->max_layer_entries);
}

static int on_entry(void *user, const struct tar_entry *t, struct varve_err *e)
{
	struct scan *s = user;
	int r;

	if (toc_writer_entries(s->toc) >= s->limits->max_layer_entries)
		return too_many_entries(s, e);
	r = toc_writer_add(s->toc, t, e);
	if (r == 0 && s->tee)
		r = s->tee->entry(s->tee->user, t, e);
	return r;
}

static int on_body(void *user, const void *p, size_t n, struct varve_err *e)
{
	struct scan *s = user;

	toc_writer_body(s->toc, p, n);
	return s->tee ? s->tee->body(s->tee->user, p, n, e) : 0;
}

static void on_note(void *user, const char *text)
{
	struct scan *s = user;

	log_info(s->ctx, "layer", "%s", text);
}

static int pump(struct scan *s, struct inflate *z, struct tar *t, struct hash_beside *h,
		struct varve_err *e)
{
	for (;;) {
		const void *p;
		size_t n;
		int r = ctx_check(s->ctx, e);

		if (r == 0)
			r = inflate_next(z, WINDOW, &p, &n, e);
		if (r < 0)
			return r;
		if (n == 0) {
			if (tar_unpadded(t))
				log_warn(s->ctx, "layer",
					 "the archive ends without the padding of its last entry; "
					 "all data of it are there");
			return tar_finish(t, e);
		}
		hash_beside_update(h, p, n);
		r = tar_feed(t, p, n, e);
		if (r < 0)
			return r;
	}
}

/* A squashfs image is no stream: all of it must be there, then its tables are read by position. */
static int pump_squashfs(struct scan *s, struct inflate *z, struct hash_beside *h, int fd,
			 uint64_t *ret_size, struct varve_err *e)
{
	struct squashfs *q = NULL;
	int r = 0;

	for (;;) {
		const void *p;
		size_t n;

		r = ctx_check(s->ctx, e);
		if (r == 0)
			r = inflate_next(z, WINDOW, &p, &n, e);
		if (r < 0)
			return r;
		if (n == 0)
			break;
		hash_beside_update(h, p, n);
	}
	r = squashfs_open(&q, fd, inflate_out(z), s->limits, e);
	if (r == 0) {
		*ret_size = squashfs_stream_size(q);
		r = squashfs_toc(q, s->toc, e);
	}
	if (r == 0 && toc_writer_entries(s->toc) > s->limits->max_layer_entries)
		r = too_many_entries(s, e);
	squashfs_free(q);
	return r;
}

/* Windows of a decoder outlive one further call. */
static bool is_inflated(const struct inflate *z)
{
	return inflate_kind(z) != VARVE_COMP_NONE && inflate_kind(z) != VARVE_COMP_SQUASHFS;
}

static bool has_compressed_tail(const struct tar *t)
{
	const void *p;
	size_t n = tar_tail(t, &p);

	return inflate_is_compressed(p, n);
}

int layer_scan(const struct varve_ctx *ctx, const struct inflate_source *src,
	       const struct layer_scan_to *to, struct varve_layer_facts *ret, struct varve_err *e)
{
	struct scan s = {ctx, NULL, to->tee, to->limits};
	struct tar_events ev = {on_entry, on_body, on_note, &s};
	struct inflate *z = NULL;
	struct hash_beside *h = NULL;
	struct tar *t = NULL;
	bool squashfs;
	int r;

	r = toc_writer_new(&s.toc, to->toc, e);
	if (r == 0)
		r = tar_new(&t, &ev, e);
	if (r == 0)
		r = inflate_new(&z, src, s.limits->max_layer_bytes, s.limits->max_ratio, e);
	if (r == 0 && to->admit)
		r = to->admit(to->admit_user, inflate_need(z), e);
	if (r == 0) /* what is not inflated is no work to do beside it */
		r = hash_beside_new(&h, VARVE_SHA256, is_inflated(z), e);
	if (r == 0 && to->points)
		inflate_on_point(z, zran_add, to->points);
	squashfs = r == 0 && inflate_kind(z) == VARVE_COMP_SQUASHFS;
	if (squashfs)
		r = pump_squashfs(&s, z, h, src->fd, &ret->size, e);
	else if (r == 0)
		r = pump(&s, z, t, h, e);
	if (r == 0)
		r = hash_beside_final(h, &ret->diff_id, e);
	if (r == 0) {
		if (!squashfs)
			ret->size = inflate_out(z);
		ret->entries = toc_writer_entries(s.toc);
		ret->compression = inflate_kind(z);
		ret->concatenated = tar_concatenated(t);
		ret->mixed = inflate_mixed(z) || has_compressed_tail(t);
		r = toc_writer_finish(s.toc, &ret->diff_id, ret->size, e);
	}
	hash_beside_free(h); /* it may still read what z made */
	inflate_free(z);
	tar_free(t);
	toc_writer_free(s.toc);
	return r;
}
