/* SPDX-License-Identifier: Apache-2.0 */
/* What of a spool a plan takes: bodies that lie in their place, bodies to be moved, the rest. One
 * thread; no layer is read any more. */
#include "materialize/plan/plan.h"
#include "materialize/spool/spool_internal.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#define SLOTS 64u

struct settle {
	const struct varve_ctx *ctx;
	struct spool_tree *t;
	const struct varve_plan *plan;
	uint32_t *dir_of; /* by plan name: the directory here, or SPOOL_NOWHERE */
	bool *wanted;     /* by directory here: the plan has one there */
	struct dir_cache cache;
	struct spool_placed placed;
};

static void set_bit(uint64_t *bits, uint32_t i)
{
	bits[i / 64] |= (uint64_t)1 << (i % 64);
}

void spool_placed_done(struct spool_placed *p)
{
	free(p->inodes);
	free(p->dirs);
	*p = (struct spool_placed){0};
}

static void match_directories(struct settle *s)
{
	const struct varve_plan *p = s->plan;

	s->dir_of[PLAN_ROOT] = 0;
	s->wanted[0] = true;
	for (uint32_t i = 1; i < p->n_names; i++) { /* a parent precedes its children */
		const struct plan_name *n = &p->names[i];
		uint32_t above = s->dir_of[n->parent], here;

		s->dir_of[i] = SPOOL_NOWHERE;
		if (above == SPOOL_NOWHERE || !S_ISDIR(p->inodes[n->inode].mode))
			continue;
		here = spool_tree_find(s->t, above, span_str(n->name));
		if (here == SPOOL_NOWHERE || !spool_dir_at(s->t, here)->ours)
			continue;
		s->dir_of[i] = here;
		s->wanted[here] = true;
		set_bit(s->placed.dirs, i);
	}
}

static int begin(struct settle *s, struct varve_spool *sp, const struct varve_plan *plan,
		 struct varve_err *e)
{
	struct spool_tree *t = &sp->tree;

	*s = (struct settle){.ctx = sp->ctx, .t = t, .plan = plan};
	s->dir_of = calloc(plan->n_names, sizeof(*s->dir_of));
	s->wanted = calloc(t->n, sizeof(*s->wanted));
	s->placed.inodes = calloc(plan->n_inodes / 64 + 1, sizeof(uint64_t));
	s->placed.dirs = calloc(plan->n_names / 64 + 1, sizeof(uint64_t));
	if (!s->dir_of || !s->wanted || !s->placed.inodes || !s->placed.dirs)
		return varve_fail_oom(e);
	match_directories(s);
	return dir_cache_init(&s->cache, SLOTS, &t->dirs, e);
}

static bool is_in_place(const struct settle *s, const struct spool_place *at, uint32_t inode)
{
	const struct plan_name *n = &s->plan->names[s->plan->inodes[inode].first_name];

	return s->dir_of[n->parent] == at->dir && strcmp(n->name, at->name) == 0;
}

static int move_away(struct settle *s, const struct spool_place *at, int dir, struct varve_err *e)
{
	int from = dir_cache_get(&s->cache, at->dir);
	char body[20];

	spool_body_name(at->body_off, body);
	if (from < 0 || fsx_rename_noreplace(from, at->name, dir, body) < 0)
		return varve_fail_errno(e, "cannot move a file of the new tree");
	return 0;
}

static int drop(struct settle *s, const struct spool_place *at, struct varve_err *e)
{
	int dir;

	if (!s->wanted[at->dir])
		return 0; /* it goes with its directory */
	dir = dir_cache_get(&s->cache, at->dir);
	if (dir < 0 || unlinkat(dir, at->name, 0) < 0)
		return varve_fail_errno(e, "cannot remove a file that another layer replaces");
	return 0;
}

