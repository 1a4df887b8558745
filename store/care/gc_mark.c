/* SPDX-License-Identifier: Apache-2.0 */
/* What gc keeps and why: mark from the roots; names
 * that a budget drops, least recently used first. */
#include "store/care/gc_mark.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/care/scan.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/statvfs.h>

void gc_end(struct gc_state *st)
{
	graph_done(&st->g);
	varve_install_list_free(&st->installs);
	arena_free(VARVE_TAKE(st->names));
	free(st->roots);
	free(st->image_mark);
	free(st->image_hard);
	free(st->young);
	free(st->drop);
	free(st->install_gone);
	*st = (struct gc_state){0};
}

static int note_age(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct gc_state *st = user;
	struct blob_record rec = {0};
	struct varve_digest d;
	uint32_t i;

	(void)e;
	if (!record_digest_of(key, &d) || !blob_more_get(value, &rec))
		return 0;
	i = graph_find_blob(&st->g, &d);
	if (i != GRAPH_NONE && store_now() - rec.added_at < (int64_t)st->opt->grace)
		st->young[i] = true;
	return 0;
}

static int note_ages(struct index_txn *t, void *user, struct varve_err *e)
{
	return index_each(t, INDEX_MORE, NULL, 0, note_age, user, e);
}

int gc_begin(struct gc_state *st, struct varve_store *s, const struct varve_gc_options *opt,
	     struct varve_err *e)
{
	int r;

	*st = (struct gc_state){.store = s, .opt = opt};
	r = graph_load(&st->g, s, e);
	if (r == 0)
		r = varve_store_installs(s, NULL, &st->installs, e);
	if (r < 0)
		return r;
	st->image_mark = calloc(st->g.n_images + 1, sizeof(*st->image_mark));
	st->image_hard = calloc(st->g.n_images + 1, sizeof(*st->image_hard));
	st->drop = calloc(st->g.n_tags + 1, sizeof(*st->drop));
	st->install_gone = calloc(st->installs.n + 1, sizeof(*st->install_gone));
	if (opt->grace) {
		/* Leases may name a few more blobs later; those are marked then. */
		st->young = calloc(st->g.n_blobs + 1, sizeof(*st->young));
		r = st->young ? index_view(s->index, note_ages, st, e) : varve_fail_oom(e);
		if (r < 0)
			return r;
	}
	return st->image_mark && st->image_hard && st->drop && st->install_gone ? 0
										: varve_fail_oom(e);
}

const char *gc_reason(const struct gc_state *st, uint32_t mark, char *buf, size_t size)
{
	const struct gc_root *root = &st->roots[mark - 1];

	(void)snprintf(buf, size, "%s%s%s", root->kind, root->name ? " " : "",
		       root->name ? root->name : "");
	return buf;
}

/* --- marking --- */

static int add_root(struct gc_state *st, const char *kind, const char *name, uint32_t *ret,
		    struct varve_err *e)
{
	struct gc_root *more;

	if (st->n_roots == st->cap_roots) {
		st->cap_roots = st->cap_roots ? st->cap_roots * 2 : 64;
		more = realloc(st->roots, st->cap_roots * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		st->roots = more;
	}
	st->roots[st->n_roots++] = (struct gc_root){kind, name};
	*ret = (uint32_t)st->n_roots;
	return 0;
}

static void mark_blob(struct gc_state *st, uint32_t blob, uint32_t mark)
{
	if (blob != GRAPH_NONE && st->g.blobs[blob].mark == 0)
		st->g.blobs[blob].mark = mark;
}

/* An image keeps its documents, its layers, and the indexes that led to it (not what else those
 * name). */
static void mark_image(struct gc_state *st, uint32_t image, uint32_t mark)
{
	const struct graph_image *im = &st->g.images[image];
	uint32_t k;

	if (st->image_mark[image])
		return;
	st->image_mark[image] = mark;
	mark_blob(st, im->blob, mark);
	for (k = 0; k < im->n_edges; k++)
		mark_blob(st, st->g.edges[im->first_edge + k].blob, mark);
}

/* A digest that somebody holds: an image, an index with all images that came through it, or any
 * blob. */
static int mark_digest(struct gc_state *st, const struct varve_digest *d, uint32_t mark,
		       struct varve_err *e)
{
	uint32_t blob, i, k;
	int r = graph_intern(&st->g, d, &blob, e); /* it may be published but not recorded yet */

