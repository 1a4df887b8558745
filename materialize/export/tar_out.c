/* SPDX-License-Identifier: Apache-2.0 */
/* The tar writer: ustar headers, pax records for what they cannot hold, GNU sparse 1.0. */
#include "materialize/export/tar_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define BLOCK     512u
#define PAX_MAX   (8u << 20)
#define OCTAL_7   07777777u           /* seven digits: mode, uid, gid */
#define OCTAL_11  ((uint64_t)1 << 33) /* eleven digits: size, mtime */
#define TYPE_FILE '0'
#define TYPE_LINK '1'
#define TYPE_PAX  'x'

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], typeflag,
		linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8],
		prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "tar header block");

void tar_out_init(struct tar_out *t, struct sink *sink)
{
	*t = (struct tar_out){.sink = sink};
	buf_init(&t->pax, PAX_MAX);
}

void tar_out_done(struct tar_out *t)
{
	buf_done(&t->pax);
	free(t->regions);
	t->regions = NULL;
}

/* With holes; one that is a hole only has no extent. */
static bool is_sparse(const struct tar_out_entry *en)
{
	return !en->hardlink && S_ISREG(en->mode) && (en->n_extents || en->body_len != en->size);
}

static char type_of(const struct tar_out_entry *en)
{
	if (en->hardlink)
		return TYPE_LINK;
	switch (en->mode & S_IFMT) {
	case S_IFDIR:
		return '5';
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return '3';
	case S_IFBLK:
		return '4';
	case S_IFIFO:
		return '6';
	default:
		return TYPE_FILE;
	}
}

/* "<length> key=value\n", where the length counts its own digits (POSIX pax, extended header). */
static void pax_add(struct tar_out *t, const char *key, const void *value, size_t n)
{
	size_t rest = strlen(key) + n + 3, len = rest + 1;

	while ((size_t)snprintf(NULL, 0, "%zu", len) + rest != len)
		len = (size_t)snprintf(NULL, 0, "%zu", len) + rest;
	buf_printf(&t->pax, "%zu %s=", len, key);
	buf_add(&t->pax, value, n);
	buf_addc(&t->pax, '\n');
}

static void pax_str(struct tar_out *t, const char *key, const char *value)
{
	pax_add(t, key, value, strlen(value));
}

static void pax_u64(struct tar_out *t, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	pax_str(t, key, text);
}

/* Seconds with a fraction; the nanoseconds of a
 * negative time count upwards from the second below. */
static void pax_time(struct tar_out *t, int64_t s, uint32_t ns)
{
	char text[40];
	size_t n;

	if (s < 0 && ns)
		(void)snprintf(text, sizeof(text), "-%llu.%09u", (unsigned long long)(-(s + 1)),
			       1000000000u - ns);
	else
		(void)snprintf(text, sizeof(text), "%lld.%09u", (long long)s, ns);
	n = strlen(text);
	while (text[n - 1] == '0')
		text[--n] = '\0';
	if (text[n - 1] == '.')
		text[--n] = '\0';
	pax_str(t, "mtime", text);
}

static void pax_xattrs(struct tar_out *t, const struct tar_out_entry *en)
{
	uint32_t i;

	for (i = 0; i < en->n_xattrs; i++) {
		const struct varve_xattr *x = &en->xattrs[i];
		char key[300];

		if (strchr(x->name, '=') ||
		    snprintf(key, sizeof(key), "SCHILY.xattr.%s", x->name) >= (int)sizeof(key)) {
			t->lost_xattrs++;
			continue;
		}
		pax_add(t, key, x->value, x->size);
	}
}

/* Everything that does not fit the ustar block. */
static void make_pax(struct tar_out *t, const struct tar_out_entry *en, const char *name)
{
	bool text = strlen(name) > 100, link = en->link && strlen(en->link) > 100;

	buf_reset(&t->pax);
	/* bsdtar takes the texts of a pax header for UTF-8 unless it says otherwise. */
	if ((text && !text_utf8_valid(name, strlen(name))) ||
	    (link && !text_utf8_valid(en->link, strlen(en->link))))
		pax_str(t, "hdrcharset", "BINARY");
	if (is_sparse(en)) {
		pax_str(t, "GNU.sparse.major", "1");
		pax_str(t, "GNU.sparse.minor", "0");
		pax_str(t, "GNU.sparse.name", name);
		pax_u64(t, "GNU.sparse.realsize", en->size);
	} else if (text) {
		pax_str(t, "path", name);
	}
	if (link)
		pax_str(t, "linkpath", en->link);
	if (en->hardlink)
		return; /* everything else is said by its first name */
	if (en->uid > OCTAL_7)
		pax_u64(t, "uid", en->uid);
	if (en->gid > OCTAL_7)
		pax_u64(t, "gid", en->gid);
	if (!is_sparse(en) && en->body_len >= OCTAL_11)
		pax_u64(t, "size", en->body_len);
	if (en->mtime < 0 || (uint64_t)en->mtime >= OCTAL_11 || en->mtime_ns)
		pax_time(t, en->mtime, en->mtime_ns);
	pax_xattrs(t, en);
}

