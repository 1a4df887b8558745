/* SPDX-License-Identifier: Apache-2.0 */
/* Write and read the restart points of a layer. */
#include "materialize/layer/zran.h"
#include "store/derived.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "materialize/layer/toc_format.h"
#include "store/base/buf.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"

#define ZRAN_MAGIC   0x314e41525a525256ull
#define ZRAN_VERSION 1u
#define POINTS_MAX   8192u /* 32 GiB of output; behind the last one reading just goes on */
#define PACK_LEVEL   1

/* Header, states (each packed by zstd), index at the end. */
struct zran_header {
	uint64_t magic;
	uint32_t version, kind; /* inflate_point_kind() */
	uint64_t index_off;
	uint32_t n, crc; /* of the index, started with that of the header with crc zero */
	uint8_t algo, digest[64],
		reserved[7]; /* of the blob: other compressed bytes have other points */
};
struct zran_item {
	uint64_t in, out, off;
	uint32_t len, crc;
};

struct zran_writer {
	struct varve_store *s;
	struct aux_file file;
	bool open, failed;
	struct zran_header h;
	uint64_t at;
	struct buf index, packed;
};

int zran_writer_new(struct zran_writer **ret, struct varve_store *s,
		    const struct varve_digest *blob, struct varve_err *e)
{
	struct zran_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return varve_fail_oom(e);
	w->s = s;
	w->h.magic = ZRAN_MAGIC;
	w->h.version = ZRAN_VERSION;
	w->h.kind = inflate_point_kind();
	w->h.algo = blob->algo;
	memcpy(w->h.digest, blob->bytes, sizeof(w->h.digest));
	w->at = sizeof(w->h);
	w->failed = w->h.kind == 0 || varve_store_is_read_only(s);
	buf_init(&w->index, POINTS_MAX * sizeof(struct zran_item));
	buf_init(&w->packed, ZSTD_COMPRESSBOUND(INFLATE_STATE_MAX));
	*ret = w;
	return 0;
}

void zran_writer_free(struct zran_writer *w)
{
	if (!w)
		return;
	if (w->open)
		aux_abort(&w->file);
	buf_done(&w->index);
	buf_done(&w->packed);
	free(w);
}

static bool add_point(struct zran_writer *w, const struct inflate_point *p)
{
	struct zran_item x = {.in = p->in, .out = p->out, .off = w->at};
	size_t room = ZSTD_compressBound(p->state_n), n;
	char *q;

	if (!w->open && aux_create(w->s, &w->file, NULL) < 0)
		return false;
	w->open = true;
	buf_reset(&w->packed);
	q = buf_room(&w->packed, room);
	if (!q)
		return false;
	n = ZSTD_compress(q, room, p->state, p->state_n, PACK_LEVEL);
	if (ZSTD_isError(n) || fsx_pwrite_all(w->file.fd, q, n, w->at) < 0)
		return false;
	x.len = (uint32_t)n;
	x.crc = toc_crc(0, q, n);
	w->at += n;
	w->h.n++;
	buf_add(&w->index, &x, sizeof(x));
	return buf_error(&w->index) == 0;
}

int zran_add(void *writer, const struct inflate_point *p, struct varve_err *e)
{
	struct zran_writer *w = writer;

	(void)e;
	if (!w->failed && w->h.n < POINTS_MAX)
		w->failed = !add_point(w, p);
	return 0;
}

static uint32_t header_crc(const struct zran_header *h)
{
	struct zran_header copy = *h;

	copy.crc = 0;
	return toc_crc(0, &copy, sizeof(copy));
}

void zran_commit(struct zran_writer *w, const struct varve_digest *diff_id)
{
	if (w->failed || w->h.n == 0)
		return;
	w->h.index_off = w->at;
	w->h.crc = toc_crc(header_crc(&w->h), w->index.p, w->index.n);
	if (fsx_pwrite_all(w->file.fd, w->index.p, w->index.n, w->at) < 0 ||
	    fsx_pwrite_all(w->file.fd, &w->h, sizeof(w->h), 0) < 0)
		return;
	w->open = false;
	(void)aux_commit(&w->file, "zran", diff_id, NULL);
}

struct zran {
	int fd;
	struct zran_header h;
	struct zran_item *items;
	struct buf packed;
	uint8_t *state;
};

static int unusable(struct varve_err *e)
{
	return varve_fail(e, VARVE_E_NOTFOUND, "no restart points that fit");
}

/*
 * States go into a decoder that trusts its own tables, so a checksum is not enough: aux_open()
 * gives only what nobody but us, root and trusted owners can have written.
 */
static int load(struct zran *z, const struct varve_digest *blob, struct varve_err *e)
{
	size_t size;
	uint32_t n;

	if (fsx_pread_full(z->fd, &z->h, sizeof(z->h), 0) != (ssize_t)sizeof(z->h))
		return unusable(e);
	n = z->h.n;
	if (z->h.magic != ZRAN_MAGIC || z->h.version != ZRAN_VERSION || z->h.kind == 0 ||
	    z->h.kind != inflate_point_kind() || n == 0 || n > POINTS_MAX ||
	    z->h.algo != blob->algo || memcmp(z->h.digest, blob->bytes, sizeof(z->h.digest)) != 0)
		return unusable(e);
	size = n * sizeof(*z->items);
	z->items = malloc(size);
	z->state = malloc(INFLATE_STATE_MAX);
	if (!z->items || !z->state)
		return varve_fail_oom(e);
	if (fsx_pread_full(z->fd, z->items, size, z->h.index_off) != (ssize_t)size ||
	    toc_crc(header_crc(&z->h), z->items, size) != z->h.crc)
		return unusable(e);
	return 0;
}

int zran_open(struct zran **ret, struct varve_store *s, const struct varve_digest *blob,
	      const struct varve_digest *diff_id, struct varve_err *e)
{
	struct zran *z = calloc(1, sizeof(*z));
	int r;

	if (!z)
		return varve_fail_oom(e);
	z->fd = -1;
	buf_init(&z->packed, ZSTD_COMPRESSBOUND(INFLATE_STATE_MAX));
	r = aux_open(s, "zran", diff_id, &z->fd, e);
	if (r == 0)
		r = load(z, blob, e);
	if (r < 0) {
		zran_free(z);
		return r;
	}
	*ret = z;
	return 0;
}

void zran_free(struct zran *z)
{
	if (!z)
		return;
	if (z->fd >= 0)
		(void)close(z->fd);
	buf_done(&z->packed);
	free(z->items);
	free(z->state);
	free(z);
}

size_t zran_n(const struct zran *z)
{
	return z->h.n;
}

uint64_t zran_out(const struct zran *z, size_t i)
{
	return z->items[i].out;
}

int zran_find(struct zran *z, uint64_t off, struct inflate_point *ret, struct varve_err *e)
{
	size_t lo = 0, hi = z->h.n, n;
	const struct zran_item *x;
	char *q;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (z->items[mid].out <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0)
		return unusable(e);
	x = &z->items[lo - 1];
	buf_reset(&z->packed);
	q = buf_room(&z->packed, x->len);
	if (!q)
		return unusable(e);
	if (fsx_pread_full(z->fd, q, x->len, x->off) != (ssize_t)x->len ||
	    toc_crc(0, q, x->len) != x->crc)
		return unusable(e);
	n = ZSTD_decompress(z->state, INFLATE_STATE_MAX, q, x->len);
	if (ZSTD_isError(n))
		return unusable(e);
	*ret = (struct inflate_point){.in = x->in, .out = x->out, .state = z->state, .state_n = n};
	return 0;
}
