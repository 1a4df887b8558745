/* SPDX-License-Identifier: Apache-2.0 */
/* The writers of a spool: batches into files. */
#include "materialize/spool/spool_internal.h"

#include <fcntl.h>
#include <string.h>

#include "materialize/confine/cage.h"
#include "materialize/disk/sync_ahead.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/invariant.h"
#include "store/base/log.h"

int spool_create_body(const struct spool_layer *l, struct dir_cache *dirs, const struct body *b)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	struct spool_place *place = b->place;
	int dir = place ? dir_cache_get(dirs, place->dir) : -1;
	int fd = dir < 0 ? -1 : openat(dir, place->name, flags, b->mode & 0777);
	char name[20];

	if (fd >= 0) {
		place->lies = true;
		return fd;
	}
	spool_body_name(b->id, name);
	return openat(l->dir, name, flags, b->mode & 0777);
}

/* The time is set while the file is open anyway;
 * owner, special bits and xattrs wait for the plan. */
static int finish_body(int fd, const struct body *b)
{
	struct timespec ts[2] = {{b->mtime, b->mtime_ns}, {b->mtime, b->mtime_ns}};

	return futimens(fd, ts);
}

static int write_piece(struct spool_layer *l, struct dir_cache *dirs, const struct batch_piece *p,
		       const unsigned char *bytes)
{
	int fd, r;

	assert(p->body.file || (p->off == 0 && p->n == p->body.len));
	if (p->body.file)
		return fsx_pwrite_all(p->body.file->fd, bytes, p->n, p->off);
	fd = spool_create_body(l, dirs, &p->body);
	if (fd < 0)
		return -1;
	r = fsx_write_all(fd, bytes, p->n) || finish_body(fd, &p->body) ? -1 : 0;
	return close(fd) || r ? -1 : 0;
}

/* Whether it was written or not, the last piece of a body in several batches closes its file. */
static int end_piece(const struct batch_piece *p)
{
	struct body_file *f = p->body.file;
	int r;

	if (!f || !body_file_less(f, p->n))
		return 0;
	r = finish_body(f->fd, &p->body);
	if (close(f->fd))
		r = -1;
	f->fd = -1;
	body_file_free(f);
	return r;
}

static void write_batch(struct batch *b, struct dir_cache *dirs)
{
	struct spool_layer *l = b->layer;

	for (size_t i = 0; i < b->n_pieces; i++) {
		const struct batch_piece *p = &b->pieces[i];
		int r = 0;

		if (!atomic_load(&l->failed))
			r = write_piece(l, dirs, p, b->bytes + p->pos);
		if ((end_piece(p) || r) && !atomic_exchange(&l->failed, true))
			log_info(l->sp->ctx, "spool", "layer %s: %s: it will be read again",
				 DIGEST_STR(&l->blob), strerror(errno));
	}
}

void spool_write(struct varve_spool *sp, struct batch *b, struct dir_cache *dirs)
{
	struct spool_layer *l = b->layer;
	struct sync_ahead *ahead = sp->ahead;

	assert_locked(&sp->lock);
	assert(l->pending);
	pthread_mutex_unlock(&sp->lock);
	write_batch(b, dirs);
	sync_ahead_wrote(ahead, b->used);
	pthread_mutex_lock(&sp->lock);
	l->pending--;
	batch_give(&sp->queue, b);
	pthread_cond_broadcast(&sp->changed);
}

void *spool_writer(void *user)
{
	struct varve_spool *sp = user;
	struct cage cage = {.ctx = sp->ctx, .dirs = {sp->path}};
	struct dir_cache dirs;
	struct batch *b;

	/* Without a cage where there could be one: no writer; the readers, caged, write. */
	if (cage_enter(&cage, NULL) < 0 ||
	    dir_cache_init(&dirs, SPOOL_SLOTS, &sp->tree.dirs, NULL) < 0)
		return NULL;
	pthread_mutex_lock(&sp->lock);
	while (!sp->stop || sp->queue.first) {
		b = batch_next(&sp->queue);
		if (b)
			spool_write(sp, b, &dirs);
		else
			pthread_cond_wait(&sp->changed, &sp->lock);
	}
	pthread_mutex_unlock(&sp->lock);
	dir_cache_done(&dirs);
	return NULL;
}
