/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage collection: decide without the lock, decide again under it, records first, then files
 * (STORE-AND-LAYERS B). */
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob_record.h"
#include "store/gc_files.h"
#include "store/gc_mark.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/mirror.h"
#include "store/scan.h"
#include "store/tags.h"

#include <fcntl.h>
#include <string.h>

struct gc {
	struct gc_state st;
	struct gc_files files;
	char (*victims)[LAYOUT_PATH_MAX]; /* file names in trash/, to be unlinked after the lock */
	size_t n_victims, cap_victims;
	bool tags_changed;
};

static void gc_done(struct gc *gc)
{
	gc_files_done(&gc->files);
	gc_end(&gc->st);
	free(gc->victims);
}

static bool blob_goes(const struct gc_state *st, uint32_t i)
{
	return !st->g.blobs[i].mark && st->g.blobs[i].recorded && !st->foreign_unknown &&
	       !(st->young && st->young[i]);
}

/* --- records --- */

static int del_digest(struct index_txn *t, enum index_table table, const struct varve_digest *d,
		      struct varve_err *e)
{
	return index_del(t, table, record_digest_key(d), record_digest_len(d), e);
}

static int delete_records(struct index_txn *t, void *user, struct varve_err *e)
{
	struct gc *gc = user;
	struct gc_state *st = &gc->st;
	uint32_t i;
	int r = 0;

	gc->tags_changed = false;
	for (i = 0; r == 0 && i < st->g.n_tags; i++) {
		if (!st->drop[i])
			continue;
		gc->tags_changed = true;
		r = tags_remove(t, st->g.tags[i].reference, &st->g.tags[i].platform, e);
	}
	for (i = 0; r == 0 && i < st->g.n_images; i++) {
		const struct varve_digest *d = &st->g.blobs[st->g.images[i].blob].digest;

		if (st->image_mark[i] || st->foreign_unknown)
			continue;
		r = del_digest(t, INDEX_IMAGE, d, e);
		if (r == 0)
			r = del_digest(t, INDEX_USED, d, e);
	}
	for (i = 0; r == 0 && i < st->g.n_blobs; i++) {
		if (blob_goes(st, i))
			r = blob_record_delete(t, &st->g.blobs[i].digest, e);
	}
	for (i = 0; r == 0 && i < st->installs.n; i++) {
		const char *id = st->installs.items[i].id;

		if (!st->install_gone[i])
			continue;
		gc->tags_changed = true;
		r = index_del(t, INDEX_INSTALL, id, strlen(id), e);
	}
	return r == 0 && gc->tags_changed ? index_bump(t, e) : r;
}

/* Even deleting takes a few pages: on a full disk the ballast makes room for them. */
static int commit_deletion(struct gc *gc, struct varve_err *e)
{
	struct varve_store *s = gc->st.store;
	struct varve_err first = VARVE_ERR_INIT;
	int r = index_update(s->index, delete_records, gc, &first);

	if (r == -VARVE_E_NOSPACE && unlinkat(s->root, LAYOUT_BALLAST, 0) == 0) {
		log_info(s->ctx, "gc", "disk is full: the ballast makes room for the records");
		return index_update(s->index, delete_records, gc, e);
	}
	if (r < 0 && e)
		*e = first;
	return r;
}

/* --- files --- */

static int note_victim(struct gc *gc, const char *trash, struct varve_err *e)
{
	void *more;

	if (gc->n_victims == gc->cap_victims) {
		gc->cap_victims = gc->cap_victims ? gc->cap_victims * 2 : 64;
		more = realloc(gc->victims, gc->cap_victims * sizeof(*gc->victims));
		if (!more)
			return varve_fail_oom(e);
		gc->victims = more;
	}
	(void)snprintf(gc->victims[gc->n_victims++], sizeof(*gc->victims), "%s", trash);
	return 0;
}

/*
 * A rename is quick and gives the name free for a puller at once; the unlink of large files comes
 * after the lock. Where even a name in trash/ finds no room, the file is unlinked here.
 */
static int move_away(struct gc *gc, const struct graph_blob *b, struct varve_err *e)
{
	struct varve_store *s = gc->st.store;
	char path[LAYOUT_PATH_MAX], trash[LAYOUT_PATH_MAX];

	(void)layout_blob(&b->digest, path);
	(void)layout_trash("gc", trash);
	if (renameat(s->root, path, s->root, trash) == 0)
		return note_victim(gc, trash, e);
	if (errno == ENOENT || unlinkat(s->root, path, 0) == 0)
		return 0;
	return varve_fail_errno(e, "remove %s/%s", s->path, path);
}

