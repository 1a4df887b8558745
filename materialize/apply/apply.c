/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Share the work of a plan among threads: whoever is free inflates the next window of a layer that
 * nobody inflates now, or else writes what was inflated. Inflating comes first as long as there is
 * room for its result, because it is the longest chain of the whole. A thread that has nothing to
 * do gets half of what is left of a layer, where that has restart points.
 */
#include "materialize/apply/apply_cut.h"
#include "materialize/apply/apply_layer.h"
#include "materialize/apply/meta.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>

#include "materialize/disk/sync_ahead.h"
#include "store/base/compiler.h"
#include "store/base/hash.h"
#include "store/base/invariant.h"
#include "store/blob.h"
#include "store/handle.h"

#define BATCHES_MAX   24u /* inflated and not yet written: 24 MiB */
#define PLAIN_CHUNK   256u
#define PARTS_MAX     256u
#define DIR_FDS_TOTAL 512u /* of all threads together */
#define PROGRESS_NS   100000000

/* A spooled layer: its bodies lie in their places, or need only be moved. */
struct moves {
	const struct plan_body_list *bodies;
	uint32_t *to_inflate; /* those that a spool does not take */
	int dir;
	uint32_t next;
};
struct apply {
	struct apply_shared shared;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t changed;
	struct layer *layers; /* those with bodies */
	uint32_t n_layers, layers_left, cap_layers;
	struct moves *moves; /* the spooled ones */
	uint32_t n_moves, next_move;
	struct batch_queue queue;
	uint32_t next_plain;
	bool dirs_started, dirs_ready, failed;
	bool telling;  /* one thread is in the caller's callback */
	unsigned idle; /* threads that found nothing to do */
	uint64_t written;
	int64_t progress_at;
	struct varve_err err;
};

/* --- writing --- */

static int write_batch(struct apply_worker *w, const struct batch *b, struct varve_err *e)
{
	int r = 0;

	for (size_t i = 0; i < b->n_pieces && r >= 0; i++) {
		const struct batch_piece *p = &b->pieces[i];

		if (p->body.file)
			r = apply_big_piece(w, p, b->bytes + p->pos, e);
		else
			r = apply_file(w, (uint32_t)p->body.id, b->bytes + p->pos, e);
	}
	return r;
}

