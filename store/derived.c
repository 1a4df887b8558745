/* SPDX-License-Identifier: Apache-2.0 */
/* Derived data of layers, by diffID: written aside, published by rename, lost without harm. */
#include "store/derived.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/store.h"
#include "store/trust.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/* On a read-only store derived data lives as long as the handle, in memory. */
struct aux_memory {
	struct aux_memory *next;
	struct varve_digest diff_id;
	char kind[16];
	int fd;
};

static int memory_open(struct varve_store *s, const char *kind, const struct varve_digest *diff_id)
{
	const struct aux_memory *m;
	char path[32];
	int fd = -1;

	(void)pthread_mutex_lock(&s->mutex);
	for (m = s->aux_memory; m && fd < 0; m = m->next) {
		if (strcmp(m->kind, kind) != 0 || !varve_digest_equal(&m->diff_id, diff_id))
			continue;
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
		fd = open(path, O_RDONLY | O_CLOEXEC); /* a file offset of its own */
	}
	(void)pthread_mutex_unlock(&s->mutex);
	return fd;
}

void aux_memory_free(struct varve_store *s)
{
	while (s->aux_memory) {
		struct aux_memory *next = s->aux_memory->next;

		(void)close(s->aux_memory->fd);
		free(s->aux_memory);
		s->aux_memory = next;
	}
}

/*
 * Nothing proves derived data but who wrote it: its checksums are for accidents. What another user
 * could have written, or could change while it is read or mapped, is not there; it is made anew.
 */
static int open_stored(const struct varve_store *s, const char *path)
{
	struct stat st;
	VARVE_CLOSE int fd = -1;

	errno = ENOENT;
	if (s->foreign)
		return -1;
	fd = fsx_open_plain(s->root, path, O_RDONLY, 0, &st);
	if (fd < 0 && errno != EMEDIUMTYPE)
		return -1;
	if (fd < 0 || !trust_stat(s, &st)) {
		errno = ENOENT;
		return -1;
	}
	return VARVE_TAKE_FD(fd);
}

int aux_open(struct varve_store *s, const char *kind, const struct varve_digest *diff_id,
	     int *ret_fd, struct varve_err *e)
{
	char path[LAYOUT_PATH_MAX];
	size_t i;
	int fd = memory_open(s, kind, diff_id);

	if (fd < 0)
		fd = open_stored(s, layout_aux(kind, diff_id, path));
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (errno != ENOENT)
		return varve_fail_errno(e, "open %s/%s", s->path, path);
	for (i = 0; i < s->n_lower; i++) {
		if (aux_open(s->lower[i], kind, diff_id, ret_fd, NULL) == 0)
			return 0;
	}
	return varve_fail(e, VARVE_E_NOTFOUND, "no %s of layer %s", kind, DIGEST_STR(diff_id));
}

int aux_create(struct varve_store *s, struct aux_file *ret, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char random[17], path[LAYOUT_PATH_MAX];
	int r;

	*ret = (struct aux_file){.fd = -1, .s = s};
	if (s->read_only) {
		ret->fd = memfd_create("varve-aux", MFD_CLOEXEC);
		return ret->fd < 0 ? varve_fail_errno(e, "make a file in memory") : 0;
	}
	/* Under the lock, so that gc never sees the file before it is flocked. */
	r = lock_acquire(&lock, s->root, LOCK_SH, s->ctx, e);
	if (r < 0)
		return r;
	fsx_random_name(random);
	(void)snprintf(ret->name, sizeof(ret->name), "x.%s", random);
	(void)snprintf(path, sizeof(path), LAYOUT_TMP "/%s", ret->name);
	ret->fd = openat(s->root, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (ret->fd < 0 || fsx_flock(ret->fd, LOCK_EX) < 0) {
		r = varve_fail_errno(e, "make a file in %s/" LAYOUT_TMP, s->path);
		aux_abort(ret);
		return r;
	}
	return 0;
}

static int memory_commit(struct aux_file *f, const char *kind, const struct varve_digest *diff_id,
			 struct varve_err *e)
{
	struct aux_memory *m = calloc(1, sizeof(*m));

	if (!m) {
		aux_abort(f);
		return varve_fail_oom(e);
	}
	(void)snprintf(m->kind, sizeof(m->kind), "%s", kind);
	m->diff_id = *diff_id;
	m->fd = VARVE_TAKE_FD(f->fd);
	(void)pthread_mutex_lock(&f->s->mutex);
	m->next = f->s->aux_memory;
	f->s->aux_memory = m;
	(void)pthread_mutex_unlock(&f->s->mutex);
	return 0;
}

int aux_commit(struct aux_file *f, const char *kind, const struct varve_digest *diff_id,
	       struct varve_err *e)
{
	char from[LAYOUT_PATH_MAX], to[LAYOUT_PATH_MAX], dir[64];
	int r = 0;

	if (f->s->read_only)
		return memory_commit(f, kind, diff_id, e);
	(void)snprintf(from, sizeof(from), LAYOUT_TMP "/%s", f->name);
	(void)snprintf(dir, sizeof(dir), LAYOUT_AUX "/%.16s", kind);
	(void)layout_aux(kind, diff_id, to);
	/* Whoever needed room may have removed aux as a whole: it is a cache. */
	if (fchmod(f->fd, 0644) < 0 ||
	    (mkdirat(f->s->root, LAYOUT_AUX, 0755) < 0 && errno != EEXIST) ||
	    (mkdirat(f->s->root, dir, 0755) < 0 && errno != EEXIST) ||
	    renameat(f->s->root, from, f->s->root, to) < 0)
		r = varve_fail_errno(e, "publish %s/%s", f->s->path, to);
	if (r < 0) {
		aux_abort(f);
		return r;
	}
	(void)close(VARVE_TAKE_FD(f->fd));
	return 0;
}

void aux_abort(struct aux_file *f)
{
	char path[LAYOUT_PATH_MAX];

	if (f->fd < 0)
		return;
	if (f->name[0]) {
		(void)snprintf(path, sizeof(path), LAYOUT_TMP "/%s", f->name);
		(void)unlinkat(f->s->root, path, 0);
	}
	(void)close(VARVE_TAKE_FD(f->fd));
}
