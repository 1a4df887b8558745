/* SPDX-License-Identifier: Apache-2.0 */
/* Make the entries of a plan: directories, files, links, special files, each one name below an open
 * directory. */
#include "materialize/apply/apply.h"
#include "materialize/apply/meta.h"
#include "materialize/plan/plan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "materialize/disk/sync_ahead.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"

static int fail_at(const struct apply_shared *a, uint32_t name, const char *what,
		   struct varve_err *e)
{
	if (errno == EEXIST)
		return varve_fail(e, VARVE_E_CONFLICT,
				  "%s: a name like it is there already: this file system takes two "
				  "names of the image for one (ignores case?)",
				  APPLY_PATH(a, name));
	return varve_fail_errno(e, "%s: %s", APPLY_PATH(a, name), what);
}

/* --- directories --- */

/* Until its metadata is set, a directory must be one that we can work in. */
static mode_t birth_mode(const struct plan_inode *in)
{
	return (in->mode & 0777) | 0700;
}

int apply_directories(struct apply_worker *w, struct varve_err *e)
{
	struct apply_shared *a = w->a;

	for (uint32_t i = 1; i < a->plan->n_names; i++) {
		const struct plan_name *n = apply_name(a, i);
		const struct plan_inode *in = apply_inode(a, n->inode);
		int parent;

		if (!S_ISDIR(in->mode) || spool_is_placed(a->placed.dirs, i))
			continue;
		if (ctx_cancelled(a->ctx))
			return ctx_check(a->ctx, e);
		parent = dir_cache_get(&w->dirs, n->parent);
		if (parent < 0)
			return fail_at(a, n->parent, "cannot open the directory", e);
		if (mkdirat(parent, n->name, birth_mode(in)))
			return fail_at(a, i, "cannot make the directory", e);
		/* A umask that takes our own bits away would lock us out. */
		if ((a->umask & 0700) && meta_chmod_at(parent, n->name, birth_mode(in)))
			return fail_at(a, i, "cannot set the mode", e);
	}
	return 0;
}

static int directory_metadata(struct apply_worker *w, uint32_t name, struct varve_err *e)
{
	struct apply_shared *a = w->a;
	const struct plan_name *n = apply_name(a, name);
	const struct plan_inode *in = apply_inode(a, n->inode);
	mode_t created = spool_is_placed(a->placed.dirs, name) ? SPOOL_DIR_MODE : birth_mode(in);
	int parent, fd;

	parent = dir_cache_get(&w->dirs, n->parent);
	if (parent < 0)
		return fail_at(a, n->parent, "cannot open the directory", e);
	if (in->n_xattrs || (in->mode & 07777) != (created & ~a->umask)) {
		fd = dir_cache_get(&w->dirs, name);
		if (fd < 0)
			return fail_at(a, name, "cannot open the directory", e);
		return meta_set_fd(a, fd, name, in, created, e);
	}
	return meta_set_at(a, parent, n->name, name, in, created, e);
}

