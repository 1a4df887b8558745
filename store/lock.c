/* SPDX-License-Identifier: Apache-2.0 */
/* The store lock with its turnstile. */
#include "store/lock.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/layout.h"

#include <fcntl.h>

/* flock() needs no write access, so a reader of a shared store can hold it too. */
static int open_lock(int root, const char *name)
{
	return fsx_open_plain(root, name, O_RDONLY, 0, NULL);
}

int lock_acquire(struct store_lock *ret, int root, int mode, const struct varve_ctx *ctx,
		 struct varve_err *e)
{
	VARVE_CLOSE int gate = open_lock(root, LAYOUT_GATE);
	VARVE_CLOSE int fd = open_lock(root, LAYOUT_LOCK);

	if (gate < 0 || fd < 0)
		return varve_fail_errno(e, "open the store's lock");
	if (fsx_flock_wait(gate, mode, ctx) < 0 || fsx_flock_wait(fd, mode, ctx) < 0)
		return varve_fail_errno(e, "take the store's lock");
	ret->fd = VARVE_TAKE_FD(fd);
	return 0;
}

void lock_release(struct store_lock *l)
{
	if (l->fd >= 0)
		(void)close(l->fd);
	l->fd = -1;
}
