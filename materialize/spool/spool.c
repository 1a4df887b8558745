/* SPDX-License-Identifier: Apache-2.0 */
/* Write the bodies of layers to files while the
 * layers are being read: readers cut, writers write. */
#include "materialize/spool/spool_internal.h"

#include "materialize/disk/sync_ahead.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>

#include "store/base/arena.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/invariant.h"
#include "store/base/log.h"

#define BATCHES_MAX 16u /* filled and not yet written, all layers together: 16 MiB */
#define TREE        "tree"

/* --- cutting --- */

/* Holds the lock, and gives it up while it waits or writes. */
static void write_or_wait(struct spool_layer *l)
{
	struct batch *b = batch_next(&l->sp->queue);

	assert_locked(&l->sp->lock);
	if (b)
		spool_write(l->sp, b, &l->dirs);
	else
		pthread_cond_wait(&l->sp->changed, &l->sp->lock);
}

/* An empty batch. When all are filled, the reader writes one itself: it would only wait. NULL
 * without memory. */
static struct batch *take_batch(struct spool_layer *l)
{
	struct varve_spool *sp = l->sp;
	struct batch *b;

	pthread_mutex_lock(&sp->lock);
	while (!batch_queue_has_empty(&sp->queue))
		write_or_wait(l);
	b = batch_take(&sp->queue);
	pthread_mutex_unlock(&sp->lock);
	if (b)
		b->layer = l;
	return b;
}

static void submit(struct spool_layer *l)
{
	struct varve_spool *sp = l->sp;
	struct batch *b = VARVE_TAKE(l->batch);

	if (!b)
		return;
	pthread_mutex_lock(&sp->lock);
	if (b->n_pieces) {
		batch_put(&sp->queue, b);
		l->pending++;
	} else {
		batch_give(&sp->queue, b);
	}
	pthread_cond_broadcast(&sp->changed);
	pthread_mutex_unlock(&sp->lock);
}

/* Of the body that was coming there will be no more pieces. Whoever writes the last of those that
 * came closes its file; that may be nobody any more. */
static void abandon_body(struct spool_layer *l)
{
	struct body_file *f = VARVE_TAKE(l->body.file);
	uint64_t missing = l->left;

	l->left = 0;
	if (f && missing && body_file_less(f, missing))
		body_file_free(f);
}

static void give_up(struct spool_layer *l, const char *why)
{
	if (!atomic_exchange(&l->failed, true))
		log_info(l->sp->ctx, "spool", "layer %s: %s: it will be read again",
			 DIGEST_STR(&l->blob), why);
	abandon_body(l);
}

/* Where the tree has a place for it. NULL: nowhere,
 * or no memory; it is found by its number then. */
static struct spool_place *place_of(struct spool_layer *l, const struct tar_entry *t)
{
	const char *slash = memrchr(t->path.p, '/', t->path.n);
	struct span dir = span_of(t->path.p, slash ? (size_t)(slash - t->path.p) : 0);
	struct span base =
		span_of(t->path.p + dir.n + (slash != NULL), t->path.n - dir.n - (slash != NULL));
	struct spool_place *at;

	if (l->last_place == SPOOL_NOWHERE || dir.n != l->last_dir.n ||
	    memcmp(dir.p, l->last_dir.p, dir.n) != 0) {
		l->last_place = spool_tree_directory(&l->sp->tree, &l->dirs, dir);
		buf_reset(&l->last_dir);
		buf_add(&l->last_dir, dir.p, dir.n);
	}
	if (l->last_place == SPOOL_NOWHERE || !spool_tree_takes(base) ||
	    !spool_tree_remembers(&l->sp->tree, sizeof(*at) + base.n + 1))
		return NULL;
	at = arena_alloc(&l->arena, sizeof(*at) + base.n + 1, _Alignof(struct spool_place));
	if (!at)
		return NULL;
	*at = (struct spool_place){.body_off = t->body_off, .dir = l->last_place};
	memcpy(at->name, base.p, base.n);
	at->name[base.n] = '\0';
	*l->places_last = at;
	l->places_last = &at->next;
	return at;
}

