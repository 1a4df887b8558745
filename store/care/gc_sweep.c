/* SPDX-License-Identifier: Apache-2.0 */
/* The work of gc after the decision: records in batches, files unlinked or to trash/. */
#include "store/care/gc_sweep.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/blob_record.h"
#include "store/tags.h"

#include <fcntl.h>
#include <string.h>

#define BATCH     4096 /* records of one transaction */
#define BATCH_MIN 16
#define SMALL     (64u << 10) /* bytes of a blob */

/* --- trash --- */

void gc_trash_done(struct gc_trash *trash)
{
	free(trash->names);
	*trash = (struct gc_trash){0};
}

int gc_trash_move(struct gc_trash *trash, struct varve_store *s, const char *path,
		  struct varve_err *e)
{
	const char *slash = strrchr(path, '/');
	void *more;

	if (trash->n == trash->cap) {
		trash->cap = trash->cap ? trash->cap * 2 : 64;
		more = realloc(trash->names, trash->cap * sizeof(*trash->names));
		if (!more)
			return varve_fail_oom(e);
		trash->names = more;
	}
	(void)layout_trash(slash ? slash + 1 : path, trash->names[trash->n]);
	if (renameat(s->root, path, s->root, trash->names[trash->n]) == 0) {
		trash->n++;
		return 0;
	}
	if (errno == ENOENT || unlinkat(s->root, path, 0) == 0 ||
	    unlinkat(s->root, path, AT_REMOVEDIR) == 0)
		return 0;
	return varve_fail_errno(e, "remove %s/%s", s->path, path);
}

void gc_trash_empty(struct gc_trash *trash, struct varve_store *s)
{
	VARVE_CLOSE int dir = trash->n ? fsx_open_dir(s->root, LAYOUT_TRASH) : -1;
	size_t i;

	for (i = 0; i < trash->n; i++) {
		const char *name = trash->names[i] + sizeof(LAYOUT_TRASH);

		if (unlinkat(dir, name, 0) < 0 && errno == EISDIR)
			(void)fsx_remove_tree(dir, name, s->ctx, NULL, NULL);
	}
	trash->n = 0;
}

/* --- records --- */

bool gc_blob_goes(const struct gc_state *st, uint32_t i)
{
	return !st->g.blobs[i].mark && st->g.blobs[i].recorded && !st->foreign_unknown &&
	       !(st->young && st->young[i]);
}

static bool image_goes(const struct gc_state *st, uint32_t i)
{
	return !st->image_mark[i] && !st->foreign_unknown;
}

/*
 * All records as one row: tags, installs, images, blobs. In this order, so that after each batch no
 * record names what is gone.
 */
struct sweep {
	struct gc_state *st;
	size_t from, to;
	bool names_changed; /* of this batch */
};

static size_t row_length(const struct gc_state *st)
{
	return st->g.n_tags + st->installs.n + st->g.n_images + st->g.n_blobs;
}

enum section { TAGS, INSTALLS, IMAGES, BLOBS };

/* Which record is number i of the row, and does it go? */
static bool row_goes(const struct gc_state *st, size_t i, enum section *ret_section,
		     uint32_t *ret_i)
{
	const size_t sizes[] = {st->g.n_tags, st->installs.n, st->g.n_images, st->g.n_blobs};
	unsigned section = TAGS;

	while (section < BLOBS && i >= sizes[section])
		i -= sizes[section++];
	*ret_section = (enum section)section;
	*ret_i = (uint32_t)i;
	return section == TAGS       ? st->drop[i] != NULL
	       : section == INSTALLS ? st->install_gone[i]
	       : section == IMAGES   ? image_goes(st, *ret_i)
				     : gc_blob_goes(st, *ret_i);
}

static int delete_record(struct index_txn *t, struct gc_state *st, enum section section, uint32_t i,
			 struct varve_err *e)
{
	const struct varve_digest *d;
	int r;

