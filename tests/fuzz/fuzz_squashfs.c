/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a squashfs image: its entries, its tree, its plan, and the stream of its bodies. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "materialize/layer/squashfs.h"
#include "materialize/plan/tree.h"
#include "plan_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* libsquashfs asks for the block list of whatever size an inode says; it is refused here as it is
 * by a machine without so much memory. Never touched, it costs nothing there. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1:max_allocation_size_mb=1024";
}

#define STREAM_MAX ((uint64_t)16 << 20)

static void plan(const struct toc *toc, uint64_t size)
{
	struct varve_plan_layer layer = {.unpacked = size};
	struct varve_plan p = {0};
	struct tree_keep keep = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct tree *t;

	CHECK(tree_new(&t, NULL, NULL, &e) == 0);
	if (tree_apply(t, toc, 0, &e) == 0) {
		if (tree_freeze(t, &p, &layer, 1, &keep, &e) == 0)
			plan_check(&p);
		tree_thaw(&p, &keep);
	}
	tree_free(t);
}

static void read_stream(struct squashfs *q)
{
	struct varve_err e = VARVE_ERR_INIT;
	uint64_t sum = 0;
	const void *p;
	size_t n;

	while (squashfs_next(q, 5000, &p, &n, &e) == 0 && n) {
		CHECK(n <= 5000);
		sum += n;
		if (sum > STREAM_MAX)
			return;
	}
	CHECK(sum <= squashfs_stream_size(q));
}

static void read_image(struct squashfs *q)
{
	struct varve_digest d = {.algo = VARVE_SHA256};
	struct varve_err e = VARVE_ERR_INIT;
	struct toc_writer *w;
	struct toc *toc;
	size_t k;

	CHECK(toc_writer_new(&w, NULL, &e) == 0);
	if (squashfs_toc(q, w, &e) == 0 &&
	    toc_writer_finish(w, &d, squashfs_stream_size(q), &e) == 0) {
		void *bytes = toc_writer_take(w, &k);

		CHECK(toc_open_memory(&toc, bytes, k, &e) == 0);
		plan(toc, squashfs_stream_size(q));
		toc_free(toc);
		free(bytes);
		read_stream(q);
	}
	toc_writer_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct varve_limits limits = {.max_layer_bytes = STREAM_MAX,
					    .max_layer_entries = 10000,
					    .max_path = 1024,
					    .max_depth = 64,
					    .max_ratio = 1000};
	struct varve_err e = VARVE_ERR_INIT;
	struct squashfs *q;
	int fd = memfd_create("image", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	if (squashfs_open(&q, fd, n, &limits, &e) == 0) {
		read_image(q);
		squashfs_free(q);
	}
	(void)close(fd);
	return 0;
}
