/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories by directory fd. */
#include "store/base/fsx.h"

#include "store/base/compiler.h"
#include "store/base/err.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>

int fsx_plain_directory(int fd, struct varve_err *e)
{
	struct stat st;

	(void)fremovexattr(fd, "system.posix_acl_default");
	(void)fremovexattr(fd, "system.posix_acl_access");
	if (fstat(fd, &st) || (st.st_gid != getegid() && fchown(fd, (uid_t)-1, getegid())) ||
	    fchmod(fd, 0700))
		return varve_fail_errno(e, "staging directory: cannot set the owner and mode");
	return 0;
}

int fsx_write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

int fsx_pwrite_all(int fd, const void *p, size_t n, uint64_t off)
{
	const char *at = p;

	while (n > 0) {
		ssize_t w = pwrite(fd, at, n, (off_t)off);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		at += w;
		off += (uint64_t)w;
		n -= (size_t)w;
	}
	return 0;
}

ssize_t fsx_pread_full(int fd, void *p, size_t n, uint64_t off)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, (char *)p + got, n - got, (off_t)(off + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

int fsx_read_file(int dirfd, const char *name, struct buf *b, struct varve_err *e)
{
	VARVE_CLOSE int opened = -1;
	int fd = dirfd;
	struct stat st;
	uint64_t off = 0;
	ssize_t n;

	if (name) {
		opened = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (opened < 0)
			return varve_fail_errno(e, "open %s", name);
		fd = opened;
	}
	buf_reset(b);
	/* A hole of terabytes is not read up to the limit first. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size > b->max)
		return varve_fail(e, VARVE_E_LIMIT, "%s: larger than %zu bytes",
				  name ? name : "file", b->max);
	do {
		size_t room = VARVE_MIN((size_t)65536, b->max - b->n);
		char extra[1];

		/* At the ceiling: one byte more tells "exactly full" from "too large". */
		if (room == 0) {
			n = fsx_pread_full(fd, extra, 1, off);
			if (n > 0)
				return varve_fail(e, VARVE_E_LIMIT, "%s: larger than %zu bytes",
						  name ? name : "file", b->max);
			break;
		}
		if (!buf_room(b, room))
			return varve_fail_oom(e);
		n = fsx_pread_full(fd, b->p + b->n, room, off);
		if (n > 0) {
			b->n += (size_t)n;
			off += (uint64_t)n;
		}
	} while (n > 0);
	if (n < 0)
		return varve_fail_errno(e, "read %s", name ? name : "file");
	if (b->cap)
		b->p[b->n] = '\0';
	return 0;
}

int fsx_open_plain(int dirfd, const char *name, int flags, mode_t mode, struct stat *ret)
{
	VARVE_CLOSE int fd =
		openat(dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode);
	struct stat st;

	if (fd < 0) {
		if (errno == ELOOP || errno == ENXIO) /* a symlink; a socket, or a FIFO to write */
			errno = EMEDIUMTYPE;
		return -1;
	}
	if (fstat(fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = EMEDIUMTYPE;
		return -1;
	}
	if (ret)
		*ret = st;
	return VARVE_TAKE_FD(fd);
}

int fsx_read_plain(int dirfd, const char *name, struct buf *b, struct varve_err *e)
{
	VARVE_CLOSE int fd = fsx_open_plain(dirfd, name, O_RDONLY, 0, NULL);
	int r;

	if (fd < 0)
		return varve_fail_errno(e, "open %s", name);
	r = fsx_read_file(fd, NULL, b, e);
	return r < 0 ? varve_wrap(e, r, "%s", name) : 0;
}

static int write_temp(int dirfd, const char *tmp, const void *p, size_t n, mode_t mode)
{
	VARVE_CLOSE int fd =
		openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || fsx_write_all(fd, p, n) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0)
		return -1;
	return close(VARVE_TAKE_FD(fd));
}

