/* SPDX-License-Identifier: Apache-2.0 */
/* zstd (RFC 8878): all frames, skippable ones passed over, windows of at most 256 MiB. */
#include "materialize/codec/inflate_codec.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "store/base/err.h"

#define WINDOW_LOG_MAX 28 /* what podman reads of zstd --long=28 */

struct zstd {
	ZSTD_DCtx *d;
	bool in_frame, had_frame;
	unsigned turn; /* which buffer */
	uint8_t out[2][INFLATE_WINDOW];
};

static int zstd_open(void **ret, struct varve_err *e)
{
	struct zstd *z = malloc(sizeof(*z));

	if (!z)
		return varve_fail_oom(e);
	z->in_frame = z->had_frame = false;
	z->turn = 0;
	z->d = ZSTD_createDCtx();
	if (!z->d ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(z->d, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
		(void)ZSTD_freeDCtx(z->d);
		free(z);
		return varve_fail_oom(e);
	}
	*ret = z;
	return 0;
}

static void zstd_free(void *state)
{
	struct zstd *z = state;

	(void)ZSTD_freeDCtx(z->d);
	free(z);
}

static int zstd_error(const struct zstd *z, size_t code, struct varve_err *e)
{
	if (ZSTD_getErrorCode(code) == ZSTD_error_frameParameter_windowTooLarge)
		return varve_fail(e, VARVE_E_LIMIT,
				  "zstd: needs a window above 256 MiB; compress it anew with "
				  "--long=28 or less");
	if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
		return varve_fail_oom(e);
	if (ZSTD_getErrorCode(code) == ZSTD_error_prefix_unknown && z->had_frame)
		return varve_fail(e, VARVE_E_FORMAT,
				  "zstd: something that is not zstd follows behind it");
	return varve_fail(e, VARVE_E_FORMAT, "zstd: %s", ZSTD_getErrorName(code));
}

static int zstd_next(void *state, struct inflate_input *in, const uint8_t **ret, size_t *ret_n,
		     struct varve_err *e)
{
	struct zstd *z = state;
	ZSTD_outBuffer out = {z->out[z->turn ^= 1], INFLATE_WINDOW, 0};

	while (out.pos < out.size) {
		ZSTD_inBuffer ib;
		size_t before = out.pos, left;

		if (in->n == 0) {
			int r = inflate_refill(in, e);

			if (r < 0)
				return r;
			if (in->n == 0 && !z->in_frame)
				break;
		}
		ib = (ZSTD_inBuffer){in->p, in->n, 0};
		left = ZSTD_decompressStream(z->d, &out, &ib);
		if (ZSTD_isError(left))
			return zstd_error(z, left, e);
		if (in->n == 0 && out.pos == before)
			return varve_fail(e, VARVE_E_FORMAT, "zstd: cut off");
		in->p += ib.pos;
		in->n -= ib.pos;
		z->in_frame = left != 0;
		z->had_frame = z->had_frame || left == 0;
	}
	*ret = out.dst;
	*ret_n = out.pos;
	return 0;
}

const struct inflate_codec inflate_zstd = {VARVE_COMP_ZSTD, zstd_open, zstd_free, zstd_next};
