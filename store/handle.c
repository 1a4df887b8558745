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

const struct varve_ctx *store_ctx(const struct varve_store *s)
{
	return s->ctx;
}

const struct varve_limits *store_limits(const struct varve_store *s)
{
	return &s->limits;
}

struct varve_limits limits_or(const struct varve_limits *l, const struct varve_limits *other)
{
	struct varve_limits x = *other;

	if (l && l->max_layer_bytes)
		x.max_layer_bytes = l->max_layer_bytes;
	if (l && l->max_layer_entries)
		x.max_layer_entries = l->max_layer_entries;
	if (l && l->max_entries)
		x.max_entries = l->max_entries;
	if (l && l->max_path)
		x.max_path = l->max_path;
	if (l && l->max_depth)
		x.max_depth = l->max_depth;
	if (l && l->max_ratio)
		x.max_ratio = l->max_ratio;
	if (l && l->max_link_work)
		x.max_link_work = l->max_link_work;
	if (l && l->max_documents)
		x.max_documents = l->max_documents;
	return x;
}
