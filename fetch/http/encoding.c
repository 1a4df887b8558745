/* SPDX-License-Identifier: Apache-2.0 */
/* Undo a Content-Encoding that nobody asked for (docs/requirements.md 4.36 to 4.38); the only file
 * of fetch/ that includes zlib. */
#include "fetch/http/encoding.h"

#include <stdlib.h>
#include <zlib.h>

#include "store/base/compiler.h"
#include "store/base/err.h"

#define GZIP_WINDOW (15 + 16)
#define OUT_SIZE    65536u

struct encoding {
	z_stream z;
	unsigned char out[OUT_SIZE];
};

bool encoding_declared(const struct headers *h)
{
	struct span value;

	return headers_get(h, "Content-Encoding", 0, &value) &&
	       (span_eq_nocase(value, "gzip") || span_eq_nocase(value, "x-gzip"));
}

struct encoding *encoding_new(void)
{
	struct encoding *d = calloc(1, sizeof(*d));

	if (d && inflateInit2(&d->z, GZIP_WINDOW) != Z_OK) {
		free(d);
		return NULL;
	}
	return d;
}

void encoding_free(struct encoding *d)
{
	if (d)
		(void)inflateEnd(&d->z);
	free(d);
}

int encoding_feed(struct encoding *d, const void *p, size_t n,
		  int (*put)(void *user, const void *p, size_t n), void *user, struct varve_err *e)
{
	int z, r;

	d->z.next_in = (Bytef *)(uintptr_t)p;
	d->z.avail_in = (uInt)n;
	do {
		d->z.next_out = d->out;
		d->z.avail_out = OUT_SIZE;
		z = inflate(&d->z, Z_NO_FLUSH);
		if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
			return varve_fail(e, VARVE_E_FORMAT,
					  "the declared gzip encoding is broken");
		if (d->z.avail_out < OUT_SIZE) {
			r = put(user, d->out, OUT_SIZE - d->z.avail_out);
			if (r < 0)
				return r;
		}
	} while (z == Z_OK && (d->z.avail_in || d->z.avail_out == 0));
	return 0;
}

static int add_to(void *user, const void *p, size_t n)
{
	buf_add(user, p, n);
	return buf_error(user);
}

int encoding_undo(struct buf *b, struct varve_err *e)
{
	struct buf plain = {0};
	struct encoding *d;
	int r;

	if (b->n < 2 || (unsigned char)b->p[0] != 0x1f || (unsigned char)b->p[1] != 0x8b)
		return 0;
	d = encoding_new();
	if (!d)
		return varve_fail_oom(e);
	buf_init(&plain, b->max);
	r = encoding_feed(d, b->p, b->n, add_to, &plain, e);
	encoding_free(d);
	if (r < 0) {
		buf_done(&plain);
		return r;
	}
	buf_done(b);
	*b = plain;
	return 0;
}