	if (r < 0)
		return r;
	mark_blob(st, blob, mark);
	i = graph_find_image(&st->g, d);
	if (i != GRAPH_NONE) {
		st->image_hard[i] = true;
		mark_image(st, i, mark);
		return 0;
	}
	if (st->g.blobs[blob].kind == VARVE_BLOB_LAYER ||
	    st->g.blobs[blob].kind == VARVE_BLOB_CONFIG)
		return 0;
	for (i = 0; i < st->g.n_images; i++) {
		const struct graph_image *im = &st->g.images[i];

		for (k = 0; k < im->n_edges; k++) {
			const struct graph_edge *edge = &st->g.edges[im->first_edge + k];

			if (edge->blob == blob && edge->role == ROLE_PARENT) {
				st->image_hard[i] = true;
				mark_image(st, i, mark);
			}
		}
	}
	return 0;
}

struct marker {
	struct gc_state *st;
	uint32_t mark;
	struct varve_err *e;
};

static int mark_lease(void *user, const struct varve_digest *d)
{
	struct marker *m = user;

	return mark_digest(m->st, d, m->mark, m->e);
}

static int mark_named(void *user, const struct varve_digest *d, const char *name)
{
	(void)name;
	return mark_lease(user, d);
}

static int mark_foreign(void *user, const struct varve_digest *d, const char *name)
{
	struct marker *m = user;
	const char *copy = NULL;
	uint32_t mark = 0;
	int r;

	if (name) {
		copy = arena_strn(&m->st->names, name, strlen(name));
		if (!copy)
			return varve_fail_oom(m->e);
	}
	r = add_root(m->st, "index.json", copy, &mark, m->e);
	if (r == 0)
		r = mark_digest(m->st, d, mark, m->e);
	return r;
}

/*
 * A record whose tree is gone keeps nothing. But only if its roots directory is there and on the
 * file system that it was on: an unmounted disk must not free its images.
 */
static bool tree_is_gone(const struct varve_install_record *in)
{
	VARVE_CLOSE int roots = open(in->roots, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (in->state != VARVE_INSTALL_READY && in->state != VARVE_INSTALL_PREVIOUS)
		return false;
	if (roots < 0 || fstat(roots, &st) < 0 || st.st_dev != in->dev)
		return false;
	return fstatat(roots, in->directory, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

static int mark_installs(struct gc_state *st, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < st->installs.n; i++) {
		const struct varve_install_record *in = &st->installs.items[i];
		struct marker m = {st, 0, e};

		st->install_gone[i] = tree_is_gone(in);
		if (st->install_gone[i] || !varve_digest_is_set(&in->manifest))
			continue;
		r = add_root(st, "rootfs", in->label, &m.mark, e);
		if (r == 0)
			r = mark_digest(st, &in->manifest, m.mark, e);
		/* The record may be lost, the tree stays: its documents say what it needs. */
		if (r == 0 && graph_find_image(&st->g, &in->manifest) == GRAPH_NONE)
			r = scan_document(st->store, &in->manifest, mark_named, &m, e);
	}
	return r;
}

static int mark_tags(struct gc_state *st, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < st->g.n_tags; i++) {
		const struct graph_tag *t = &st->g.tags[i];
		uint32_t mark = 0;

		if (st->drop[i])
			continue;
		r = add_root(st, "tag", t->name, &mark, e);
		if (r < 0)
			break;
		mark_blob(st, t->target, mark);
		if (t->image != GRAPH_NONE)
			mark_image(st, t->image, mark);
	}
	return r;
}

static int mark_pins(struct gc_state *st, struct varve_err *e)
{
	uint32_t i, mark = 0;
	int r = 0;

	for (i = 0; r == 0 && i < st->g.n_images; i++) {
		if (!st->g.images[i].pinned)
			continue;
		st->image_hard[i] = true;
		r = add_root(st, "pin", st->g.images[i].pin_reference, &mark, e);
		if (r == 0)
			mark_image(st, i, mark);
	}
	return r;
}

/* What is younger than asked stays as a whole: a manifest keeps its image. */
static int mark_young(struct gc_state *st, struct varve_err *e)
{
	uint32_t i, mark = 0;
	int r = st->young ? add_root(st, "younger than asked", NULL, &mark, e) : 0;

	for (i = 0; r == 0 && st->young && i < st->g.n_images; i++) {
		if (!st->young[st->g.images[i].blob])
			continue;
		st->image_hard[i] = true;
		mark_image(st, i, mark);
	}
	return r;
}

static void clear_marks(struct gc_state *st)
{
	size_t i;

	for (i = 0; i < st->g.n_blobs; i++)
		st->g.blobs[i].mark = 0;
	memset(st->image_mark, 0, st->g.n_images * sizeof(*st->image_mark));
	memset(st->image_hard, 0, st->g.n_images * sizeof(*st->image_hard));
	st->n_roots = 0;
}

/* What no option may touch; sets image_hard. */
static int mark_hard(struct gc_state *st, struct varve_err *e)
{
	struct marker m = {st, 0, e};
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];
	int r;

	r = mark_pins(st, e);
	if (r == 0)
		r = mark_young(st, e);
	if (r == 0)
		r = mark_installs(st, e);
	if (r == 0)
		r = add_root(st, "in use by a running command", NULL, &m.mark, e);
	if (r == 0)
		r = scan_leases(st->store, mark_lease, NULL, &m, e);
	if (r < 0)
		return r;
	m.e = &why;
	r = scan_foreign(st->store, mark_foreign, &m, &why);
	st->foreign_unknown = r == -VARVE_E_FORMAT || r == -VARVE_E_LIMIT || r == -ENOENT;
	if (st->foreign_unknown) {
		log_warn(
			st->store->ctx, "gc",
			"%s; blobs that it may name are kept; varve check --repair writes it again",
			varve_err_text(&why, text, sizeof(text)));
		r = 0;
	}
	if (r < 0 && e)
		*e = why;
	return r;
}

static void count_bytes(struct gc_state *st)
{
	size_t i;

	st->kept_bytes = st->freed_bytes = 0;
	for (i = 0; i < st->g.n_blobs; i++) {
		const struct graph_blob *b = &st->g.blobs[i];

		if (!b->present)
			continue;
		if (b->mark || st->foreign_unknown)
			st->kept_bytes += b->size;
		else
			st->freed_bytes += b->size;
	}
}

/* --- budget --- */

bool gc_has_budget(const struct varve_gc_options *opt)
{
	return opt->max_size != VARVE_SIZE_UNKNOWN || opt->min_free || opt->min_free_percent;
}

static bool kept_by_glob(const struct varve_gc_options *opt, const struct graph_tag *t)
{
	const char *const *glob;

	for (glob = opt->keep; glob && *glob; glob++) {
		if (fnmatch(*glob, t->name, 0) == 0 || fnmatch(*glob, t->reference, 0) == 0)
			return true;
	}
	return false;
}

/* How many more bytes must go. 0: the budget is met. */
static uint64_t excess(const struct gc_state *st, uint64_t kept, uint64_t freed)
{
	const struct varve_gc_options *opt = st->opt;
	uint64_t want = opt->min_free, over = 0;
	uint64_t beside = (st->drop_derived ? 0 : st->derived_bytes) +
			  (st->drop_partials ? 0 : st->partial_bytes);
	struct statvfs v;

	if (kept + beside > opt->max_size)
		over = kept + beside - opt->max_size;
	if (!opt->min_free && !opt->min_free_percent)
		return over;
	if (fstatvfs(st->store->root, &v) == 0) {
		uint64_t size = (uint64_t)v.f_blocks * v.f_frsize;
		uint64_t free_now = (uint64_t)v.f_bavail * v.f_frsize;
		uint64_t gain = freed + st->other_freed +
				(st->drop_derived ? st->derived_bytes : 0) +
				(st->drop_partials ? st->partial_bytes : 0);

		want = VARVE_MAX(want, size / 100 * opt->min_free_percent);
		if (free_now + gain < want)
			over = VARVE_MAX(over, want - free_now - gain);
	}
	return over;
}

/* An image whose names may all go; in order of last use, larger first among equals. */
struct candidate {
	uint32_t image;
	int64_t last_used;
	uint64_t own;
};

static int by_use(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->last_used != y->last_used)
		return x->last_used < y->last_used ? -1 : 1;
	return x->own > y->own ? -1 : x->own < y->own;
}

