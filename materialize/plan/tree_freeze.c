/* SPDX-License-Identifier: Apache-2.0 */
/* Turn the finished tree into the arrays of a plan: names sorted, inodes packed, bodies in stream
 * order. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/plan/plan.h"
#include "materialize/plan/tree_internal.h"
#include "store/base/arena.h"
#include "store/base/err.h"
#include "store/base/log.h"

#define DISK_BLOCK   4096u
#define FAST_SYMLINK 60u /* targets below this live in the inode (ext4) */

static int by_name(const void *a, const void *b, void *user)
{
	const struct tree_node *nodes = user;
	const struct tree_node *x = &nodes[*(const uint32_t *)a];
	const struct tree_node *y = &nodes[*(const uint32_t *)b];

	return strcmp(x->name, y->name);
}

/*
 * Depth first, parents before children, children by name. order[k] is the node of name k; stack and
 * order share one array: the stack grows down from its end, and both together never hold more than
 * all nodes. 0: cancelled.
 */
static uint32_t sort_nodes(struct tree *t, uint32_t *order, uint32_t size)
{
	uint32_t n = 0, top = size;

	order[--top] = PLAN_ROOT;
	while (top < size) {
		uint32_t i = order[top++], from, k = 0;
		struct tree_node *x = &t->nodes[i];

		if (n % TREE_POLL_EVERY == 0 && ctx_cancelled(t->ctx))
			return 0;
		order[n] = i;
		x->hash_next = n++; /* no look-ups any more: the index of its name */
		if (tree_type(t, i) != S_IFDIR)
			continue;
		from = top;
		for (uint32_t c = x->first_child; c != PLAN_NONE; c = t->nodes[c].next, k++)
			order[--from] = c;
		if (k > 1)
			qsort_r(order + from, k, sizeof(*order), by_name, t->nodes);
		top = from;
	}
	return n;
}

static int make_names(struct tree *t, struct varve_plan *p, struct varve_err *e)
{
	uint32_t *order = malloc(((size_t)t->n_nodes + 1) * sizeof(*order));

	if (!order)
		return varve_fail_oom(e);
	p->n_names = sort_nodes(t, order, t->n_nodes + 1);
	p->names = p->n_names ? malloc(p->n_names * sizeof(*p->names)) : NULL;
	if (!p->names) {
		free(order);
		return p->n_names ? varve_fail_oom(e) : ctx_check(t->ctx, e);
	}
	for (uint32_t k = 0; k < p->n_names; k++) {
		const struct tree_node *x = &t->nodes[order[k]];

		p->names[k] = (struct plan_name){
			.name = x->name,
			.parent = k == PLAN_ROOT ? PLAN_ROOT : t->nodes[x->parent].hash_next,
			.inode = x->inode,
			.first_child = PLAN_NONE,
			.next_sibling = PLAN_NONE,
			.next_link = PLAN_NONE,
		};
	}
	for (uint32_t k = p->n_names; --k > PLAN_ROOT;) {
		struct plan_name *up = &p->names[p->names[k].parent];

		p->names[k].next_sibling = up->first_child;
		up->first_child = k;
	}
	free(order);
	free(t->nodes);
	t->nodes = NULL;
	t->n_nodes = 0;
	return 0;
}

/* Drop inodes without names, keep the order, renumber. */
static int pack_inodes(struct tree *t, struct varve_plan *p, struct varve_err *e)
{
	uint32_t *to = malloc((size_t)t->n_inodes * sizeof(*to));
	uint32_t n = 0;

	if (!to)
		return varve_fail_oom(e);
	for (uint32_t i = 0; i < t->n_inodes; i++) {
		if (t->inodes[i].n_names == 0)
			continue;
		to[i] = n;
		t->inodes[n] = t->inodes[i];
		t->inodes[n].first_name = PLAN_NONE;
		n++;
	}
	p->inodes = t->inodes;
	p->n_inodes = n;
	t->inodes = NULL;
	for (uint32_t k = p->n_names; k-- > 0;) {
		struct plan_inode *i = &p->inodes[to[p->names[k].inode]];

		p->names[k].inode = to[p->names[k].inode];
		p->names[k].next_link = i->first_name;
		i->first_name = k;
	}
	free(to);
	return 0;
}

/* Labels and ACL forms of the machine that built the image, and what makes overlayfs treat a file
 * specially. */
static bool is_filtered(const char *name)
{
	static const char *const exact[] = {"security.selinux", "system.nfs4_acl"};
	static const char *const prefix[] = {"trusted.overlay.", "user.overlay."};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(exact); i++)
		if (strcmp(name, exact[i]) == 0)
			return true;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(prefix); i++)
		if (strncmp(name, prefix[i], strlen(prefix[i])) == 0)
			return true;
	return false;
}

static int unpack_xattrs(struct tree *t, struct plan_inode *i, uint64_t *n_filtered,
			 struct varve_err *e)
{
	const char *p = (const char *)(const void *)i->xattrs;
	uint32_t n = i->n_xattrs, kept = 0;
	struct varve_xattr *x;