/* Octal digits and a NUL; what does not fit stands in the pax header and is 0 here. */
static void octal(char *out, size_t size, uint64_t v)
{
	char digits[24];

	if (v >> (3 * (size - 1)))
		v = 0;
	(void)snprintf(digits, sizeof(digits), "%0*llo", (int)size - 1, (unsigned long long)v);
	memcpy(out, digits, size);
}

static void copy_text(char *out, size_t size, const char *s)
{
	size_t n = strlen(s);

	memcpy(out, s, VARVE_MIN(n, size));
}

static int write_block(struct tar_out *t, struct ustar *h, struct varve_err *e)
{
	const uint8_t *p = (const uint8_t *)h;
	unsigned sum = 0;
	size_t i;

	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->chksum, ' ', sizeof(h->chksum));
	for (i = 0; i < BLOCK; i++)
		sum += p[i];
	(void)snprintf(h->chksum, sizeof(h->chksum), "%06o", sum);
	h->chksum[7] = ' ';
	return sink_write(t->sink, h, BLOCK, e);
}

static int write_zeros(struct tar_out *t, size_t n, struct varve_err *e)
{
	static const char zeros[2 * BLOCK];

	return n ? sink_write(t->sink, zeros, n, e) : 0;
}

static int write_pax(struct tar_out *t, struct varve_err *e)
{
	struct ustar h = {0};
	int r;

	if (buf_error(&t->pax) == -ENOMEM)
		return varve_fail_oom(e);
	if (buf_error(&t->pax))
		return varve_fail(e, VARVE_E_LIMIT, "its names and xattrs are larger than %u bytes",
				  PAX_MAX);
	copy_text(h.name, sizeof(h.name), "././@PaxHeader");
	octal(h.mode, sizeof(h.mode), 0644);
	octal(h.uid, sizeof(h.uid), 0);
	octal(h.gid, sizeof(h.gid), 0);
	octal(h.size, sizeof(h.size), t->pax.n);
	octal(h.mtime, sizeof(h.mtime), 0);
	h.typeflag = TYPE_PAX;
	r = write_block(t, &h, e);
	if (r == 0)
		r = sink_write(t->sink, t->pax.p, t->pax.n, e);
	return r == 0 ? write_zeros(t, -t->pax.n % BLOCK, e) : r;
}

/*
 * GNU tar begins every region of a sparse file on a block of its own, other readers take the bytes
 * as they follow each other. Both agree when regions are whole blocks, so extents are widened to
 * such (their new bytes are zeros); what touches then becomes one.
 */
static int make_regions(struct tar_out *t, const struct tar_out_entry *en, struct varve_err *e)
{
	uint32_t i;

	free(t->regions);
	t->regions = calloc((size_t)en->n_extents + 1, sizeof(*t->regions));
	t->n_regions = 0;
	if (!t->regions)
		return varve_fail_oom(e);
	for (i = 0; i < en->n_extents; i++) {
		uint64_t from = en->extents[i].off / BLOCK * BLOCK;
		uint64_t to = (en->extents[i].off + en->extents[i].n + BLOCK - 1) / BLOCK * BLOCK;
		struct file_extent *last = t->n_regions ? &t->regions[t->n_regions - 1] : NULL;

		to = VARVE_MIN(to, en->size);
		if (!en->extents[i].n)
			continue;
		if (last && from <= last->off + last->n)
			last->n = to - last->off;
		else
			t->regions[t->n_regions++] = (struct file_extent){from, to - from};
	}
	t->region = 0;
	t->at = t->n_regions ? t->regions[0].off : 0;
	t->extents = en->extents;
	t->n_extents = en->n_extents;
	t->extent = 0;
	t->extent_done = 0;
	return 0;
}

/* The map in front of a sparse body: decimal numbers, one a line, padded to a block. */
static uint64_t make_map(const struct tar_out *t, struct buf *map, const struct tar_out_entry *en)
{
	uint64_t end = 0, total = 0;
	size_t i;

	for (i = 0; i < t->n_regions; i++) {
		total += t->regions[i].n;
		end = t->regions[i].off + t->regions[i].n;
	}
	/* A hole at the end is said by an extent of nothing, as GNU tar does. */
	buf_printf(map, "%zu\n", t->n_regions + (end < en->size ? 1u : 0u));
	for (i = 0; i < t->n_regions; i++)
		buf_printf(map, "%llu\n%llu\n", (unsigned long long)t->regions[i].off,
			   (unsigned long long)t->regions[i].n);
	if (end < en->size)
		buf_printf(map, "%llu\n0\n", (unsigned long long)en->size);
	while (map->n % BLOCK && !buf_error(map))
		buf_addc(map, '\0');
	return total;
}

