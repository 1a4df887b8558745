/* SPDX-License-Identifier: Apache-2.0 */
/* Import: look what the file is, and hand it to the reader of that kind. */
#include "materialize/import/import.h"
#include "materialize/confine/cage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "materialize/codec/inflate.h"
#include "materialize/import/import_members.h"
#include "materialize/layer/squashfs.h"
#include "materialize/layer/toc.h"
#include "materialize/tar/tar.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/care/discard.h"
#include "store/handle.h"
#include "store/mirror.h"

#define SNIFF_ENTRIES 32u
#define TREE_BY_TAR   "tar --numeric-owner --xattrs -C DIR -cf - . | varve import - NAME"
#define SNIFF_BYTES   (4u << 20)
#define CHUNK         (1u << 20)

/* --- is it a rootfs, or an archive of images? --- */

/* A source of bytes for inflate: a file from its start. */
struct reader {
	int fd;
	uint64_t at;
	char *window;
};

static int reader_next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct reader *rd = user;
	ssize_t n = fsx_pread_full(rd->fd, rd->window, CHUNK, rd->at);

	if (n < 0)
		return varve_fail_errno(e, "read");
	rd->at += (uint64_t)n;
	*ret = rd->window;
	*ret_n = (size_t)n;
	return 0;
}

struct sniff {
	unsigned entries;
	bool images; /* names that only archives of images have */
};

static bool is_hex64(struct span s)
{
	size_t n = 0;

	while (n < s.n && n < 64 && strchr("0123456789abcdef", s.p[n]))
		n++;
	return n == 64 && (s.n == 64 || s.p[64] == '.' || s.p[64] == '/');
}

/* One that was packed from its parent folder. */
static bool is_layout_in_folder(struct span s)
{
	struct span folder;

	return span_cut(&s, '/', &folder) &&
	       (span_eq(s, "oci-layout") || span_starts(s, "blobs/sha256"));
}

static int sniff_entry(void *user, const struct tar_entry *t, struct varve_err *e)
{
	struct sniff *f = user;
	struct span s = t->path;

	(void)e;
	while (s.n && (s.p[0] == '/' || (s.p[0] == '.' && (s.n == 1 || s.p[1] == '/'))))
		s = span_of(s.p + 1, s.n - 1);
	f->images = f->images || span_eq(s, "oci-layout") || span_eq(s, "index.json") ||
		    span_eq(s, "manifest.json") || span_eq(s, "repositories") ||
		    span_eq(s, "blobs") || span_starts(s, "blobs/") || span_starts(s, "sha256:") ||
		    is_hex64(s) || is_layout_in_folder(s);
	return ++f->entries == SNIFF_ENTRIES || f->images ? -1 : 0; /* enough was seen */
}

/* Look at the first entries. Whatever is wrong is said later, by who reads all of it. */
static bool sniff_images(int fd, enum varve_compression *ret)
{
	struct sniff f = {0};
	struct tar_events ev = {sniff_entry, NULL, NULL, &f};
	struct reader rd = {.fd = fd, .window = malloc(CHUNK)};
	struct inflate_source src = {reader_next, &rd, -1};
	struct inflate *z = NULL;
	struct tar *t = NULL;
	const void *p;
	size_t n;

	*ret = VARVE_COMP_NONE;
	if (rd.window && inflate_new(&z, &src, 0, 0, NULL) == 0 && tar_new(&t, &ev, NULL) == 0) {
		*ret = inflate_kind(z);
		while (*ret != VARVE_COMP_SQUASHFS && inflate_out(z) < SNIFF_BYTES &&
		       inflate_next(z, CHUNK, &p, &n, NULL) == 0 && n > 0)
			if (tar_feed(t, p, n, NULL) < 0)
				break;
	}
	tar_free(t);
	inflate_free(z);
	free(rd.window);
	return f.images;
}

/* --- unnamed files for what can only be read once --- */

static int copy_stream(struct import *im, int in, int out, uint64_t *ret_size, struct varve_err *e)
{
	VARVE_FREE char *chunk = malloc(CHUNK);
	uint64_t at = 0;

	if (!chunk)
		return varve_fail_oom(e);
	for (;;) {
		ssize_t n = fsx_read_stream(in, chunk, CHUNK, im->ctx);

		if (n < 0)
			return varve_fail_errno(e, "%s", TEXT_SAFE(im->path));
		if (n == 0)
			break;
		if (fsx_pwrite_all(out, chunk, (size_t)n, at) < 0)
			return varve_fail_errno(e, "temporary file in %s", varve_store_path(im->s));
		at += (uint64_t)n;
	}
	*ret_size = at;
	return 0;
}