static int move_bodies(struct apply_worker *w, const struct moves *m, uint32_t from, uint32_t to,
		       struct varve_err *e)
{
	for (uint32_t i = from; i < to; i++) {
		uint32_t inode = m->bodies->inodes[i];
		int r = spool_has(&w->a->plan->inodes[inode]) ? apply_spooled(w, inode, m->dir, e)
							      : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int write_plain(struct apply_worker *w, uint32_t from, uint32_t to, struct varve_err *e)
{
	for (uint32_t i = from; i < to; i++) {
		const struct plan_inode *in = &w->a->plan->inodes[i];
		int r;

		if (S_ISDIR(in->mode) || (S_ISREG(in->mode) && in->body_len))
			continue;
		r = apply_plain(w, i, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- sharing the work; all below hold a->lock but where they say so --- */

static struct layer *claim_layer(struct apply *a)
{
	struct layer *fresh = NULL;

	assert_locked(&a->lock);
	/* One that was begun goes on first: at most one open stream a thread. */
	for (uint32_t i = 0; i < a->n_layers; i++) {
		struct layer *l = &a->layers[i];

		if (l->claimed || l->done)
			continue;
		if (l->stream)
			return l;
		if (!fresh)
			fresh = l;
	}
	return fresh;
}

/* Add up what a worker did. True: it is to tell *ret, and no other thread does meanwhile. */
static bool progress_due(struct apply_worker *w, struct apply *a, bool last,
			 struct varve_progress *ret)
{
	struct timespec ts;
	int64_t now;

	assert_locked(&a->lock);
	a->written += w->written;
	sync_ahead_wrote(a->shared.opt->ahead, w->dirty);
	w->written = w->dirty = 0;
	if (!a->shared.ctx || !a->shared.ctx->progress || a->telling)
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = ts.tv_sec * 1000000000LL + ts.tv_nsec;
	if (!last && now - a->progress_at < PROGRESS_NS)
		return false;
	a->progress_at = now;
	a->telling = true;
	*ret = (struct varve_progress){.stage = VARVE_STAGE_WRITE,
				       .done = a->written,
				       .total = a->shared.plan->summary.bytes,
				       .finished = last};
	return true;
}

/*
 * True: the lock was given up, because the callback may take its time (a stopped terminal) and the
 * other threads go on meanwhile.
 */
static bool report(struct apply_worker *w, struct apply *a, bool last)
{
	struct varve_progress p;

	if (!progress_due(w, a, last, &p))
		return false;
	pthread_mutex_unlock(&a->lock);
	progress_emit(a->shared.ctx, &p);
	pthread_mutex_lock(&a->lock);
	a->telling = false;
	return true;
}

static void fail_all(struct apply *a, const struct varve_err *e)
{
	assert_locked(&a->lock);
	if (!a->failed)
		a->err = *e;
	a->failed = true;
}

/* --- the pieces of work: 1: done; all give the lock up while they work --- */

static int make_directories(struct apply_worker *w, struct apply *a, struct varve_err *e)
{
	int r;

	a->dirs_started = true;
	pthread_mutex_unlock(&a->lock);
	r = apply_directories(w, e);
	pthread_mutex_lock(&a->lock);
	a->dirs_ready = r >= 0;
	return r < 0 ? r : 1;
}

/* Inflate the next bodies of a layer into an empty batch. */
static int read_layer(struct apply *a, struct layer *l, struct batch *b, struct varve_err *e)
{
	bool hungry = a->idle && a->n_layers < a->cap_layers;
	bool done = false, more = false;
	struct layer half;
	int r;

	l->claimed = true;
	pthread_mutex_unlock(&a->lock);
	r = apply_layer_step(&a->shared, l, b, &done, e);
	if (r >= 0 && hungry && !done)
		more = apply_layer_split(&a->shared, l, &half);
	pthread_mutex_lock(&a->lock);
	if (more && a->n_layers < a->cap_layers) {
		a->layers[a->n_layers++] = half;
		a->layers_left++;
	} else if (more) {
		l->bodies.n += half.bodies.n; /* another one had the last place */
	}
	l->claimed = false;
	l->done = done;
	assert(!done || a->layers_left);
	a->layers_left -= done;
	batch_put(&a->queue, b);
	return r < 0 ? r : 1;
}

static int write_first(struct apply_worker *w, struct apply *a, struct batch *b,
		       struct varve_err *e)
{
	int r;

	pthread_mutex_unlock(&a->lock);
	r = write_batch(w, b, e);
	pthread_mutex_lock(&a->lock);
	batch_give(&a->queue, b);
	return r < 0 ? r : 1;
}

static int move_some(struct apply_worker *w, struct apply *a, struct varve_err *e)
{
	struct moves *m = &a->moves[a->next_move];
	uint32_t from = m->next, to = from + VARVE_MIN(PLAIN_CHUNK, m->bodies->n - from);
	int r;

	m->next = to;
	if (to == m->bodies->n)
		a->next_move++;
	pthread_mutex_unlock(&a->lock);
	r = move_bodies(w, m, from, to, e);
	pthread_mutex_lock(&a->lock);
	return r < 0 ? r : 1;
}

static int write_some_plain(struct apply_worker *w, struct apply *a, struct varve_err *e)
{
	uint32_t from = a->next_plain;
	uint32_t to = from + VARVE_MIN(PLAIN_CHUNK, a->shared.plan->n_inodes - from);
	int r;

	a->next_plain = to;
	pthread_mutex_unlock(&a->lock);
	r = write_plain(w, from, to, e);
	pthread_mutex_lock(&a->lock);
	return r < 0 ? r : 1;
}

/* Do one piece of work. 1: did; 0: there is none now; 2: and there will be none. */
static int work_once(struct apply_worker *w, struct apply *a, struct varve_err *e)
{
	bool plain = a->next_plain < a->shared.plan->n_inodes;
	struct layer *l;
	struct batch *b;

	assert_locked(&a->lock);
	if (!a->dirs_started)
		return make_directories(w, a, e);
	l = claim_layer(a);
	b = l ? batch_take(&a->queue) : NULL;
	if (b)
		return read_layer(a, l, b, e);
	b = a->dirs_ready ? batch_next(&a->queue) : NULL;
	if (b)
		return write_first(w, a, b, e);
	if (a->dirs_ready && a->next_move < a->n_moves)
		return move_some(w, a, e);
	if (a->dirs_ready && plain)
		return write_some_plain(w, a, e);
	if (l && !a->queue.n)
		return varve_fail_oom(e); /* not even one buffer */
	return a->dirs_ready && !a->layers_left && a->next_move == a->n_moves && !plain ? 2 : 0;
}

static void work(struct apply_worker *w, struct apply *a)
{
	struct varve_err err = VARVE_ERR_INIT;
	int r = 0;

	pthread_mutex_lock(&a->lock);
	while (!a->failed && r != 2) {
		r = ctx_check(a->shared.ctx, &err);
		if (r >= 0)
			r = work_once(w, a, &err);
		if (r < 0)
			fail_all(a, &err);
		if (r != 0)
			pthread_cond_broadcast(&a->changed);
		/* While it told, there may have come work whose broadcast nobody waited for. */
		if (!report(w, a, false) && r == 0) {
			a->idle++;
			pthread_cond_wait(&a->changed, &a->lock);
			a->idle--;
		}
	}
	pthread_mutex_unlock(&a->lock);
}

struct thread {
	pthread_t id;
	bool started;
	struct apply *a;
	struct apply_worker w;
};

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	work(&t->w, t->a);
	return NULL;
}

static int by_size(const void *x, const void *y, void *plan)
{
	const struct varve_plan_layer *l = ((const struct varve_plan *)plan)->summary.layers;
	const struct layer *a = x, *b = y;
	uint64_t na = l[a->index].unpacked, nb = l[b->index].unpacked;

	return na < nb ? 1 : na > nb ? -1 : (a->index > b->index) - (a->index < b->index);
}

/* Which bodies of a layer are inflated, which are moved. */
static int add_layer(struct apply *a, uint32_t index, struct varve_err *e)
{
	const struct varve_plan *p = a->shared.plan;
	const struct plan_body_list *all = &p->bodies[index];
	int dir = spool_layer_dir(a->shared.opt->spool, p, index);
	struct layer *l = &a->layers[a->n_layers];
	struct moves *m = &a->moves[a->n_moves];

	if (dir < 0) {
		*l = (struct layer){.index = index, .bodies = *all};
		a->n_layers++;
		return 0;
	}
	*m = (struct moves){.bodies = all, .dir = dir};
	m->to_inflate = calloc(all->n, sizeof(*m->to_inflate));
	a->n_moves++;
	if (!m->to_inflate)
		return varve_fail_oom(e);
	*l = (struct layer){.index = index, .bodies.inodes = m->to_inflate};
	for (uint32_t i = 0; i < all->n; i++)
		if (!spool_has(&p->inodes[all->inodes[i]]))
			m->to_inflate[l->bodies.n++] = all->inodes[i];
	if (l->bodies.n)
		a->n_layers++;
	return 0;
}

static int apply_init(struct apply *a, const struct varve_plan *p, const struct apply_options *o,
		      struct varve_err *e)
{
	size_t n = p->summary.n_layers;
	int r;

	apply_shared_init(&a->shared, p, o);
	a->shared.ctx = p->store ? store_ctx(p->store) : NULL;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	batch_queue_init(&a->queue, VARVE_MAX(BATCHES_MAX, 2 * o->threads));
	a->cap_layers = (uint32_t)n + PARTS_MAX;
	a->layers = calloc(a->cap_layers, sizeof(*a->layers));
	a->moves = calloc(n + 1, sizeof(*a->moves));
	if (!a->layers || !a->moves)
		return varve_fail_oom(e);
	r = spool_settle(o->spool, p, &a->shared.placed, e);
	for (size_t i = 0; i < n && r >= 0; i++)
		r = p->bodies[i].n ? add_layer(a, (uint32_t)i, e) : 0;
	if (r < 0)
		return r;
	/* The longest chain begins first. */
	qsort_r(a->layers, a->n_layers, sizeof(*a->layers), by_size, (void *)(uintptr_t)p);
	a->layers_left = a->n_layers;
	return apply_probe(&a->shared, e);
}

static void apply_done(struct apply *a)
{
	for (uint32_t i = 0; i < a->n_layers; i++)
		layer_stream_free(a->layers[i].stream);
	batch_queue_done(&a->queue);
	free(a->layers);
	for (uint32_t i = 0; i < a->n_moves; i++)
		free(a->moves[i].to_inflate);
	free(a->moves);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	apply_shared_done(&a->shared);
}

static int run_threads(struct apply *a, struct thread *t, unsigned n, struct varve_err *e)
{
	unsigned slots = VARVE_MIN(VARVE_MAX(DIR_FDS_TOTAL / n, 8u), 128u);
	int r = 0;

	for (unsigned i = 0; i < n && r >= 0; i++) {
		t[i].a = a;
		t[i].w.a = &a->shared;
		r = dir_cache_init(&t[i].w.dirs, slots, &a->shared.dirs, e);
	}
	for (unsigned i = 1; i < n && r >= 0; i++) /* fewer threads than wanted do as well */
		t[i].started = !pthread_create(&t[i].id, NULL, thread_main, &t[i]);
	if (r >= 0)
		work(&t[0].w, a);
	for (unsigned i = 1; i < n; i++)
		if (t[i].started)
			(void)pthread_join(t[i].id, NULL);
	if (r >= 0 && a->failed) {
		r = -a->err.code;
		if (e)
			*e = a->err;
	}
	if (r >= 0)
		r = apply_directory_metadata(&t[0].w, e);
	if (r >= 0) {
		pthread_mutex_lock(&a->lock);
		(void)report(&t[0].w, a, true);
		pthread_mutex_unlock(&a->lock);
	}
	for (unsigned i = 0; i < n; i++)
		dir_cache_done(&t[i].w.dirs);
	return r;
}

static void sum_losses(const struct apply_shared *a, struct varve_losses *ret)
{
	ret->owners += atomic_load(&a->losses[APPLY_LOSS_OWNER]);
	ret->devices += atomic_load(&a->losses[APPLY_LOSS_DEVICE]);
	ret->xattrs += atomic_load(&a->losses[APPLY_LOSS_XATTR]);
	ret->others += atomic_load(&a->losses[APPLY_LOSS_OTHER]);
}

int apply_plan(const struct varve_plan *p, const struct apply_options *o, struct varve_losses *ret,
	       struct varve_err *e)
{
	unsigned n = VARVE_MAX(o->threads, 1u);
	VARVE_FREE struct thread *threads = calloc(n, sizeof(*threads));
	struct apply a = {0};
	int r;

	if (!threads)
		return varve_fail_oom(e);
	r = apply_init(&a, p, o, e);
	if (r >= 0)
		r = run_threads(&a, threads, n, e);
	if (r >= 0)
		sum_losses(&a.shared, ret);
	apply_done(&a);
	return r;
}

int apply_finish_root(const struct varve_plan *p, const struct apply_options *o,
		      struct varve_losses *ret, struct varve_err *e)
{
	const struct plan_inode *in = &p->inodes[p->names[PLAN_ROOT].inode];
	struct apply_shared a;
	struct stat st;
	int r;

	apply_shared_init(&a, p, o);
	a.ctx = p->store ? store_ctx(p->store) : NULL;
	if (fstat(o->rootfd, &st))
		return varve_fail_errno(e, "staging directory");
	a.uid = st.st_uid;
	a.gid = st.st_gid;
	r = meta_set_fd(&a, o->rootfd, PLAN_ROOT, in, st.st_mode & 0777, e);
	sum_losses(&a, ret);
	apply_shared_done(&a);
	return r;
}
