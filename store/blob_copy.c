/* SPDX-License-Identifier: Apache-2.0 */
/* Take a blob out of the reach of who could change it between two reads. */
#include "store/blob_copy.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/derived.h"
#include "store/store.h"

#include <fcntl.h>

#define CHUNK ((size_t)256 << 10)

static int copy(struct varve_store *s, const struct varve_digest *blob, const struct blob_file *f,
		int to, struct varve_err *e)
{
	VARVE_CLEANUP(hash_cleanup) struct hash *h = NULL;
	VARVE_FREE char *chunk = malloc(CHUNK);
	struct varve_digest got;
	uint64_t at = 0;
	int r = chunk ? hash_new(&h, (enum varve_algo)blob->algo, e) : varve_fail_oom(e);

	while (r == 0 && at < f->size) {
		ssize_t n =
			fsx_pread_full(f->fd, chunk, VARVE_MIN(CHUNK, (size_t)(f->size - at)), at);

		if (n <= 0)
			break; /* it became shorter, or cannot be read: the digest tells */
		hash_update(h, chunk, (size_t)n);
		if (fsx_pwrite_all(to, chunk, (size_t)n, at) < 0)
			return varve_fail_errno(e, "copy blob %s out of the store %s",
						DIGEST_STR(blob), f->from->path);
		at += (uint64_t)n;
		r = ctx_check(s->ctx, e);
	}
	if (r == 0)
		r = hash_final(h, &got, e);
	if (r == 0 && !varve_digest_equal(&got, blob))
		r = blob_fail_digest(f->from, s, blob, e);
	return r;
}

int blob_copy(struct varve_store *s, const struct varve_digest *blob, struct blob_file *f,
	      struct varve_err *e)
{
	struct aux_file file;
	int r = aux_create(s, &file, e), fd = -1;

	if (r < 0)
		return r;
	r = copy(s, blob, f, file.fd, e);
	if (r == 0) {
		fd = fcntl(file.fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			r = varve_fail_errno(e, "blob %s", DIGEST_STR(blob));
	}
	aux_abort(&file); /* its name */
	if (r < 0)
		return r;
	(void)close(f->fd);
	f->fd = fd;
	f->proven = true;
	return 0;
}
