/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attributes of one installed entry beside those of the plan. What this file system cannot hold
 * is no change: a nameless file is asked, since no system call tells the limits.
 */
#include "materialize/apply/meta.h"
#include "materialize/confine/userns.h"
#include "materialize/diff/diff.h"
#include "materialize/plan/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "materialize/apply/apply.h"
#include "materialize/finish/users.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include <dirent.h>
#include <stdlib.h>

int diff_tell(struct diff *d, enum varve_diff_kind kind, const char *path, unsigned changes,
	      uint32_t mode)
{
	const struct varve_diff_item item = {kind, path, changes, mode};

	if (kind == VARVE_DIFF_ADDED)
		d->ret->added++;
	else if (kind == VARVE_DIFF_REMOVED)
		d->ret->removed++;
	else if (kind == VARVE_DIFF_UNREADABLE)
		d->ret->unreadable++;
	else
		d->ret->changed++;
	return d->opt->item ? d->opt->item(d->opt->user, &item) : 0;
}

/* Of one file: the kernel's own limit for names, and for a value. */
#define XATTRS_MAX    (64u << 10)
#define PROBE_UNTRIED (-2)

void diff_attr_init(struct diff *d)
{
	uint32_t made = d->opt->made;
	bool mapped = userns_is_mapped();

	d->probe = PROBE_UNTRIED;
	d->user_xattrs_only = d->opt->unprivileged || made & VARVE_MADE_UNPRIVILEGED;
	/* Seen from elsewhere, mapped owners are other numbers. */
	d->no_owners = d->opt->unprivileged || made & VARVE_MADE_NO_OWNERS ||
		       (made & VARVE_MADE_USERNS && !mapped);
	d->no_devices = d->opt->unprivileged || made & VARVE_MADE_NO_DEVICES;
	d->no_links = made & VARVE_MADE_NO_LINKS;
	/* Only the first root sees them. */
	d->no_trusted = geteuid() != 0 || mapped || made & VARVE_MADE_USERNS;
}

