/* SPDX-License-Identifier: Apache-2.0 */
/* Read layers for whoever brings blobs in: a stored one at once, a growing one in a thread that
 * follows it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "materialize/confine/cage.h"
#include "materialize/layer/layer_join.h"
#include "materialize/layer/layer_read.h"
#include "materialize/layer/layer_scan.h"
#include "materialize/layer/tee.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/derived.h"
#include "store/handle.h"
#include "varve-materialize.h"

#define WINDOW (256u << 10)
/*
 * What decoders of all layers may take together, so that many large windows at once do not add up;
 * one alone may take more. Memory is the process's, and so is this.
 */
#define DECODING_MAX ((uint64_t)24 << 20)
static struct {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	uint64_t used;
} decoding = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

/* Internal: the bytes read so far are void. Never leaves this file. */
#define AGAIN (-1)

struct follower {
	struct varve_store *s;
	struct varve_digest blob;
	int fd;
	const struct layer_tee *tee; /* may be NULL */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	uint64_t available;
	uint64_t generation; /* counts restarts */
	bool end, stop, finishing, idle;
	/* of the thread */
	uint64_t at, my_generation;
	uint8_t *window;
	uint64_t admitted; /* of decoding.used */
	struct aux_file file;
	bool has_file;
	struct zran_writer *points;
	struct varve_layer_facts facts;
	int result;
	struct varve_err err;
};

/* Block until there are bytes behind f->at. *ret: where they end; 0 bytes more: the end. */
static int wait_bytes(struct follower *f, uint64_t *ret, struct varve_err *e)
{
	int r = 0;

	(void)pthread_mutex_lock(&f->lock);
	while (!f->stop && f->generation == f->my_generation && !f->end && f->available <= f->at)
		(void)pthread_cond_wait(&f->changed, &f->lock);
	if (f->stop)
		r = varve_fail(e, VARVE_E_INTERRUPTED, "interrupted");
	else if (f->generation != f->my_generation)
		r = AGAIN;
	*ret = f->available;
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

static int follow_next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct follower *f = user;
	uint64_t upto;
	size_t want;
	ssize_t n;
	int r = wait_bytes(f, &upto, e);

	if (r < 0)
		return r;
	want = (size_t)VARVE_MIN(upto - f->at, (uint64_t)WINDOW);
	n = fsx_pread_full(f->fd, f->window, want, f->at);
	if (n < 0 || (size_t)n < want) {
		/* A restart truncates the file before it tells us; restarted_later() waits for
		 * that. */
		if (n >= 0)
			errno = EIO;
		return varve_fail_errno(e, "partial download of %s", DIGEST_STR(&f->blob));
	}
	f->at += (uint64_t)n;
	*ret = f->window;
	*ret_n = (size_t)n;
	return 0;
}

/*
 * What was read may be void still: wait for a restart or for finish(). An error counts only then,
 * as do the bytes that advance() called the last ones.
 */
