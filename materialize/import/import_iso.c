/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Find the squashfs images in an ISO 9660 file. Only directories are read (ECMA-119, and the names
 * of Rock Ridge): nothing else of the format is needed, and nothing of it is unpacked.
 */
#include "materialize/codec/inflate.h"
#include "materialize/import/import.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "materialize/layer/squashfs.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define SECTOR      2048u
#define VOLUME      16u /* first volume descriptor */
#define VOLUMES_MAX 64u
#define DIR_MAX     (16u << 20)
#define DIRS_MAX    65536u
#define ENTRIES_MAX 1000000u
#define DEPTH_MAX   64u
#define FOUND_MAX   1000u
#define NAMES_MAX   20u

struct found {
	char *path;
	uint64_t off, size;
};
struct iso {
	struct import *im;
	int fd;
	uint64_t size;
	struct buf path;
	unsigned dirs, entries, files;
	uint64_t dir_bytes; /* read so far: none is read twice, so never more than there are */
	struct buf names;   /* of the first files, for who finds no squashfs */
	struct found *items;
	size_t n;
};
/* A directory record. */
struct record {
	char name[256];
	uint64_t off, size;
	bool dir, more; /* more: the file goes on in the next record */
};

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool iso_looks_like(int fd)
{
	uint8_t b[6];

	return fsx_pread_full(fd, b, sizeof(b), VOLUME * SECTOR) == sizeof(b) &&
	       !memcmp(b + 1, "CD001", 5);
}

static int damaged(const struct iso *iso, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_FORMAT, "%s: ISO image: damaged or cut off",
			  TEXT_SAFE(iso->im->path));
}

/* NM entries of the system use area hold the true name (RRIP 4.1.4). */
static void rock_ridge_name(const uint8_t *p, size_t n, char out[256])
{
	size_t used = 0;

	while (n >= 5 && p[2] >= 4 && p[2] <= n) {
		size_t len = p[2];

		if (p[0] == 'N' && p[1] == 'M' && !(p[4] & 6) && used + len - 5 < 256) {
			memcpy(out + used, p + 5, len - 5);
			used += len - 5;
			out[used] = '\0';
		}
		p += len;
		n -= len;
	}
}

/* "NAME.EXT;1" -> "name.ext" */
static void plain_name(const uint8_t *p, size_t n, char out[256])
{
	size_t i;

	for (i = 0; i < n && p[i] != ';'; i++)
		out[i] = (char)tolower(p[i]);
	while (i && out[i - 1] == '.')
		i--;
	out[i] = '\0';
}

/* One record at p of at most n bytes. Its length, 0 at the end of the sector, <0 damaged. */
static int parse_record(const uint8_t *p, size_t n, struct record *ret)
{
	size_t len = p[0], name, use;

	if (len == 0)
		return 0;
	if (len < 34 || len > n)
		return -1;
	name = p[32];
	if (name == 0 || 33 + name > len)
		return -1;
	*ret = (struct record){.off = (uint64_t)le32(p + 2) * SECTOR,
			       .size = le32(p + 10),
			       .dir = p[25] & 2,
			       .more = p[25] & 0x80};
	if (name == 1 && p[33] <= 1)
		return (int)len; /* itself or its parent: no name */
	plain_name(p + 33, name, ret->name);
	use = 33 + name + (name % 2 ? 0 : 1);
	if (use < len)
		rock_ridge_name(p + use, len - use, ret->name);
	return (int)len;
}

static int add_found(struct iso *iso, uint64_t off, uint64_t size, struct varve_err *e)
{
	struct found *more;

	if (iso->n == FOUND_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "%s: more than %u squashfs images",
				  TEXT_SAFE(iso->im->path), FOUND_MAX);
	more = reallocarray(iso->items, iso->n + 1, sizeof(*more));
	if (!more)
		return varve_fail_oom(e);
	iso->items = more;
	more[iso->n] = (struct found){strdup(iso->path.p), off, size};
	if (!more[iso->n].path)
		return varve_fail_oom(e);
	iso->n++;
	return 0;
}

static int see_file(struct iso *iso, uint64_t off, uint64_t size, struct varve_err *e)
{
	char magic[4];

	if (++iso->files <= NAMES_MAX)
		buf_printf(&iso->names, "%s%s (%s)", iso->names.n ? ", " : "",
			   TEXT_SAFE(iso->path.p), TEXT_SIZE(size));
	if (off > iso->size || size > iso->size - off)
		return varve_fail(e, VARVE_E_FORMAT, "%s: cut off: %s is not all there",
				  TEXT_SAFE(iso->im->path), TEXT_SAFE(iso->path.p));
	if (size < 96 || fsx_pread_full(iso->fd, magic, 4, off) != 4 ||
	    memcmp(magic, SQUASHFS_MAGIC, 4) != 0)
		return 0;
	return add_found(iso, off, size, e);
}

static int see_dir(struct iso *iso, uint64_t off, uint64_t size, unsigned depth,
		   struct varve_err *e);

