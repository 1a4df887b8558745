/* SPDX-License-Identifier: Apache-2.0 */
/* The tar state machine: windows of bytes in, entries and bodies out. */
#include "materialize/tar/tar.h"
#include "materialize/tar/tar_pax.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/tar/tar_header.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

enum state {
	ST_HEADER,     /* collecting a header block */
	ST_TEXT,       /* collecting a pax header or long name */
	ST_SPARSE_EXT, /* collecting a further block of an old GNU sparse map */
	ST_SPARSE_MAP, /* collecting a block of the map before a 1.0 sparse body */
	ST_BODY,
	ST_SKIP,
	ST_END,
};
struct tar {
	struct tar_events ev;
	enum state state;
	uint64_t pos;            /* bytes fed */
	uint64_t left;           /* of text, body or skip */
	uint32_t pad;            /* behind body or text */
	uint32_t have;           /* of block */
	bool zero;               /* the last block was zero */
	bool tail_seen, further; /* behind the end: something, and it is a header */
	bool pending;            /* extended headers wait for their entry */
	bool padding;            /* what is skipped is padding: all data before it came */
	struct buf pax, long_path, long_link;
	struct buf *text; /* the one of those that ST_TEXT fills */
	struct tar_meta meta;
	struct tar_block head;
	uint64_t size;    /* stored bytes of the entry */
	uint64_t map_max; /* map bytes still allowed */
	uint64_t map_left, map_value, map_off;
	unsigned map_digits;
	bool map_counted, map_half;
	uint8_t block[TAR_BLOCK];
};

int tar_new(struct tar **ret, const struct tar_events *events, struct varve_err *e)
{
	struct tar *t = calloc(1, sizeof(*t));

	if (!t)
		return varve_fail_oom(e);
	t->ev = *events;
	buf_init(&t->pax, TAR_META_MAX);
	buf_init(&t->long_path, TAR_META_MAX);
	buf_init(&t->long_link, TAR_META_MAX);
	*ret = t;
	return 0;
}

void tar_free(struct tar *t)
{
	if (!t)
		return;
	buf_done(&t->pax);
	buf_done(&t->long_path);
	buf_done(&t->long_link);
	tar_meta_done(&t->meta);
	free(t);
}

static struct span entry_path(const struct tar *t)
{
	if (t->long_path.n)
		return span_of(t->long_path.p, strlen(t->long_path.p));
	return t->meta.has_path ? t->meta.path : span_str(t->head.path);
}

static struct span entry_link(const struct tar *t)
{
	if (t->long_link.n)
		return span_of(t->long_link.p, strlen(t->long_link.p));
	return t->meta.has_link ? t->meta.link : span_str(t->head.link);
}

static int in_entry(const struct tar *t, int r, struct varve_err *e)
{
	struct span path = entry_path(t);

	return r < 0 ? varve_wrap(e, r, "entry %s", TEXT_SAFE(path.p)) : r;
}

static void note(const struct tar *t, const char *what)
{
	char line[512];
	struct span path = entry_path(t);

	if (!t->ev.note)
		return;
	(void)snprintf(line, sizeof(line), "%s: %s", TEXT_SAFE(path.p), what);
	t->ev.note(t->ev.user, line);
}

static void forget_meta(struct tar *t)
{
	buf_reset(&t->pax);
	buf_reset(&t->long_path);
	buf_reset(&t->long_link);
	tar_meta_reset(&t->meta);
	t->pending = false;
}

static void skip(struct tar *t, uint64_t size)
{
	t->left = size;
	t->pad = (uint32_t)(-size % TAR_BLOCK);
	t->state = ST_SKIP;
}

static uint32_t format_bits(char type)
{
	switch (type) {
	case '2':
		return S_IFLNK;
	case '3':
		return S_IFCHR;
	case '4':
		return S_IFBLK;
	case '5':
	case 'D':
		return S_IFDIR;
	case '6':
		return S_IFIFO;
	default:
		return S_IFREG;
	}
}

