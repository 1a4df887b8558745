/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: a flocked file per running operation that lists the digests it needs. */
#include "store/lease.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/invariant.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct lease {
	struct varve_store *store;
	int fd; /* -1 on a read-only store */
	char name[LAYOUT_PATH_MAX];
	/* Those in the file: who waits for another process adds its blobs again and again. */
	struct varve_digest *listed;
	size_t n_listed;
};

int lease_begin(struct lease **ret, struct varve_store *s, const char *purpose, struct varve_err *e)
{
	VARVE_CLEANUP(lease_cleanup) struct lease *l = calloc(1, sizeof(*l));
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char random[17], line[80];
	int r;

	if (!l)
		return varve_fail_oom(e);
	l->store = s;
	l->fd = -1;
	if (s->read_only) {
		*ret = VARVE_TAKE(l);
		return 0;
	}
	/* Under the lock, so that gc never sees the file before it is flocked. */
	r = lock_acquire(&lock, s->root, LOCK_SH, s->ctx, e);
	if (r < 0)
		return r;
	fsx_random_name(random);
	(void)snprintf(l->name, sizeof(l->name), LAYOUT_LEASES "/%s", random);
	l->fd = openat(s->root, l->name,
		       O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (l->fd < 0 || fsx_flock(l->fd, LOCK_EX) < 0)
		return varve_fail_errno(e, "make a lease in the store %s", s->path);
	(void)snprintf(line, sizeof(line), "# %.60s\n", purpose);
	if (fsx_write_all(l->fd, line, strlen(line)) < 0)
		return varve_fail_errno(e, "write a lease in the store %s", s->path);
	*ret = VARVE_TAKE(l);
	return 0;
}

static bool is_listed(const struct lease *l, const struct varve_digest *d)
{
	for (size_t i = l->n_listed; i-- > 0;)
		if (varve_digest_equal(&l->listed[i], d))
			return true;
	return false;
}

int lease_add(struct lease *l, const struct varve_digest *d, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char line[VARVE_DIGEST_STR_MAX + 1];
	struct varve_digest *grown;
	int r;

	assert(varve_digest_is_set(d));
	if (l->fd < 0 || is_listed(l, d))
		return 0;
	r = lock_acquire(&lock, l->store->root, LOCK_SH, l->store->ctx, e);
	if (r < 0)
		return r;
	(void)varve_digest_str(d, line);
	strcat(line, "\n");
	if (fsx_write_all(l->fd, line, strlen(line)) < 0)
		return varve_fail_errno(e, "write a lease in the store %s", l->store->path);
	grown = realloc(l->listed, (l->n_listed + 1) * sizeof(*grown));
	if (!grown)
		return 0; /* it is in the file, and may get there twice */
	l->listed = grown;
	l->listed[l->n_listed++] = *d;
	return 0;
}

void lease_end(struct lease *l)
{
	if (!l)
		return;
	if (l->fd >= 0) {
		(void)unlinkat(l->store->root, l->name, 0);
		(void)close(l->fd);
	}
	free(l->listed);
	free(l);
}