static int write_header(struct tar_out *t, const struct tar_out_entry *en, const char *name,
			uint64_t stored, struct varve_err *e)
{
	struct ustar h = {0};

	copy_text(h.name, sizeof(h.name), is_sparse(en) ? "GNUSparseFile.0" : name);
	octal(h.mode, sizeof(h.mode), en->mode & 07777);
	octal(h.uid, sizeof(h.uid), en->uid);
	octal(h.gid, sizeof(h.gid), en->gid);
	octal(h.size, sizeof(h.size), stored);
	octal(h.mtime, sizeof(h.mtime), en->mtime < 0 ? 0 : (uint64_t)en->mtime);
	h.typeflag = type_of(en);
	if (en->link)
		copy_text(h.linkname, sizeof(h.linkname), en->link);
	octal(h.devmajor, sizeof(h.devmajor), en->rdev_major);
	octal(h.devminor, sizeof(h.devminor), en->rdev_minor);
	return write_block(t, &h, e);
}

static int write_entry(struct tar_out *t, const struct tar_out_entry *en, const char *name,
		       struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf map = {0};
	bool has_body = !en->hardlink && S_ISREG(en->mode);
	uint64_t stored;
	int r;

	buf_init(&map, PAX_MAX);
	t->extents = NULL;
	t->left = has_body ? en->body_len : 0;
	stored = t->left;
	if (is_sparse(en)) {
		r = make_regions(t, en, e);
		if (r < 0)
			return r;
		stored = make_map(t, &map, en) + map.n;
	}
	if (buf_error(&map) == -ENOMEM)
		return varve_fail_oom(e);
	if (buf_error(&map))
		return varve_fail(e, VARVE_E_LIMIT, "it has too many holes");
	t->pad = (unsigned)(-stored % BLOCK);
	make_pax(t, en, name);
	if (is_sparse(en) && stored >= OCTAL_11)
		pax_u64(t, "size", stored);
	r = t->pax.n || buf_error(&t->pax) ? write_pax(t, e) : 0;
	if (r == 0)
		r = write_header(t, en, name, stored, e);
	if (r == 0 && map.n)
		r = sink_write(t->sink, map.p, map.n, e);
	if (r == 0 && !t->left)
		r = write_zeros(t, t->pad, e);
	t->n_entries++;
	return r;
}

int tar_out_entry(struct tar_out *t, const struct tar_out_entry *en, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf name = {0};
	int r;

	buf_init(&name, 1u << 20);
	buf_adds(&name, en->path);
	if (S_ISDIR(en->mode) && !en->hardlink)
		buf_addc(&name, '/');
	r = buf_error(&name) ? varve_fail_oom(e) : write_entry(t, en, name.p, e);
	return r < 0 ? varve_wrap(e, r, "entry %s", TEXT_SAFE(en->path)) : 0;
}

/* Zeros of the regions up to an offset of the file; the holes between regions are not written. */
static int fill_to(struct tar_out *t, uint64_t to, struct varve_err *e)
{
	while (t->region < t->n_regions && t->at < to) {
		const struct file_extent *g = &t->regions[t->region];
		uint64_t n = VARVE_MIN(g->off + g->n, to) - t->at;
		int r = 0;

		for (; r == 0 && n > 0; n -= VARVE_MIN(n, 2 * BLOCK)) {
			r = write_zeros(t, (size_t)VARVE_MIN(n, 2 * BLOCK), e);
			t->at += VARVE_MIN(n, 2 * BLOCK);
		}
		if (r < 0)
			return r;
		if (t->at == g->off + g->n && ++t->region < t->n_regions)
			t->at = t->regions[t->region].off;
	}
	return 0;
}

/* Bytes of the extents, each at its place in the regions. */
static int sparse_body(struct tar_out *t, const char *p, size_t n, struct varve_err *e)
{
	while (n > 0) {
		const struct file_extent *x = &t->extents[t->extent];
		size_t k = (size_t)VARVE_MIN((uint64_t)n, x->n - t->extent_done);
		int r = 0;

		if (k > 0) {
			r = fill_to(t, x->off + t->extent_done, e);
			if (r == 0)
				r = sink_write(t->sink, p, k, e);
			t->at += k;
		}
		if (r < 0)
			return r;
		t->extent_done += k;
		p += k;
		n -= k;
		if (t->extent_done == x->n) {
			t->extent++;
			t->extent_done = 0;
		}
	}
	return 0;
}

int tar_out_body(struct tar_out *t, const void *p, size_t n, struct varve_err *e)
{
	int r;

	if (n > t->left)
		return varve_fail(e, VARVE_E_SIZE, "file content: more than its size says");
	r = t->extents ? sparse_body(t, p, n, e) : sink_write(t->sink, p, n, e);
	t->left -= n;
	if (r < 0 || !n || t->left)
		return r;
	if (t->extents)
		r = fill_to(t, UINT64_MAX, e);
	t->extents = NULL;
	return r == 0 ? write_zeros(t, t->pad, e) : r;
}

int tar_out_end(struct tar_out *t, struct varve_err *e)
{
	int r = t->left ? varve_fail(e, VARVE_E_SIZE, "file content: less than its size says")
			: write_zeros(t, 2 * BLOCK, e);

	return r == 0 ? sink_finish(t->sink, e) : r;
}