/* The entry is complete: tell, then its body follows at the present position. */
static int emit(struct tar *t, uint64_t body_len, struct varve_err *e)
{
	const struct tar_meta *m = &t->meta;
	const struct tar_block *h = &t->head;
	bool file = format_bits(h->type) == S_IFREG && h->type != '1';
	bool device = h->type == '3' || h->type == '4';
	struct tar_entry x = {
		.path = entry_path(t),
		.link = entry_link(t),
		.flags = (h->type == '1' ? TAR_HARDLINK : 0u) | (m->acl ? TAR_ACL : 0u) |
			 (m->clamped ? TAR_TIME_CLAMPED : 0u),
		.mode = h->mode | format_bits(h->type),
		.uid = m->has_uid ? m->uid : h->uid,
		.gid = m->has_gid ? m->gid : h->gid,
		.mtime = m->has_mtime ? m->mtime : h->mtime,
		.mtime_ns = m->has_mtime ? m->mtime_ns : 0,
		.body_off = t->pos,
		.rdev_major = device ? h->rdev_major : 0,
		.rdev_minor = device ? h->rdev_minor : 0,
		.n_xattrs = m->n_xattrs,
		.xattrs = m->xattrs,
	};
	int r;

	if (file) {
		x.size = m->sparse ? m->realsize : body_len;
		x.body_len = body_len;
		x.n_extents = m->sparse ? m->n_extents : 0;
		x.extents = m->extents;
		/* A file that is all hole: an empty extent tells it from one without a map. */
		if (m->sparse && m->n_extents == 0 && x.size > 0) {
			static const struct file_extent hole = {0, 0};

			x.extents = &hole;
			x.n_extents = 1;
		}
	}
	if (x.size > TAR_SIZE_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "a file of %llu bytes",
				  (unsigned long long)x.size);
	r = t->ev.entry(t->ev.user, &x, e);
	forget_meta(t);
	t->left = body_len;
	t->state = file ? ST_BODY : ST_SKIP;
	return r;
}

/* The map is known: it must account for every stored byte (M26). */
static int emit_sparse(struct tar *t, uint64_t body_len, struct varve_err *e)
{
	uint64_t sum;
	int r;

	if (!t->meta.has_realsize)
		return varve_fail(e, VARVE_E_FORMAT, "sparse file without its real size");
	r = tar_meta_check_extents(&t->meta, t->meta.realsize, &sum, e);
	if (r < 0)
		return r;
	if (sum != body_len)
		return varve_fail(e, VARVE_E_FORMAT,
				  "sparse map of %llu bytes, but %llu are stored",
				  (unsigned long long)sum, (unsigned long long)body_len);
	return emit(t, body_len, e);
}