int apply_directory_metadata(struct apply_worker *w, struct varve_err *e)
{
	struct apply_shared *a = w->a;
	int r;

	/* Names are in an order in which parents come first: backwards, children come first. */
	for (uint32_t i = a->plan->n_names; i-- > 1;) {
		if (!S_ISDIR(apply_inode(a, apply_name(a, i)->inode)->mode))
			continue;
		r = directory_metadata(w, i, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- hard links --- */

/* Our own file for reading, also where its mode forbids that to us. */
static int open_own(int dir, const char *name, mode_t mode)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dir, name, flags);

	if (fd >= 0 || errno != EACCES || meta_chmod_at(dir, name, 0400))
		return fd;
	fd = openat(dir, name, flags);
	if (meta_chmod_at(dir, name, mode) && fd >= 0) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

/* A run of data; blocks of zeros in it become holes if the file is to have holes. */
static int copy_run(const struct varve_ctx *ctx, const int fds[2], uint64_t off, uint64_t end,
		    bool sparse, struct varve_err *e)
{
	static const char zeros[4096];
	char block[1u << 14];
	size_t step = sparse ? sizeof(zeros) : sizeof(block);

	while (off < end) {
		size_t want = (size_t)VARVE_MIN(end - off, (uint64_t)step);
		ssize_t n = fsx_pread_full(fds[0], block, want, off);
		int r = ctx_check(ctx, e);

		if (r < 0)
			return r;
		if (n < 0)
			return varve_fail_errno(e, "cannot copy");
		if (n == 0)
			break;
		if (!(sparse && !memcmp(block, zeros, (size_t)n)) &&
		    fsx_pwrite_all(fds[1], block, (size_t)n, off))
			return varve_fail_errno(e, "cannot write");
		off += (uint64_t)n;
	}
	return 0;
}

/* Holes are not read, and stay holes. */
static int copy_bytes(const struct varve_ctx *ctx, const int fds[2], const struct plan_inode *in,
		      struct varve_err *e)
{
	bool sparse = in->n_extents || in->body_len < in->size;
	uint64_t off = 0, from, to;
	int more = 0, r = 0;

	if (!sparse)
		return copy_run(ctx, fds, 0, in->size, false, e);
	while (r == 0 && (more = fsx_next_data(fds[0], off, in->size, &from, &to)) > 0) {
		r = copy_run(ctx, fds, from, to, true, e);
		off = to;
	}
	if (r == 0 && (more < 0 || ftruncate(fds[1], (off_t)in->size)))
		return varve_fail_errno(e, "cannot copy");
	return r;
}

/* Where links have a limit (EMLINK) or do not exist, a second file: from our own file, never by a
 * path. */
static int copy_instead(struct apply_worker *w, uint32_t first, uint32_t name,
			const struct plan_inode *in, struct varve_err *e)
{
	struct apply_shared *a = w->a;
	VARVE_CLOSE int from = -1;
	VARVE_CLOSE int to = -1;
	int dir, r;

	dir = dir_cache_get(&w->dirs, apply_name(a, first)->parent);
	if (dir >= 0)
		from = open_own(dir, apply_name(a, first)->name, in->mode & 07777);
	if (from < 0)
		return fail_at(a, first, "cannot open", e);
	dir = dir_cache_get(&w->dirs, apply_name(a, name)->parent);
	if (dir >= 0)
		to = openat(dir, apply_name(a, name)->name,
			    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, in->mode & 0777);
	if (to < 0)
		return fail_at(a, name, "cannot make the file", e);
	r = copy_bytes(a->ctx, (const int[]){from, to}, in, e);
	if (r < 0)
		return varve_wrap(e, r, "%s", APPLY_PATH(a, name));
	apply_lose(a, name, APPLY_LOSS_OTHER, "hard link");
	return meta_set_fd(a, to, name, in, in->mode & 0777, e);
}

static void lose_special(struct apply_shared *a, uint32_t name, const struct plan_inode *in)
{
	if (S_ISCHR(in->mode) || S_ISBLK(in->mode))
		apply_lose(a, name, APPLY_LOSS_DEVICE, "device");
	else
		apply_lose(a, name, APPLY_LOSS_OTHER, "FIFO or socket");
}

/* 1: it cannot be had here, and is counted. */
static int make_empty(struct apply_worker *w, int dir, uint32_t name, const struct plan_inode *in,
		      struct varve_err *e)
{
	struct apply_shared *a = w->a;
	const char *base = apply_name(a, name)->name;
	bool device = S_ISCHR(in->mode) || S_ISBLK(in->mode);

	if (S_ISLNK(in->mode))
		return symlinkat(in->target, dir, base)
			       ? fail_at(a, name, "cannot make the symlink", e)
			       : 0;
	if (!mknodat(dir, base, in->mode & (S_IFMT | 0777),
		     device ? makedev(in->rdev_major, in->rdev_minor) : 0))
		return 0;
	if (errno != ENOSYS && errno != ENOTSUP && (!device || (errno != EPERM && errno != EACCES)))
		return fail_at(a, name, "cannot make the special file", e);
	lose_special(a, name, in);
	return 1;
}

/* EACCES: Android; ENOSYS: some file systems of FUSE. */
static bool links_are_limited(int code)
{
	return code == EMLINK || code == EPERM || code == ENOTSUP || code == EXDEV ||
	       code == EACCES || code == ENOSYS;
}

/* What has no content is made a second time. */
static int again_instead(struct apply_worker *w, uint32_t name, int dir,
			 const struct plan_inode *in, struct varve_err *e)
{
	int r = make_empty(w, dir, name, in, e);

	if (r == 0)
		apply_lose(w->a, name, APPLY_LOSS_OTHER, "hard link");
	return r == 0 ? meta_set_at(w->a, dir, apply_name(w->a, name)->name, name, in,
				    in->mode & 0777, e)
		      : VARVE_MIN(r, 0);
}

static int make_links(struct apply_worker *w, const struct plan_inode *in, struct varve_err *e)
{
	struct apply_shared *a = w->a;
	uint32_t first = in->first_name;

	for (uint32_t i = apply_name(a, first)->next_link; i != PLAN_NONE;
	     i = apply_name(a, i)->next_link) {
		VARVE_CLOSE int from = -1;
		int dir, r;

		/* The cache may close one directory to open the other. */
		dir = dir_cache_get(&w->dirs, apply_name(a, first)->parent);
		if (dir >= 0)
			from = fcntl(dir, F_DUPFD_CLOEXEC, 3);
		if (from < 0)
			return fail_at(a, first, "cannot open the directory", e);
		dir = dir_cache_get(&w->dirs, apply_name(a, i)->parent);
		if (dir < 0)
			return fail_at(a, i, "cannot open the directory", e);
		/* No AT_SYMLINK_FOLLOW: a link to a symlink is a second name of the symlink. */
		if (!linkat(from, apply_name(a, first)->name, dir, apply_name(a, i)->name, 0))
			continue;
		if (!links_are_limited(errno))
			return fail_at(a, i, "cannot make the hard link", e);
		r = S_ISREG(in->mode) ? copy_instead(w, first, i, in, e)
				      : again_instead(w, i, dir, in, e);
		if (r < 0)
			return r;
		first = i; /* further links go to the copy: the limit starts anew */
	}
	return 0;
}

/* --- regular files --- */

static int create_file(struct apply_worker *w, const struct plan_inode *in, struct varve_err *e)
{
	const struct plan_name *n = apply_name(w->a, in->first_name);
	int dir, fd;

	dir = dir_cache_get(&w->dirs, n->parent);
	if (dir < 0)
		return fail_at(w->a, n->parent, "cannot open the directory", e);
	/* With its final mode at once, but for setuid, setgid and sticky: those only over the right
	 * content. */
	fd = openat(dir, n->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    in->mode & 0777);
	if (fd < 0)
		return fail_at(w->a, in->first_name, "cannot make the file", e);
	return fd;
}

static int finish_file(struct apply_worker *w, int fd, const struct plan_inode *in,
		       struct varve_err *e)
{
	struct apply_shared *a = w->a;
	int r;

	if (in->n_extents && ftruncate(fd, (off_t)in->size))
		return fail_at(a, in->first_name, "cannot set the size", e);
	r = meta_set_fd(a, fd, in->first_name, in, in->mode & 0777, e);
	if (r < 0)
		return r;
	return in->n_names > 1 ? make_links(w, in, e) : 0;
}

/* Bytes [off, off+n) of the stored body go where the extents of a sparse file say. */
static int write_sparse(int fd, const struct plan_inode *in, uint64_t off, const char *p, size_t n)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < in->n_extents && n; i++) {
		const struct file_extent *x = &in->extents[i];
		uint64_t skip = off - at;
		size_t k;

		if (skip >= x->n) {
			at += x->n;
			continue;
		}
		k = (size_t)VARVE_MIN((uint64_t)n, x->n - skip);
		if (fsx_pwrite_all(fd, p, k, x->off + skip))
			return -1;
		at += x->n;
		off += k;
		p += k;
		n -= k;
	}
	return 0;
}