int fsx_replace_file(int dirfd, const char *name, const void *p, size_t n, mode_t mode,
		     struct varve_err *e)
{
	char random[17], tmp[300];
	int r;

	fsx_random_name(random);
	/* Cut, so that a name of 255 bytes still has a temporary beside it. */
	(void)snprintf(tmp, sizeof(tmp), ".%.200s.%s", name, random);
	if (write_temp(dirfd, tmp, p, n, mode) == 0 && renameat(dirfd, tmp, dirfd, name) == 0) {
		if (fsync(dirfd) == 0)
			return 0;
		return varve_fail_errno(e, "sync the directory of %s", name);
	}
	r = varve_fail_errno(e, "write %s", name);
	(void)unlinkat(dirfd, tmp, 0);
	return r;
}

int fsx_open_dir(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int fsx_make_dir(int dirfd, const char *name, mode_t mode)
{
	if (mkdirat(dirfd, name, mode) < 0 && errno != EEXIST)
		return -1;
	return fsx_open_dir(dirfd, name);
}

int fsx_make_path(const char *path, mode_t mode, struct varve_err *e)
{
	VARVE_FREE char *copy = strdup(path);
	struct stat st;

	if (!copy)
		return varve_fail_oom(e);
	for (char *p = copy + 1; *copy; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST) {
			int why = errno;

			/* EROFS or EACCES of a directory that is there is no failure. */
			if (stat(copy, &st) < 0) {
				errno = why;
				return varve_fail_errno(e, "make directory %s", copy);
			}
		}
		*p = c;
		if (c == '\0')
			break;
	}
	if (stat(path, &st) < 0)
		return varve_fail_errno(e, "directory %s", path);
	if (!S_ISDIR(st.st_mode))
		return varve_fail(e, ENOTDIR, "%s: is not a directory", path);
	return 0;
}

int fsx_make_locked_dir(int dirfd, const char *prefix, char *ret_name, size_t size)
{
	for (int tries = 0; tries < 100; tries++) {
		VARVE_CLOSE int fd = -1;
		struct stat mine, named;
		char random[17];
		int n;

		fsx_random_name(random);
		n = snprintf(ret_name, size, "%s%s", prefix, random);
		if (n < 0 || (size_t)n >= size) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (mkdirat(dirfd, ret_name, 0700) < 0)
			return -1;
		fd = fsx_open_dir(dirfd, ret_name);
		errno = fd < 0 ? errno : ENOENT; /* what "another inode" means below */
		if (fd >= 0 && fsx_flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &mine) == 0 &&
		    fstatat(dirfd, ret_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    mine.st_ino == named.st_ino && mine.st_dev == named.st_dev)
			return VARVE_TAKE_FD(fd);
		if (errno != ENOENT && errno != EWOULDBLOCK) {
			int saved = errno;

			(void)unlinkat(dirfd, ret_name, AT_REMOVEDIR);
			errno = saved;
			return -1;
		}
	}
	errno = EAGAIN;
	return -1;
}

static int openat2_retry(int root, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = resolve,
	};
	long fd;
	int tries = 0;

	do { /* EAGAIN: a rename elsewhere raced with the walk */
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
	} while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < 128)));
	return (int)fd;
}

