/* SPDX-License-Identifier: Apache-2.0 */
/* A build without libsquashfs: squashfs images are recognised and refused. */
#include "materialize/layer/squashfs.h"

#include "store/base/err.h"

int squashfs_open(struct squashfs **ret, int fd, uint64_t size, const struct varve_limits *limits,
		  struct varve_err *e)
{
	(void)ret, (void)fd, (void)size, (void)limits;
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "this is a squashfs image, and varve was built without libsquashfs");
}

void squashfs_free(struct squashfs *q)
{
	(void)q;
}

uint64_t squashfs_stream_size(const struct squashfs *q)
{
	(void)q;
	return 0;
}

int squashfs_toc(struct squashfs *q, struct toc_writer *w, struct varve_err *e)
{
	(void)w;
	return squashfs_open(&q, -1, 0, NULL, e);
}

int squashfs_next(struct squashfs *q, size_t max, const void **ret, size_t *ret_n,
		  struct varve_err *e)
{
	(void)max, (void)ret, (void)ret_n;
	return squashfs_open(&q, -1, 0, NULL, e);
}