/* The bodies of a layer: those elsewhere go to its directory, by their numbers. */
static int settle_layer(struct settle *s, const struct spool_layer *l, struct varve_err *e)
{
	const struct plan_body_list *b = l->bodies;
	uint32_t k = 0, n = b ? b->n : 0;
	int r = 0;

	/* Both are in the order of the stream. */
	for (const struct spool_place *at = l->places; at && r == 0; at = at->next) {
		while (k < n && s->plan->inodes[b->inodes[k]].body_off < at->body_off)
			k++;
		if (!at->lies)
			continue;
		if (k < n && s->plan->inodes[b->inodes[k]].body_off == at->body_off &&
		    is_in_place(s, at, b->inodes[k])) {
			set_bit(s->placed.inodes, b->inodes[k]);
			continue;
		}
		r = ctx_check(s->ctx, e);
		if (r < 0)
			return r;
		if (k == n || s->plan->inodes[b->inodes[k]].body_off != at->body_off)
			r = drop(s, at, e);
		else
			r = move_away(s, at, l->dir, e);
	}
	return r;
}

static int end(struct settle *s, struct spool_placed *ret, struct varve_err *e)
{
	for (uint32_t i = 1; i < s->t->n; i++) {
		const struct spool_dir *d = spool_dir_at(s->t, i);
		int above, r;

		if (!d->ours || s->wanted[i] || !s->wanted[d->parent])
			continue;
		above = dir_cache_get(&s->cache, d->parent);
		r = above < 0 ? varve_fail_errno(e, "directory of the new tree")
			      : fsx_remove_tree(above, d->name, s->ctx, NULL, e);
		if (r < 0)
			return r;
	}
	*ret = s->placed;
	s->placed = (struct spool_placed){0};
	return 0;
}

static void done(struct settle *s)
{
	dir_cache_done(&s->cache);
	spool_placed_done(&s->placed);
	free(s->dir_of);
	free(s->wanted);
}

/* A body is there once: of several layers with one digest only the first has it. */
static struct spool_layer *layer_of(struct varve_spool *sp, const struct varve_plan *p,
				    size_t index)
{
	const struct varve_plan_layer *layers = p->summary.layers;
	const struct varve_digest *blob = &layers[index].digest;
	struct spool_layer *found = NULL;

	if (!sp || sp->useless || !p->bodies[index].n)
		return NULL;
	for (size_t i = 0; i < index; i++)
		if (p->bodies[i].n && varve_digest_equal(&layers[i].digest, blob))
			return NULL;
	pthread_mutex_lock(&sp->lock);
	for (struct spool_layer *l = sp->layers; l && !found; l = l->next)
		if (l->done && varve_digest_equal(&l->blob, blob))
			found = l;
	pthread_mutex_unlock(&sp->lock);
	return found;
}

int spool_layer_dir(struct varve_spool *sp, const struct varve_plan *p, size_t index)
{
	const struct spool_layer *l = layer_of(sp, p, index);

	return l ? l->dir : -1;
}

int spool_settle(struct varve_spool *sp, const struct varve_plan *p, struct spool_placed *ret,
		 struct varve_err *e)
{
	bool has_tree = sp && sp->tree.dirs.root >= 0;
	struct settle s;
	int r;

	if (!sp)
		return 0;
	/* Its bodies can be moved once, and only into the tree that has the others. */
	sp->useless |= sp->settled || (has_tree && !sp->taken);
	sp->settled = true;
	if (sp->useless || !has_tree)
		return 0;
	spool_end_writers(sp);
	for (size_t i = 0; i < p->summary.n_layers; i++) {
		struct spool_layer *l = layer_of(sp, p, i);

		if (l)
			l->bodies = &p->bodies[i];
	}
	r = begin(&s, sp, p, e);
	for (struct spool_layer *l = sp->layers; l; l = l->next) {
		if (r == 0)
			r = settle_layer(&s, l, e);
		spool_forget_places(l);
	}
	if (r == 0)
		r = end(&s, ret, e);
	done(&s);
	/* The tree, and its lock, are the caller's alone. */
	(void)close(VARVE_TAKE_FD(sp->tree.dirs.root));
	return r;
}

void spool_reduce_need(struct varve_spool *sp, const struct varve_plan *p,
		       struct varve_plan_summary *need)
{
	uint64_t dirs;

	if (!sp || sp->taken)
		return;
	dirs = VARVE_MIN((uint64_t)sp->tree.n_ours, need->directories);
	need->inodes -= VARVE_MIN(dirs, need->inodes);
	need->disk -= VARVE_MIN(dirs * 4096, need->disk);
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
