/* SPDX-License-Identifier: Apache-2.0 */
/* One place for bytes that wait, one thread that takes them. */
#include "materialize/codec/hash_beside.h"

#include <pthread.h>
#include <stdlib.h>

#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/invariant.h"

struct hash_beside {
	struct hash *hash; /* of whoever has taken the bytes */
	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t posted, taken_up;
	const void *p; /* NULL: nothing waits */
	size_t n;
	bool running, stop;
};

static void *hash_thread(void *user)
{
	struct hash_beside *h = user;

	(void)pthread_mutex_lock(&h->lock);
	for (;;) {
		const void *p = h->p;
		size_t n = h->n;

		if (p) {
			h->p = NULL;
			h->running = true;
			(void)pthread_mutex_unlock(&h->lock);
			hash_update(h->hash, p, n);
			(void)pthread_mutex_lock(&h->lock);
			h->running = false;
			(void)pthread_cond_signal(&h->taken_up);
		} else if (h->stop) {
			break;
		} else {
			(void)pthread_cond_wait(&h->posted, &h->lock);
		}
	}
	(void)pthread_mutex_unlock(&h->lock);
	return NULL;
}

int hash_beside_new(struct hash_beside **ret, enum varve_algo algo, bool beside,
		    struct varve_err *e)
{
	struct hash_beside *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return varve_fail_oom(e);
	r = hash_new(&h->hash, algo, e);
	if (r < 0) {
		free(h);
		return r;
	}
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->posted, NULL);
	(void)pthread_cond_init(&h->taken_up, NULL);
	h->has_thread = beside && pthread_create(&h->thread, NULL, hash_thread, h) == 0;
	*ret = h;
	return 0;
}

/* Until all bytes so far are hashed: what nobody has begun, here and now. Holds the lock. */
static void settle(struct hash_beside *h)
{
	assert_locked(&h->lock);
	if (h->p) {
		const void *p = h->p;

		h->p = NULL;
		(void)pthread_mutex_unlock(&h->lock);
		hash_update(h->hash, p, h->n);
		(void)pthread_mutex_lock(&h->lock);
	}
	while (h->running)
		(void)pthread_cond_wait(&h->taken_up, &h->lock);
}

void hash_beside_update(struct hash_beside *h, const void *p, size_t n)
{
	if (!h->has_thread) {
		hash_update(h->hash, p, n);
		return;
	}
	(void)pthread_mutex_lock(&h->lock);
	settle(h);
	h->p = p;
	h->n = n;
	(void)pthread_cond_signal(&h->posted);
	(void)pthread_mutex_unlock(&h->lock);
}

int hash_beside_final(struct hash_beside *h, struct varve_digest *ret, struct varve_err *e)
{
	(void)pthread_mutex_lock(&h->lock);
	settle(h);
	(void)pthread_mutex_unlock(&h->lock);
	return hash_final(h->hash, ret, e);
}

void hash_beside_free(struct hash_beside *h)
{
	if (!h)
		return;
	(void)pthread_mutex_lock(&h->lock);
	h->p = NULL;
	h->stop = true;
	(void)pthread_cond_signal(&h->posted);
	(void)pthread_mutex_unlock(&h->lock);
	if (h->has_thread)
		(void)pthread_join(h->thread, NULL);
	hash_free(h->hash);
	(void)pthread_cond_destroy(&h->posted);
	(void)pthread_cond_destroy(&h->taken_up);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}
