/* SPDX-License-Identifier: Apache-2.0 */
/* Walk the records of a table of contents, trusting none of its bytes. */
#include "materialize/layer/toc_format.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

#include "store/base/err.h"

#ifdef HAVE_ISAL
#include <isa-l/crc.h>
#endif

uint32_t toc_crc(uint32_t crc, const void *p, size_t n)
{
#ifdef HAVE_ISAL
	return crc32_gzip_refl(crc, p, n);
#else
	return (uint32_t)crc32_z(crc, p, n);
#endif
}

int toc_damaged(struct varve_err *e)
{
	return varve_fail(e, VARVE_E_NOTFOUND, "table of contents: unusable, it is made again");
}

static int check_header(struct toc *t, const uint8_t *p, size_t n, struct varve_err *e)
{
	struct toc_file_header h;
	uint32_t crc;

	if (n < sizeof(h))
		return toc_damaged(e);
	memcpy(&t->h, p, sizeof(t->h));
	h = t->h;
	crc = h.header_crc;
	h.header_crc = 0;
	if (h.magic != TOC_MAGIC || h.version != TOC_VERSION || toc_crc(0, &h, sizeof(h)) != crc ||
	    h.bytes != n - sizeof(h) || toc_crc(0, p + sizeof(h), n - sizeof(h)) != h.crc)
		return toc_damaged(e);
	t->p = p + sizeof(h);
	t->n = n - sizeof(h);
	t->diff_id.algo = h.algo;
	memcpy(t->diff_id.bytes, h.digest, sizeof(h.digest));
	return 0;
}

static bool xattrs_ok(const char *p, size_t n, uint32_t count)
{
	for (; count > 0; count--) {
		uint32_t len[2];

		if (n < sizeof(len))
			return false;
		memcpy(len, p, sizeof(len));
		p += sizeof(len);
		n -= sizeof(len);
		if (n < (uint64_t)len[0] + 1 + len[1] || p[len[0]] != 0)
			return false;
		p += len[0] + 1 + len[1];
		n -= len[0] + 1 + len[1];
	}
	return true;
}

static bool strings_ok(const struct toc_record *r, const char *p, size_t n)
{
	uint64_t need = (uint64_t)r->n_extents * sizeof(struct file_extent) + r->path_len + 1 +
			r->link_len + 1 + r->xattr_len;

	if (need > n)
		return false;
	p += r->n_extents * sizeof(struct file_extent);
	return p[r->path_len] == 0 && strlen(p) == r->path_len &&
	       p[r->path_len + 1 + r->link_len] == 0 &&
	       strlen(p + r->path_len + 1) == r->link_len &&
	       xattrs_ok(p + r->path_len + r->link_len + 2, r->xattr_len, r->n_xattrs);
}

static bool check_records(const struct toc *t)
{
	size_t at = 0;
	uint64_t n = 0;

	for (; at < t->n; n++) {
		struct toc_record r;

		if (t->n - at < sizeof(r))
			return false;
		memcpy(&r, t->p + at, sizeof(r));
		if (r.len % 8 || r.len < sizeof(r) || r.len > t->n - at ||
		    !strings_ok(&r, (const char *)t->p + at + sizeof(r), r.len - sizeof(r)))
			return false;
		at += r.len;
	}
	return n == t->h.entries;
}

int toc_open_memory(struct toc **ret, const void *p, size_t n, struct varve_err *e)
{
	struct toc *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return varve_fail_oom(e);
	r = check_header(t, p, n, e);
	if (r == 0 && !check_records(t))
		r = toc_damaged(e);
	if (r < 0) {
		toc_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void toc_free(struct toc *t)
{
	if (!t)
		return;
	if (t->map)
		(void)munmap(t->map, t->map_size);
	free(t);
}

void toc_forget(const struct toc *t, size_t cursor)
{
	/* Whole pages of a file mapping that we never write: nothing is lost. */
	size_t n = (sizeof(t->h) + cursor) & ~(size_t)4095;

	if (t->map && n > 0)
		(void)madvise(t->map, n, MADV_DONTNEED);
}

uint64_t toc_entries(const struct toc *t)
{
	return t->h.entries;
}

uint64_t toc_stream_size(const struct toc *t)
{
	return t->h.stream_size;
}

int toc_next(const struct toc *t, size_t *cursor, struct toc_entry *ret)
{
	const struct toc_record *r;
	const char *p;

	if (*cursor >= t->n)
		return 0;
	r = (const struct toc_record *)(const void *)(t->p + *cursor);
	p = (const char *)(r + 1);
	*cursor += r->len;
	*ret = (struct toc_entry){
		.extents = (const struct file_extent *)(const void *)p,
		.n_extents = r->n_extents,
		.path = p + r->n_extents * sizeof(struct file_extent),
		.path_len = r->path_len,
		.link_len = r->link_len,
		.flags = r->flags & ~TOC_HAS_CRC,
		.has_crc = r->flags & TOC_HAS_CRC,
		.crc = r->crc,
		.mode = r->mode,
		.uid = r->uid,
		.gid = r->gid,
		.mtime = r->mtime,
		.mtime_ns = r->mtime_ns,
		.size = r->size,
		.body_off = r->body_off,
		.body_len = r->body_len,
		.rdev_major = r->rdev >> 20,
		.rdev_minor = r->rdev & 0xfffff,
		.n_xattrs = r->n_xattrs,
	};
	ret->link = ret->path + r->path_len + 1;
	ret->xattrs = ret->link + r->link_len + 1;
	return 1;
}

const char *toc_xattr(const char *p, struct varve_xattr *ret)
{
	uint32_t len[2];

	memcpy(len, p, sizeof(len));
	p += sizeof(len);
	ret->name = p;
	ret->value = p + len[0] + 1;
	ret->size = len[1];
	return p + len[0] + 1 + len[1];
}