struct budget {
	struct gc_state *st;
	struct candidate *items;
	size_t n;
	uint8_t *wanted; /* per image: 1 has a name, 2 has one that must stay */
	uint32_t *users; /* per blob: living images */
	bool *hard;      /* per blob: kept by something else */
	uint64_t kept, freed;
};

static void budget_done(struct budget *b)
{
	free(b->items);
	free(b->wanted);
	free(b->users);
	free(b->hard);
}

/* Add delta to the users of each blob of an image, once per blob. */
static void count_users(struct budget *b, uint32_t image, int delta)
{
	struct graph *g = &b->st->g;
	const struct graph_image *im = &g->images[image];
	uint32_t k;

	for (k = 0; k < im->n_edges; k++)
		g->blobs[g->edges[im->first_edge + k].blob].stamp = GRAPH_NONE;
	for (k = 0; k < im->n_edges; k++) {
		uint32_t i = g->edges[im->first_edge + k].blob;
		struct graph_blob *blob = &g->blobs[i];

		if (blob->stamp == image)
			continue;
		blob->stamp = image;
		b->users[i] += (uint32_t)delta;
		if (delta < 0 && b->users[i] == 0 && !b->hard[i] && blob->present) {
			b->kept -= blob->size;
			b->freed += blob->size;
		}
	}
}