static bool was_restarted(struct follower *f)
{
	bool r;

	(void)pthread_mutex_lock(&f->lock);
	f->idle = true;
	while (!f->stop && !f->finishing && f->generation == f->my_generation)
		(void)pthread_cond_wait(&f->changed, &f->lock);
	r = !f->stop && f->generation != f->my_generation;
	f->idle = !r;
	f->my_generation = f->generation;
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

static bool stopped(struct follower *f)
{
	bool r;

	(void)pthread_mutex_lock(&f->lock);
	r = f->stop;
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

/* Until the others have given back enough; the bytes of the layer wait on the disk. */
static int admit(void *user, uint64_t memory, struct varve_err *e)
{
	struct follower *f = user;
	int r = 0;

	(void)pthread_mutex_lock(&decoding.lock);
	while (!stopped(f) && decoding.used && decoding.used + memory > DECODING_MAX)
		(void)pthread_cond_wait(&decoding.freed, &decoding.lock);
	if (stopped(f)) {
		r = varve_fail(e, VARVE_E_INTERRUPTED, "interrupted");
	} else {
		f->admitted = memory;
		decoding.used += memory;
	}
	(void)pthread_mutex_unlock(&decoding.lock);
	return r;
}

static void give_back(struct follower *f)
{
	(void)pthread_mutex_lock(&decoding.lock);
	decoding.used -= f->admitted;
	f->admitted = 0;
	(void)pthread_cond_broadcast(&decoding.freed);
	(void)pthread_mutex_unlock(&decoding.lock);
}

static int scan_and_tee(struct follower *f, const struct inflate_source *src)
{
	void *l = f->tee ? f->tee->begin(f->tee->user, &f->blob) : NULL;
	struct tar_events tee = {l ? f->tee->entry : NULL, l ? f->tee->body : NULL, NULL, l};
	struct layer_scan_to to = {.toc = &f->file,
				   .points = f->points,
				   .limits = store_limits(f->s),
				   .tee = l ? &tee : NULL,
				   .admit = admit,
				   .admit_user = f};
	int r = layer_scan(store_ctx(f->s), src, &to, &f->facts, &f->err);

	give_back(f);
	if (l)
		f->tee->end(l, r == 0);
	return r;
}

/* What an earlier run made is void. */
static void drop_files(struct follower *f)
{
	if (f->has_file)
		aux_abort(&f->file);
	f->has_file = false;
	zran_writer_free(f->points);
	f->points = NULL;
}

/* What is parsed here comes straight from the network. */
static int enter_cage(struct follower *f, struct varve_err *e)
{
	struct cage cage = {.ctx = store_ctx(f->s), .dirs = {f->tee ? f->tee->dir : NULL}};
	struct cage_store paths = {0};
	int r = cage_store(&cage, &paths, f->s, e);

	if (r == 0)
		r = cage_enter(&cage, e);
	cage_store_done(&paths);
	return r;
}

static void *follow_thread(void *user)
{
	struct follower *f = user;
	struct inflate_source src = {follow_next, f, f->fd};

	f->result = enter_cage(f, &f->err);
	if (f->result < 0)
		return NULL;
	do {
		f->at = 0;
		f->err = (struct varve_err)VARVE_ERR_INIT;
		drop_files(f);
		f->result = aux_create(f->s, &f->file, &f->err);
		f->has_file = f->result == 0;
		if (f->result == 0)
			f->result = zran_writer_new(&f->points, f->s, &f->blob, &f->err);
		if (f->result == 0)
			f->result = scan_and_tee(f, &src);
	} while (was_restarted(f));
	return NULL;
}

static void follower_free(struct follower *f)
{
	drop_files(f);
	(void)pthread_cond_destroy(&f->changed);
	(void)pthread_mutex_destroy(&f->lock);
	free(f->window);
	free(f);
}

static int ops_follow(const struct varve_layer_ops *ops, void **ret_job, struct varve_store *s,
		      const struct varve_digest *blob, int fd, struct varve_err *e)
{
	struct follower *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return varve_fail_oom(e);
	f->s = s;
	f->blob = *blob;
	f->fd = fd;
	f->tee = ops->tee;
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_cond_init(&f->changed, NULL);
	f->window = malloc(WINDOW);
	r = f->window ? pthread_create(&f->thread, NULL, follow_thread, f) : ENOMEM;
	if (r != 0) {
		follower_free(f);
		errno = r;
		return varve_fail_errno(e, "thread to read layer %s", DIGEST_STR(blob));
	}
	*ret_job = f;
	return 0;
}

static void ops_advance(void *job, uint64_t available, bool end)
{
	struct follower *f = job;

	(void)pthread_mutex_lock(&f->lock);
	f->available = available;
	f->end = end;
	(void)pthread_cond_signal(&f->changed);
	(void)pthread_mutex_unlock(&f->lock);
}

static void ops_restart(void *job)
{
	struct follower *f = job;

	(void)pthread_mutex_lock(&f->lock);
	f->generation++;
	f->available = 0;
	f->end = false;
	(void)pthread_cond_signal(&f->changed);
	(void)pthread_mutex_unlock(&f->lock);
}

static bool ops_idle(void *job)
{
	struct follower *f = job;
	bool r;

	(void)pthread_mutex_lock(&f->lock);
	r = f->idle;
	(void)pthread_mutex_unlock(&f->lock);
	return r;
}

static int ops_finish(void *job, bool discard, struct varve_layer_facts *ret, struct varve_err *e)
{
	struct follower *f = job;
	int r;

	(void)pthread_mutex_lock(&f->lock);
	f->stop = f->stop || discard;
	f->finishing = true;
	(void)pthread_cond_signal(&f->changed);
	(void)pthread_mutex_unlock(&f->lock);
	if (discard) {
		(void)pthread_mutex_lock(&decoding.lock);
		(void)pthread_cond_broadcast(&decoding.freed);
		(void)pthread_mutex_unlock(&decoding.lock);
	}
	(void)pthread_join(f->thread, NULL);
	r = discard ? 0 : f->result;
	if (!discard && r == 0) {
		zran_commit(f->points, &f->facts.diff_id);
		f->has_file = false;
		r = aux_commit(&f->file, "toc", &f->facts.diff_id, &f->err);
	}
	if (r < 0) {
		if (e)
			*e = f->err;
		r = varve_wrap(e, r, "layer %s", DIGEST_STR(&f->blob));
	} else if (ret && !discard) {
		*ret = f->facts;
	}
	follower_free(f);
	return r;
}

const struct varve_layer_ops *varve_layer_ops(void)
{
	static const struct varve_layer_ops ops = {
		.follow = ops_follow,
		.advance = ops_advance,
		.restart = ops_restart,
		.idle = ops_idle,
		.finish = ops_finish,
		.read = layer_read,
		.join = layer_join,
	};

	return &ops;
}
