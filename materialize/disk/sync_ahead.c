/* SPDX-License-Identifier: Apache-2.0 */
#include "materialize/disk/sync_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define STEP (32u << 20) /* bytes that are worth a sync */

struct sync_ahead {
	int dir;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint64_t dirty;
	int error;
	bool stop;
};

static void *run(void *user)
{
	struct sync_ahead *s = user;

	pthread_mutex_lock(&s->lock);
	while (!s->stop && !s->error) {
		int error;

		if (s->dirty < STEP) {
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		s->dirty = 0;
		pthread_mutex_unlock(&s->lock);
		error = syncfs(s->dir) ? errno : 0;
		pthread_mutex_lock(&s->lock);
		s->error = error;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

struct sync_ahead *sync_ahead_start(int dir)
{
	struct sync_ahead *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir >= 0 && pthread_create(&s->thread, NULL, run, s) == 0)
		return s;
	if (s->dir >= 0)
		(void)close(s->dir);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

void sync_ahead_wrote(struct sync_ahead *s, uint64_t n)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->dirty += n;
	if (s->dirty >= STEP)
		pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

int sync_ahead_end(struct sync_ahead *s)
{
	int error;

	if (!s)
		return 0;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	(void)pthread_join(s->thread, NULL);
	error = s->error;
	(void)close(s->dir);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return error;
}