/* A file of several records (over 4 GiB) must lie in one piece. */
static int see_record(struct iso *iso, const struct record *rec, struct record *whole,
		      unsigned depth, struct varve_err *e)
{
	size_t len = iso->path.n;
	int r = 0;

	if (++iso->entries > ENTRIES_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "%s: more than %u entries",
				  TEXT_SAFE(iso->im->path), ENTRIES_MAX);
	if (!whole->name[0])
		*whole = *rec;
	else if (whole->off + whole->size == rec->off && !rec->dir)
		whole->size += rec->size;
	else
		return varve_fail(e, VARVE_E_UNSUPPORTED, "%s: %s lies in several pieces",
				  TEXT_SAFE(iso->im->path), TEXT_SAFE(rec->name));
	if (rec->more)
		return 0;
	if (strchr(whole->name, '/'))
		return damaged(iso, e);
	buf_printf(&iso->path, "%s%s", len ? "/" : "", whole->name);
	if (buf_error(&iso->path))
		return varve_fail_oom(e);
	r = whole->dir ? see_dir(iso, whole->off, whole->size, depth + 1, e)
		       : see_file(iso, whole->off, whole->size, e);
	iso->path.n = len;
	iso->path.p[len] = '\0';
	whole->name[0] = '\0';
	return r;
}

static int see_dir(struct iso *iso, uint64_t off, uint64_t size, unsigned depth,
		   struct varve_err *e)
{
	VARVE_FREE uint8_t *dir = NULL;
	struct record whole = {0};
	uint64_t at = 0;
	int r = ctx_check(iso->im->ctx, e);

	if (r < 0)
		return r;
	/* Loops end here: a directory inside itself is met again one level deeper. */
	iso->dir_bytes += size;
	if (depth > DEPTH_MAX || ++iso->dirs > DIRS_MAX || size > DIR_MAX || size % SECTOR ||
	    iso->dir_bytes > iso->size)
		return damaged(iso, e);
	dir = malloc(size + 1);
	if (!dir)
		return varve_fail_oom(e);
	if (fsx_pread_full(iso->fd, dir, (size_t)size, off) != (ssize_t)size)
		return damaged(iso, e);
	while (at < size) {
		struct record rec;
		size_t left = (size_t)(SECTOR - at % SECTOR); /* records do not cross sectors */
		int len = parse_record(dir + at, left, &rec);

		if (len < 0)
			return damaged(iso, e);
		if (len > 0 && rec.name[0]) {
			r = see_record(iso, &rec, &whole, depth, e);
			if (r < 0)
				return r;
		}
		at += len ? (size_t)len : left;
	}
	return 0;
}

static int scan(struct iso *iso, struct varve_err *e)
{
	uint8_t v[SECTOR];
	unsigned i;

	for (i = 0; i < VOLUMES_MAX; i++) {
		if (fsx_pread_full(iso->fd, v, SECTOR, (uint64_t)(VOLUME + i) * SECTOR) != SECTOR ||
		    memcmp(v + 1, "CD001", 5) != 0 || v[0] == 255)
			break;
		if (v[0] == 1) /* primary */
			return see_dir(iso, (uint64_t)le32(v + 156 + 2) * SECTOR,
				       le32(v + 156 + 10), 0, e);
	}
	return damaged(iso, e);
}

/* Where distributions keep their root file system. */
static bool is_known_place(const char *path)
{
	static const char *const places[] = {
		"liveos/squashfs.img",        "live/filesystem.squashfs",
		"casper/filesystem.squashfs", "arch/x86_64/airootfs.sfs",
		"arch/aarch64/airootfs.sfs",
	};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(places); i++)
		if (!strcasecmp(path, places[i]))
			return true;
	return false;
}

static int fail_choice(const struct iso *iso, int code, const char *what, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	size_t i;

	buf_init(&b, 1200);
	for (i = 0; i < iso->n; i++)
		buf_printf(&b, "%s%s (%s)", i ? ", " : "", TEXT_SAFE(iso->items[i].path),
			   TEXT_SIZE(iso->items[i].size));
	return varve_fail(e, code, "%s: %s; it holds: %s", TEXT_SAFE(iso->im->path), what, b.p);
}

/* The one that was asked for, or the only one, or the only one in a known place. */
static int choose(const struct iso *iso, const struct found **ret, struct varve_err *e)
{
	const char *select = iso->im->opt->select;
	size_t i, known = 0;

	*ret = NULL;
	if (!iso->n)
		return varve_fail(
			e, VARVE_E_NOTFOUND,
			"%s: an ISO image that holds no squashfs; it holds %u files%s%s%s; if its "
			"files are the tree, mount it (mount -o loop,ro FILE DIR) and import a tar "
			"of DIR",
			TEXT_SAFE(iso->im->path), iso->files, iso->files ? ": " : "",
			iso->names.n ? iso->names.p : "",
			iso->files > NAMES_MAX ? ", and others" : "");
	while (select && *select == '/')
		select++;
	for (i = 0; i < iso->n; i++) {
		if (select ? !strcasecmp(iso->items[i].path, select)
			   : is_known_place(iso->items[i].path)) {
			*ret = &iso->items[i];
			known++;
		}
	}
	if (select && !*ret)
		return fail_choice(iso, VARVE_E_NOTFOUND, "no squashfs of that path", e);
	if (!select && iso->n == 1)
		*ret = &iso->items[0];
	else if (!select && known != 1)
		return fail_choice(iso, VARVE_E_USAGE, "choose one with --path", e);
	return 0;
}

int import_iso(struct import *im, int fd, uint64_t size, struct varve_err *e)
{
	struct iso iso = {.im = im, .fd = fd, .size = size};
	const struct found *f;
	size_t i;
	int r;

	buf_init(&iso.path, 64u << 10);
	buf_init(&iso.names, 1200);
	r = scan(&iso, e);
	if (r == 0)
		r = choose(&iso, &f, e);
	if (r == 0)
		r = import_rootfs(im, &(struct import_range){fd, f->off, f->size, 0}, "iso",
				  f->path, e);
	for (i = 0; i < iso.n; i++)
		free(iso.items[i].path);
	free(iso.items);
	buf_done(&iso.path);
	buf_done(&iso.names);
	return r;
}