static int unpack_to(struct import *im, int in, int out, uint64_t *ret_size, struct varve_err *e)
{
	struct reader rd = {.fd = in, .window = malloc(CHUNK)};
	struct inflate_source src = {reader_next, &rd, -1};
	struct varve_limits lim = limits_or(im->opt->limits, store_limits(im->s));
	struct inflate *z = NULL;
	uint64_t at = 0;
	int r = rd.window ? inflate_new(&z, &src, lim.max_layer_bytes, lim.max_ratio, e)
			  : varve_fail_oom(e);

	while (r == 0) {
		const void *p;
		size_t n;

		r = ctx_check(im->ctx, e);
		if (r == 0)
			r = inflate_next(z, CHUNK, &p, &n, e);
		if (r < 0 || n == 0)
			break;
		if (fsx_pwrite_all(out, p, n, at) < 0)
			r = varve_fail_errno(e, "temporary file in %s", varve_store_path(im->s));
		at += n;
	}
	inflate_free(z);
	free(rd.window);
	*ret_size = at;
	return r;
}

/* --- by kind --- */

/* 1: neither form of an archive of images. */
static int import_members(struct import *im, struct members *m, struct varve_err *e)
{
	enum varve_import_type type = im->opt->type;
	struct varve_err why = VARVE_ERR_INIT;
	enum import_kind kind;
	bool docker;
	char text[400];
	int r;

	if (type == VARVE_IMPORT_DOCKER_ARCHIVE)
		return import_docker(im, m, e);
	if (type == VARVE_IMPORT_OCI)
		return import_layout(im, m, e);
	r = import_kind(im, m, &kind, &docker, e);
	if (r < 0 || kind == IMPORT_NO_IMAGES)
		return r < 0 ? r : 1;
	if (kind == IMPORT_DOCKER)
		return import_docker(im, m, e);
	r = import_layout(im, m, docker ? &why : e);
	if (r >= 0 || !docker)
		return r;
	if (r == -VARVE_E_FORMAT) {
		/* Some versions of docker save write an index that says nothing; what docker load
		 * reads is right. */
		log_warn(im->ctx, "import", "%s; manifest.json beside it is taken instead",
			 varve_err_text(&why, text, sizeof(text)));
		return import_docker(im, m, e);
	}
	if (e)
		*e = why;
	return r;
}

static bool wants_images(const struct import *im)
{
	return im->opt->type == VARVE_IMPORT_OCI || im->opt->type == VARVE_IMPORT_DOCKER_ARCHIVE;
}

static int import_directory(struct import *im, int fd, struct varve_err *e)
{
	VARVE_CLEANUP(members_cleanup) struct members *m = NULL;
	int r = im->opt->type == VARVE_IMPORT_AUTO || wants_images(im)
			? members_open_dir(&m, fd, im->path, e)
			: varve_fail(e, VARVE_E_USAGE,
				     "%s: is a directory, which can only be of the type oci or "
				     "docker-archive; "
				     "a tree comes by " TREE_BY_TAR,
				     TEXT_SAFE(im->path));

	if (r == 0)
		r = import_members(im, m, e);
	return r == 1 ? varve_fail(e, VARVE_E_FORMAT,
				   "%s: a directory that is neither an OCI layout (oci-layout, "
				   "index.json) nor an unpacked docker-archive (manifest.json); if "
				   "it is a tree: " TREE_BY_TAR,
				   TEXT_SAFE(im->path))
		      : r;
}

static int import_archive(struct import *im, int fd, uint64_t size, enum varve_compression comp,
			  struct varve_err *e)
{
	VARVE_CLEANUP(members_cleanup) struct members *m = NULL;
	struct import_range tar = {fd, 0, size};
	VARVE_CLOSE int unpacked = -1;
	int r = 0;

	/* Its members are wanted in another order than they come in. */
	if (comp != VARVE_COMP_NONE) {
		unpacked = import_scratch(im, e);
		r = unpacked < 0 ? unpacked : unpack_to(im, fd, unpacked, &tar.size, e);
		tar.fd = unpacked;
	}
	if (r == 0)
		r = members_open_tar(&m, &tar, im->path, e);
	return r == 0 ? import_members(im, m, e) : r;
}

