/* SPDX-License-Identifier: Apache-2.0 */
/* Write the bodies of layers to files while the layers are being read: readers cut, writers write.
 */
#include "materialize/spool.h"

#include "materialize/apply.h"
#include "materialize/cage.h"
#include "materialize/sync_ahead.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"

#define BATCH_BYTES (1u << 20)
#define BATCHES_MAX 16u          /* filled and not yet written, all layers together: 16 MiB */
#define SMALL_FILE  (128u << 10) /* is not cut at the end of a batch */
#define WRITERS_MAX 16u

/* A body that is in more than one batch. */
struct big {
	int fd;
	atomic_uint_fast64_t remaining;
};
struct piece {
	uint64_t body_off; /* names the file */
	uint64_t off;      /* in the body */
	int64_t mtime;
	uint32_t mtime_ns, mode;
	uint32_t pos, n; /* in the batch's bytes */
	struct big *big; /* NULL: the whole body is here */
};
struct batch {
	struct batch *next;
	struct spool_layer *layer;
	struct piece *pieces;
	size_t n_pieces, cap;
	uint32_t used;
	unsigned char *bytes;
};
struct spool_layer {
	struct spool_layer *next;
	struct varve_spool *sp;
	struct varve_digest blob;
	char name[17];
	int dir;
	atomic_bool failed;
	bool done;        /* under the lock: read to its end and all written */
	unsigned pending; /* under the lock: batches that are queued or being written */
	/* of the reading thread */
	struct batch *batch;
	struct piece file; /* the body that is coming */
	uint64_t left;     /* bytes of it */
	struct big *big;
};
struct varve_spool {
	const struct varve_ctx *ctx;
	int roots, dir;
	char name[64];
	char *path;
	pthread_t writers[WRITERS_MAX];
	unsigned n_writers, n_batches;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct batch *queue_first, **queue_last, *free_batches;
	struct spool_layer *layers;
	bool stop;
	struct sync_ahead *ahead; /* NULL: nothing is synced, or install has taken it over */
	struct varve_layer_ops ops;
};

void spool_body_name(uint64_t body_off, char name[20])
{
	(void)snprintf(name, 20, "%" PRIx64, body_off);
}

bool spool_has(const struct plan_inode *in)
{
	return S_ISREG(in->mode) && in->body_len && !in->n_extents;
}

/* --- writing --- */

static int create_body(const struct spool_layer *l, const struct piece *p)
{
	char name[20];

	spool_body_name(p->body_off, name);
	return openat(l->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		      p->mode & 0777);
}

/* The time is set while the file is open anyway; owner, special bits and xattrs wait for the plan.
 */
static int finish_body(int fd, const struct piece *p)
{
	struct timespec ts[2] = {{p->mtime, p->mtime_ns}, {p->mtime, p->mtime_ns}};

	return futimens(fd, ts);
}