static int sweep_blobs(struct gc *gc, struct varve_gc_result *ret, struct varve_err *e)
{
	const struct graph *g = &gc->st.g;
	uint32_t i;
	int r = 0;

	for (i = 0; r == 0 && i < g->n_blobs; i++) {
		if (!blob_goes(&gc->st, i))
			continue;
		r = move_away(gc, &g->blobs[i], e);
		if (g->blobs[i].present) {
			ret->removed_blobs++;
			ret->removed_bytes += g->blobs[i].size;
		}
	}
	return r;
}

static void empty_trash(struct gc *gc)
{
	size_t i;

	for (i = 0; i < gc->n_victims; i++)
		(void)unlinkat(gc->st.store->root, gc->victims[i], 0);
}

/* --- the whole --- */

static int add_size(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	(void)e;
	*(uint64_t *)user += (uint64_t)entry->st.st_size;
	return 0;
}

struct sizes {
	struct varve_store *store;
	uint64_t bytes;
};

static int add_kind(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct sizes *z = user;

	return scan_dir(z->store, entry->path, add_size, &z->bytes, e);
}

static int decide_and_look(struct gc *gc, struct varve_err *e)
{
	int r = gc_decide(&gc->st, e);

	gc_files_done(&gc->files);
	return r == 0 ? gc_files_scan(&gc->files, &gc->st, e) : r;
}

static int make_plan(struct gc *gc, struct varve_store *s, const struct varve_gc_options *opt,
		     struct varve_err *e)
{
	struct sizes derived = {s, 0};
	int r;

	gc_end(&gc->st);
	r = gc_begin(&gc->st, s, opt, e);
	if (r == 0 && gc_has_budget(opt))
		r = scan_dir(s, LAYOUT_AUX, add_kind, &derived, e);
	gc->st.derived_bytes = derived.bytes;
	if (r == 0)
		r = decide_and_look(gc, e);
	if (r == 0 && gc_has_budget(opt)) { /* now it is known what goes beside blobs */
		gc_files_sum(&gc->files, &gc->st.other_freed, &gc->st.partial_bytes);
		r = decide_and_look(gc, e);
	}
	return r;
}

static int read_txn(struct index_txn *t, void *user, struct varve_err *e)
{
	(void)e;
	*(uint64_t *)user = index_txn_id(t);
	return 0;
}

/* Between the first decision and the lock others may have pulled or taken leases. */
static int decide_again(struct gc *gc, struct varve_store *s, const struct varve_gc_options *opt,
			struct varve_err *e)
{
	uint64_t now;
	int r = index_view(s->index, read_txn, &now, e);

	if (r < 0)
		return r;
	return now == gc->st.g.txn_id ? gc_decide(&gc->st, e) : make_plan(gc, s, opt, e);
}

static int sweep(struct gc *gc, struct varve_store *s, const struct varve_gc_options *opt,
		 struct varve_gc_result *ret, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	int r = lock_acquire(&lock, s->root, LOCK_EX, e);

	if (r == 0)
		r = decide_again(gc, s, opt, e);
	if (r == 0) /* first what needs no record: it may make room for the records */
		r = gc_files_remove(&gc->files, &gc->st, ret, e);
	if (r == 0)
		r = commit_deletion(gc, e);
	if (r == 0)
		r = sweep_blobs(gc, ret, e);
	return r;
}

static void emit(const struct varve_gc_options *opt, enum varve_gc_verdict verdict,
		 const char *what, const char *name, uint64_t size, const char *reason)
{
	struct varve_gc_item item = {verdict, what, name, size, reason, 0, 0};

	if (opt->item)
		opt->item(opt->user, &item);
}

