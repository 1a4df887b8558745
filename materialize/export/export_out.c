/* SPDX-License-Identifier: Apache-2.0 */
/* Where an export goes: a stream, a node that is there, a directory, or a file that is put in place
 * when it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "materialize/export/export.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"

static int write_archive(struct export *x, struct sink *out, struct varve_err *e)
{
	struct tar_out tar;
	struct layout_out o = {.x = x, .dir = -1, .tar = &tar};
	int r;

	if (export_is_tree(x->ret->format))
		return export_image_tar(x, out, e);
	tar_out_init(&tar, out);
	r = x->ret->format == VARVE_EXPORT_DOCKER ? export_docker(&o, e) : export_layout(&o, e);
	if (r == 0)
		r = tar_out_end(&tar, e);
	layout_out_done(&o);
	tar_out_done(&tar);
	return r;
}

static int write_stream(struct export *x, int fd, struct varve_err *e)
{
	struct sink *out = NULL;
	int r;

	if (x->ret->format == VARVE_EXPORT_SQUASHFS)
		return export_image_squashfs(x, fd, e);
	r = sink_fd_new(&out, fd, x->name, x->ctx, e);
	if (r == 0)
		r = write_archive(x, out, e);
	if (r == 0)
		r = sink_finish(out, e);
	if (out)
		x->ret->bytes = sink_fd_bytes(out);
	sink_free(out);
	return r;
}

static int copy_out(struct export *x, int from, int to, struct varve_err *e)
{
	VARVE_FREE char *chunk = malloc(1u << 20);
	uint64_t at = 0;
	ssize_t n;

	if (!chunk)
		return varve_fail_oom(e);
	while ((n = fsx_pread_full(from, chunk, 1u << 20, at)) > 0) {
		if (fsx_write_stream(to, chunk, (size_t)n, x->ctx) < 0)
			return varve_fail_errno(e, "%s", TEXT_SAFE(x->name));
		at += (uint64_t)n;
	}
	return n < 0 ? varve_fail_errno(e, "%s: temporary file", x->spool_dir) : 0;
}

/* squashfs goes back in what it writes, so a stream gets a copy. */
static int to_fd(struct export *x, int fd, struct varve_err *e)
{
	VARVE_CLOSE int tmp = -1;
	int r;

	if (x->ret->format == VARVE_EXPORT_OCI_DIR)
		return varve_fail(
			e, VARVE_E_USAGE,
			"the form oci is a directory; oci-tar can be written to a stream");
	if (x->ret->format != VARVE_EXPORT_SQUASHFS)
		return write_stream(x, fd, e);
	tmp = fsx_open_unnamed(x->spool_dir);
	if (tmp < 0)
		return varve_fail_errno(e, "%s: temporary file", TEXT_SAFE(x->spool_dir));
	r = export_image_squashfs(x, tmp, e);
	return r == 0 ? copy_out(x, tmp, fd, e) : r;
}

/* The node stays what it is: opened, never made or replaced. */
static int to_node(struct export *x, struct varve_err *e)
{
	const struct timespec step = {.tv_nsec = 20000000};
	VARVE_CLOSE int fd = -1;
	int r;

	/* A FIFO that nobody reads yet is waited for. */
	while ((fd = open(x->name, O_WRONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)) < 0 &&
	       errno == ENXIO && !ctx_cancelled(x->ctx))
		(void)nanosleep(&step, NULL);
	if (fd < 0 && ctx_cancelled(x->ctx))
		return ctx_check(x->ctx, e);
	if (fd < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(x->name));
	r = to_fd(x, fd, e);
	/* A disk can be synced, a pipe cannot. */
	if (r == 0 && fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
		r = varve_fail_errno(e, "%s", TEXT_SAFE(x->name));
	return r;
}

static int to_directory(struct export *x, struct varve_err *e)
{
	struct layout_out o = {.x = x};
	VARVE_CLOSE int dir = -1;
	int r = fsx_make_path(x->name, 0755, e);

	if (r < 0)
		return r;
	dir = open(x->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(x->name));
	o.dir = dir;
	r = export_layout(&o, e);
	layout_out_done(&o);
	return r;
}

/* A file appears whole or not at all. */
static int to_file(struct export *x, struct varve_err *e)
{
	VARVE_FREE char *tmp = NULL;
	VARVE_CLOSE int fd = -1;
	char random[17];
	int r;

	fsx_random_name(random);
	if (asprintf(&tmp, "%s.%s.part", x->file, random) < 0) {
		tmp = NULL;
		return varve_fail_oom(e);
	}
	fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(tmp));
	r = write_stream(x, fd, e);
	if (r == 0 && (fsync(fd) < 0 || rename(tmp, x->file) < 0))
		r = varve_fail_errno(e, "%s", TEXT_SAFE(x->file));
	if (r < 0)
		(void)unlink(tmp);
	return r;
}

int export_write(struct export *x, struct varve_err *e)
{
	if (x->opt->fd >= 0)
		return to_fd(x, x->opt->fd, e);
	if (!x->file)
		return to_node(x, e);
	if (x->ret->format == VARVE_EXPORT_OCI_DIR)
		return to_directory(x, e);
	return x->directory ? varve_fail(e, EISDIR, "%s: is a directory", TEXT_SAFE(x->name))
			    : to_file(x, e);
}

static char *parent_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash ? strndup(file, slash == file ? 1 : (size_t)(slash - file)) : strdup(".");
}

int export_target(struct export *x, struct varve_err *e)
{
	const char *env = getenv("TMPDIR");
	bool link = false, there = false;
	struct stat st;

	if (x->opt->fd < 0) {
		link = lstat(x->name, &st) == 0 && S_ISLNK(st.st_mode);
		there = stat(x->name, &st) == 0;
		x->directory = there && S_ISDIR(st.st_mode);
		if (link && !there)
			return varve_fail(e, VARVE_E_NOTFOUND,
					  "%s: is a symlink to what does not exist; remove it or "
					  "name its target",
					  TEXT_SAFE(x->name));
		/* A link goes on leading to the file, which is replaced. */
		if (link && S_ISREG(st.st_mode))
			x->file = realpath(x->name, NULL);
		else if (!there || S_ISREG(st.st_mode) || x->directory) {
			x->file = strdup(x->name);
			if (!x->file)
				return varve_fail_oom(e);
		}
	}
	if (x->file)
		x->spool_dir = parent_of(x->file);
	else
		x->spool_dir = strdup(env && *env == '/' ? env : "/var/tmp");
	return x->spool_dir ? 0 : varve_fail_oom(e);
}

void export_target_done(struct export *x)
{
	free(x->file);
	free(x->spool_dir);
}
