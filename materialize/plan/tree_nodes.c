/* SPDX-License-Identifier: Apache-2.0 */
/* Names and inodes of the tree: find, add, remove, mark. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/plan/tree_internal.h"
#include "store/base/arena.h"
#include "store/base/err.h"
#include "store/base/invariant.h"

#define FIRST_BUCKETS 1024u

static uint32_t hash_name(const struct tree *t, uint32_t dir, const char *name, size_t n)
{
	return (uint32_t)siphash13(&t->secret, dir, name, n);
}

int tree_new(struct tree **ret, const struct varve_plan_options *opt, const struct varve_ctx *ctx,
	     struct varve_err *e)
{
	struct tree *t = calloc(1, sizeof(*t));
	uint32_t node, inode;
	int r;

	if (!t)
		return varve_fail_oom(e);
	if (opt)
		t->opt = *opt;
	if (!t->opt.limits.max_entries)
		t->opt.limits.max_entries = 10 * 1000 * 1000;
	if (!t->opt.limits.max_path)
		t->opt.limits.max_path = 32768;
	if (!t->opt.limits.max_depth)
		t->opt.limits.max_depth = 1024;
	t->ctx = ctx;
	t->plnk = PLAN_NONE;
	siphash_key_new(&t->secret, t);
	buf_init(&t->path, t->opt.limits.max_path + 1);
	buf_init(&t->link, t->opt.limits.max_path + 1);
	for (int i = 0; i < 2; i++)
		buf_init(&t->walk[i], t->opt.limits.max_path + 2u * TREE_LINKS_MAX * 4096);
	r = tree_add_inode(t, &inode, e);
	if (r == 0)
		r = tree_add(t, PLAN_NONE, "", 0, &node, e);
	if (r < 0) {
		tree_free(t);
		return r;
	}
	/* An image without an entry for its root (R17). */
	t->inodes[inode].mode = S_IFDIR | 0755;
	t->inodes[inode].n_names = 1;
	t->nodes[node].inode = inode;
	*ret = t;
	return 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	free(t->nodes);
	free(t->inodes);
	free(t->buckets);
	free(t->pending);
	arena_free(t->arena);
	buf_done(&t->path);
	buf_done(&t->link);
	buf_done(&t->walk[0]);
	buf_done(&t->walk[1]);
	for (uint32_t i = 0; i < t->n_warnings; i++)
		free(t->warnings[i]);
	free(t->warnings);
	free(t);
}

uint32_t tree_lookup(const struct tree *t, uint32_t dir, const char *name, size_t n)
{
	uint32_t h, i;

	if (t->n_buckets == 0)
		return PLAN_NONE;
	h = hash_name(t, dir, name, n);
	for (i = t->buckets[h & (t->n_buckets - 1)]; i != PLAN_NONE; i = t->nodes[i].hash_next) {
		const struct tree_node *x = &t->nodes[i];

		if (x->hash == h && x->parent == dir && x->name_len == n &&
		    memcmp(x->name, name, n) == 0)
			return i;
	}
	return PLAN_NONE;
}

static void insert_bucket(struct tree *t, uint32_t i)
{
	uint32_t *b = &t->buckets[t->nodes[i].hash & (t->n_buckets - 1)];

	t->nodes[i].hash_next = *b;
	*b = i;
}

static void leave_bucket(struct tree *t, uint32_t i)
{
	uint32_t *b = &t->buckets[t->nodes[i].hash & (t->n_buckets - 1)];

	while (*b != i)
		b = &t->nodes[*b].hash_next;
	*b = t->nodes[i].hash_next;
}

/* Twice as many buckets; removed names (their own parents) stay out. */
static int rehash(struct tree *t, struct varve_err *e)
{
	uint32_t n = t->n_buckets ? t->n_buckets * 2 : FIRST_BUCKETS;
	uint32_t *b = malloc(n * sizeof(*b));

	if (!b)
		return varve_fail_oom(e);
	memset(b, 0xff, n * sizeof(*b));
	free(t->buckets);
	t->buckets = b;
	t->n_buckets = n;
	for (uint32_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].parent != i)
			insert_bucket(t, i);
	return 0;
}

/* Grow by half: doubling would waste too much of the 150 bytes an entry may cost. */
static int grow(void **p, uint32_t *cap, uint32_t n, size_t item, struct varve_err *e)
{
	uint32_t c = *cap + *cap / 2 + 1024;
	void *q;

	if (n < *cap)
		return 0;
	q = reallocarray(*p, c, item);
	if (!q)
		return varve_fail_oom(e);
	*p = q;
	*cap = c;
	return 0;
}

