/* SPDX-License-Identifier: Apache-2.0 */
/* Write a table of contents while a layer streams by. */
#include "materialize/layer/toc_format.h"
#include "store/derived.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/err.h"
#include "store/base/fsx.h"

#define FLUSH_AT   (256u << 10)
#define RECORD_MAX ((size_t)16 << 20) /* above all that tar.h lets through */

struct toc_writer {
	struct aux_file *file;
	struct buf b;
	struct toc_file_header h;
	uint64_t flushed; /* bytes of records that have left b */
	uint32_t crc;
	size_t last; /* where the last record is in b */
	uint64_t body_left;
	uint32_t body_crc;
	bool has_body;
};

int toc_writer_new(struct toc_writer **ret, struct aux_file *file, struct varve_err *e)
{
	struct toc_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return varve_fail_oom(e);
	w->file = file;
	buf_init(&w->b, file ? FLUSH_AT + RECORD_MAX : SIZE_MAX / 4);
	if (!file)
		buf_add(&w->b, &w->h, sizeof(w->h));
	*ret = w;
	return 0;
}

void toc_writer_free(struct toc_writer *w)
{
	if (!w)
		return;
	buf_done(&w->b);
	free(w);
}

uint64_t toc_writer_entries(const struct toc_writer *w)
{
	return w->h.entries;
}

static int flush(struct toc_writer *w, struct varve_err *e)
{
	if (!w->file)
		return 0;
	w->crc = toc_crc(w->crc, w->b.p, w->b.n);
	if (fsx_pwrite_all(w->file->fd, w->b.p, w->b.n, sizeof(w->h) + w->flushed) < 0)
		return varve_fail_errno(e, "table of contents");
	w->flushed += w->b.n;
	buf_reset(&w->b);
	return 0;
}

static size_t add_xattrs(struct buf *b, const struct tar_entry *t)
{
	size_t before = b->n;

	for (uint32_t i = 0; i < t->n_xattrs; i++) {
		const struct varve_xattr *x = &t->xattrs[i];
		uint32_t len[2] = {(uint32_t)strlen(x->name), (uint32_t)x->size};

		buf_add(b, len, sizeof(len));
		buf_add(b, x->name, len[0] + 1);
		buf_add(b, x->value, x->size);
	}
	return b->n - before;
}

/* The last record gets the checksum of its body, if all of it was seen. */
static void close_last(struct toc_writer *w)
{
	struct toc_record r;

	if (!w->has_body || w->body_left > 0)
		return;
	memcpy(&r, w->b.p + w->last, sizeof(r));
	r.flags |= TOC_HAS_CRC;
	r.crc = w->body_crc;
	memcpy(w->b.p + w->last, &r, sizeof(r));
	w->has_body = false;
}

void toc_writer_body(struct toc_writer *w, const void *p, size_t n)
{
	w->body_crc = toc_crc(w->body_crc, p, n);
	w->body_left -= n;
	w->has_body = true;
}

int toc_writer_add(struct toc_writer *w, const struct tar_entry *t, struct varve_err *e)
{
	static const char zeros[8];
	size_t at, path = t->path.n;
	int res = 0;
	struct toc_record r = {
		.mode = t->mode,
		.uid = t->uid,
		.gid = t->gid,
		.mtime = t->mtime,
		.size = t->size,
		.body_off = t->body_off,
		.body_len = t->body_len,
		.mtime_ns = t->mtime_ns,
		.link_len = (uint32_t)t->link.n,
		.n_extents = t->n_extents,
		.n_xattrs = (uint16_t)t->n_xattrs,
		.flags = (uint16_t)t->flags,
		.rdev = t->rdev_major << 20 | t->rdev_minor,
	};

	close_last(w);
	if (w->b.n >= FLUSH_AT)
		res = flush(w, e);
	if (res < 0)
		return res;
	at = w->b.n;
	while (path > 1 && t->path.p[path - 1] == '/')
		path--;
	r.path_len = (uint32_t)path;
	buf_add(&w->b, &r, sizeof(r));
	buf_add(&w->b, t->extents, t->n_extents * sizeof(*t->extents));
	buf_add(&w->b, t->path.p, path);
	buf_addc(&w->b, 0);
	buf_add(&w->b, t->link.p, t->link.n);
	buf_addc(&w->b, 0);
	r.xattr_len = (uint32_t)add_xattrs(&w->b, t);
	buf_add(&w->b, zeros, -w->b.n % 8);
	if (buf_error(&w->b) < 0) /* all xattrs together are bounded by the pax header: memory */
		return varve_fail_oom(e);
	r.len = (uint32_t)(w->b.n - at);
	memcpy(w->b.p + at, &r, sizeof(r));
	w->h.entries++;
	w->last = at;
	w->body_left = t->body_len;
	w->body_crc = 0;
	w->has_body = false;
	return 0;
}

int toc_writer_finish(struct toc_writer *w, const struct varve_digest *diff_id, uint64_t size,
		      struct varve_err *e)
{
	struct toc_file_header *h = &w->h;
	int r;

	close_last(w);
	r = flush(w, e);

	if (r < 0)
		return r;
	h->magic = TOC_MAGIC;
	h->version = TOC_VERSION;
	h->stream_size = size;
	h->algo = diff_id->algo;
	memcpy(h->digest, diff_id->bytes, sizeof(h->digest));
	h->bytes = w->file ? w->flushed : w->b.n - sizeof(*h);
	h->crc = w->file ? w->crc : toc_crc(0, w->b.p + sizeof(*h), h->bytes);
	h->header_crc = 0;
	h->header_crc = toc_crc(0, h, sizeof(*h));
	if (!w->file)
		memcpy(w->b.p, h, sizeof(*h));
	else if (fsx_pwrite_all(w->file->fd, h, sizeof(*h), 0) < 0)
		return varve_fail_errno(e, "table of contents");
	return 0;
}

void *toc_writer_take(struct toc_writer *w, size_t *ret_n)
{
	*ret_n = w->b.n;
	return buf_take(&w->b);
}
