/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See hooks_trust.h. All directories on the resolved way are judged first: when only the caller and
 * root may rename in them, nobody else can put another file there between the look and the open.
 */
#include "materialize/finish/hooks_trust.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "materialize/confine/userns.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define OVERFLOW_UID 65534u /* who has no number in our user namespace, such as the host's root */

static bool is_ours(const struct stat *st, bool directory)
{
	return st->st_uid == geteuid() || st->st_uid == 0 ||
	       (directory && st->st_uid == OVERFLOW_UID && userns_is_mapped());
}

static int judge(const char *path, const struct stat *st, struct varve_err *e)
{
	bool directory = S_ISDIR(st->st_mode);

	if (!is_ours(st, directory))
		return varve_fail(e, VARVE_E_UNSAFE,
				  "%s belongs to user %u: hooks are run only from what is yours or "
				  "root's; copy them to a directory of your own",
				  TEXT_SAFE(path), (unsigned)st->st_uid);
	if ((st->st_mode & 022) && !(directory && (st->st_mode & S_ISVTX)))
		return varve_fail(e, VARVE_E_UNSAFE,
				  "others may write to %s, and so could change what is run: chmod "
				  "go-w %s",
				  TEXT_SAFE(path), TEXT_SAFE(path));
	return 0;
}

/* Every directory above the last component of an absolute path without links. */
static int judge_parents(char *real, struct varve_err *e)
{
	struct stat st;
	int r = lstat("/", &st) ? varve_fail_errno(e, "/") : judge("/", &st, e);

	for (char *slash = strchr(real + 1, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = lstat(real, &st) ? varve_fail_errno(e, "%s", TEXT_SAFE(real))
				     : judge(real, &st, e);
		*slash = '/';
	}
	return r;
}

int hook_open_trusted(const char *path, int *ret_fd, struct varve_err *e)
{
	VARVE_CLOSE int fd = -1;
	char real[PATH_MAX];
	struct stat st;
	int r;

	if (!realpath(path, real))
		return errno == ENOENT || errno == ENOTDIR ? 0 : varve_fail_errno(e, "resolve");
	r = judge_parents(real, e);
	if (r < 0)
		return r;
	/* A FIFO must not keep us waiting for its writer. */
	fd = open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return varve_fail_errno(e, "open");
	if (!S_ISREG(st.st_mode))
		return varve_fail(e, VARVE_E_UNSAFE, "no regular file");
	r = judge(real, &st, e);
	if (r < 0)
		return r;
	*ret_fd = VARVE_TAKE_FD(fd);
	return 1;
}
