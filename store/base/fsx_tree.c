/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing a tree: the most dangerous thing we do. Every step is by directory fd, no link is
 * followed, no mount is crossed (openat2 RESOLVE_NO_XDEV also sees bind mounts of the same device),
 * no recursion, few fds.
 */
#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

/* One directory on the way down; only the deepest ones are needed, so the depth is bounded by
 * memory, not by fds. */
struct level {
	DIR *dir;
	char *name; /* in its parent */
};

struct walk {
	int top; /* the directory that holds the tree */
	struct level *levels;
	size_t n, cap;
	uint64_t entries;
	const struct varve_ctx *ctx;
	uint64_t until_ms; /* 0, or on the monotonic clock: so long, although cancelled */
};

static void walk_done(struct walk *w)
{
	while (w->n > 0) {
		struct level *l = &w->levels[--w->n];

		if (l->dir)
			(void)closedir(l->dir);
		free(l->name);
	}
	free(w->levels);
}

/* Immutable and append-only flags would stop unlink even for root. Best effort: not every file
 * system has them. */
static void clear_flags(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) {
		flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

/* Open a real directory on the same mount, with rwx for its owner. -1 with errno. */
static int open_victim(int parent, const char *name)
{
	int fd = fsx_open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
	struct stat st;

	if (fd < 0 && errno == EACCES && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode)) {
		/* Ours but not readable. A swap for a symlink in between cannot lead chmod out:
		 * O_PATH pins the directory, /proc/self/fd names exactly it. */
		VARVE_CLOSE int path = fsx_open_beneath(parent, name, O_PATH | O_DIRECTORY, 0);
		char proc[64];

		if (path < 0)
			return -1;
		(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path);
		if (chmod(proc, 0700) < 0)
			return -1;
		fd = fsx_open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
	}
	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
		(void)fchmod(fd, (st.st_mode & 07777) | 0700);
	return fd;
}

static int push(struct walk *w, int parent, const char *name, struct varve_err *e)
{
	VARVE_CLOSE int fd = open_victim(parent, name);
	struct level *l;

	if (fd < 0)
		return varve_fail_errno(e, "remove %s%s", name,
					errno == EXDEV ? " (something is mounted there)" : "");
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;

		l = realloc(w->levels, cap * sizeof(*l));
		if (!l)
			return varve_fail_oom(e);
		w->levels = l;
		w->cap = cap;
	}
	l = &w->levels[w->n];
	*l = (struct level){.name = strdup(name)};
	if (!l->name)
		return varve_fail_oom(e);
	w->n++;
	clear_flags(fd);
	l->dir = fdopendir(fd);
	if (!l->dir)
		return varve_fail_errno(e, "read directory %s", name);
	(void)VARVE_TAKE_FD(fd);
	/* Deep trees: the great-great-grandparents are opened again on the way up. */
	if (w->n > 64) {
		struct level *old = &w->levels[w->n - 65];

		if (old->dir) {
			(void)closedir(old->dir);
			old->dir = NULL;
		}
	}
	return 0;
}

/* The directory at level i, opened again from the top if it was closed. */
static int reopen(struct walk *w, size_t i, struct varve_err *e)
{
	VARVE_CLOSE int fd = -1;

	if (w->levels[i].dir)
		return 0;
	fd = dup(w->top);
	for (size_t k = 0; k <= i && fd >= 0; k++) {
		int next = open_victim(fd, w->levels[k].name);

		(void)close(fd);
		fd = next;
	}
	if (fd < 0 || !(w->levels[i].dir = fdopendir(fd)))
		return varve_fail_errno(e, "read directory %s", w->levels[i].name);
	(void)VARVE_TAKE_FD(fd);
	return 0;
}

static int unlink_file(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno ==
	    EPERM) { /* immutable? Only regular files can be: opening must not touch devices */
		struct stat st;
		VARVE_CLOSE int fd = -1;

		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			clear_flags(fd);
		return unlinkat(dir, name, 0);
	}
	return -1;
}

/* One step in the deepest directory: remove a file, go down, or (at its end) remove the directory
 * itself. */
static int step(struct walk *w, struct varve_err *e)
{
	struct level *l = &w->levels[w->n - 1];
	struct dirent *d;
	int r = reopen(w, w->n - 1, e), parent;

	if (r < 0)
		return r;
	errno = 0;
	d = readdir(l->dir);
	if (d && (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0))
		return 0;
	if (d) {
		if (d->d_type != DT_DIR && unlink_file(dirfd(l->dir), d->d_name) == 0) {
			w->entries++;
			return 0;
		}
		if (d->d_type != DT_DIR && errno != EISDIR && d->d_type != DT_UNKNOWN)
			return varve_fail_errno(e, "remove %s", d->d_name);
		return push(w, dirfd(l->dir), d->d_name, e);
	}
	if (errno)
		return varve_fail_errno(e, "read directory %s", l->name);
	if (w->n > 1) {
		r = reopen(w, w->n - 2, e);
		if (r < 0)
			return r;
	}
	parent = w->n > 1 ? dirfd(w->levels[w->n - 2].dir) : w->top;
	(void)closedir(l->dir);
	l->dir = NULL;
	if (unlinkat(parent, l->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return varve_fail_errno(e, "remove directory %s%s", l->name,
					errno == EBUSY ? " (something is mounted there)" : "");
	free(l->name);
	w->n--;
	w->entries++;
	return 0;
}

static int walk_check(const struct walk *w, struct varve_err *e)
{
	if ((w->entries & 63) != 0 || !ctx_cancelled(w->ctx) || clock_now_ms() < w->until_ms)
		return 0;
	return ctx_check(w->ctx, e);
}

static int remove_tree(struct walk *w, const char *name, struct varve_err *e)
{
	struct stat st;
	int r;

	if (fstatat(w->top, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return 0;
		return varve_fail_errno(e, "remove %s", name);
	}
	if (!S_ISDIR(st.st_mode)) {
		if (unlink_file(w->top, name) < 0)
			return varve_fail_errno(e, "remove %s", name);
		w->entries = 1;
		return 0;
	}
	r = push(w, w->top, name, e);
	while (r == 0 && w->n > 0) {
		r = step(w, e);
		if (r == 0)
			r = walk_check(w, e);
	}
	return r;
}

int fsx_remove_tree(int dirfd, const char *name, const struct varve_ctx *ctx, uint64_t *ret_entries,
		    struct varve_err *e)
{
	struct walk w = {.top = dirfd, .ctx = ctx};
	int r = remove_tree(&w, name, e);

	if (ret_entries)
		*ret_entries = w.entries;
	walk_done(&w);
	return r;
}

int fsx_clear_tree(int dirfd, const char *name, const struct varve_ctx *ctx, struct varve_err *e)
{
	struct walk w = {.top = dirfd, .ctx = ctx, .until_ms = clock_now_ms() + FSX_CLEAR_MS};
	int r = remove_tree(&w, name, e);

	walk_done(&w);
	return r;
}