	if (n == 0)
		return 0;
	x = arena_alloc(&t->arena, n * sizeof(*x), _Alignof(struct varve_xattr));
	if (!x)
		return varve_fail_oom(e);
	while (n-- > 0) {
		p = toc_xattr(p, &x[kept]);
		if (is_filtered(x[kept].name))
			++*n_filtered;
		else
			kept++;
	}
	i->xattrs = kept ? x : NULL;
	i->n_xattrs = kept;
	return 0;
}

static uint64_t blocks(uint64_t n)
{
	return (n + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

static void count_inode(struct varve_plan_summary *s, const struct plan_inode *i)
{
	s->inodes++;
	switch (i->mode & S_IFMT) {
	case S_IFREG:
		s->files++;
		s->bytes += i->size;
		s->disk += blocks(i->body_len);
		break;
	case S_IFDIR:
		s->directories++;
		s->disk += DISK_BLOCK;
		break;
	case S_IFLNK:
		s->symlinks++;
		s->disk += strlen(i->target) >= FAST_SYMLINK ? DISK_BLOCK : 0;
		break;
	case S_IFCHR:
	case S_IFBLK:
		s->devices++;
		break;
	default:
		s->others++;
		break;
	}
	s->hardlinks += i->n_names - 1;
}

static int by_body(const void *a, const void *b, void *user)
{
	const struct plan_inode *inodes = user;
	uint64_t x = inodes[*(const uint32_t *)a].body_off;
	uint64_t y = inodes[*(const uint32_t *)b].body_off;

	return x < y ? -1 : x > y;
}

static bool has_body(const struct plan_inode *i)
{
	return S_ISREG(i->mode) && i->body_len > 0;
}

/* One array for all layers; p->bodies[k] is a stretch of it. */
static int make_bodies(struct varve_plan *p, size_t n_layers, struct tree_keep *keep,
		       struct varve_err *e)
{
	uint32_t total = 0;
	uint32_t *at;

	p->bodies = calloc(n_layers ? n_layers : 1, sizeof(*p->bodies));
	if (!p->bodies)
		return varve_fail_oom(e);
	for (uint32_t i = 0; i < p->n_inodes; i++)
		if (has_body(&p->inodes[i])) {
			p->bodies[p->inodes[i].layer].n++;
			total++;
		}
	keep->body_inodes = malloc(((size_t)total + 1) * sizeof(*keep->body_inodes));
	at = calloc(n_layers ? n_layers : 1, sizeof(*at));
	if (!keep->body_inodes || !at) {
		free(at);
		return varve_fail_oom(e);
	}
	total = 0;
	for (size_t k = 0; k < n_layers; k++) {
		at[k] = total;
		p->bodies[k].inodes = keep->body_inodes + total;
		total += p->bodies[k].n;
	}
	for (uint32_t i = 0; i < p->n_inodes; i++)
		if (has_body(&p->inodes[i]))
			keep->body_inodes[at[p->inodes[i].layer]++] = i;
	for (size_t k = 0; k < n_layers; k++)
		qsort_r(keep->body_inodes + at[k] - p->bodies[k].n, p->bodies[k].n,
			sizeof(uint32_t), by_body, p->inodes);
	free(at);
	return 0;
}

static int fill(struct tree *t, struct varve_plan *p, struct varve_plan_layer *layers,
		size_t n_layers, struct tree_keep *keep, struct varve_err *e)
{
	uint64_t n_filtered = 0;
	int r = make_names(t, p, e);

	if (r == 0)
		r = ctx_check(t->ctx, e);
	if (r == 0)
		r = pack_inodes(t, p, e);
	if (r == 0)
		r = ctx_check(t->ctx, e);
	if (r == 0)
		r = make_bodies(p, n_layers, keep, e);
	for (uint32_t i = 0; r == 0 && i < p->n_inodes; i++) {
		struct plan_inode *x = &p->inodes[i];

		if (i % TREE_POLL_EVERY == 0 && ctx_cancelled(t->ctx))
			return ctx_check(t->ctx, e);
		count_inode(&p->summary, x);
		if (x->layer != PLAN_NONE) {
			layers[x->layer].used_entries += x->n_names;
			layers[x->layer].used_bytes += x->body_len;
		}
		r = unpack_xattrs(t, x, &n_filtered, e);
	}
	if (n_filtered > 0)
		tree_warn(t, "%llu extended attributes of SELinux, NFSv4 or overlayfs left out",
			  (unsigned long long)n_filtered);
	return r;
}

int tree_freeze(struct tree *t, struct varve_plan *p, struct varve_plan_layer *layers,
		size_t n_layers, struct tree_keep *keep, struct varve_err *e)
{
	int r = fill(t, p, layers, n_layers, keep, e);

	p->summary.entries = p->n_names;
	p->summary.layers = layers;
	p->summary.n_layers = n_layers;
	p->summary.warnings = t->all_warnings;
	keep->arena = VARVE_TAKE(t->arena);
	keep->warnings = VARVE_TAKE(t->warnings);
	keep->n_warnings = t->n_warnings;
	t->n_warnings = 0;
	return r;
}

void tree_thaw(struct varve_plan *p, struct tree_keep *keep)
{
	free(p->names);
	free(p->inodes);
	free(p->bodies);
	free(keep->body_inodes);
	arena_free(keep->arena);
	for (uint32_t i = 0; i < keep->n_warnings; i++)
		free(keep->warnings[i]);
	free(keep->warnings);
}
