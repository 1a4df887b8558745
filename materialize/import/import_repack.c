/* SPDX-License-Identifier: Apache-2.0 */
/* A file of concatenated archives as one layer. */
#include "materialize/import/import.h"

#include <stdlib.h>

#include "materialize/codec/sink.h"
#include "materialize/layer/layer_join.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define WINDOW (256u << 10)

struct source {
	const struct import_range *range;
	uint64_t at;
	uint8_t window[WINDOW];
};

static int source_next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct source *s = user;
	size_t want = (size_t)VARVE_MIN(s->range->size - s->at, (uint64_t)WINDOW);
	ssize_t n = fsx_pread_full(s->range->fd, s->window, want, s->range->off + s->at);

	if (n < 0)
		return varve_fail_errno(e, "read");
	s->at += (uint64_t)n;
	*ret = s->window;
	*ret_n = (size_t)n;
	return 0;
}

int import_repack(struct import *im, const struct import_range *range, int out, uint64_t *ret_size,
		  struct varve_err *e)
{
	VARVE_FREE struct source *src = calloc(1, sizeof(*src));
	struct inflate_source in = {source_next, src, -1};
	struct sink *file = NULL;
	int r = src ? sink_fd_new(&file, out, im->path, im->ctx, e) : varve_fail_oom(e);

	if (r == 0) {
		src->range = range;
		r = layer_join_stream(im->ctx, &in, file, e);
	}
	if (r == 0)
		r = sink_finish(file, e);
	if (r == 0) {
		*ret_size = sink_fd_bytes(file);
		log_info(im->ctx, "import", "%s: several archives in one file became one layer",
			 TEXT_SAFE(im->path));
	}
	sink_free(file);
	return r;
}
