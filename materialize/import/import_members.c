/* SPDX-License-Identifier: Apache-2.0 */
/* Named files in a directory or in a seekable tar. */
#include "materialize/import/import_members.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/tar/tar.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"

#define WINDOW      (64u << 10)
#define MEMBERS_MAX 1000000u
#define LINKS_MAX   8u

struct member {
	char *name;
	char *link; /* of a link: the member it names; else NULL */
	uint64_t off, size;
};
struct members {
	char *path;
	int dir;  /* -1: a tar */
	int file; /* of a directory: the last one that was opened */
	struct import_range tar;
	struct member *items; /* sorted by name; of equal ones the last of the tar comes last */
	size_t n, cap;
};

void members_free(struct members *m)
{
	size_t i;

	if (!m)
		return;
	for (i = 0; i < m->n; i++) {
		free(m->items[i].name);
		free(m->items[i].link);
	}
	free(m->items);
	if (m->file >= 0)
		(void)close(m->file);
	free(m->path);
	free(m);
}

static struct members *new_members(const char *path)
{
	struct members *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->dir = m->file = -1;
	m->path = strdup(path);
	if (!m->path) {
		free(m);
		return NULL;
	}
	return m;
}

int members_open_dir(struct members **ret, int dirfd, const char *path, struct varve_err *e)
{
	struct members *m = new_members(path);

	if (!m)
		return varve_fail_oom(e);
	m->dir = dirfd;
	*ret = m;
	return 0;
}

/* "./a//b/../c/" -> "a/c"; false if it climbs out. */
static bool clean(struct buf *out, struct span dir, struct span path)
{
	struct span part;
	bool more = true;
	int pass;

	buf_reset(out);
	for (pass = path.n && path.p[0] == '/' ? 1 : 0; pass < 2; pass++) {
		struct span rest = pass ? path : dir;

		for (more = rest.n > 0; more;) {
			const char *slash;

			more = span_cut(&rest, '/', &part);
			if (!part.n || span_eq(part, "."))
				continue;
			if (!span_eq(part, "..")) {
				buf_printf(out, "%s%.*s", out->n ? "/" : "", (int)part.n, part.p);
				continue;
			}
			if (!out->n)
				return false;
			slash = memrchr(out->p, '/', out->n);
			out->n = slash ? (size_t)(slash - out->p) : 0;
			out->p[out->n] = '\0';
		}
	}
	return !buf_error(out);
}

static struct span dir_of(const char *name)
{
	const char *slash = strrchr(name, '/');

	return span_of(name, slash ? (size_t)(slash - name) : 0);
}

struct indexing {
	struct members *m;
	uint64_t skip_to; /* behind the body of the last entry */
};

static int see_entry(void *user, const struct tar_entry *t, struct varve_err *e)
{
	struct indexing *x = user;
	struct members *m = x->m;
	VARVE_CLEANUP(buf_done) struct buf name = {0};
	VARVE_CLEANUP(buf_done) struct buf link = {0};
	bool is_link = (t->flags & TAR_HARDLINK) || S_ISLNK(t->mode);
	struct member *k;

	x->skip_to = t->body_off + t->body_len;
	if ((!is_link && !S_ISREG(t->mode)) || t->n_extents)
		return 0;
	buf_init(&name, 64u << 10);
	buf_init(&link, 64u << 10);
	if (!clean(&name, span_of("", 0), t->path) || !name.n)
		return 0; /* nothing that a manifest could name */
	/* Of a hard link the target counts from the top, of a symlink from its directory. */
	if (is_link &&
	    !clean(&link, t->flags & TAR_HARDLINK ? span_of("", 0) : dir_of(name.p), t->link))
		return 0;
	if (m->n == MEMBERS_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "more than %u entries", MEMBERS_MAX);
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 64;

		k = reallocarray(m->items, cap, sizeof(*k));
		if (!k)
			return varve_fail_oom(e);
		m->items = k;
		m->cap = cap;
	}
	k = &m->items[m->n++];
	*k = (struct member){.off = m->tar.off + t->body_off, .size = t->body_len};
	k->name = buf_take(&name);
	k->link = is_link ? buf_take(&link) : NULL;
	return k->name && (!is_link || k->link) ? 0 : varve_fail_oom(e);
}

/* Headers are read, bodies are not: the parser only counts them, so anything may stand for them. */
static int scan_headers(struct indexing *x, struct tar *t, struct varve_err *e)
{
	static const char nothing[WINDOW];
	VARVE_FREE char *window = malloc(WINDOW);
	uint64_t pos = 0, end = x->m->tar.size;
	int r = 0;

	if (!window)
		return varve_fail_oom(e);
	while (r == 0 && pos < end) {
		size_t n = (size_t)VARVE_MIN(end - pos, (uint64_t)WINDOW), k;
		ssize_t got = fsx_pread_full(x->m->tar.fd, window, n, x->m->tar.off + pos);

		if (got != (ssize_t)n)
			return varve_fail_errno(e, "read");
		/* Block by block, so that a body is noticed before the window behind it is used. */
		for (k = 0; r == 0 && k < n && x->skip_to <= pos; k += 512) {
			size_t block = VARVE_MIN(n - k, (size_t)512);

			r = tar_feed(t, window + k, block, e);
			pos += block;
		}
		while (r == 0 && pos < x->skip_to) {
			k = (size_t)VARVE_MIN(x->skip_to - pos, (uint64_t)WINDOW);
			if (pos + k > end)
				return varve_fail(e, VARVE_E_FORMAT, "tar: cut off");
			r = tar_feed(t, nothing, k, e);
			pos += k;
		}
	}
	return r == 0 ? tar_finish(t, e) : r;
}

static int by_name(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	return r ? r : (x->off > y->off) - (x->off < y->off);
}

