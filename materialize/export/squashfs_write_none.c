/* SPDX-License-Identifier: Apache-2.0 */
/* A build without libsquashfs writes no squashfs. */
#include "materialize/export/squashfs_write.h"
#include "materialize/plan/plan.h"

#include "store/base/err.h"

int squashfs_write(const struct varve_plan *p, int fd, const char *name,
		   const struct squashfs_write_options *opt, struct squashfs_write_result *ret,
		   struct varve_err *e)
{
	(void)p, (void)fd, (void)name, (void)opt, (void)ret;
	return varve_fail(e, VARVE_E_UNSUPPORTED, "varve was built without libsquashfs");
}
