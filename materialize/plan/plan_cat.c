/* SPDX-License-Identifier: Apache-2.0 */
/* The content of one file of a plan, straight from its layer. */
#include "materialize/layer/layer_parts.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/layer/toc_format.h"
#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/handle.h"

struct sink {
	int (*write)(void *user, const void *data, size_t n);
	void *user;
	const struct varve_ctx *ctx;
	uint32_t crc; /* of the bytes that came from the layer */
};

static int put_zeros(struct sink *out, uint64_t n, struct varve_err *e)
{
	static const char zeros[64u << 10];
	int r = 0;

	while (r == 0 && n > 0) {
		size_t k = (size_t)VARVE_MIN(n, (uint64_t)sizeof(zeros));

		r = ctx_check(out->ctx, e);
		if (r == 0)
			r = out->write(out->user, zeros, k);
		n -= k;
	}
	return r;
}

static int copy(struct layer_stream *ls, uint64_t n, struct sink *out, struct varve_err *e)
{
	int r = 0;

	while (r == 0 && n > 0) {
		const void *p;
		size_t k;

		r = ctx_check(out->ctx, e);
		if (r < 0)
			return r;
		r = layer_stream_next(ls, (size_t)VARVE_MIN(n, (uint64_t)(1u << 20)), &p, &k, e);
		if (r == 0 && k == 0)
			return varve_fail(e, VARVE_E_FORMAT, "the layer ends too early");
		if (r == 0) {
			out->crc = toc_crc(out->crc, p, k);
			r = out->write(out->user, p, k);
		}
		n -= k;
	}
	return r;
}

static int copy_file(struct layer_stream *ls, const struct plan_inode *i, struct sink *out,
		     struct varve_err *e)
{
	uint64_t at = 0;
	int r = 0;

	if (i->n_extents == 0)
		return copy(ls, i->body_len, out, e);
	for (uint32_t k = 0; r == 0 && k < i->n_extents; k++) {
		r = put_zeros(out, i->extents[k].off - at, e);
		if (r == 0)
			r = copy(ls, i->extents[k].n, out, e);
		at = i->extents[k].off + i->extents[k].n;
	}
	return r == 0 ? put_zeros(out, i->size - at, e) : r;
}

/*
 * From the nearest restart point, so that it takes milliseconds in a layer of any size. The toc's
 * checksum tells whether the stored bytes have rotted; where there is none the whole blob is
 * hashed.
 */
static int cat_body(struct varve_plan *p, const struct plan_inode *i, struct sink *out,
		    struct varve_err *e)
{
	const struct varve_plan_layer *l = &p->summary.layers[i->layer];
	struct layer_stream *ls;
	int r = i->has_crc ? 0 : layer_verify(p->store, &l->digest, e);

	if (r == 0)
		r = layer_stream_open_at(&ls, p->store, &l->digest, &l->diff_id, i->body_off, e);
	if (r < 0)
		return r;
	r = copy_file(ls, i, out, e);
	layer_stream_free(ls);
	if (r == 0 && i->has_crc && out->crc != i->crc) {
		/* Says which blob it is, and sets it aside. */
		r = layer_verify(p->store, &l->digest, e);
		if (r == 0)
			r = varve_fail(e, VARVE_E_CORRUPT,
				       "layer %s: its table of contents does not fit; run 'varve "
				       "check --repair'",
				       DIGEST_STR(&l->digest));
	}
	return r;
}

int varve_plan_cat(struct varve_plan *p, const char *path,
		   int (*write)(void *user, const void *data, size_t n), void *user,
		   struct varve_err *e)
{
	struct sink out = {write, user, store_ctx(p->store), 0};
	const struct plan_inode *i;
	uint32_t name;
	int r = plan_find(p, path, true, &name, e);

	if (r < 0)
		return r;
	i = &p->inodes[p->names[name].inode];
	if (!S_ISREG(i->mode))
		return varve_fail(e, VARVE_E_USAGE, "%s: not a regular file", TEXT_SAFE(path));
	if (i->body_len == 0)
		return put_zeros(&out, i->size, e);
	return cat_body(p, i, &out, e);
}