	switch (section) {
	case TAGS:
		return tags_remove(t, st->g.tags[i].reference, &st->g.tags[i].platform, e);
	case INSTALLS:
		return index_del(t, INDEX_INSTALL, st->installs.items[i].id,
				 strlen(st->installs.items[i].id), e);
	case IMAGES:
		d = &st->g.blobs[st->g.images[i].blob].digest;
		r = index_del(t, INDEX_IMAGE, record_digest_key(d), record_digest_len(d), e);
		return r < 0 ? r
			     : index_del(t, INDEX_USED, record_digest_key(d), record_digest_len(d),
					 e);
	default:
		return blob_record_delete(t, &st->g.blobs[i].digest, e);
	}
}

static int delete_batch(struct index_txn *t, void *user, struct varve_err *e)
{
	struct sweep *w = user;
	enum section section;
	uint32_t k;
	size_t i;
	int r = 0;

	w->names_changed = false;
	for (i = w->from; r == 0 && i < w->to; i++) {
		if (!row_goes(w->st, i, &section, &k))
			continue;
		w->names_changed |= section == TAGS || section == INSTALLS;
		r = delete_record(t, w->st, section, k, e);
	}
	return r == 0 && w->names_changed ? index_bump(t, e) : r;
}

/* The batch ends behind n records that go; *ret_any: are there any? */
static size_t batch_end(const struct gc_state *st, size_t from, size_t n, bool *ret_any)
{
	size_t i, total = row_length(st), found = 0;
	enum section section;
	uint32_t k;

	for (i = from; i < total && found < n; i++)
		found += row_goes(st, i, &section, &k);
	*ret_any = found > 0;
	return i;
}

/* What is small is unlinked as quickly as renamed; the rest waits for its turn without the lock. */
static int remove_blob(struct varve_store *s, const struct graph_blob *b, struct gc_trash *trash,
		       struct varve_err *e)
{
	char path[LAYOUT_PATH_MAX];

	(void)layout_blob(&b->digest, path);
	if (b->size <= SMALL && (unlinkat(s->root, path, 0) == 0 || errno == ENOENT))
		return 0;
	return gc_trash_move(trash, s, path, e);
}

static int remove_blobs(const struct sweep *w, struct gc_trash *trash, struct varve_gc_result *ret,
			struct varve_err *e)
{
	const struct graph *g = &w->st->g;
	enum section section;
	uint32_t k;
	size_t i;
	int r = 0;

	for (i = w->from; r == 0 && i < w->to; i++) {
		if (!row_goes(w->st, i, &section, &k) || section != BLOBS)
			continue;
		r = remove_blob(w->st->store, &g->blobs[k], trash, e);
		if (r == 0 && g->blobs[k].present) {
			ret->removed_blobs++;
			ret->removed_bytes += g->blobs[k].size;
		}
	}
	return r;
}

/* --- a full disk --- */

struct room {
	bool tight; /* the disk was full once: what goes is unlinked at once */
	size_t batch;
};

/* Even deleting takes a few pages. Is there anything left that makes room for them? */
static bool make_room(struct room *room, struct gc_trash *trash, struct varve_store *s)
{
	if (!room->tight) {
		room->tight = true;
		gc_trash_empty(trash, s);
		return true;
	}
	if (unlinkat(s->root, LAYOUT_BALLAST, 0) == 0) {
		log_info(s->ctx, "gc", "disk is full: the ballast makes room for the records");
		return true;
	}
	room->batch /= 4; /* the pages of one batch serve the next but one */
	return room->batch >= BATCH_MIN;
}

int gc_sweep(struct gc_state *st, struct gc_trash *trash, bool *ret_names_changed,
	     struct varve_gc_result *ret, struct varve_err *e)
{
	struct room room = {false, BATCH};
	struct varve_store *s = st->store;
	struct sweep w = {.st = st};
	int r = 0;

	while (r == 0 && w.from < row_length(st)) {
		struct varve_err why = VARVE_ERR_INIT;
		bool any;

		w.to = batch_end(st, w.from, room.batch, &any);
		r = any ? index_update(s->index, delete_batch, &w, &why) : 0;
		if (r == -VARVE_E_NOSPACE && make_room(&room, trash, s)) {
			r = 0;
			continue;
		}
		if (r < 0 && e)
			*e = why;
		*ret_names_changed |= any && w.names_changed && r == 0;
		if (r == 0)
			r = remove_blobs(&w, trash, ret, e);
		if (room.tight)
			gc_trash_empty(trash, s);
		w.from = w.to;
	}
	return r;
}