int tree_add(struct tree *t, uint32_t dir, const char *name, size_t n, uint32_t *ret,
	     struct varve_err *e)
{
	void *p = t->nodes;
	uint32_t i = t->n_nodes;
	struct tree_node *x;
	uint64_t path_len = 0;
	uint32_t depth = 0;
	int r;

	assert(dir == PLAN_NONE || dir < t->n_nodes);
	assert(n <= UINT32_MAX && !memchr(name, '/', n));
	if (dir != PLAN_NONE) {
		path_len = (uint64_t)t->nodes[dir].path_len + 1 + n;
		depth = t->nodes[dir].depth + 1;
	}
	if (path_len > t->opt.limits.max_path || depth > t->opt.limits.max_depth)
		return varve_fail(e, VARVE_E_LIMIT,
				  "a path of %llu bytes and %u components (limits.max_path %u, "
				  "limits.max_depth %u)",
				  (unsigned long long)path_len, depth, t->opt.limits.max_path,
				  t->opt.limits.max_depth);
	r = grow(&p, &t->cap_nodes, i, sizeof(*x), e);
	if (r < 0)
		return r;
	t->nodes = p;
	if (i >= t->n_buckets / 2) {
		r = rehash(t, e);
		if (r < 0)
			return r;
	}
	x = &t->nodes[i];
	*x = (struct tree_node){
		.name = name,
		.name_len = (uint32_t)n,
		.hash = hash_name(t, dir, name, n),
		.parent = dir,
		.inode = PLAN_NONE,
		.first_child = PLAN_NONE,
		.next = PLAN_NONE,
		.prev = PLAN_NONE,
		.path_len = (uint32_t)path_len,
		.depth = depth,
	};
	if (dir != PLAN_NONE) {
		x->next = t->nodes[dir].first_child;
		if (x->next != PLAN_NONE)
			t->nodes[x->next].prev = i;
		t->nodes[dir].first_child = i;
	}
	t->n_nodes++;
	insert_bucket(t, i);
	*ret = i;
	return 0;
}

int tree_add_inode(struct tree *t, uint32_t *ret, struct varve_err *e)
{
	void *p = t->inodes;
	int r = grow(&p, &t->cap_inodes, t->n_inodes, sizeof(*t->inodes), e);

	if (r < 0)
		return r;
	t->inodes = p;
	memset(&t->inodes[t->n_inodes], 0, sizeof(*t->inodes));
	t->inodes[t->n_inodes].layer = PLAN_NONE;
	*ret = t->n_inodes++;
	return 0;
}

uint32_t tree_type(const struct tree *t, uint32_t node)
{
	uint32_t i = t->nodes[node].inode;

	return i == PLAN_NONE ? 0 : t->inodes[i].mode & S_IFMT;
}

/* Forget a name; it becomes its own parent, which no living one is. */
static void drop(struct tree *t, uint32_t i)
{
	struct tree_node *x = &t->nodes[i];

	leave_bucket(t, i);
	if (x->inode != PLAN_NONE)
		t->inodes[x->inode].n_names--;
	x->parent = i;
	x->inode = PLAN_NONE;
}

/* Below node, children first, without recursion: an image chooses how deep it goes. */
static void drop_children(struct tree *t, uint32_t node)
{
	uint32_t i = node;

	for (;;) {
		uint32_t child = tree_type(t, i) == S_IFDIR ? t->nodes[i].first_child : PLAN_NONE;

		if (child != PLAN_NONE) {
			i = child;
			continue;
		}
		if (i == node)
			return;
		child = i;
		i = t->nodes[child].parent;
		t->nodes[i].first_child = t->nodes[child].next;
		drop(t, child);
	}
}

void tree_remove(struct tree *t, uint32_t node)
{
	struct tree_node *x = &t->nodes[node];

	assert(node < t->n_nodes && node != PLAN_ROOT);
	drop_children(t, node);
	if (x->prev != PLAN_NONE)
		t->nodes[x->prev].next = x->next;
	else if (x->parent != PLAN_NONE)
		t->nodes[x->parent].first_child = x->next;
	if (x->next != PLAN_NONE)
		t->nodes[x->next].prev = x->prev;
	drop(t, node);
	t->last_dir = NULL;
}

void tree_touch(struct tree *t, uint32_t node)
{
	while (node != PLAN_NONE && t->nodes[node].touched != t->stamp) {
		t->nodes[node].touched = t->stamp;
		node = t->nodes[node].parent;
	}
}

void tree_warn(struct tree *t, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;

	t->all_warnings++;
	if (t->n_warnings >= TREE_WARNINGS_MAX)
		return;
	if (!t->warnings)
		t->warnings = calloc(TREE_WARNINGS_MAX, sizeof(*t->warnings));
	if (!t->warnings)
		return;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) >= 0)
		t->warnings[t->n_warnings++] = text;
	va_end(ap);
}
