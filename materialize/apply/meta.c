/* SPDX-License-Identifier: Apache-2.0 */
/* Give a new file its owner, mode, xattrs and times with as few system calls as that takes. */
#include "materialize/apply/meta.h"
#include "materialize/apply/apply.h"
#include "materialize/plan/plan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "store/base/compiler.h"

#define SPECIAL_BITS (S_ISUID | S_ISGID | S_ISVTX)

bool meta_xattr_is_filtered(const char *name)
{
	static const char *const exact[] = {"security.selinux", "system.nfs4_acl"};
	static const char *const prefix[] = {"trusted.overlay.", "user.overlay."};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(exact); i++)
		if (!strcmp(name, exact[i]))
			return true;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(prefix); i++)
		if (!strncmp(name, prefix[i], strlen(prefix[i])))
			return true;
	return false;
}

static int fail_meta(struct apply_shared *a, uint32_t name, const char *what, struct varve_err *e)
{
	return varve_fail_errno(e, "%s: %s", APPLY_PATH(a, name), what);
}

/* ext4 says "no space" of a value that is larger than its block; there is space. */
static bool is_full(const struct apply_shared *a)
{
	struct statvfs v;

	return fstatvfs(a->opt->rootfd, &v) || v.f_bavail < 16 || (v.f_files && !v.f_favail);
}

/*
 * An attribute that this file system or this user may not set is a loss, not a failure: umoci and
 * podman give up here, and with them every image with user.* on a symlink (M15).
 */
static int set_xattrs(struct apply_shared *a, const char *proc_path, int fd, uint32_t name,
		      const struct plan_inode *in, struct varve_err *e)
{
	for (uint32_t i = 0; i < in->n_xattrs; i++) {
		const struct varve_xattr *x = &in->xattrs[i];
		int r;

		if (meta_xattr_is_filtered(x->name))
			continue;
		if (proc_path)
			r = setxattr(proc_path, x->name, x->value, x->size, 0);
		else
			r = fsetxattr(fd, x->name, x->value, x->size, 0);
		if (!r)
			continue;
		if (errno != EPERM && errno != EACCES && errno != ENOTSUP && errno != EINVAL &&
		    errno != E2BIG && errno != ERANGE && (errno != ENOSPC || is_full(a)))
			return fail_meta(a, name, "cannot set an extended attribute", e);
		if (errno == ENOTSUP && !S_ISLNK(in->mode) &&
		    !atomic_exchange(&a->warned_xattr, true))
			log_warn(a->ctx, "apply",
				 "%s: the file system takes no extended attribute \"%s\"",
				 APPLY_PATH(a, name), TEXT_SAFE(x->name));
		apply_lose(a, name, APPLY_LOSS_XATTR, x->name);
	}
	return 0;
}

/* True if the owner must be set; counts what is not kept. */
static bool owner_wanted(struct apply_shared *a, uint32_t name, const struct plan_inode *in)
{
	if (a->opt->chown)
		return in->uid != a->uid || in->gid != a->gid;
	/* Everything of root becomes the caller's: that is what such a tree means, no loss. */
	if (in->uid || in->gid)
		apply_lose(a, name, APPLY_LOSS_OWNER, "owner");
	return false;
}

/*
 * An id that the user namespace does not map (EINVAL) is a loss, as in a container with 65,536 of
 * them; that of user and group are kept each where they can be.
 */
static int set_owner(struct apply_shared *a, int fd, const char *base, uint32_t name,
		     const struct plan_inode *in, struct varve_err *e)
{
	int flags = *base ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
	bool lost = false;

	if (!fchownat(fd, base, in->uid, in->gid, flags))
		return 0;
	if (errno == EINVAL) {
		lost = true;
		if (fchownat(fd, base, in->uid, (gid_t)-1, flags) && errno != EINVAL)
			lost = false;
		else if (fchownat(fd, base, (uid_t)-1, in->gid, flags) && errno != EINVAL)
			lost = false;
	}
	if (!lost)
		return fail_meta(a, name, "cannot set the owner (--no-chown keeps yours)", e);
	if (!atomic_exchange(&a->warned_owner, true))
		log_warn(a->ctx, "apply",
			 "%s: its owner %u:%u is none that this user namespace maps; what cannot "
			 "be kept is counted",
			 APPLY_PATH(a, name), in->uid, in->gid);
	apply_lose(a, name, APPLY_LOSS_OWNER, "owner");
	return 0;
}

static void times_of(const struct plan_inode *in, struct timespec ts[2])
{
	/* The access time is the modification time (M23): nothing of the machine's clock gets into
	 * the tree. */
	ts[0].tv_sec = in->mtime;
	ts[0].tv_nsec = in->mtime_ns;
	ts[1] = ts[0];
}

int meta_set_fd(struct apply_shared *a, int fd, uint32_t name, const struct plan_inode *in,
		mode_t created, struct varve_err *e)
{
	struct timespec ts[2];
	int r = owner_wanted(a, name, in) ? set_owner(a, fd, "", name, in, e) : 0;

	if (r < 0)
		return r;
	/* After the owner: chown clears setuid. Never together with the creation: content comes
	 * first. */
	if ((in->mode & 07777) != (created & ~(a->umask | SPECIAL_BITS)) &&
	    fchmod(fd, in->mode & 07777))
		return fail_meta(a, name, "cannot set the mode", e);
	if (in->n_xattrs) {
		r = set_xattrs(a, NULL, fd, name, in, e);
		if (r < 0)
			return r;
	}
	times_of(in, ts);
	if (futimens(fd, ts))
		return fail_meta(a, name, "cannot set the time", e);
	return 0;
}

int meta_chmod_at(int dirfd, const char *base, mode_t mode)
{
	VARVE_CLOSE int fd = openat(dirfd, base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char path[32];

	if (fd < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, mode);
}

int meta_set_moved(struct apply_shared *a, int dirfd, const char *base, uint32_t name,
		   const struct plan_inode *in, mode_t created, struct varve_err *e)
{
	bool chmod_it =
		!S_ISLNK(in->mode) && (in->mode & 07777) != (created & ~(a->umask | SPECIAL_BITS));
	int r = owner_wanted(a, name, in) ? set_owner(a, dirfd, base, name, in, e) : 0;

	if (r < 0)
		return r;
	if (chmod_it || in->n_xattrs) {
		/* The inode itself, whatever the name may point to by now. */
		VARVE_CLOSE int fd = openat(dirfd, base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		char path[32];

		if (fd < 0)
			return fail_meta(a, name, "cannot open", e);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (chmod_it && chmod(path, in->mode & 07777))
			return fail_meta(a, name, "cannot set the mode", e);
		r = set_xattrs(a, path, -1, name, in, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int meta_set_at(struct apply_shared *a, int dirfd, const char *base, uint32_t name,
		const struct plan_inode *in, mode_t created, struct varve_err *e)
{
	struct timespec ts[2];
	int r = meta_set_moved(a, dirfd, base, name, in, created, e);

	if (r < 0)
		return r;
	times_of(in, ts);
	if (utimensat(dirfd, base, ts, AT_SYMLINK_NOFOLLOW))
		return fail_meta(a, name, "cannot set the time", e);
	return 0;
}