static int check_type(const struct import *im, int fd, struct varve_err *e)
{
	char magic[4] = {0};

	(void)fsx_pread_full(fd, magic, sizeof(magic), 0);
	if (im->opt->type == VARVE_IMPORT_SQUASHFS && memcmp(magic, SQUASHFS_MAGIC, 4) != 0)
		return varve_fail(e, VARVE_E_FORMAT, "%s: is no squashfs", TEXT_SAFE(im->path));
	if (im->opt->type == VARVE_IMPORT_ISO && !iso_looks_like(fd))
		return varve_fail(e, VARVE_E_FORMAT, "%s: is no ISO image", TEXT_SAFE(im->path));
	return 0;
}

static int import_file(struct import *im, int fd, uint64_t size, struct varve_err *e)
{
	enum varve_compression comp;
	int r;

	if (!size)
		return varve_fail(e, VARVE_E_FORMAT, "%s: is empty", TEXT_SAFE(im->path));
	r = check_type(im, fd, e);
	if (r < 0)
		return r;
	if (im->opt->type == VARVE_IMPORT_ISO ||
	    (im->opt->type == VARVE_IMPORT_AUTO && iso_looks_like(fd)))
		return import_iso(im, fd, size, e);
	r = import_refuse_known(im, fd, e);
	if (r < 0)
		return r;
	r = 1;
	if (sniff_images(fd, &comp) ? im->opt->type != VARVE_IMPORT_ROOTFS : wants_images(im))
		r = import_archive(im, fd, size, comp, e);
	return r == 1 ? import_rootfs(im, &(struct import_range){fd, 0, size, 0}, "tar", NULL, e)
		      : r;
}

static int import_fd(struct import *im, int fd, struct varve_err *e)
{
	VARVE_CLOSE int copy = -1;
	struct stat st;
	uint64_t size = 0;
	int r;

	if (fstat(fd, &st) < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(im->path));
	if (S_ISDIR(st.st_mode))
		return import_directory(im, fd, e);
	if (S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0)
		return import_file(im, fd, (uint64_t)st.st_size, e);
	copy = import_scratch(im, e);
	r = copy < 0 ? copy : copy_stream(im, fd, copy, &size, e);
	return r == 0 ? import_file(im, copy, size, e) : r;
}

struct caged {
	struct import *im;
	int fd;
	struct varve_err *e;
};

static int import_caged(void *arg)
{
	struct caged *c = arg;

	return import_fd(c->im, c->fd, c->e);
}

static int set_origin(struct import *im, struct varve_err *e)
{
	VARVE_FREE char *real = realpath(im->path, NULL);

	if (asprintf(&im->origin, "file:%s", real ? real : im->path) < 0) {
		im->origin = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

int varve_import(struct varve_store *s, const char *path, int fd,
		 const struct varve_import_options *opt, struct varve_err *e)
{
	struct varve_import_options own;
	struct varve_limits limits;
	struct import im = {.s = s, .ctx = store_ctx(s), .opt = &own, .path = path};
	VARVE_CLOSE int opened = -1;
	int r = OPTIONS_COPY(&own, opt, user, e);

	if (r == 0 && own.limits) {
		r = OPTIONS_COPY(&limits, own.limits, max_link_work, e);
		own.limits = &limits;
	}
	if (r < 0)
		return r;
	opt = &own;
	if (varve_store_is_read_only(s))
		return varve_fail(e, VARVE_E_READONLY, "%s: the store is read-only",
				  varve_store_path(s));
	if (opt->platform)
		im.platform = *opt->platform;
	else
		varve_platform_host(&im.platform);
	if (fd < 0) {
		/* A FIFO is waited for where it is read. */
		opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (opened < 0 && errno == ENOENT)
			return varve_fail(e, VARVE_E_NOTFOUND, "%s: no such file or directory",
					  TEXT_SAFE(path));
		if (opened < 0)
			return varve_fail_errno(e, "%s", TEXT_SAFE(path));
		fd = opened;
	}
	r = set_origin(&im, e);
	if (r == 0)
		r = lease_begin(&im.lease, s, "import", e);
	if (r == 0)
		/* Of a file from anywhere, nothing can be written but the store. */
		r = cage_run(&(struct cage){.ctx = im.ctx, .dirs = {varve_store_path(s)}},
			     import_caged, &(struct caged){&im, fd, e}, e);
	/* Images that came before one that failed have their names. */
	if (r == 0)
		r = mirror_update(s, MIRROR_IF_BEHIND, e);
	else
		mirror_catch_up(s);
	lease_end(im.lease);
	free(im.origin);
	if (r < 0)
		store_discard_published(s);
	return r;
}
