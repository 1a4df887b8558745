/* SPDX-License-Identifier: Apache-2.0 */
/* The writers of a spool: batches into files. */
#include "materialize/spool/spool_internal.h"

#include <fcntl.h>
#include <string.h>

#include "materialize/confine/cage.h"
#include "materialize/disk/sync_ahead.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"

int spool_create_body(const struct spool_layer *l, struct dir_cache *dirs, const struct piece *p)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int dir = p->place ? dir_cache_get(dirs, p->place->dir) : -1;
	int fd = dir < 0 ? -1 : openat(dir, p->place->name, flags, p->mode & 0777);
	char name[20];

	if (fd >= 0) {
		p->place->lies = true;
		return fd;
	}
	spool_body_name(p->body_off, name);
	return openat(l->dir, name, flags, p->mode & 0777);
}

/* The time is set while the file is open anyway; owner, special bits and xattrs wait for the plan.
 */
static int finish_body(int fd, const struct piece *p)
{
	struct timespec ts[2] = {{p->mtime, p->mtime_ns}, {p->mtime, p->mtime_ns}};

	return futimens(fd, ts);
}

static int write_piece(struct spool_layer *l, struct dir_cache *dirs, const struct piece *p,
		       const unsigned char *bytes)
{
	struct big *b = p->big;
	int fd, r;

	if (!b) {
		fd = spool_create_body(l, dirs, p);
		if (fd < 0)
			return -1;
		r = fsx_write_all(fd, bytes, p->n) || finish_body(fd, p) ? -1 : 0;
		return close(fd) || r ? -1 : 0;
	}
	return fsx_pwrite_all(b->fd, bytes, p->n, p->off);
}

/* Whether it was written or not, the last piece of a large body closes it. */
static int end_piece(const struct piece *p)
{
	struct big *b = p->big;
	int r;

	if (!b || atomic_fetch_sub(&b->remaining, p->n) != p->n)
		return 0;
	r = b->fd < 0 || finish_body(b->fd, p) ? -1 : 0;
	if (b->fd >= 0 && close(b->fd))
		r = -1;
	free(b);
	return r;
}

static void write_batch(struct batch *b, struct dir_cache *dirs)
{
	struct spool_layer *l = b->layer;

	for (size_t i = 0; i < b->n_pieces; i++) {
		const struct piece *p = &b->pieces[i];
		int r = 0;

		if (!atomic_load(&l->failed))
			r = write_piece(l, dirs, p, b->bytes + p->pos);
		if ((end_piece(p) || r) && !atomic_exchange(&l->failed, true))
			log_info(l->sp->ctx, "spool", "layer %s: %s: it will be read again",
				 DIGEST_STR(&l->blob), strerror(errno));
	}
}

void spool_write_first(struct varve_spool *sp, struct dir_cache *dirs)
{
	struct batch *b = sp->queue_first;
	struct sync_ahead *ahead = sp->ahead;

	sp->queue_first = b->next;
	if (!sp->queue_first)
		sp->queue_last = &sp->queue_first;
	pthread_mutex_unlock(&sp->lock);
	write_batch(b, dirs);
	sync_ahead_wrote(ahead, b->used);
	pthread_mutex_lock(&sp->lock);
	b->layer->pending--;
	b->next = sp->free_batches;
	sp->free_batches = b;
	pthread_cond_broadcast(&sp->changed);
}

void *spool_writer(void *user)
{
	struct varve_spool *sp = user;
	struct cage cage = {.ctx = sp->ctx, .dirs = {sp->path}};
	struct dir_cache dirs;

	/* Without a cage where there could be one: no writer; the readers, caged, write. */
	if (cage_enter(&cage, NULL) < 0 ||
	    dir_cache_init(&dirs, SPOOL_SLOTS, &sp->tree.dirs, NULL) < 0)
		return NULL;
	pthread_mutex_lock(&sp->lock);
	while (!sp->stop || sp->queue_first) {
		if (sp->queue_first)
			spool_write_first(sp, &dirs);
		else
			pthread_cond_wait(&sp->changed, &sp->lock);
	}
	pthread_mutex_unlock(&sp->lock);
	dir_cache_done(&dirs);
	return NULL;
}
