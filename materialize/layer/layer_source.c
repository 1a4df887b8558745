/* SPDX-License-Identifier: Apache-2.0 */
/* Read a stored blob from first to last byte, verifying it. */
#include "materialize/layer/layer_source.h"

#include <fcntl.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/blob_copy.h"
#include "store/handle.h"

#define WINDOW (256u << 10)

/* Read by position as well as from end to end: squashfs. */
static bool needs_positions(int fd)
{
	char magic[4];

	return fsx_pread_full(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
	       memcmp(magic, SQUASHFS_MAGIC, sizeof(magic)) == 0;
}

static int open_blob(struct layer_source *l, bool verify, struct varve_err *e)
{
	struct blob_file f = {.fd = -1};
	int r = blob_open_file(l->s, &l->blob, &f, e);

	if (r == 0 && !f.proven && (!verify || needs_positions(f.fd)))
		r = blob_copy(l->s, &l->blob, &f, e);
	l->fd = f.fd;
	l->size = f.size;
	l->from = f.from;
	l->by_position = f.proven;
	return r;
}

int layer_source_open(struct layer_source *ret, struct varve_store *s,
		      const struct varve_digest *blob, bool verify, struct varve_err *e)
{
	struct layer_source l = {.s = s, .blob = *blob, .fd = -1};
	int r = open_blob(&l, verify, e);

	if (r < 0) {
		layer_source_done(&l);
		return r;
	}
	(void)posix_fadvise(l.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	l.window = malloc(WINDOW);
	if (!l.window)
		r = varve_fail_oom(e);
	if (r == 0 && verify)
		r = hash_new(&l.hash, (enum varve_algo)blob->algo, e);
	if (r < 0) {
		layer_source_done(&l);
		return r;
	}
	*ret = l;
	return 0;
}

void layer_source_done(struct layer_source *l)
{
	hash_free(l->hash);
	free(l->window);
	if (l->fd >= 0)
		(void)close(l->fd);
	memset(l, 0, sizeof(*l));
	l->fd = -1;
}

static void tell(struct layer_source *l, bool finished)
{
	char text[VARVE_DIGEST_STR_MAX];
	struct varve_progress p = {
		.stage = VARVE_STAGE_READ,
		.object = varve_digest_str(&l->blob, text),
		.done = l->at,
		.total = l->size,
		.finished = finished,
	};

	if (l->progress)
		progress_emit(store_ctx(l->s), &p);
}

static int source_next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct layer_source *l = user;
	/* No further than it was long: its owner could make it grow for ever. */
	uint64_t left = l->size > l->at ? l->size - l->at : 0;
	ssize_t n =
		fsx_pread_full(l->fd, l->window, VARVE_MIN((size_t)left, (size_t)WINDOW), l->at);

	if (n < 0)
		return varve_fail_errno(e, "blob %s", DIGEST_STR(&l->blob));
	if (l->hash)
		hash_update(l->hash, l->window, (size_t)n);
	l->at += (uint64_t)n;
	tell(l, n == 0);
	*ret = l->window;
	*ret_n = (size_t)n;
	return 0;
}

struct inflate_source layer_source_input(struct layer_source *l)
{
	return (struct inflate_source){source_next, l, l->by_position ? l->fd : -1};
}

int layer_source_drain(struct layer_source *l, struct varve_err *e)
{
	const void *p;
	size_t n;
	int r;

	do {
		r = ctx_check(store_ctx(l->s), e);
		if (r == 0)
			r = source_next(l, &p, &n, e);
	} while (r == 0 && n > 0);
	return r;
}

int layer_source_verify(struct layer_source *l, struct varve_err *e)
{
	struct varve_digest found;
	int r = layer_source_drain(l, e);

	if (r < 0)
		return r;
	r = hash_final(l->hash, &found, e);
	if (r < 0)
		return r;
	if (varve_digest_equal(&found, &l->blob))
		return 0;
	if (l->from == l->s)
		(void)blob_set_damaged(l->s, &l->blob, NULL);
	return blob_fail_digest(l->from, l->s, &l->blob, e);
}
