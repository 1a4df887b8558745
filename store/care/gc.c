/* SPDX-License-Identifier: Apache-2.0 */
/* Garbage collection: decide without the lock, decide again under it, records first, then files
 * (docs/store-format.md, "Kept by gc"). */
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"
#include "store/care/gc_files.h"
#include "store/care/gc_mark.h"
#include "store/care/gc_sweep.h"
#include "store/care/scan.h"
#include "store/handle.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/mirror.h"

#include <fcntl.h>
#include <string.h>

struct gc {
	struct gc_state st;
	struct gc_files files;
	struct gc_trash trash;
	bool names_changed;
};

static void gc_done(struct gc *gc)
{
	gc_files_done(&gc->files);
	gc_trash_done(&gc->trash);
	gc_end(&gc->st);
}

/* --- decide --- */

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

/*
 * Between the first decision and the lock others may have pulled or taken leases. The files are not
 * looked at again: each is asked once more before it goes.
 */
static int decide_again(struct gc *gc, struct varve_store *s, const struct varve_gc_options *opt,
			struct varve_err *e)
{
	uint64_t now, freed = gc->st.other_freed, derived = gc->st.derived_bytes;
	uint64_t partials = gc->st.partial_bytes;
	int r = index_view(s->index, read_txn, &now, e);

	if (r == 0 && now != gc->st.g.txn_id) {
		gc_end(&gc->st);
		r = gc_begin(&gc->st, s, opt, e);
		gc->st.other_freed = freed;
		gc->st.derived_bytes = derived;
		gc->st.partial_bytes = partials;
	}
	return r == 0 ? gc_decide(&gc->st, e) : r;
}

/* Under the exclusive lock, which others wait for: names change here, data goes later. */
static int sweep(struct gc *gc, struct varve_store *s, const struct varve_gc_options *opt,
		 struct varve_gc_result *ret, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	int r = lock_acquire(&lock, s->root, LOCK_EX, s->ctx, e);

	if (r == 0)
		r = decide_again(gc, s, opt, e);
	if (r == 0) /* first what needs no record: it may make room for the records */
		r = gc_files_remove(&gc->files, &gc->st, GC_FILES_LOCKED, &gc->trash, ret, e);
	if (r == 0)
		r = gc_sweep(&gc->st, &gc->trash, &gc->names_changed, ret, e);
	return r;
}

static void emit(const struct varve_gc_options *opt, enum varve_gc_verdict verdict,
		 const char *what, const char *name, uint64_t size, const char *reason)
{
	struct varve_gc_item item = {verdict, what, name, size, reason, 0, 0, false};

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
		bool goes = gc_blob_goes(st, i);

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
		struct varve_gc_item item = {VARVE_GC_REMOVE, "tag", t->name, 0,
					     st->drop[i],     0,     0,       false};

		if (!st->drop[i])
			continue;
		ret->removed_tags++;
		if (t->image != GRAPH_NONE) {
			const struct graph_image *im = &st->g.images[t->image];

			item.size = im->size;
			item.own_size = im->own_size;
			item.shared_size = im->shared_size;
		}
		if (st->opt->item)
			st->opt->item(st->opt->user, &item);
	}
}

static void emit_file(const struct varve_gc_options *opt, const struct gc_file *f, bool goes)
{
	struct varve_gc_item item = {
		.verdict = goes ? VARVE_GC_REMOVE : VARVE_GC_KEEP,
		.what = f->what,
		.name = f->is_orphan ? DIGEST_STR(&f->digest) : f->name,
		.size = f->size,
		.reason = goes && f->for_budget ? "unfinished download, to meet the budget"
						: f->reason,
		.orphan = f->is_orphan,
	};

	if (opt->item)
		opt->item(opt->user, &item);
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
		emit_file(st->opt, f, goes);
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
	struct varve_gc_options own;
	int r = OPTIONS_COPY(&own, opt, user, e);

	*ret = (struct varve_gc_result){0};
	if (r < 0)
		return r;
	opt = &own;
	r = opt->dry_run ? 0 : store_need_write(s, e);
	if (r == 0)
		r = make_plan(&gc, s, opt, e);
	if (r == 0 && !opt->dry_run) {
		r = gc_files_remove(&gc.files, &gc.st, GC_FILES_FREE, &gc.trash, ret, e);
		if (r == 0)
			r = sweep(&gc, s, opt, ret, e);
		gc_trash_empty(&gc.trash, s);
		if (r == 0 && gc.names_changed)
			r = mirror_update(s, MIRROR_ALWAYS, e);
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