int apply_file(struct apply_worker *w, uint32_t inode, const void *body, struct varve_err *e)
{
	const struct plan_inode *in = apply_inode(w->a, inode);
	VARVE_CLOSE int fd = create_file(w, in, e);
	int r;

	if (fd < 0)
		return fd;
	r = in->n_extents ? write_sparse(fd, in, 0, body, in->body_len)
			  : fsx_write_all(fd, body, in->body_len);
	if (r)
		return fail_at(w->a, in->first_name, "cannot write", e);
	w->written += in->body_len;
	w->dirty += sync_ahead_size(in->body_len);
	return finish_file(w, fd, in, e);
}

int apply_spooled(struct apply_worker *w, uint32_t inode, int from, struct varve_err *e)
{
	struct apply_shared *a = w->a;
	const struct plan_inode *in = apply_inode(a, inode);
	const struct plan_name *n = apply_name(a, in->first_name);
	int dir = dir_cache_get(&w->dirs, n->parent);
	char body[20];
	int r;

	if (dir < 0)
		return fail_at(a, n->parent, "cannot open the directory", e);
	spool_body_name(in->body_off, body);
	if (!spool_is_placed(a->placed.inodes, inode) &&
	    fsx_rename_noreplace(from, body, dir, n->name))
		return fail_at(a, in->first_name, "cannot move the file into place", e);
	w->written += in->body_len; /* its bytes were told when they were */
	w->dirty += sync_ahead_size(0);
	r = meta_set_moved(a, dir, n->name, in->first_name, in, in->mode & 0777, e);
	if (r < 0)
		return r;
	return in->n_names > 1 ? make_links(w, in, e) : 0;
}

