/* SPDX-License-Identifier: Apache-2.0 */
/* Take back what a failed command published: gc, for these few blobs and at once. */
#include "store/care/discard.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/blob_record.h"
#include "store/care/gc_mark.h"
#include "store/layout.h"
#include "store/lock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct discard {
	struct gc_state st;
	struct varve_digest *items; /* those that go stand first */
	size_t n;
	char (*trash)[LAYOUT_PATH_MAX];
};

static void discard_done(struct discard *d)
{
	gc_end(&d->st);
	free(d->items);
	free(d->trash);
}

static int take_published(struct discard *d, struct varve_store *s, struct varve_err *e)
{
	(void)pthread_mutex_lock(&s->mutex);
	d->items = VARVE_TAKE(s->published);
	d->n = s->n_published;
	s->n_published = 0;
	(void)pthread_mutex_unlock(&s->mutex);
	d->trash = calloc(d->n + 1, sizeof(*d->trash));
	return d->trash ? 0 : varve_fail_oom(e);
}

/* Also not one that an image names which itself is only garbage: its record must stay true. */
static bool is_needed(const struct graph *g, const struct varve_digest *d)
{
	uint32_t i = graph_find_blob(g, d);
	size_t k;

	if (i == GRAPH_NONE)
		return false;
	if (g->blobs[i].mark || graph_find_image(g, d) != GRAPH_NONE)
		return true;
	for (k = 0; k < g->n_edges; k++)
		if (g->edges[k].blob == i)
			return true;
	return false;
}

static void keep_the_needed(struct discard *d)
{
	size_t i, n = 0;

	for (i = 0; i < d->n; i++)
		if (!is_needed(&d->st.g, &d->items[i]))
			d->items[n++] = d->items[i];
	d->n = n;
}

/* One may have been looked up, and so adopted, before the command failed. */
static int delete_records(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct discard *d = user;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < d->n; i++)
		r = blob_record_delete(t, &d->items[i], e);
	return r;
}

/* The lock keeps others from beginning to need one between the decision and the rename. */
static int move_away(struct discard *d, struct varve_store *s, struct varve_err *e)
{
	static const struct varve_gc_options defaults = VARVE_GC_OPTIONS_INIT;
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char path[LAYOUT_PATH_MAX];
	size_t i;
	int r = lock_acquire(&lock, s->root, LOCK_EX, s->ctx, e);

	if (r == 0)
		r = gc_begin(&d->st, s, &defaults, e);
	if (r == 0)
		r = gc_decide(&d->st, e);
	if (r < 0)
		return r;
	keep_the_needed(d);
	if (d->n)
		r = index_update(s->index, delete_records, d, e);
	for (i = 0; r == 0 && i < d->n; i++) {
		(void)layout_blob(&d->items[i], path);
		(void)layout_trash("gc", d->trash[i]);
		if (renameat(s->root, path, s->root, d->trash[i]) < 0 && errno != ENOENT)
			r = varve_fail_errno(e, "remove %s/%s", s->path, path);
	}
	return r;
}

void store_discard_published(struct varve_store *s)
{
	VARVE_CLEANUP(discard_done) struct discard d = {0};
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];
	size_t i;
	int r;

	if (!s->n_published)
		return;
	r = take_published(&d, s, &why);
	if (r == 0)
		r = move_away(&d, s, &why);
	if (r < 0)
		log_debug(s->ctx, "gc", "what was published stays until the next gc: %s",
			  varve_err_text(&why, text, sizeof(text)));
	for (i = 0; d.trash && i < d.n; i++)
		if (d.trash[i][0])
			(void)unlinkat(s->root, d.trash[i], 0);
}
