/* SPDX-License-Identifier: Apache-2.0 */
/* All blobs of a run, several at once, the largest first; what was complete stays in any case. */
#include <stdlib.h>
#include <string.h>

#include "fetch/blobs/blobs.h"
#include "fetch/blobs/pull.h"
#include "fetch/blobs/transfer.h"
#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/ingest.h"
#include "store/store.h"

#define POLL_MS 20u /* for readers that are behind */

static void start_more(struct pull *p);

struct need *pull_need(struct pull *p, const struct varve_digest *d)
{
	for (size_t i = 0; i < p->n_needs; i++)
		if (varve_digest_equal(&p->needs[i].digest, d))
			return &p->needs[i];
	return NULL;
}

static void remember_failure(struct pull *p, int r, const struct varve_err *e)
{
	if (p->result < 0)
		return;
	p->result = r;
	p->err = *e;
}

/* Take one out of the list and wait for its end. */
static void finish_one(struct pull *p, struct following **at)
{
	struct following *f = *at;
	struct varve_err e = VARVE_ERR_INIT;
	int r;

	*at = f->next;
	p->n_following--;
	r = p->layers->finish(f->job, false, &f->need->facts, &e);
	(void)close(f->fd);
	if (r < 0) {
		(void)varve_wrap(&e, r, "layer %s", DIGEST_STR(&f->need->digest));
		remember_failure(p, r, &e);
	} else {
		f->need->has_facts = true;
	}
	free(f);
}

/* Those that are through; none is waited for, because that would hold up the transfers. */
static void finish_idle(struct pull *p)
{
	struct following **at = &p->following;

	while (*at)
		if (p->layers->idle((*at)->job))
			finish_one(p, at);
		else
			at = &(*at)->next;
}

static void keep_follower(struct pull *p, struct transfer *t)
{
	struct following *f = calloc(1, sizeof(*f)), **at = &p->following;

	if (!f)
		return; /* the facts are made at the install, then */
	f->job = VARVE_TAKE(t->follower);
	f->fd = VARVE_TAKE_FD(t->follower_fd);
	f->need = t->need;
	while (*at)
		at = &(*at)->next;
	*at = f;
	p->n_following++;
}

static void free_transfer(struct transfer *t)
{
	transfer_stop(t);
	free(t);
}

static void on_transfer_done(struct transfer *t)
{
	struct pull *p = t->pull;
	struct transfer **at = &p->active;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	p->n_running--;
	if (t->result < 0)
		remember_failure(p, t->result, &t->err);
	else
		t->need->there = true;
	if (t->result == 0 && t->follower)
		keep_follower(p, t);
	free_transfer(t);
	start_more(p);
}

static int start_one(struct pull *p, struct need *need)
{
	struct transfer *t = calloc(1, sizeof(*t));

	if (!t)
		return varve_fail_oom(&p->err);
	t->pull = p;
	t->need = need;
	t->done = on_transfer_done;
	t->next = p->active;
	p->active = t;
	p->n_running++;
	transfer_start(t);
	return 0;
}

static void on_poll(struct http_timer *t)
{
	start_more(t->user);
}

/* A blob that waits for another process takes a place, too: it may become ours at any moment. */
static void start_more(struct pull *p)
{
	int r;

	finish_idle(p);
	/* transfer_start() may come back here through on_transfer_done(), and leave a failure. */
	while (p->result == 0 && p->n_running < p->jobs && p->next_need < p->n_needs) {
		if (p->n_following > p->jobs) {
			p->poll.fire = on_poll;
			p->poll.user = p;
			http_timer_set(p->client->http, &p->poll, clock_now_ms() + POLL_MS);
			break;
		}
		r = start_one(p, &p->needs[p->next_need++]);
		if (r < 0)
			p->result = r;
	}
	p->idle = p->result < 0 || (p->n_running == 0 && !p->poll.armed);
}

static int by_size(const void *a, const void *b)
{
	const struct need *x = a, *y = b;

	/* Small documents that others depend on, then the largest: they decide when all is done. */
	if ((x->kind == VARVE_BLOB_LAYER) != (y->kind == VARVE_BLOB_LAYER))
		return x->kind == VARVE_BLOB_LAYER ? 1 : -1;
	return x->size < y->size ? 1 : x->size > y->size ? -1 : digest_cmp(&x->digest, &y->digest);
}

/* Each blob reserves its place when it begins; that
 * all of them have one is asked before the first. */
static int check_space(struct pull *p, struct varve_err *e)
{
	uint64_t needed = 0, room = store_fs_free(p->store);
	struct varve_blob_info info;

	for (size_t i = 0; i < p->n_needs; i++) {
		const struct need *n = &p->needs[i];
		uint64_t has;

		if (n->key || n->size == VARVE_SIZE_UNKNOWN ||
		    blob_stat(p->store, &n->digest, &info, NULL) != 0)
			continue;
		has = ingest_partial_room(p->store, &n->digest);
		if (n->size > has && needed <= UINT64_MAX - (n->size - has))
			needed += n->size - has;
	}
	if (needed <= room)
		return 0;
	return varve_fail(e, VARVE_E_NOSPACE,
			  "not enough space: %s more have to be downloaded, the disk of the store "
			  "%s has %s; varve gc frees what no image needs",
			  TEXT_SIZE(needed), varve_store_path(p->store), TEXT_SIZE(room));
}

int pull_blobs(struct pull *p, struct varve_err *e)
{
	int r;

	if (!p->n_needs)
		return 0;
	r = check_space(p, e);
	if (r < 0)
		return r;
	qsort(p->needs, p->n_needs, sizeof(*p->needs), by_size);
	p->next_need = 0;
	p->result = 0;
	start_more(p);
	r = !p->idle ? http_run(p->client->http, &p->idle, e) : 0;
	while (p->active) {
		struct transfer *t = p->active;

		p->active = t->next;
		free_transfer(t);
	}
	p->n_running = 0;
	http_timer_stop(p->client->http, &p->poll);
	while (p->following)
		finish_one(p, &p->following);
	if (r == 0 && p->result < 0) {
		r = p->result;
		if (e)
			*e = p->err;
	}
	return r;
}
