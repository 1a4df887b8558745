/* SPDX-License-Identifier: Apache-2.0 */
/* Layers and plans in memory, for tests: see image_build.h. */
#include "image_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/hash.h"
#include "store/base/text.h"

#define MAX ((size_t)1 << 30)

void image_init(struct image *m)
{
	memset(m, 0, sizeof(*m));
}

static void drop_plan(struct image *m)
{
	if (m->planned)
		tree_thaw(&m->plan, &m->keep);
	m->planned = false;
	memset(&m->plan, 0, sizeof(m->plan));
	memset(&m->keep, 0, sizeof(m->keep));
	for (size_t i = 0; i < m->n; i++) {
		toc_free(m->toc[i]);
		free(m->toc_bytes[i]);
		m->toc[i] = NULL;
		m->toc_bytes[i] = NULL;
	}
}

void image_done(struct image *m)
{
	drop_plan(m);
	for (size_t i = 0; i < m->n; i++)
		buf_done(&m->tar[i]);
}

static void put_octal(uint8_t *p, size_t n, uint64_t v)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%0*llo", (int)n - 1, (unsigned long long)v);
	memcpy(p, text, n);
}

void image_checksum(uint8_t *b)
{
	uint32_t sum = 0;
	char text[16];

	memset(b + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += b[i];
	(void)snprintf(text, sizeof(text), "%06o", sum);
	memcpy(b + 148, text, 7);
	b[155] = ' ';
}

uint8_t *image_header(struct buf *b, char type, const char *path, uint64_t size)
{
	uint8_t *h;

	if (strlen(path) > 100) {
		h = image_header(b, 'L', "././@LongLink", strlen(path) + 1);
		(void)h;
		image_body(b, path, strlen(path) + 1);
	}
	h = (uint8_t *)buf_room(b, 512);
	if (!h)
		abort();
	memset(h, 0, 512);
	b->n += 512;
	memcpy(h, path, strnlen(path, 100));
	put_octal(h + 100, 8, type == '5' ? 0755 : 0644);
	put_octal(h + 108, 8, 0);
	put_octal(h + 116, 8, 0);
	put_octal(h + 124, 12, size);
	put_octal(h + 136, 12, 1000);
	h[156] = (uint8_t)type;
	memcpy(h + 257,
	       "ustar\0"
	       "00",
	       8);
	image_checksum(h);
	return h;
}

void image_body(struct buf *b, const void *p, size_t n)
{
	static const char zeros[512];

	buf_add(b, p, n);
	buf_add(b, zeros, -n % 512);
}

void image_record(struct buf *rec, const char *key, const void *value, size_t n)
{
	size_t len = strlen(key) + n + 3, total = len + 1;
	char digits[24];

	/* The length counts its own digits. */
	while (total != len + (size_t)snprintf(digits, sizeof(digits), "%zu", total))
		total++;
	buf_printf(rec, "%s %s=", digits, key);
	buf_add(rec, value, n);
	buf_addc(rec, '\n');
}

void image_records(struct buf *b, struct buf *rec)
{
	(void)image_header(b, 'x', "pax", rec->n);
	image_body(b, rec->p, rec->n);
	buf_done(rec);
}

void image_pax(struct buf *b, const char *key, const void *value, size_t n)
{
	struct buf rec;

	buf_init(&rec, MAX);
	image_record(&rec, key, value, n);
	image_records(b, &rec);
}

static char *unescape(char *s)
{
	char *to = s, *from = s;

	for (; *from; from++) {
		unsigned v;

		if (*from == '%' && sscanf(from + 1, "%2x", &v) == 1) {
			*to++ = (char)v;
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
	return s;
}

struct line {
	char type;
	const char *path, *arg, *xattr;
	unsigned mode, uid, gid, major, minor;
	long long mtime;
	bool has_mode;
};

static void parse_line(struct line *l, char *text)
{
	char *save = NULL, *word = strtok_r(text, " ", &save);
	int n = 0;

	memset(l, 0, sizeof(*l));
	l->mtime = 1000;
	l->arg = l->path = "";
	for (; word; word = strtok_r(NULL, " ", &save)) {
		if (n == 0)
			l->type = *word;
		else if (n == 1)
			l->path = unescape(word);
		else if (sscanf(word, "m=%o", &l->mode) == 1)
			l->has_mode = true;
		else if (strncmp(word, "x=", 2) == 0)
			l->xattr = word + 2;
		else if (sscanf(word, "u=%u:%u", &l->uid, &l->gid) != 2 &&
			 sscanf(word, "t=%lld", &l->mtime) != 1)
			l->arg = unescape(word);
		n++;
	}
	(void)sscanf(l->arg, "%u:%u", &l->major, &l->minor);
}

static void put_line(struct buf *b, const struct line *l)
{
	static const char letters[] = "dfshcp", types[] = "502136";
	const char *at = strchr(letters, l->type);
	size_t n = l->type == 'f' ? strlen(l->arg) : 0;
	uint8_t *h;

	if (!at)
		abort();
	if (l->xattr) {
		char key[256];
		const char *colon = strchr(l->xattr, ':');

		(void)snprintf(key, sizeof(key), "SCHILY.xattr.%.*s", (int)(colon - l->xattr),
			       l->xattr);
		image_pax(b, key, colon + 1, strlen(colon + 1));
	}
	h = image_header(b, types[at - letters], l->path, n);
	if (l->has_mode)
		put_octal(h + 100, 8, l->mode);
	put_octal(h + 108, 8, l->uid);
	put_octal(h + 116, 8, l->gid);
	put_octal(h + 136, 12, (uint64_t)l->mtime);
	if (l->type == 's' || l->type == 'h')
		memcpy(h + 157, l->arg, strnlen(l->arg, 100));
	put_octal(h + 329, 8, l->major);
	put_octal(h + 337, 8, l->minor);
	image_checksum(h);
	image_body(b, l->arg, n);
}

void image_tar(struct buf *b, const char *text)
{
	char *copy = strdup(text), *save = NULL, *line;

	for (line = strtok_r(copy, ";\n", &save); line; line = strtok_r(NULL, ";\n", &save)) {
		struct line l;

		parse_line(&l, line);
		if (l.type)
			put_line(b, &l);
	}
	free(copy);
}

void image_layer(struct image *m, const char *text)
{
	static const char end[1024];
	struct buf *b = &m->tar[m->n++];

	buf_init(b, MAX);
	image_tar(b, text);
	buf_add(b, end, sizeof(end));
}

void image_layer_raw(struct image *m, const void *p, size_t n)
{
	struct buf *b = &m->tar[m->n++];

	buf_init(b, MAX);
	buf_add(b, p, n);
}

static int add_entry(void *user, const struct tar_entry *t, struct varve_err *e)
{
	return toc_writer_add(user, t, e);
}

static int make_toc(struct image *m, size_t i, struct varve_err *e)
{
	const struct buf *b = &m->tar[i];
	struct toc_writer *w;
	struct tar_events ev = {.entry = add_entry};
	struct tar *t;
	size_t n;
	int r = toc_writer_new(&w, NULL, e);

	if (r < 0)
		return r;
	ev.user = w;
	r = tar_new(&t, &ev, e);
	/* In odd pieces: windows never fall on blocks. */
	for (size_t at = 0; r == 0 && at < b->n; at += n) {
		n = VARVE_MIN(b->n - at, (size_t)777);
		r = tar_feed(t, b->p + at, n, e);
	}
	if (r == 0)
		r = tar_finish(t, e);
	tar_free(t);
	if (r == 0)
		r = hash_bytes(VARVE_SHA256, b->p, b->n, &m->layers[i].diff_id, e);
	m->layers[i].digest = m->layers[i].diff_id;
	if (r == 0)
		r = toc_writer_finish(w, &m->layers[i].diff_id, b->n, e);
	if (r == 0) {
		m->toc_bytes[i] = toc_writer_take(w, &n);
		r = toc_open_memory(&m->toc[i], m->toc_bytes[i], n, e);
	}
	toc_writer_free(w);
	return r;
}

int image_plan(struct image *m, const struct varve_plan_options *opt, struct varve_err *e)
{
	struct tree *t;
	int r;

	drop_plan(m);
	memset(m->layers, 0, sizeof(m->layers));
	r = tree_new(&t, opt, NULL, e);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < m->n; i++) {
		r = make_toc(m, i, e);
		if (r == 0)
			r = tree_apply(t, m->toc[i], (uint32_t)i, e);
	}
	if (r == 0) {
		m->planned = true;
		r = tree_freeze(t, &m->plan, m->layers, m->n, &m->keep, e);
	}
	tree_free(t);
	return r;
}

static void dump_content(const struct image *m, const struct plan_inode *i, struct buf *out)
{
	const char *body = m->tar[i->layer].p + i->body_off;
	uint64_t at = 0;

	if (i->n_extents == 0) {
		text_escape(out, body, i->body_len);
		return;
	}
	for (uint32_t k = 0; k < i->n_extents; k++) {
		buf_printf(out, "[%llu]", (unsigned long long)(i->extents[k].off - at));
		text_escape(out, body, i->extents[k].n);
		body += i->extents[k].n;
		at = i->extents[k].off + i->extents[k].n;
	}
	buf_printf(out, "[%llu]", (unsigned long long)(i->size - at));
}

static void dump_name(const struct image *m, uint32_t k, bool attributes, struct buf *out)
{
	const struct varve_plan *p = &m->plan;
	const struct plan_inode *i = &p->inodes[p->names[k].inode];
	struct buf path;

	buf_init(&path, MAX);
	(void)plan_path(p, k, &path);
	buf_addc(out, i->first_name != k ? 'h'
		      : S_ISDIR(i->mode) ? 'd'
		      : S_ISREG(i->mode) ? 'f'
		      : S_ISLNK(i->mode) ? 's'
		      : S_ISCHR(i->mode) ? 'c'
		      : S_ISBLK(i->mode) ? 'b'
					 : 'p');
	buf_addc(out, ' ');
	text_escape(out, path.p, path.n);
	if (i->first_name != k) {
		(void)plan_path(p, i->first_name, &path);
		buf_printf(out, " %s", path.p);
	} else if (S_ISREG(i->mode) && i->size > 0) {
		buf_addc(out, ' ');
		dump_content(m, i, out);
	} else if (S_ISLNK(i->mode)) {
		buf_printf(out, " %s", i->target);
	} else if (S_ISCHR(i->mode) || S_ISBLK(i->mode)) {
		buf_printf(out, " %u:%u", i->rdev_major, i->rdev_minor);
	}
	if (attributes && i->first_name == k) {
		buf_printf(out, " m=%o u=%u:%u t=%lld", i->mode & 07777, i->uid, i->gid,
			   (long long)i->mtime);
		if (i->mtime_ns)
			buf_printf(out, ".%09u", i->mtime_ns);
		for (uint32_t x = 0; x < i->n_xattrs; x++) {
			buf_printf(out, " x=%s:", i->xattrs[x].name);
			text_escape(out, i->xattrs[x].value, i->xattrs[x].size);
		}
	}
	buf_addc(out, '\n');
	buf_done(&path);
}

void image_dump(struct image *m, const struct varve_plan_options *opt, bool attributes,
		struct buf *out)
{
	struct varve_err e = VARVE_ERR_INIT;
	int r = image_plan(m, opt, &e);

	buf_reset(out);
	if (r < 0) {
		buf_printf(out, "error %s", r == -ELOOP ? "loop" : varve_code_slug(r));
		return;
	}
	for (uint32_t k = attributes ? 0 : 1; k < m->plan.n_names; k++)
		dump_name(m, k, attributes, out);
}