int members_open_tar(struct members **ret, const struct import_range *tar, const char *path,
		     struct varve_err *e)
{
	VARVE_CLEANUP(members_cleanup) struct members *m = new_members(path);
	struct indexing x = {.m = m};
	struct tar_events ev = {see_entry, NULL, NULL, &x};
	struct tar *t = NULL;
	int r;

	if (!m)
		return varve_fail_oom(e);
	m->tar = *tar;
	r = tar_new(&t, &ev, e);
	if (r == 0)
		r = scan_headers(&x, t, e);
	tar_free(t);
	if (r < 0)
		return varve_wrap(e, r, "%s", TEXT_SAFE(path));
	if (m->n)
		qsort(m->items, m->n, sizeof(*m->items), by_name);
	*ret = VARVE_TAKE(m);
	return 0;
}

static const struct member *look_up(const struct members *m, const char *name)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) { /* the last of equal ones */
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(m->items[mid].name, name) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && !strcmp(m->items[lo - 1].name, name) ? &m->items[lo - 1] : NULL;
}

static int find_in_tar(const struct members *m, const char *name, struct import_range *ret)
{
	const struct member *k = look_up(m, name);
	unsigned links;

	for (links = 0; k && k->link && links < LINKS_MAX; links++)
		k = look_up(m, k->link);
	if (!k || k->link)
		return 0;
	*ret = (struct import_range){m->tar.fd, k->off, k->size, 0};
	return 1;
}

/*
 * Nothing outside of the directory is read: whoever made it could name any file of the machine. A
 * link that leads nowhere within it is no file that is missing.
 */
static int not_inside(const struct members *m, const char *name, struct varve_err *e)
{
	VARVE_CLOSE int dir = fsx_open_in_root(m->dir, ".", O_PATH | O_CLOEXEC, 0);
	char path[4096], target[512];
	const char *from = name, *end;

	for (; dir >= 0; from = end + 1) {
		int next;
		ssize_t n;

		end = strchrnul(from, '/');
		(void)snprintf(path, sizeof(path), "%.*s", (int)(end - name), name);
		next = fsx_open_in_root(m->dir, path, O_PATH | O_CLOEXEC, 0);
		if (next < 0) {
			(void)snprintf(path, sizeof(path), "%.*s", (int)(end - from), from);
			n = readlinkat(dir, path, target, sizeof(target) - 1);
			if (n < 0)
				return 0;
			target[n] = '\0';
			return varve_fail(e, VARVE_E_UNSAFE,
					  "%s/%.*s: is a symbolic link to %s, which is not in the "
					  "directory, and is not followed; copy it with what its "
					  "links mean: cp -rL DIR NEW",
					  TEXT_SAFE(m->path), (int)(end - name), name,
					  TEXT_SAFE(target));
		}
		(void)close(dir);
		dir = next;
		if (!*end)
			break;
	}
	return 0;
}

static int find_in_dir(struct members *m, const char *name, struct import_range *ret,
		       struct varve_err *e)
{
	struct stat st;

	if (m->file >= 0)
		(void)close(VARVE_TAKE_FD(m->file));
	m->file = fsx_open_in_root(m->dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (m->file < 0 && (errno == ENOENT || errno == ENOTDIR))
		return not_inside(m, name, e);
	if (m->file < 0 || fstat(m->file, &st) < 0)
		return varve_fail_errno(e, "%s/%s", TEXT_SAFE(m->path), TEXT_SAFE(name));
	if (!S_ISREG(st.st_mode))
		return varve_fail(e, VARVE_E_FORMAT, "%s/%s: is no regular file",
				  TEXT_SAFE(m->path), TEXT_SAFE(name));
	*ret = (struct import_range){m->file, 0, (uint64_t)st.st_size, (uint64_t)st.st_ino};
	return 1;
}

int members_find(struct members *m, const char *name, struct import_range *ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, 64u << 10);
	if (!clean(&b, span_of("", 0), span_str(name)))
		return buf_error(&b) ? buf_fail(&b, e, "%s: a name is too long", TEXT_SAFE(m->path))
				     : varve_fail(e, VARVE_E_UNSAFE,
						  "%s: the name \"%s\" leaves the archive",
						  TEXT_SAFE(m->path), TEXT_SAFE(name));
	return m->dir >= 0 ? find_in_dir(m, b.p, ret, e) : find_in_tar(m, b.p, ret);
}

int members_read(struct members *m, const char *name, struct buf *b, struct varve_err *e)
{
	struct import_range range;
	int r = members_find(m, name, &range, e);
	char *room;

	if (r <= 0)
		return r;
	buf_reset(b);
	if (range.size > b->max)
		return varve_fail(e, VARVE_E_LIMIT, "%s: %s is larger than %zu bytes",
				  TEXT_SAFE(m->path), TEXT_SAFE(name), b->max);
	room = buf_room(b, (size_t)range.size);
	if (!room)
		return varve_fail_oom(e);
	if (fsx_pread_full(range.fd, room, (size_t)range.size, range.off) != (ssize_t)range.size)
		return varve_fail_errno(e, "%s: %s", TEXT_SAFE(m->path), TEXT_SAFE(name));
	b->n += (size_t)range.size;
	b->p[b->n] = '\0';
	return 1;
}

const char *members_ending(const struct members *m, const char *end)
{
	size_t n = strlen(end);

	for (size_t i = 0; i < m->n; i++) {
		size_t len = strlen(m->items[i].name);

		if (len > n && !strcmp(m->items[i].name + len - n, end))
			return m->items[i].name;
	}
	return NULL;
}

bool members_all(const struct members *m, bool (*like)(const char *name))
{
	for (size_t i = 0; i < m->n; i++)
		if (!like(m->items[i].name))
			return false;
	return m->n > 0;
}
