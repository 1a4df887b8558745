/* SPDX-License-Identifier: Apache-2.0 */
/* The uncompressed bytes of a stored layer for the writers, the blob verified on the way. */
#include <stdlib.h>

#include "materialize/codec/inflate.h"
#include "materialize/layer/layer_source.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/layer/squashfs.h"
#include "materialize/layer/zran.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/blob.h"
#include "store/handle.h"

struct layer_stream {
	struct layer_source source;
	struct inflate *z;
	struct squashfs *squashfs; /* NULL: a tar */
	bool part;                 /* not from its start: nothing is verified */
};

static int open_whole(struct layer_stream **ret, struct varve_store *s,
		      const struct varve_digest *blob, bool verify, struct varve_err *e)
{
	struct layer_stream *ls = calloc(1, sizeof(*ls));
	struct inflate_source in;
	int r;

	if (!ls)
		return varve_fail_oom(e);
	ls->part = !verify;
	r = layer_source_open(&ls->source, s, blob, verify, e);
	if (r < 0) {
		free(ls);
		return r;
	}
	in = layer_source_input(&ls->source);
	r = inflate_new(&ls->z, &in, store_limits(s)->max_layer_bytes, store_limits(s)->max_ratio,
			e);
	if (r == 0 && inflate_kind(ls->z) == VARVE_COMP_SQUASHFS)
		r = squashfs_open(&ls->squashfs, in.fd, ls->source.size, store_limits(s), e);
	if (r < 0) {
		r = varve_wrap(e, r, "layer %s", DIGEST_STR(blob));
		layer_stream_free(ls);
		return r;
	}
	*ret = ls;
	return 0;
}

int layer_stream_open(struct layer_stream **ret, struct varve_store *s,
		      const struct varve_digest *blob, struct varve_err *e)
{
	return open_whole(ret, s, blob, true, e);
}

/* At the last point before off; -VARVE_E_NOTFOUND: there is none. */
static int open_point(struct layer_stream **ret, struct varve_store *s,
		      const struct varve_digest *blob, const struct varve_digest *diff_id,
		      uint64_t off, struct varve_err *e)
{
	struct inflate_point p = {off, off, NULL, 0};
	struct varve_blob_info info;
	struct inflate_source in;
	struct layer_stream *ls;
	struct zran *z = NULL;
	int r = blob_stat(s, blob, &info, e);

	if (r < 0)
		return r;
	if (r == 0 || !info.has_facts || off > info.facts.size ||
	    (info.facts.compression != VARVE_COMP_NONE && off < INFLATE_POINT_EVERY))
		return -VARVE_E_NOTFOUND;
	if (info.facts.compression != VARVE_COMP_NONE) {
		r = zran_open(&z, s, blob, diff_id, NULL);
		if (r == 0)
			r = zran_find(z, off, &p, NULL);
		if (r < 0) {
			zran_free(z);
			return r;
		}
	}
	ls = calloc(1, sizeof(*ls));
	r = ls ? layer_source_open(&ls->source, s, blob, false, e) : varve_fail_oom(e);
	if (r == 0) {
		ls->part = true;
		ls->source.at = p.in;
		in = layer_source_input(&ls->source);
		r = inflate_resume(&ls->z, &in, &p, e);
		if (r < 0)
			layer_stream_free(ls);
	} else {
		free(ls);
	}
	zran_free(z);
	if (r == 0)
		*ret = ls;
	return r;
}

static int skip_to(struct layer_stream *ls, uint64_t at, uint64_t off, struct varve_err *e)
{
	while (at < off) {
		const void *p;
		size_t n;
		int r = layer_stream_next(ls, (size_t)VARVE_MIN(off - at, (uint64_t)1 << 20), &p,
					  &n, e);

		if (r < 0)
			return r;
		if (n == 0)
			return varve_fail(e, VARVE_E_FORMAT, "layer %s ends before byte %llu",
					  DIGEST_STR(&ls->source.blob), (unsigned long long)off);
		at += n;
	}
	return 0;
}

int layer_stream_open_near(struct layer_stream **ret, struct varve_store *s,
			   const struct varve_digest *blob, const struct varve_digest *diff_id,
			   uint64_t off, uint64_t *ret_off, struct varve_err *e)
{
	int r = open_point(ret, s, blob, diff_id, off, e);

	if (r == -VARVE_E_NOTFOUND)
		r = open_whole(ret, s, blob, false, e);
	if (r == 0)
		*ret_off = (*ret)->squashfs ? 0 : inflate_out((*ret)->z);
	return r;
}

int layer_stream_open_at(struct layer_stream **ret, struct varve_store *s,
			 const struct varve_digest *blob, const struct varve_digest *diff_id,
			 uint64_t off, struct varve_err *e)
{
	struct layer_stream *ls = NULL;
	uint64_t at = 0;
	int r = layer_stream_open_near(&ls, s, blob, diff_id, off, &at, e);

	if (r < 0)
		return r;
	r = skip_to(ls, at, off, e);
	if (r < 0)
		layer_stream_free(ls);
	else
		*ret = ls;
	return r;
}

int layer_stream_next(struct layer_stream *ls, size_t max, const void **ret, size_t *ret_n,
		      struct varve_err *e)
{
	int r = ls->squashfs ? squashfs_next(ls->squashfs, max, ret, ret_n, e)
			     : inflate_next(ls->z, max, ret, ret_n, e);

	return r < 0 ? varve_wrap(e, r, "layer %s", DIGEST_STR(&ls->source.blob)) : 0;
}

int layer_stream_drain(struct layer_stream *ls, struct varve_err *e)
{
	return ls->part ? 0 : layer_source_drain(&ls->source, e);
}

int layer_stream_end(struct layer_stream *ls, struct varve_err *e)
{
	return ls->part ? 0 : layer_source_verify(&ls->source, e);
}

void layer_stream_free(struct layer_stream *ls)
{
	if (!ls)
		return;
	squashfs_free(ls->squashfs);
	inflate_free(ls->z);
	layer_source_done(&ls->source);
	free(ls);
}