/* A body that will lie in several batches: its file is made at once. */
static void begin_file(struct spool_layer *l)
{
	struct body_file *f = body_file_new(l->body.len);
	const char *why = "out of memory";

	if (f) {
		f->fd = spool_create_body(l, &l->dirs, &l->body);
		why = strerror(errno);
	}
	if (f && f->fd >= 0) {
		l->body.file = f;
		return;
	}
	body_file_free(f);
	l->left = 0;
	give_up(l, why);
}

void spool_layer_entry(struct spool_layer *l, const struct tar_entry *t)
{
	if (!l || atomic_load(&l->failed))
		return;
	l->left = 0;
	l->body.file = NULL;
	if ((t->flags & TAR_HARDLINK) || !S_ISREG(t->mode) || !t->body_len || t->n_extents)
		return;
	l->body = (struct body){.id = t->body_off,
				.len = t->body_len,
				.place = place_of(l, t),
				.mtime = t->mtime,
				.mtime_ns = t->mtime_ns,
				.mode = t->mode};
	l->left = t->body_len;
	if (batch_ends_before(l->batch, t->body_len))
		submit(l);
	if (t->body_len > batch_room(l->batch))
		begin_file(l);
}

void spool_layer_body(struct spool_layer *l, const void *bytes, size_t n)
{
	const unsigned char *from = bytes;

	if (!l)
		return;
	while (n && l->left) {
		size_t k = (size_t)VARVE_MIN((uint64_t)n, l->left);

		if (!batch_room(l->batch))
			submit(l);
		if (!l->batch)
			l->batch = take_batch(l);
		if (l->batch)
			k = batch_add(l->batch, &l->body, l->body.len - l->left, from, k);
		if (!l->batch || !k) {
			give_up(l, "out of memory");
			return;
		}
		l->left -= k;
		from += k;
		n -= k;
	}
}

/* --- layers --- */

static void layer_free(struct spool_layer *l)
{
	if (l->dir >= 0)
		(void)close(l->dir);
	dir_cache_done(&l->dirs);
	buf_done(&l->last_dir);
	arena_free(l->arena);
	free(l);
}

/*
 * Half a layer is of no use, and the room it takes may be what is missing. What cannot be removed
 * now is still known to be there: nothing becomes a tree with it (spool_settle).
 */
static void layer_drop(struct spool_layer *l)
{
	bool left = false;

	for (struct spool_place *at = l->places; at; at = at->next) {
		int dir = at->lies ? dir_cache_get(&l->dirs, at->dir) : -1;

		if (dir >= 0 && (unlinkat(dir, at->name, 0) == 0 || errno == ENOENT))
			at->lies = false;
		left |= at->lies;
	}
	if (!left)
		spool_forget_places(l);
	(void)fsx_clear_tree(l->sp->dir, l->name, l->sp->ctx, NULL);
}

struct spool_layer *spool_layer_new(struct varve_spool *sp, const struct varve_digest *blob)
{
	struct spool_layer *l = sp ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	l->sp = sp;
	l->blob = *blob;
	atomic_init(&l->failed, false);
	l->places_last = &l->places;
	l->last_place = SPOOL_NOWHERE;
	buf_init(&l->last_dir, 1u << 20);
	fsx_random_name(l->name); /* a layer that is read twice has two directories */
	l->dir = fsx_make_dir(sp->dir, l->name, 0700);
	if (l->dir < 0 || dir_cache_init(&l->dirs, SPOOL_SLOTS, &sp->tree.dirs, NULL) < 0) {
		layer_free(l);
		return NULL;
	}
	pthread_mutex_lock(&sp->lock);
	l->next = sp->layers;
	sp->layers = l;
	sp->n_reading++;
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
	while (l->pending)
		write_or_wait(l);
	l->done = !atomic_load(&l->failed);
	if (--sp->n_reading == 0) /* what comes now, the plan, needs memory as well */
		batch_free_empty(&sp->queue);
	pthread_mutex_unlock(&sp->lock);
	if (!l->done)
		layer_drop(l);
	dir_cache_done(&l->dirs);
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
			(void)fsx_remove_tree(sp->roots, entry->d_name, sp->ctx, NULL, NULL);
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
	r = fsx_plain_directory(sp->dir, e);
	return r < 0 ? r : spool_tree_init(&sp->tree, sp->dir, TREE, e);
}

