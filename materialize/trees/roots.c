/* SPDX-License-Identifier: Apache-2.0 */
/* Open and lock a roots dir. */
#include "materialize/trees/trees.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/blob.h"
#include "store/handle.h"
#include "store/trust.h"

static int fd_path(int fd, char **ret, struct varve_err *e)
{
	VARVE_FREE char *p = malloc(PATH_MAX);
	char link[32];
	ssize_t n;

	if (!p)
		return varve_fail_oom(e);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, p, PATH_MAX - 1);
	if (n <= 0 || p[0] != '/')
		return varve_fail_errno(e, "%s (is /proc mounted?)", link);
	p[n] = '\0';
	*ret = VARVE_TAKE(p);
	return 0;
}

static bool is_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	return !strncmp(path, top, n) && (path[n] == '/' || !path[n]);
}

/*
 * What root makes and switches must not be renamed away, or replaced by another tree, by a user who
 * is not root. Others choose for themselves whom they share a directory with.
 */
static int check_owner(const struct roots *r, const struct stat *st, struct varve_err *e)
{
	if (geteuid() != 0)
		return 0;
	if (!trust_owner(r->store, st->st_uid))
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s belongs to user %u, who could replace what root installs there; "
			"run varve as that user, choose another directory with --roots, or "
			"name the user in \"trusted_owners\" of the configuration",
			TEXT_SAFE(r->path), (unsigned)st->st_uid);
	if ((st->st_mode & (S_IWGRP | S_ISVTX)) == S_IWGRP && st->st_gid != 0)
		return varve_fail(
			e, VARVE_E_UNSAFE,
			"%s: the group %u may rename and delete in this directory, and so "
			"replace what root installs there; \"chmod g-w\" it or choose another "
			"with --roots",
			TEXT_SAFE(r->path), (unsigned)st->st_gid);
	return 0;
}

static int check_place(struct roots *r, struct varve_err *e)
{
	VARVE_FREE char *store = realpath(varve_store_path(r->store), NULL);
	struct stat st;
	int ret;

	if (fstat(r->fd, &st))
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	if ((st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH)
		return varve_fail(e, VARVE_E_UNSAFE,
				  "%s: everybody may rename and delete in this directory; "
				  "\"chmod o-w\" it or choose another with --roots",
				  TEXT_SAFE(r->path));
	ret = check_owner(r, &st, e);
	if (ret < 0)
		return ret;
	r->shared = (st.st_mode & (geteuid() == 0 ? S_IWOTH | S_IWGRP : S_IWOTH)) != 0;
	if (store && is_below(r->path, store))
		return varve_fail(e, VARVE_E_CONFLICT,
				  "%s: lies in the store %s; choose another with --roots",
				  TEXT_SAFE(r->path), TEXT_SAFE(store));
	return 0;
}

int roots_open(struct roots *r, struct varve_store *s, const char *path, bool create,
	       struct varve_err *e)
{
	int ret;

	*r = (struct roots){.fd = -1, .store = s, .ctx = store_ctx(s)};
	if (!path || path[0] != '/')
		return varve_fail(e, VARVE_E_USAGE, "%s: the roots dir needs an absolute path",
				  path ? TEXT_SAFE(path) : "(none)");
	r->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->fd < 0 && errno == ENOENT && create) {
		ret = fsx_make_path(path, 0700, e);
		if (ret < 0)
			return varve_wrap(e, ret, "make the roots dir");
		r->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (r->fd < 0 && errno == ENOENT)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: there is no such roots dir; \"varve install\" makes it",
				  TEXT_SAFE(path));
	if (r->fd < 0)
		return varve_fail_errno(e, "roots dir %s", TEXT_SAFE(path));
	ret = fd_path(r->fd, &r->path, e);
	if (ret >= 0)
		ret = check_place(r, e);
	if (ret < 0)
		roots_close(r);
	else
		r->writable = !faccessat(r->fd, ".", W_OK, AT_EACCESS);
	r->journalled = !varve_store_is_read_only(s);
	return ret;
}

void roots_close(struct roots *r)
{
	if (r->fd >= 0)
		(void)close(r->fd);
	free(r->path);
	*r = (struct roots){.fd = -1};
}

int roots_wait_flock(const struct roots *r, int fd, const char *what, struct varve_err *e)
{
	if (fsx_flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		log_warn(r->ctx, "roots", "waiting for another varve that works on %s", what);
	return fsx_flock_wait(fd, LOCK_EX, r->ctx) < 0 ? varve_fail_errno(e, "lock %s", what) : 0;
}

int roots_lock_new(struct roots *r, struct varve_err *e)
{
	return roots_wait_flock(r, r->fd, TEXT_SAFE(r->path), e);
}

void roots_unlock(struct roots *r)
{
	(void)fsx_flock(r->fd, LOCK_UN);
}
