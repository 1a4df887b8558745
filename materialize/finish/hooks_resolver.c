/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks that install packages need names, so /etc/resolv.conf of the tree holds what the host's
 * does while one runs. It is a copy: nothing that a hook writes reaches the host. What the image
 * has there, mostly a link to nowhere or nothing, is put aside in the same directory.
 */
#include "materialize/finish/hooks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"

#define NAME         "resolv.conf"
#define RESOLVER_MAX (1u << 20)

/* Make the copy under the free name. */
static bool put_copy(struct resolver *r)
{
	VARVE_CLOSE int fd =
		openat(r->dirfd, NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return false;
	r->ino = st.st_ino;
	return !fchmod(fd, 0644) && !fsx_write_all(fd, r->text.p, r->text.n);
}

static bool put_aside(struct resolver *r)
{
	char rand[17];

	fsx_random_name(rand);
	(void)snprintf(r->aside, sizeof(r->aside), ".resolv.%s", rand);
	if (!renameat(r->dirfd, NAME, r->dirfd, r->aside))
		return true;
	r->aside[0] = '\0';
	return errno == ENOENT;
}

static void done(struct resolver *r)
{
	if (r->dirfd >= 0)
		(void)close(r->dirfd);
	buf_done(&r->text);
	r->dirfd = -1;
}

void resolver_lend(int rootfd, struct resolver *ret)
{
	*ret = (struct resolver){.dirfd = -1};
	buf_init(&ret->text, RESOLVER_MAX);
	/* A host without names has none to lend, an image without /etc no place for them. */
	if (fsx_read_file(AT_FDCWD, "/etc/" NAME, &ret->text, NULL) < 0)
		return;
	ret->dirfd = fsx_open_in_root(rootfd, "/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (ret->dirfd < 0)
		return;
	if (!put_aside(ret))
		done(ret);
	else if (!put_copy(ret))
		ret->failed = true;
}

/* True if the copy is there as it was made. */
static bool is_untouched(const struct resolver *r)
{
	VARVE_CLOSE int fd =
		openat(r->dirfd, NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	struct buf now;
	bool same;

	if (fd < 0 || fstat(fd, &st) || st.st_ino != r->ino)
		return false;
	buf_init(&now, RESOLVER_MAX);
	same = fsx_read_file(fd, NULL, &now, NULL) >= 0 && now.n == r->text.n &&
	       !memcmp(now.p, r->text.p, now.n);
	buf_done(&now);
	return same;
}

int resolver_take_back(struct resolver *r, struct varve_err *e)
{
	bool untouched;
	int x = 0;

	if (r->dirfd < 0) {
		done(r);
		return 0;
	}
	untouched = r->failed || is_untouched(r);
	if (untouched && r->aside[0])
		x = renameat(r->dirfd, r->aside, r->dirfd, NAME);
	else if (untouched && r->ino)
		x = unlinkat(r->dirfd, NAME, 0);
	else if (!untouched && r->aside[0])
		x = unlinkat(r->dirfd, r->aside, 0);
	if (x)
		x = varve_fail_errno(e, "/etc/" NAME " of the tree: put back what the image has");
	done(r);
	return x;
}