/* Without openat2 (old kernels, old seccomp filters): one component at a time, never following. */
static int open_by_component(int root, const char *path, int flags, mode_t mode)
{
	VARVE_CLOSE int dir = dup(root);
	char name[256];

	while (dir >= 0) {
		size_t n = strcspn(path, "/");
		int next;

		if (n >= sizeof(name)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(name, path, n);
		name[n] = '\0';
		path += n + strspn(path + n, "/");
		if (strcmp(name, "..") == 0) {
			errno = EXDEV;
			return -1;
		}
		if (*path == '\0')
			return openat(dir, *name ? name : ".", flags | O_NOFOLLOW | O_CLOEXEC,
				      mode);
		next = openat(dir, *name ? name : ".",
			      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		(void)close(dir);
		dir = next;
	}
	return -1;
}

/* A path that the kernel takes for too long (PATH_MAX), in parts that it takes. */
static int open_far(int root, const char *path, int flags, mode_t mode)
{
	VARVE_CLOSE int dir = -1;
	char part[PATH_MAX];

	while (strlen(path) >= sizeof(part)) {
		const char *cut = memrchr(path, '/', sizeof(part) - 1);
		int next;

		if (!cut || cut == path) {
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(part, path, (size_t)(cut - path));
		part[cut - path] = '\0';
		next = fsx_open_beneath(dir < 0 ? root : dir, part, O_PATH | O_DIRECTORY, 0);
		if (next < 0)
			return -1;
		if (dir >= 0)
			(void)close(dir);
		dir = next;
		path = cut + strspn(cut, "/");
	}
	return fsx_open_beneath(dir, path, flags, mode);
}

int fsx_open_beneath(int root, const char *path, int flags, mode_t mode)
{
	int fd;

	if (strlen(path) >= PATH_MAX)
		return open_far(root, path, flags, mode);
	fd = openat2_retry(root, path, flags | O_NOFOLLOW, mode,
			   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
				   RESOLVE_NO_XDEV);

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_by_component(root, path, flags, mode);
	return fd;
}

int fsx_open_in_root(int root, const char *path, int flags, mode_t mode)
{
	return openat2_retry(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

void fsx_random_name(char buf[17])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char raw[8];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw)) {
		struct timespec ts; /* names only have to differ: O_EXCL decides */

		(void)clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec ^= (long)getpid() << 32;
		memcpy(raw, &ts.tv_nsec, sizeof(raw));
	}
	for (size_t i = 0; i < sizeof(raw); i++) {
		buf[2 * i] = hex[raw[i] >> 4];
		buf[2 * i + 1] = hex[raw[i] & 15];
	}
	buf[16] = '\0';
}

int fsx_flock(int fd, int op)
{
	int r;

	do {
		r = flock(fd, op);
	} while (r < 0 && errno == EINTR);
	return r;
}

int fsx_rename_noreplace(int olddir, const char *old, int newdir, const char *new_name)
{
	return renameat2(olddir, old, newdir, new_name, RENAME_NOREPLACE);
}

int fsx_rename_exchange(int olddir, const char *old, int newdir, const char *new_name)
{
	return renameat2(olddir, old, newdir, new_name, RENAME_EXCHANGE);
}

int fsx_open_unnamed(const char *dir)
{
	char name[32] = ".tmp-";
	VARVE_CLOSE int dirfd = -1;
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd;
	/* A file system without O_TMPFILE: a name that lives for an instant. */
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -1;
	fsx_random_name(name + 5);
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)unlinkat(dirfd, name, 0);
	return fd;
}

uint64_t fsx_room(const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size, blocks = (uint64_t)st->st_blocks * 512;
	uint64_t unit = st->st_blksize > 0 ? (uint64_t)st->st_blksize : 4096;

	return blocks > (size + unit - 1) / unit * unit ? blocks : size;
}

int fsx_next_data(int fd, uint64_t off, uint64_t end, uint64_t *ret_from, uint64_t *ret_to)
{
	off_t from, to;

	if (off >= end)
		return 0;
	from = lseek(fd, (off_t)off, SEEK_DATA);
	if (from < 0 && errno == ENXIO)
		return 0;
	to = from < 0 ? -1 : lseek(fd, from, SEEK_HOLE);
	if (to < 0 && errno != EINVAL && errno != EOPNOTSUPP && errno != ENXIO)
		return -1;
	*ret_from = from < 0 ? off : (uint64_t)from;
	*ret_to = to < 0 || (uint64_t)to > end ? end : (uint64_t)to;
	return *ret_from < end;
}