static int write_piece(struct spool_layer *l, const struct piece *p, const unsigned char *bytes)
{
	struct big *b = p->big;
	int fd, r;

	if (!b) {
		fd = create_body(l, p);
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

static void write_batch(struct batch *b)
{
	struct spool_layer *l = b->layer;

	for (size_t i = 0; i < b->n_pieces; i++) {
		const struct piece *p = &b->pieces[i];
		int r = 0;

		if (!atomic_load(&l->failed))
			r = write_piece(l, p, b->bytes + p->pos);
		if ((end_piece(p) || r) && !atomic_exchange(&l->failed, true))
			log_info(l->sp->ctx, "spool", "layer %s: %s: it will be read again",
				 DIGEST_STR(&l->blob), strerror(errno));
	}
}

/* Holds sp->lock, gives it up while writing. */
static void write_first(struct varve_spool *sp)
{
	struct batch *b = sp->queue_first;
	struct sync_ahead *ahead = sp->ahead;

	sp->queue_first = b->next;
	if (!sp->queue_first)
		sp->queue_last = &sp->queue_first;
	pthread_mutex_unlock(&sp->lock);
	write_batch(b);
	sync_ahead_wrote(ahead, b->used);
	pthread_mutex_lock(&sp->lock);
	b->layer->pending--;
	b->next = sp->free_batches;
	sp->free_batches = b;
	pthread_cond_broadcast(&sp->changed);
}

static void *writer(void *user)
{
	struct varve_spool *sp = user;
	struct cage cage = {.ctx = sp->ctx, .dirs = {sp->path}};

	/* Without a cage where there could be one: no writer; the readers, caged, write. */
	if (cage_enter(&cage, NULL) < 0)
		return NULL;
	pthread_mutex_lock(&sp->lock);
	while (!sp->stop || sp->queue_first) {
		if (sp->queue_first)
			write_first(sp);
		else
			pthread_cond_wait(&sp->changed, &sp->lock);
	}
	pthread_mutex_unlock(&sp->lock);
	return NULL;
}

/* --- cutting --- */

/* An empty batch. When all are filled, the reader writes one itself: it would only wait. NULL
 * without memory. */
static struct batch *take_batch(struct spool_layer *l)
{
	struct varve_spool *sp = l->sp;
	struct batch *b;

	pthread_mutex_lock(&sp->lock);
	while (!sp->free_batches && sp->n_batches >= BATCHES_MAX) {
		if (sp->queue_first)
			write_first(sp);
		else
			pthread_cond_wait(&sp->changed, &sp->lock);
	}
	b = sp->free_batches;
	if (b)
		sp->free_batches = b->next;
	else
		sp->n_batches++;
	pthread_mutex_unlock(&sp->lock);
	if (!b) {
		b = calloc(1, sizeof(*b));
		if (b)
			b->bytes = malloc(BATCH_BYTES);
		if (!b || !b->bytes) {
			free(b);
			pthread_mutex_lock(&sp->lock);
			sp->n_batches--;
			pthread_mutex_unlock(&sp->lock);
			return NULL;
		}
	}
	b->next = NULL;
	b->layer = l;
	b->n_pieces = 0;
	b->used = 0;
	return b;
}

static void submit(struct spool_layer *l)
{
	struct varve_spool *sp = l->sp;
	struct batch *b = l->batch;

	l->batch = NULL;
	if (!b)
		return;
	pthread_mutex_lock(&sp->lock);
	if (b->n_pieces) {
		*sp->queue_last = b;
		sp->queue_last = &b->next;
		l->pending++;
	} else {
		b->next = sp->free_batches;
		sp->free_batches = b;
	}
	pthread_cond_broadcast(&sp->changed);
	pthread_mutex_unlock(&sp->lock);
}

/* A large body of which no more pieces will come: whoever is last closes it. */
static void abandon_body(struct spool_layer *l)
{
	struct big *b = VARVE_TAKE(l->big);
	uint64_t missing = l->left;

	l->left = 0;
	if (!b || !missing || atomic_fetch_sub(&b->remaining, missing) != missing)
		return;
	(void)close(b->fd);
	free(b);
}

static void give_up(struct spool_layer *l, const char *why)
{
	if (!atomic_exchange(&l->failed, true))
		log_info(l->sp->ctx, "spool", "layer %s: %s: it will be read again",
			 DIGEST_STR(&l->blob), why);
	abandon_body(l);
}

static struct piece *add_piece(struct batch *b)
{
	if (b->n_pieces == b->cap) {
		size_t cap = b->cap ? 2 * b->cap : 64;
		struct piece *p = realloc(b->pieces, cap * sizeof(*p));

		if (!p)
			return NULL;
		b->pieces = p;
		b->cap = cap;
	}
	return &b->pieces[b->n_pieces++];
}

void spool_layer_entry(struct spool_layer *l, const struct tar_entry *t)
{
	if (!l || atomic_load(&l->failed))
		return;
	l->left = 0;
	l->big = NULL;
	if ((t->flags & TAR_HARDLINK) || !S_ISREG(t->mode) || !t->body_len || t->n_extents)
		return;
	l->file = (struct piece){.body_off = t->body_off,
				 .mtime = t->mtime,
				 .mtime_ns = t->mtime_ns,
				 .mode = t->mode};
	l->left = t->body_len;
	if (l->batch && t->body_len <= SMALL_FILE && t->body_len > BATCH_BYTES - l->batch->used)
		submit(l);
	if (t->body_len <= SMALL_FILE)
		return;
	l->big = calloc(1, sizeof(*l->big));
	if (!l->big) {
		give_up(l, "out of memory");
		return;
	}
	atomic_init(&l->big->remaining, t->body_len);
	l->big->fd = create_body(l, &l->file);
	if (l->big->fd < 0) {
		l->left = 0;
		free(VARVE_TAKE(l->big));
		give_up(l, strerror(errno));
	}
}

void spool_layer_body(struct spool_layer *l, const void *bytes, size_t n)
{
	const unsigned char *from = bytes;

	if (!l)
		return;
	while (n && l->left) {
		struct piece *p;
		size_t k;

		if (l->batch && l->batch->used == BATCH_BYTES)
			submit(l);
		if (!l->batch)
			l->batch = take_batch(l);
		if (!l->batch) {
			give_up(l, "out of memory");
			return;
		}
		k = VARVE_MIN(n, BATCH_BYTES - l->batch->used);
		k = (size_t)VARVE_MIN((uint64_t)k, l->left);
		p = l->batch->n_pieces ? &l->batch->pieces[l->batch->n_pieces - 1] : NULL;
		if (!p || p->body_off != l->file.body_off) {
			p = add_piece(l->batch);
			if (!p) {
				give_up(l, "out of memory");
				return;
			}
			*p = l->file;
			p->pos = l->batch->used;
			p->big = l->big;
		}
		memcpy(l->batch->bytes + l->batch->used, from, k);
		p->n += (uint32_t)k;
		l->batch->used += (uint32_t)k;
		l->file.off += k;
		l->left -= k;
		from += k;
		n -= k;
	}
}

/* --- layers --- */

struct spool_layer *spool_layer_new(struct varve_spool *sp, const struct varve_digest *blob)
{
	struct spool_layer *l = sp ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	l->sp = sp;
	l->blob = *blob;
	atomic_init(&l->failed, false);
	fsx_random_name(l->name); /* a layer that is read twice has two directories */
	l->dir = fsx_make_dir(sp->dir, l->name, 0700);
	if (l->dir < 0) {
		free(l);
		return NULL;
	}
	pthread_mutex_lock(&sp->lock);
	l->next = sp->layers;
	sp->layers = l;
	pthread_mutex_unlock(&sp->lock);
	return l;
}

void spool_layer_end(struct spool_layer *l, bool ok)
{
	struct varve_spool *sp;

	if (!l)
		return;
	sp = l->sp;
	if (!ok || l->left)
		atomic_store(&l->failed, true);
	abandon_body(l);
	submit(l);
	pthread_mutex_lock(&sp->lock);
	while (l->pending) {
		if (sp->queue_first)
			write_first(sp);
		else
			pthread_cond_wait(&sp->changed, &sp->lock);
	}
	l->done = !atomic_load(&l->failed);
	pthread_mutex_unlock(&sp->lock);
	/* Half a layer is of no use, and the room it takes may be what is missing. */
	if (!l->done)
		(void)fsx_remove_tree(sp->dir, l->name, NULL, NULL, NULL);
}

int spool_layer_dir(struct varve_spool *sp, const struct varve_plan *p, size_t index)
{
	const struct varve_plan_layer *layers = p->summary.layers;
	const struct varve_digest *blob = &layers[index].digest;
	int dir = -1;

	if (!sp)
		return -1;
	for (size_t i = 0; i < index; i++)
		if (p->bodies[i].n && varve_digest_equal(&layers[i].digest, blob))
			return -1;
	pthread_mutex_lock(&sp->lock);
	for (struct spool_layer *l = sp->layers; l && dir < 0; l = l->next)
		if (l->done && varve_digest_equal(&l->blob, blob))
			dir = l->dir;
	pthread_mutex_unlock(&sp->lock);
	return dir;
}

void spool_reduce_need(struct varve_spool *sp, const struct varve_plan *p,
		       struct varve_plan_summary *need)
{
	for (size_t i = 0; i < need->n_layers; i++) {
		const struct plan_body_list *b = &p->bodies[i];

		if (!b->n || spool_layer_dir(sp, p, i) < 0)
			continue;
		for (uint32_t k = 0; k < b->n; k++) {
			const struct plan_inode *in = &p->inodes[b->inodes[k]];
			uint64_t disk = (in->body_len + 4095) / 4096 * 4096;

			if (!spool_has(in))
				continue;
			need->inodes -= need->inodes > 0;
			need->disk -= VARVE_MIN(disk, need->disk);
		}
	}
}

/* --- the spool --- */

#define SPOOL_PREFIX ".varve-spool."

/* Spools of processes that died: whoever can lock one owns it. */
static void sweep_dead(struct varve_spool *sp)
{
	int fd = fcntl(sp->roots, F_DUPFD_CLOEXEC, 3);
	VARVE_CLOSEDIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		VARVE_CLOSE int old = -1;

		if (strncmp(entry->d_name, SPOOL_PREFIX, strlen(SPOOL_PREFIX)) != 0)
			continue;
		old = fsx_open_dir(sp->roots, entry->d_name);
		if (old >= 0 && fsx_flock(old, LOCK_EX | LOCK_NB) == 0)
			(void)fsx_remove_tree(sp->roots, entry->d_name, NULL, NULL, NULL);
	}
}

static int open_dirs(struct varve_spool *sp, const char *roots, struct varve_err *e)
{
	int r = fsx_make_path(roots, 0755, e);

	if (r < 0)
		return r;
	sp->roots = open(roots, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sp->roots < 0)
		return varve_fail_errno(e, "roots directory %s", roots);
	sweep_dead(sp);
	sp->dir = fsx_make_locked_dir(sp->roots, SPOOL_PREFIX, sp->name, sizeof(sp->name));
	if (sp->dir < 0)
		return varve_fail_errno(e, "roots directory %s: cannot make a directory in it",
					roots);
	if (asprintf(&sp->path, "%s/%s", roots, sp->name) < 0) {
		sp->path = NULL;
		return varve_fail_oom(e);
	}
	return apply_plain_directory(sp->dir, e);
}

const char *spool_path(const struct varve_spool *sp)
{
	return sp ? sp->path : NULL;
}

struct sync_ahead *spool_take_sync(struct varve_spool *sp)
{
	struct sync_ahead *ahead;

	if (!sp)
		return NULL;
	pthread_mutex_lock(&sp->lock);
	ahead = VARVE_TAKE(sp->ahead);
	pthread_mutex_unlock(&sp->lock);
	return ahead;
}

int varve_spool_new(struct varve_spool **ret, const struct varve_ctx *ctx, const char *roots,
		    unsigned threads, bool no_sync, struct varve_err *e)
{
	struct varve_spool *sp = calloc(1, sizeof(*sp));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int r;

	if (!sp)
		return varve_fail_oom(e);
	sp->ctx = ctx;
	sp->roots = sp->dir = -1;
	sp->queue_last = &sp->queue_first;
	pthread_mutex_init(&sp->lock, NULL);
	pthread_cond_init(&sp->changed, NULL);
	sp->ops = *varve_layer_ops();
	sp->ops.spool = sp;
	r = open_dirs(sp, roots, e);
	if (r < 0) {
		varve_spool_free(sp);
		return r;
	}
	sp->ahead = no_sync ? NULL : sync_ahead_start(sp->dir);
	threads = threads ? threads : (unsigned)VARVE_MAX(cores, 1L);
	while (sp->n_writers < VARVE_MIN(threads, WRITERS_MAX) &&
	       pthread_create(&sp->writers[sp->n_writers], NULL, writer, sp) == 0)
		sp->n_writers++; /* with none at all, the readers write */
	*ret = sp;
	return 0;
}

const struct varve_layer_ops *varve_spool_ops(struct varve_spool *sp)
{
	return &sp->ops;
}

void varve_spool_free(struct varve_spool *sp)
{
	if (!sp)
		return;
	pthread_mutex_lock(&sp->lock);
	sp->stop = true;
	pthread_cond_broadcast(&sp->changed);
	pthread_mutex_unlock(&sp->lock);
	for (unsigned i = 0; i < sp->n_writers; i++)
		(void)pthread_join(sp->writers[i], NULL);
	(void)sync_ahead_end(sp->ahead);
	while (sp->layers) {
		struct spool_layer *next = sp->layers->next;

		(void)close(sp->layers->dir);
		free(sp->layers);
		sp->layers = next;
	}
	while (sp->free_batches) {
		struct batch *next = sp->free_batches->next;

		free(sp->free_batches->pieces);
		free(sp->free_batches->bytes);
		free(sp->free_batches);
		sp->free_batches = next;
	}
	if (sp->dir >= 0) {
		(void)fsx_remove_tree(sp->roots, sp->name, NULL, NULL, NULL);
		(void)close(sp->dir);
	}
	if (sp->roots >= 0)
		(void)close(sp->roots);
	pthread_cond_destroy(&sp->changed);
	pthread_mutex_destroy(&sp->lock);
	free(sp->path);
	free(sp);
}