/* A file that nobody can see, beside the tree. -1: this directory cannot be written. */
static int probe(struct diff *d)
{
	if (d->probe == PROBE_UNTRIED)
		d->probe = openat(d->root, "..", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	return d->probe;
}

/* --- what fstatat says --- */

/* Is the time what becomes of the image's on this file system (128-byte inodes, vfat, xfs)? */
static bool time_is_clamped(struct diff *d, const struct plan_inode *i, const struct stat *st)
{
	struct timespec ts[2] = {{i->mtime, i->mtime_ns}, {i->mtime, i->mtime_ns}};
	struct stat got;

	return probe(d) >= 0 && !futimens(d->probe, ts) && !fstat(d->probe, &got) &&
	       got.st_mtim.tv_sec == st->st_mtim.tv_sec &&
	       got.st_mtim.tv_nsec == st->st_mtim.tv_nsec;
}

/* An id that this user namespace does not map was counted as lost when the tree was made. */
static bool owner_is_lost(struct diff *d, const struct plan_inode *i, const struct stat *st)
{
	bool uid = i->uid == st->st_uid, gid = i->gid == st->st_gid;

	if (!userns_is_mapped() || probe(d) < 0)
		return false;
	uid = uid || (fchown(d->probe, i->uid, (gid_t)-1) && errno == EINVAL);
	gid = gid || (fchown(d->probe, (uid_t)-1, i->gid) && errno == EINVAL);
	return uid && gid;
}

unsigned diff_stat(struct diff *d, const struct plan_inode *i, const struct stat *st)
{
	unsigned c = 0;

	if ((i->mode & S_IFMT) != (st->st_mode & S_IFMT))
		return VARVE_DIFF_TYPE;
	if (!S_ISLNK(i->mode) && (i->mode & 07777) != (st->st_mode & 07777))
		c |= VARVE_DIFF_MODE;
	if (!d->no_owners && (i->uid != st->st_uid || i->gid != st->st_gid) &&
	    !owner_is_lost(d, i, st))
		c |= VARVE_DIFF_OWNER;
	if (S_ISREG(i->mode) && i->size != (uint64_t)st->st_size)
		c |= VARVE_DIFF_SIZE;
	if ((i->mtime != st->st_mtim.tv_sec || i->mtime_ns != (uint32_t)st->st_mtim.tv_nsec) &&
	    !time_is_clamped(d, i, st))
		c |= VARVE_DIFF_MTIME;
	if ((S_ISCHR(i->mode) || S_ISBLK(i->mode)) &&
	    makedev(i->rdev_major, i->rdev_minor) != st->st_rdev)
		c |= VARVE_DIFF_DEVICE;
	return c;
}

unsigned diff_links(struct diff *d, uint32_t name, const struct stat *st)
{
	uint32_t index = d->p->names[name].inode;
	const struct plan_inode *i = &d->p->inodes[index];
	struct diff_inode *seen = &d->inodes[index];

	if (S_ISDIR(i->mode) || d->no_links)
		return 0;
	if (st->st_nlink != i->n_names)
		return VARVE_DIFF_LINKS;
	if (!seen->seen) {
		seen->seen = true;
		seen->ino = st->st_ino;
	}
	return seen->ino == st->st_ino ? 0 : VARVE_DIFF_LINKS;
}

/*
 * Whoever sets the mtime back cannot set the ctime. The installation itself was the last to change
 * it, in the second it ended in or before.
 */
bool diff_is_suspect(const struct diff *d, const struct stat *st)
{
	return d->opt->read_data ||
	       (d->opt->installed_at && st->st_ctim.tv_sec >= d->opt->installed_at);
}

/* --- extended attributes --- */

/* Not those that the maker could not set, and those that installs leave out for everybody. */
static bool is_compared(const struct diff *d, const char *name)
{
	if (!strcmp(name, "security.selinux") || !strcmp(name, "system.nfs4_acl"))
		return false;
	if (d->no_trusted && !strncmp(name, "trusted.", 8))
		return false;
	return !d->user_xattrs_only || !strncmp(name, "user.", 5);
}

/* Would this kernel and file system refuse it anew? read_errno: of reading it. */
static bool is_refused(struct diff *d, const struct plan_inode *i, const struct varve_xattr *x,
		       int read_errno)
{
	if (read_errno == ENOTSUP || meta_xattr_is_filtered(x->name))
		return true;
	/* M15: user.* is for files and directories. */
	if (!S_ISREG(i->mode) && !S_ISDIR(i->mode) && !strncmp(x->name, "user.", 5))
		return true;
	if (probe(d) < 0)
		return false;
	if (!fsetxattr(d->probe, x->name, x->value, x->size, 0)) {
		(void)fremovexattr(d->probe, x->name);
		return false;
	}
	return errno == ENOTSUP || errno == EINVAL || errno == E2BIG || errno == ERANGE ||
	       errno == ENOSPC;
}

static bool value_differs(struct diff *d, const struct plan_inode *i, const struct varve_xattr *x,
			  const char *proc)
{
	char value[XATTRS_MAX];
	ssize_t n = lgetxattr(proc, x->name, value, sizeof(value));

	if (n < 0)
		/* EACCES: a file that its owner may not read. */
		return errno != EACCES && !is_refused(d, i, x, errno);
	return (size_t)n != x->size || memcmp(value, x->value, x->size) != 0;
}

static bool is_expected(const struct plan_inode *i, const char *name)
{
	for (uint32_t k = 0; k < i->n_xattrs; k++)
		if (!strcmp(i->xattrs[k].name, name))
			return true;
	return false;
}

bool diff_xattrs(struct diff *d, const struct plan_inode *i, const char *proc)
{
	char names[XATTRS_MAX];
	ssize_t n = llistxattr(proc, names, sizeof(names));

	for (uint32_t k = 0; k < i->n_xattrs; k++)
		if (is_compared(d, i->xattrs[k].name) && value_differs(d, i, &i->xattrs[k], proc))
			return true;
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
		if (is_compared(d, names + at) && !is_expected(i, names + at))
			return true;
	return false;
}