int spool_take_tree(struct varve_spool *sp, int roots, const char *name)
{
	int fd;

	if (!sp || sp->tree.dirs.root < 0)
		return -1;
	fd = sp->taken ? -1 : fcntl(sp->tree.dirs.root, F_DUPFD_CLOEXEC, 3); /* with its lock */
	if (fd >= 0 && renameat(sp->dir, TREE, roots, name) == 0) {
		sp->taken = true;
		return fd;
	}
	sp->useless = true;
	if (fd >= 0)
		(void)close(fd);
	return -1;
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

static void *tee_begin(void *user, const struct varve_digest *blob)
{
	return spool_layer_new(user, blob);
}

static int tee_entry(void *layer, const struct tar_entry *t, struct varve_err *e)
{
	(void)e;
	spool_layer_entry(layer, t);
	return 0;
}

static int tee_body(void *layer, const void *p, size_t n, struct varve_err *e)
{
	(void)e;
	spool_layer_body(layer, p, n);
	return 0;
}

static void tee_end(void *layer, bool ok)
{
	spool_layer_end(layer, ok);
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
	batch_queue_init(&sp->queue, BATCHES_MAX);
	pthread_mutex_init(&sp->lock, NULL);
	pthread_cond_init(&sp->changed, NULL);
	sp->ops = *varve_layer_ops();
	r = open_dirs(sp, roots, e);
	if (r < 0) {
		varve_spool_free(sp);
		return r;
	}
	sp->tee = (struct layer_tee){sp, sp->path, tee_begin, tee_entry, tee_body, tee_end};
	sp->ops.tee = &sp->tee;
	sp->ahead = no_sync ? NULL : sync_ahead_start(sp->dir);
	threads = threads ? threads : (unsigned)VARVE_MAX(cores, 1L);
	while (sp->n_writers < VARVE_MIN(threads, WRITERS_MAX) &&
	       pthread_create(&sp->writers[sp->n_writers], NULL, spool_writer, sp) == 0)
		sp->n_writers++; /* with none at all, the readers write */
	*ret = sp;
	return 0;
}

const struct varve_layer_ops *varve_spool_ops(struct varve_spool *sp)
{
	return &sp->ops;
}

void spool_end_writers(struct varve_spool *sp)
{
	pthread_mutex_lock(&sp->lock);
	sp->stop = true;
	pthread_cond_broadcast(&sp->changed);
	pthread_mutex_unlock(&sp->lock);
	while (sp->n_writers)
		(void)pthread_join(sp->writers[--sp->n_writers], NULL);
}

void spool_forget_places(struct spool_layer *l)
{
	arena_free(l->arena);
	l->arena = NULL;
	l->places = NULL;
	l->places_last = &l->places;
}

void varve_spool_free(struct varve_spool *sp)
{
	if (!sp)
		return;
	spool_end_writers(sp);
	(void)sync_ahead_end(sp->ahead);
	while (sp->layers) {
		struct spool_layer *next = sp->layers->next;

		layer_free(sp->layers);
		sp->layers = next;
	}
	batch_queue_done(&sp->queue);
	if (sp->dir >= 0) {
		(void)fsx_clear_tree(sp->roots, sp->name, sp->ctx, NULL);
		(void)close(sp->dir);
	}
	if (sp->roots >= 0)
		(void)close(sp->roots);
	pthread_cond_destroy(&sp->changed);
	pthread_mutex_destroy(&sp->lock);
	spool_tree_done(&sp->tree);
	free(sp->path);
	free(sp);
}