static int big_fd(struct apply_worker *w, struct body_file *f, const struct plan_inode *in,
		  struct varve_err *e)
{
	int fd;

	pthread_mutex_lock(&f->lock);
	if (f->fd < 0)
		f->fd = create_file(w, in, e);
	fd = f->fd;
	if (fd < 0)
		f->fd = -1;
	pthread_mutex_unlock(&f->lock);
	return fd;
}

int apply_big_piece(struct apply_worker *w, const struct batch_piece *piece, const void *p,
		    struct varve_err *e)
{
	const struct plan_inode *in = apply_inode(w->a, (uint32_t)piece->body.id);
	struct body_file *f = piece->body.file;
	int fd = big_fd(w, f, in, e);
	int r;

	if (fd < 0)
		return fd;
	r = in->n_extents ? write_sparse(fd, in, piece->off, p, piece->n)
			  : fsx_pwrite_all(fd, p, piece->n, piece->off);
	if (r)
		return fail_at(w->a, in->first_name, "cannot write", e);
	w->written += piece->n;
	w->dirty += piece->n;
	if (!body_file_less(f, piece->n))
		return 0;
	r = finish_file(w, fd, in, e);
	(void)close(fd); /* every other piece is done with it */
	f->fd = -1;
	return r;
}

/* --- everything without a body --- */

int apply_plain(struct apply_worker *w, uint32_t inode, struct varve_err *e)
{
	struct apply_shared *a = w->a;
	const struct plan_inode *in = apply_inode(a, inode);
	const struct plan_name *n = apply_name(a, in->first_name);
	int dir, r;

	if (S_ISREG(in->mode)) {
		VARVE_CLOSE int fd = create_file(w, in, e);

		if (fd < 0)
			return fd;
		if (in->size && ftruncate(fd, (off_t)in->size)) /* one large hole */
			return fail_at(a, in->first_name, "cannot set the size", e);
		return finish_file(w, fd, in, e);
	}
	dir = dir_cache_get(&w->dirs, n->parent);
	if (dir < 0)
		return fail_at(a, n->parent, "cannot open the directory", e);
	r = make_empty(w, dir, in->first_name, in, e);
	if (r == 1) /* its other names as well */
		for (uint32_t i = n->next_link; i != PLAN_NONE; i = apply_name(a, i)->next_link)
			lose_special(a, i, in);
	if (r != 0)
		return r < 0 ? r : 0;
	r = meta_set_at(a, dir, n->name, in->first_name, in, in->mode & 0777, e);
	if (r < 0)
		return r;
	return in->n_names > 1 ? make_links(w, in, e) : 0;
}
