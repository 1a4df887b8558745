/* SPDX-License-Identifier: Apache-2.0 */
/* The open store as its parts see it: its clock, and whether it may be written. */

#include "store/handle.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/layout.h"
#include "store/mirror.h"
#include "store/rebuild.h"
#include "store/store.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>

int store_need_write(const struct varve_store *s, struct varve_err *e)
{
	if (!s->read_only)
		return 0;
	return varve_fail(e, VARVE_E_READONLY, "the store %s is read-only", s->path);
}

int64_t store_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}
