/* SPDX-License-Identifier: Apache-2.0 */
/* The private directory in which a tree is built, the lock of its label, and the room it needs. */
#include "materialize/plan/plan.h"
#include "materialize/trees/install.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>

#include "materialize/spool/spool.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

int stage_lock_label(const struct roots *r, const char *label, int *ret_fd, struct varve_err *e)
{
	char name[256];

	(void)snprintf(name, sizeof(name), ".rootfs_%s.lock", label);
	for (;;) {
		VARVE_CLOSE int fd = fsx_open_plain(r->fd, name, O_RDWR | O_CREAT, 0600, NULL);
		struct stat mine, there;
		int x;

		if (fd < 0)
			return varve_fail_errno(e, "%s/%s", TEXT_SAFE(r->path), TEXT_SAFE(name));
		x = roots_wait_flock(r, fd, TEXT_SAFE(label), e);
		if (x < 0)
			return x;
		/* Who had it before removed it: the name may be another file by now. */
		if (!fstat(fd, &mine) && !fstatat(r->fd, name, &there, AT_SYMLINK_NOFOLLOW) &&
		    mine.st_ino == there.st_ino) {
			*ret_fd = VARVE_TAKE_FD(fd);
			return 0;
		}
	}
}

void stage_unlock_label(const struct roots *r, const char *label, int fd)
{
	char name[256];

	if (fd < 0)
		return;
	(void)snprintf(name, sizeof(name), ".rootfs_%s.lock", label);
	(void)unlinkat(r->fd, name, 0); /* while we hold it */
	(void)close(fd);
}

int stage_check_space(const struct roots *r, const struct varve_plan *p, struct varve_spool *sp,
		      struct varve_err *e)
{
	struct varve_plan_summary need = p->summary;
	const struct varve_plan_summary *s = &need;
	struct statvfs v;
	uint64_t bytes;

	spool_reduce_need(sp, p, &need);
	if (fstatvfs(r->fd, &v))
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	bytes = (uint64_t)v.f_bavail * v.f_frsize;
	/* A file system without a size of its own (ramfs) says 0 blocks. */
	if (v.f_blocks && bytes < s->disk)
		return varve_fail(e, VARVE_E_NOSPACE,
				  "%s: the tree needs %s, %s are available; free some, or choose "
				  "another place with --roots",
				  TEXT_SAFE(r->path), TEXT_SIZE(s->disk), TEXT_SIZE(bytes));
	/* Some file systems (btrfs) have no table of inodes and say 0. */
	if (v.f_files && v.f_favail < s->inodes)
		return varve_fail(
			e, VARVE_E_NOSPACE,
			"%s: the tree needs %llu inodes, %llu are available; choose another "
			"place with --roots",
			TEXT_SAFE(r->path), (unsigned long long)s->inodes,
			(unsigned long long)v.f_favail);
	return 0;
}

int stage_begin(const struct roots *r, const char *label, struct varve_spool *sp, struct stage *ret,
		struct varve_err *e)
{
	char prefix[240], name[256];
	VARVE_CLOSE int fd = -1;
	struct stat st;
	int tree;

	(void)snprintf(prefix, sizeof(prefix), ".rootfs_%s.new.", label);
	fd = fsx_make_locked_dir(r->fd, prefix, name, sizeof(name));
	tree = fd < 0 ? -1 : spool_take_tree(sp, r->fd, name);
	if (tree >= 0) {
		(void)close(fd);
		fd = tree;
	}
	if (fd < 0 || fstat(fd, &st))
		return varve_fail_errno(e, "%s: make a directory to build in", TEXT_SAFE(r->path));
	memcpy(ret->name, name, sizeof(name));
	ret->ino = st.st_ino;
	ret->fd = VARVE_TAKE_FD(fd);
	return 0;
}

void stage_abort(const struct roots *r, struct stage *s)
{
	struct stat st;

	if (s->fd < 0)
		return;
	if (!fstatat(r->fd, s->name, &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == s->ino) {
		struct varve_err err = VARVE_ERR_INIT;
		char text[512];

		int x = fsx_clear_tree(r->fd, s->name, r->ctx, &err);

		if (x == -VARVE_E_INTERRUPTED)
			log_info(r->ctx, "install", "%s/%s is left; the next install deletes it",
				 TEXT_SAFE(r->path), s->name);
		else if (x < 0)
			log_warn(r->ctx, "install", "%s", varve_err_text(&err, text, sizeof(text)));
	}
	(void)close(s->fd);
	s->fd = -1;
}