static int sparse_slots(struct tar *t, const uint8_t *p, unsigned n, struct varve_err *e)
{
	for (; n > 0; n--, p += 24) {
		int64_t off, len;
		int r;

		if (p[0] == 0)
			break;
		if (!tar_number(p, 12, &off) || !tar_number(p + 12, 12, &len) || off < 0 || len < 0)
			return varve_fail(e, VARVE_E_FORMAT, "sparse map: malformed numbers");
		r = tar_meta_extent(&t->meta, (uint64_t)off, (uint64_t)len, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* GNU tar manual, "Storing Sparse Files", old format: four slots, a flag, the real size. */
static int start_old_sparse(struct tar *t, struct varve_err *e)
{
	int64_t real;
	int r;

	if (t->head.format != TAR_GNU)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "type S outside of GNU tar");
	if (!tar_number(t->block + 483, 12, &real) || real < 0)
		return varve_fail(e, VARVE_E_FORMAT, "sparse file without its real size");
	t->meta.n_extents = 0;
	t->meta.sparse = true;
	t->meta.has_realsize = true;
	t->meta.realsize = (uint64_t)real;
	r = sparse_slots(t, t->block + 386, 4, e);
	if (r < 0)
		return r;
	if (t->block[482] == 0)
		return emit_sparse(t, t->size, e);
	t->state = ST_SPARSE_EXT;
	return 0;
}

static int on_sparse_ext(struct tar *t, struct varve_err *e)
{
	int r = sparse_slots(t, t->block, 21, e);

	if (r < 0 || t->block[504] != 0)
		return r;
	return emit_sparse(t, t->size, e);
}

static int map_number(struct tar *t, struct varve_err *e)
{
	uint64_t v = t->map_value;

	if (t->map_digits == 0)
		return varve_fail(e, VARVE_E_FORMAT, "sparse map: a number is missing");
	t->map_value = 0;
	t->map_digits = 0;
	if (!t->map_counted) {
		if (v > TAR_EXTENTS_MAX)
			return varve_fail(e, VARVE_E_LIMIT, "sparse map of %llu extents",
					  (unsigned long long)v);
		t->map_counted = true;
		t->map_left = v * 2;
		return 0;
	}
	t->map_left--;
	t->map_half = !t->map_half;
	if (t->map_half) {
		t->map_off = v;
		return 0;
	}
	return tar_meta_extent(&t->meta, t->map_off, v, e);
}

/* Format 1.0: lines of decimal numbers in front of the body, in whole blocks. */
static int on_sparse_map(struct tar *t, struct varve_err *e)
{
	int r = 0;

	if (t->size < TAR_BLOCK || t->map_max < TAR_BLOCK)
		return varve_fail(e, VARVE_E_FORMAT, "sparse map: longer than its entry");
	t->size -= TAR_BLOCK;
	t->map_max -= TAR_BLOCK;
	for (unsigned i = 0; i < TAR_BLOCK && (!t->map_counted || t->map_left > 0); i++) {
		uint8_t c = t->block[i];

		if (c == '\n') {
			r = map_number(t, e);
			if (r < 0)
				return r;
		} else if (c >= '0' && c <= '9' && t->map_digits < 18) {
			t->map_value = t->map_value * 10 + (uint64_t)(c - '0');
			t->map_digits++;
		} else {
			return varve_fail(e, VARVE_E_FORMAT, "sparse map: not a number");
		}
	}
	return t->map_counted && t->map_left == 0 ? emit_sparse(t, t->size, e) : 0;
}

static int start_pax_sparse(struct tar *t, struct varve_err *e)
{
	const struct tar_meta *m = &t->meta;

	if (m->sparse_major == 0)
		return emit_sparse(t, t->size, e);
	if (m->sparse_major != 1 || m->sparse_minor != 0)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "sparse format %u.%u", m->sparse_major,
				  m->sparse_minor);
	t->map_max = TAR_META_MAX;
	t->meta.n_extents = 0;
	t->map_counted = t->map_half = false;
	t->map_value = t->map_left = 0;
	t->map_digits = 0;
	t->state = ST_SPARSE_MAP;
	return 0;
}

static int start_text(struct tar *t, struct buf *b, struct varve_err *e)
{
	if (t->head.size > TAR_META_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "tar: an extended header of %llu bytes",
				  (unsigned long long)t->head.size);
	buf_reset(b);
	t->pending = true;
	t->text = b;
	t->left = t->head.size;
	t->pad = (uint32_t)(-t->head.size % TAR_BLOCK);
	t->state = ST_TEXT;
	return 0;
}

static int end_text(struct tar *t, struct varve_err *e)
{
	int r = buf_error(t->text);

	t->state = ST_SKIP;
	if (r < 0)
		return varve_fail_oom(e);
	if (t->text != &t->pax)
		return 0;
	tar_meta_reset(&t->meta);
	return tar_meta_pax(&t->meta, t->pax.p, t->pax.n, e);
}

static int start_entry(struct tar *t, struct varve_err *e)
{
	struct tar_block *h = &t->head;
	struct span path = entry_path(t);

	if (h->type == 0)
		h->type = path.n > 0 && path.p[path.n - 1] == '/' ? '5' : '0';
	t->size = t->meta.has_size ? t->meta.size : h->size;
	t->pad = 0;
	switch (h->type) {
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
		/*
		 * No body, whatever the size says (POSIX; old tars repeat that of the file). Where
		 * one follows all the same it is no header, and ends the parse.
		 */
		return emit(t, 0, e);
	case '0':
	case '7':
	case 'S':
	case 'D':
		t->pad = (uint32_t)(-t->size % TAR_BLOCK);
		if (h->type == 'S')
			return start_old_sparse(t, e);
		return t->meta.sparse && h->type != 'D' ? start_pax_sparse(t, e)
							: emit(t, t->size, e);
	case 'V':
	case 'A':
		note(t, "a volume label or a Solaris ACL, passed over");
		skip(t, t->size);
		forget_meta(t);
		return 0;
	default:
		return varve_fail(e, VARVE_E_UNSUPPORTED, "unknown tar entry type \\x%02x",
				  (unsigned char)h->type);
	}
}

static int on_header(struct tar *t, struct varve_err *e)
{
	bool bad_uid, bad_gid;
	int r;

	if (tar_block_is_zero(t->block)) {
		if (t->pending)
			return varve_fail(e, VARVE_E_FORMAT, "tar: ends behind an extended header");
		t->state = t->zero ? ST_END : ST_HEADER;
		t->zero = true;
		return 0;
	}
	if (t->zero)
		return varve_fail(e, VARVE_E_FORMAT, "tar: a block of zeros between entries");
	if (!tar_block_checksum_ok(t->block))
		return varve_fail(e, VARVE_E_FORMAT,
				  "tar: bad header checksum at byte %llu: damaged, or not a tar",
				  (unsigned long long)(t->pos - TAR_BLOCK));
	r = tar_block_parse(&t->head, t->block, &bad_uid, &bad_gid, e);
	if (r < 0)
		return in_entry(t, r, e);
	switch (t->head.type) {
	case 'x':
	case 'X': /* Solaris: the same records */
		return start_text(t, &t->pax, e);
	case 'L':
		return start_text(t, &t->long_path, e);
	case 'K':
		return start_text(t, &t->long_link, e);
	case 'g': /* global: ignored as by every other tool (M18) */
		skip(t, t->head.size);
		return 0;
	default:
		break;
	}
	if ((bad_uid && !t->meta.has_uid) || (bad_gid && !t->meta.has_gid))
		r = varve_fail(e, VARVE_E_FORMAT,
			       "tar header: an id must be a number below 4294967295");
	else
		r = start_entry(t, e);
	return in_entry(t, r, e);
}

/* A whole block is in t->block. */
static int on_block(struct tar *t, struct varve_err *e)
{
	int r;

	switch (t->state) {
	case ST_SPARSE_EXT:
		r = on_sparse_ext(t, e);
		return in_entry(t, r, e);
	case ST_SPARSE_MAP:
		r = on_sparse_map(t, e);
		return in_entry(t, r, e);
	default:
		return on_header(t, e);
	}
}

/* Bytes of a body, text or skipped stretch; the padding behind it is skipped in the same way. */
static int feed_stretch(struct tar *t, const uint8_t *p, size_t n, struct varve_err *e)
{
	int r = 0;

	if (t->state == ST_BODY && t->ev.body)
		r = t->ev.body(t->ev.user, p, n, e);
	else if (t->state == ST_TEXT)
		buf_add(t->text, p, n);
	t->left -= n;
	return r;
}

static int end_stretch(struct tar *t, struct varve_err *e)
{
	int r = 0;

	if (t->state == ST_TEXT)
		r = end_text(t, e);
	t->padding = t->pad > 0;
	if (t->padding) {
		t->state = ST_SKIP;
		t->left = t->pad;
		t->pad = 0;
	} else {
		t->state = ST_HEADER;
	}
	return r;
}

/* Behind the end: is the first block that is not zero a header? */
static void see_tail(struct tar *t, const uint8_t *p, size_t n)
{
	while (n > 0 && !t->tail_seen) {
		size_t k = VARVE_MIN(TAR_BLOCK - t->have, n);

		memcpy(t->block + t->have, p, k);
		t->have += (uint32_t)k;
		p += k;
		n -= k;
		if (t->have < TAR_BLOCK)
			return;
		t->have = 0;
		if (!tar_block_is_zero(t->block)) {
			t->tail_seen = true;
			t->further = tar_block_checksum_ok(t->block);
		}
	}
}

int tar_feed(struct tar *t, const void *data, size_t n, struct varve_err *e)
{
	const uint8_t *p = data;
	int r;

	while (n > 0 && t->state != ST_END) {
		size_t k;

		if (t->state >= ST_BODY || t->state == ST_TEXT) {
			k = (size_t)VARVE_MIN(t->left, (uint64_t)n);
			t->pos += k;
			r = feed_stretch(t, p, k, e);
			if (r < 0)
				return r;
		} else {
			k = VARVE_MIN(TAR_BLOCK - t->have, n);
			memcpy(t->block + t->have, p, k);
			t->have += (uint32_t)k;
			t->pos += k;
			if (t->have == TAR_BLOCK) {
				t->have = 0;
				r = on_block(t, e);
				if (r < 0)
					return r;
			}
		}
		p += k;
		n -= k;
		while ((t->state == ST_BODY || t->state == ST_SKIP || t->state == ST_TEXT) &&
		       t->left == 0) {
			r = end_stretch(t, e);
			if (r < 0)
				return r;
		}
	}
	t->pos += n;
	see_tail(t, p, n);
	return 0;
}

bool tar_between_entries(const struct tar *t)
{
	return t->state == ST_HEADER && t->have == 0 && !t->pending;
}

size_t tar_tail(const struct tar *t, const void **ret)
{
	*ret = t->block;
	return t->tail_seen ? TAR_BLOCK : t->state == ST_END ? t->have : 0;
}

bool tar_concatenated(const struct tar *t)
{
	return t->further;
}

bool tar_unpadded(const struct tar *t)
{
	return t->state == ST_SKIP && t->padding && !t->pending;
}

int tar_finish(struct tar *t, struct varve_err *e)
{
	if (tar_unpadded(t))
		return 0;
	if (t->state == ST_END || (t->state == ST_HEADER && t->have == 0 && !t->pending))
		return 0;
	return varve_fail(e, VARVE_E_FORMAT, "tar: cut off after %llu bytes",
			  (unsigned long long)t->pos);
}