static void emit_blobs(const struct gc *gc, struct varve_gc_result *ret)
{
	const struct gc_state *st = &gc->st;
	char reason[512];
	uint32_t i;

	for (i = 0; i < st->g.n_blobs; i++) {
		const struct graph_blob *b = &st->g.blobs[i];
		bool goes = blob_goes(st, i);

		if (!b->recorded || !b->present)
			continue;
		if (!goes) {
			ret->kept_blobs++;
			ret->kept_bytes += b->size;
		} else if (st->opt->dry_run) {
			ret->removed_blobs++;
			ret->removed_bytes += b->size;
		}
		emit(st->opt, goes ? VARVE_GC_REMOVE : VARVE_GC_KEEP, "blob",
		     DIGEST_STR(&b->digest), b->size,
		     goes                  ? "no image needs it"
		     : b->mark             ? gc_reason(st, b->mark, reason, sizeof(reason))
		     : st->foreign_unknown ? "index.json cannot be read and may name it"
					   : "no image needs it, but it is younger than asked");
	}
}

static void emit_tags(const struct gc_state *st, struct varve_gc_result *ret)
{
	size_t i;

	for (i = 0; i < st->g.n_tags; i++) {
		const struct graph_tag *t = &st->g.tags[i];
		struct varve_gc_item item = {VARVE_GC_REMOVE, "tag", t->name, 0, st->drop[i], 0, 0};

		if (!st->drop[i])
			continue;
		ret->removed_tags++;
		if (t->image != GRAPH_NONE) {
			const struct graph_image *im = &st->g.images[t->image];

			item.size = im->size;
			item.own_size = im->own_size;
			item.shared_size = im->size - im->own_size;
		}
		if (st->opt->item)
			st->opt->item(st->opt->user, &item);
	}
}

/* Every blob, name and file with its verdict; counts what a dry run would remove. */
static void emit_all(const struct gc *gc, struct varve_gc_result *ret)
{
	const struct gc_state *st = &gc->st;
	size_t i;

	emit_tags(st, ret);
	for (i = 0; i < st->installs.n; i++) {
		if (st->install_gone[i])
			emit(st->opt, VARVE_GC_REMOVE, "install", st->installs.items[i].label, 0,
			     "its tree was deleted");
	}
	emit_blobs(gc, ret);
	for (i = 0; i < gc->files.n; i++) {
		const struct gc_file *f = &gc->files.items[i];
		bool goes = gc_file_goes(f, st);

		if (st->opt->dry_run && goes) {
			ret->removed_partials += strcmp(f->what, "partial") == 0;
			ret->removed_blobs += f->is_orphan;
			ret->removed_bytes += f->size;
		}
		emit(st->opt, goes ? VARVE_GC_REMOVE : VARVE_GC_KEEP, f->what,
		     f->is_orphan ? DIGEST_STR(&f->digest) : f->name, f->size,
		     goes && f->for_budget ? "unfinished download, to meet the budget" : f->reason);
	}
}

static int fail_budget(const struct gc *gc, struct varve_err *e)
{
	const struct gc_state *st = &gc->st;
	struct buf b;
	size_t i, n = 0;
	int r;

	buf_init(&b, 600);
	for (i = 0; i < st->n_roots && n < 5; i++) {
		const struct gc_root *root = &st->roots[i];

		if (!root->name)
			continue;
		buf_printf(&b, "%s%s %s", n ? ", " : "", root->kind, TEXT_SAFE(root->name));
		n++;
	}
	r = varve_fail(e, VARVE_E_BUDGET, "the budget cannot be met: %s are still needed by %s%s",
		       TEXT_SIZE(st->kept_bytes), n ? b.p : "running commands",
		       st->n_roots > 5 ? " and others" : "");
	buf_done(&b);
	return r;
}

int varve_store_gc(struct varve_store *s, const struct varve_gc_options *opt,
		   struct varve_gc_result *ret, struct varve_err *e)
{
	VARVE_CLEANUP(gc_done) struct gc gc = {0};
	int r = opt->dry_run ? 0 : store_need_write(s, e);

	*ret = (struct varve_gc_result){0};
	if (r == 0)
		r = make_plan(&gc, s, opt, e);
	if (r == 0 && !opt->dry_run) {
		r = sweep(&gc, s, opt, ret, e);
		empty_trash(&gc);
		if (r == 0 && gc.tags_changed)
			r = mirror_update(s, MIRROR_ALL, e);
		layout_make_ballast(s->root);
	}
	if (r < 0 && ret->removed_bytes)
		return varve_wrap(e, r, "gc of the store %s, after it had removed %s", s->path,
				  TEXT_SIZE(ret->removed_bytes));
	if (r < 0)
		return varve_wrap(e, r, "gc of the store %s", s->path);
	emit_all(&gc, ret);
	return gc.st.budget_met ? 0 : fail_budget(&gc, e);
}