static void drop_image(struct budget *b, uint32_t image, const char *why)
{
	size_t i;

	for (i = 0; i < b->st->g.n_tags; i++) {
		if (b->st->g.tags[i].image == image)
			b->st->drop[i] = why;
	}
	count_users(b, image, -1);
}

static int budget_begin(struct budget *b, struct gc_state *st, struct varve_err *e)
{
	const struct graph *g = &st->g;
	size_t i;

	b->st = st;
	b->items = calloc(g->n_images + 1, sizeof(*b->items));
	b->wanted = calloc(g->n_images + 1, 1);
	b->users = calloc(g->n_blobs + 1, sizeof(*b->users));
	b->hard = calloc(g->n_blobs + 1, sizeof(*b->hard));
	if (!b->items || !b->wanted || !b->users || !b->hard)
		return varve_fail_oom(e);
	for (i = 0; i < g->n_blobs; i++)
		b->hard[i] = g->blobs[i].mark != 0;
	for (i = 0; i < g->n_tags; i++) {
		const struct graph_tag *t = &g->tags[i];

		if (t->image != GRAPH_NONE)
			b->wanted[t->image] |= kept_by_glob(st->opt, t) ? 3 : 1;
	}
	for (i = 0; i < g->n_images; i++) {
		if (b->wanted[i])
			count_users(b, (uint32_t)i, 1);
		if (b->wanted[i] == 1 && !st->image_hard[i])
			b->items[b->n++] = (struct candidate){(uint32_t)i, g->images[i].last_used,
							      g->images[i].own_size};
	}
	for (i = 0; i < g->n_blobs; i++) {
		if (!g->blobs[i].present)
			continue;
		if (b->hard[i] || b->users[i])
			b->kept += g->blobs[i].size;
		else
			b->freed += g->blobs[i].size;
	}
	qsort(b->items, b->n, sizeof(*b->items), by_use);
	return 0;
}

/* Which names go. The order: what nobody names, partials, derived data, then names by last use. */
static int choose_drops(struct gc_state *st, struct varve_err *e)
{
	VARVE_CLEANUP(budget_done) struct budget b = {0};
	int64_t old =
		store_now() - (int64_t)VARVE_MIN(st->opt->older_than, (uint64_t)INT64_MAX / 2);
	size_t i = 0;
	int r = budget_begin(&b, st, e);

	if (r < 0)
		return r;
	for (; st->opt->older_than != VARVE_SIZE_UNKNOWN && i < b.n && b.items[i].last_used <= old;
	     i++)
		drop_image(&b, b.items[i].image, "not used for longer than asked");
	if (!gc_has_budget(st->opt))
		return 0;
	st->drop_partials = excess(st, b.kept, b.freed) > 0;
	st->drop_derived = excess(st, b.kept, b.freed) > 0;
	for (; i < b.n && excess(st, b.kept, b.freed) > 0; i++)
		drop_image(&b, b.items[i].image, "least recently used, to meet the budget");
	return 0;
}

int gc_decide(struct gc_state *st, struct varve_err *e)
{
	int r = 0;

	memset(st->drop, 0, st->g.n_tags * sizeof(*st->drop));
	st->drop_derived = st->drop_partials = false;
	if (gc_has_budget(st->opt) || st->opt->older_than != VARVE_SIZE_UNKNOWN) {
		clear_marks(st);
		r = mark_hard(st, e);
		if (r == 0)
			r = choose_drops(st, e);
	}
	if (r < 0)
		return r;
	/* Names first: they are what a user knows as the reason. */
	clear_marks(st);
	r = mark_tags(st, e);
	if (r == 0)
		r = mark_hard(st, e);
	if (r < 0)
		return r;
	count_bytes(st);
	st->budget_met =
		!gc_has_budget(st->opt) || excess(st, st->kept_bytes, st->freed_bytes) == 0;
	return 0;
}
