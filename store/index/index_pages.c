/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the page structure of an LMDB file sound? The format is that of LMDB 0.9 (mdb.c: MDB_page,
 * MDB_node, MDB_db, MDB_meta), data version 1, in the byte order and word size of this machine.
 */
#include "store/index/index_pages.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define META_MAGIC   0xBEEFC0DEu
#define META_VERSION 1
#define PAGE_HEAD    16
#define PAGE_MAX     32768 /* offsets in a page have 16 bits */
#define NODE_HEAD    8
#define MAX_DEPTH    32 /* CURSOR_STACK */
#define MAX_TABLES   32
#define KEY_MAX      511
#define NO_PAGE      SIZE_MAX

enum { P_BRANCH = 1, P_LEAF = 2, P_OVERFLOW = 4, P_META = 8 };
enum { F_BIGDATA = 1, F_SUBDATA = 2 };
#define INTEGER_KEY 0x08
#define NO_SUBDIR   0x4000 /* of the environment; LMDB writes it into the flags of the free list */

struct page_head {
	size_t number;
	uint16_t pad, flags;
	uint16_t lower, upper; /* together the number of pages, in an overflow page */
};
struct tree { /* MDB_db */
	uint32_t pad;
	uint16_t flags, depth;
	size_t branch_pages, leaf_pages, overflow_pages, entries, root;
};
struct meta {
	uint32_t magic, version;
	size_t address, map_size;
	struct tree free, main;
	size_t last_page, txn;
};
struct node {
	uint32_t data_size; /* leaf */
	size_t child;       /* branch, or first overflow page of a large value */
	uint16_t flags, key_size;
	const unsigned char *key, *data;
};

enum tree_kind { TREE_FREE, TREE_MAIN, TREE_TABLE };

struct walk {
	const struct pages_file *f;
	const char *why;
	size_t page_size;
	struct meta meta;
	unsigned char *used, *unused; /* bit per page: in a tree, in the free list */
	unsigned char *levels;        /* one page for each */
	uint16_t *node_sizes;         /* of the page at hand, by half its offset */
	enum tree_kind kind;
	size_t entries;
	unsigned char last_key[KEY_MAX];
	size_t last_key_n;
	bool has_last, may_equal; /* a separator equals the first key behind it */
	struct tree tables[MAX_TABLES];
	size_t n_tables, n_unused;
};

static int damaged(struct walk *w, const char *why)
{
	w->why = why;
	return 1;
}

static int read_page(struct walk *w, size_t page, void *buf, size_t n)
{
	uint64_t offset = (uint64_t)page * w->page_size;

	if (offset > w->f->size || n > w->f->size - offset)
		return damaged(w, "a page lies behind the end of the file");
	return w->f->read(w->f->user, offset, buf, n);
}

/* A page has one use. */
static int claim(struct walk *w, unsigned char *map, size_t page)
{
	unsigned char bit = (unsigned char)(1u << (page & 7));

	if (page < 2 || page > w->meta.last_page)
		return damaged(w, "a page number is out of range");
	if ((w->used[page >> 3] | w->unused[page >> 3]) & bit)
		return damaged(w, "a page is in use twice");
	map[page >> 3] |= bit;
	return 0;
}

static int key_compare(const struct walk *w, const unsigned char *a, size_t a_n,
		       const unsigned char *b, size_t b_n)
{
	size_t x, y;
	int c;

	if (w->kind == TREE_FREE) {
		memcpy(&x, a, sizeof(x));
		memcpy(&y, b, sizeof(y));
		return (x > y) - (x < y);
	}
	c = memcmp(a, b, a_n < b_n ? a_n : b_n);
	return c ? c : (a_n > b_n) - (a_n < b_n);
}

/* Keys ascend over all pages of a tree, the separators in branch pages among them. */
static int see_key(struct walk *w, const struct node *n, bool separator)
{
	int c;

	if (n->key_size == 0 || n->key_size > KEY_MAX ||
	    (w->kind == TREE_FREE && n->key_size != sizeof(size_t)))
		return damaged(w, "a key has a wrong size");
	if (w->has_last) {
		c = key_compare(w, w->last_key, w->last_key_n, n->key, n->key_size);
		if (c > 0 || (c == 0 && (separator || !w->may_equal)))
			return damaged(w, "keys are out of order");
	}
	memcpy(w->last_key, n->key, n->key_size);
	w->last_key_n = n->key_size;
	w->has_last = true;
	w->may_equal = separator;
	return 0;
}

/* --- values --- */

static int see_free_list(struct walk *w, const unsigned char *p, size_t size)
{
	size_t count, i, page, before = SIZE_MAX;
	int r;

	if (size < sizeof(count))
		return damaged(w, "the free list is cut");
	memcpy(&count, p, sizeof(count));
	if (count > size / sizeof(count) - 1)
		return damaged(w, "the free list is cut");
	for (i = 0; i < count; i++, before = page) {
		memcpy(&page, p + (i + 1) * sizeof(page), sizeof(page));
		if (page >= before)
			return damaged(w, "the free list is out of order");
		r = claim(w, w->unused, page);
		if (r)
			return r;
	}
	w->n_unused += count;
	return 0;
}

/* A value with pages of its own. */
static int see_large(struct walk *w, const struct node *n)
{
	struct page_head head;
	unsigned char *value;
	uint32_t pages;
	size_t i;
	int r = read_page(w, n->child, &head, sizeof(head));

	if (r)
		return r;
	memcpy(&pages, (const char *)&head + offsetof(struct page_head, lower), sizeof(pages));
	if (head.number != n->child || head.flags != P_OVERFLOW ||
	    pages > w->meta.last_page + 1 - n->child ||
	    (uint64_t)pages * w->page_size < (uint64_t)PAGE_HEAD + n->data_size)
		return damaged(w, "the pages of a large value are wrong");
	for (i = 0; i < pages; i++) {
		r = claim(w, w->used, n->child + i);
		if (r)
			return r;
	}
	if ((uint64_t)n->child * w->page_size + PAGE_HEAD + n->data_size > w->f->size)
		return damaged(w, "a page lies behind the end of the file");
	if (w->kind != TREE_FREE)
		return 0;
	value = malloc((size_t)PAGE_HEAD + n->data_size);
	if (!value)
		return -ENOMEM;
	r = read_page(w, n->child, value, (size_t)PAGE_HEAD + n->data_size);
	if (r == 0)
		r = see_free_list(w, value + PAGE_HEAD, n->data_size);
	free(value);
	return r;
}

static int see_table(struct walk *w, const struct node *n)
{
	struct tree *t = &w->tables[w->n_tables];

	if (n->flags != F_SUBDATA || n->data_size != sizeof(*t) || w->n_tables == MAX_TABLES)
		return damaged(w, "the list of tables is wrong");
	memcpy(t, n->data, sizeof(*t));
	w->n_tables++;
	return 0;
}

static int see_entry(struct walk *w, const struct node *n)
{
	size_t txn;
	int r = see_key(w, n, false);

	if (r)
		return r;
	w->entries++;
	if (w->kind == TREE_MAIN)
		return see_table(w, n);
	if (w->kind == TREE_FREE) {
		memcpy(&txn, n->key, sizeof(txn));
		if (txn > w->meta.txn)
			return damaged(w, "the free list is of the future");
	}
	if (n->flags == F_BIGDATA)
		return see_large(w, n);
	if (n->flags)
		return damaged(w, "an entry is of an unknown kind");
	return w->kind == TREE_FREE ? see_free_list(w, n->data, n->data_size) : 0;
}

/* --- pages --- */

/* Entry i of a page: it and what it holds lie in the upper part of the page. */
static int read_node(struct walk *w, const unsigned char *page, size_t i, bool leaf,
		     struct node *ret)
{
	struct page_head head;
	uint16_t at, words[4];
	size_t size;

	memcpy(&head, page, sizeof(head));
	memcpy(&at, page + PAGE_HEAD + 2 * i, sizeof(at));
	if (at < head.upper || (at & 1) || at > w->page_size - NODE_HEAD)
		return damaged(w, "an entry lies outside of its page");
	memcpy(words, page + at, sizeof(words));
	*ret = (struct node){.flags = words[2], .key_size = words[3]};
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	ret->data_size = words[0] | (uint32_t)words[1] << 16;
#else
	ret->data_size = words[1] | (uint32_t)words[0] << 16;
#endif
	size = (size_t)NODE_HEAD + ret->key_size;
	if (!leaf)
		ret->child = (size_t)(ret->data_size | (uint64_t)ret->flags << 32);
	else
		size += ret->flags & F_BIGDATA ? sizeof(ret->child) : ret->data_size;
	if (size > w->page_size - at)
		return damaged(w, "an entry lies outside of its page");
	ret->key = page + at + NODE_HEAD;
	ret->data = ret->key + ret->key_size;
	if (leaf && ret->flags & F_BIGDATA)
		memcpy(&ret->child, ret->data, sizeof(ret->child));
	w->node_sizes[at / 2] = (uint16_t)((size + 1) & ~(size_t)1);
	return 0;
}

/* Entries fill the upper part without holes, as LMDB keeps them: it moves them by their sizes. */
static int check_tiling(struct walk *w, const unsigned char *page, size_t n, bool leaf)
{
	struct page_head head;
	struct node node;
	size_t i, at;
	int r;

	memcpy(&head, page, sizeof(head));
	memset(w->node_sizes, 0, w->page_size / 2 * sizeof(*w->node_sizes));
	for (i = 0; i < n; i++) {
		r = read_node(w, page, i, leaf, &node);
		if (r)
			return r;
	}
	for (i = 0, at = head.upper; at < w->page_size; i++) {
		if (w->node_sizes[at / 2] == 0)
			break;
		at += w->node_sizes[at / 2];
	}
	return i == n && at == w->page_size ? 0 : damaged(w, "entries of a page overlap");
}

/* One page and what is below it; level counts from the root, which is 1. */
static int walk_page(struct walk *w, const struct tree *t, size_t number, unsigned level)
{
	unsigned char *page = w->levels + (level - 1) * w->page_size;
	bool leaf = level == t->depth;
	struct page_head head;
	struct node node;
	size_t i, n;
	int r = claim(w, w->used, number);

	if (r == 0)
		r = read_page(w, number, page, w->page_size);
	if (r)
		return r;
	memcpy(&head, page, sizeof(head));
	if (head.number != number || head.flags != (leaf ? P_LEAF : P_BRANCH))
		return damaged(w, "a page is of another kind or number than it should be");
	n = head.lower < PAGE_HEAD ? 0 : (size_t)(head.lower - PAGE_HEAD) / 2;
	if ((head.lower & 1) || (head.upper & 1) || head.lower > head.upper ||
	    head.upper > w->page_size || n < (leaf || w->kind == TREE_FREE ? 1 : 2))
		return damaged(w, "the head of a page is wrong");
	r = check_tiling(w, page, n, leaf);
	for (i = 0; r == 0 && i < n; i++) {
		r = read_node(w, page, i, leaf, &node);
		if (r == 0 && leaf) {
			r = see_entry(w, &node);
			continue;
		}
		if (r == 0 && i > 0) /* the first one has no key of its own */
			r = see_key(w, &node, true);
		if (r == 0)
			r = walk_page(w, t, node.child, level + 1);
	}
	return r;
}

static int walk_tree(struct walk *w, const struct tree *t, enum tree_kind kind)
{
	int r = 0;

	w->kind = kind;
	w->entries = 0;
	w->has_last = w->may_equal = false;
	if ((t->flags & ~(kind == TREE_FREE ? NO_SUBDIR : 0)) !=
		    (kind == TREE_FREE ? INTEGER_KEY : 0) ||
	    t->depth > MAX_DEPTH || (t->depth == 0) != (t->root == NO_PAGE))
		return damaged(w, "the record of a table is wrong");
	if (t->depth)
		r = walk_page(w, t, t->root, 1);
	if (r == 0 && w->entries != t->entries)
		return damaged(w, "a table has another number of entries than it says");
	return r;
}

/* --- the file --- */

static int read_meta(struct walk *w, size_t page, struct meta *ret)
{
	unsigned char buf[PAGE_HEAD + sizeof(*ret)];
	struct page_head head;
	int r = read_page(w, page, buf, sizeof(buf));

	if (r)
		return r;
	memcpy(&head, buf, sizeof(head));
	memcpy(ret, buf + PAGE_HEAD, sizeof(*ret));
	if (head.flags != P_META || ret->magic != META_MAGIC || ret->version != META_VERSION)
		return damaged(w, "its first pages are no database");
	return 0;
}

/* Both heads; the newer one counts. Each commit writes the one of its parity. */
static int read_metas(struct walk *w)
{
	struct meta m[2];
	size_t newer, size;
	int r = read_meta(w, 0, &m[0]);

	if (r)
		return r;
	size = m[0].free.pad; /* where LMDB keeps the size of a page */
	if (size < 512 || size > PAGE_MAX || (size & (size - 1)))
		return damaged(w, "the size of its pages is wrong");
	w->page_size = size;
	r = read_meta(w, 1, &m[1]);
	if (r)
		return r;
	newer = m[0].txn < m[1].txn;
	w->meta = m[newer];
	if (m[1].free.pad != size || m[newer].txn - m[!newer].txn > 1 ||
	    (m[newer].txn & 1) != newer)
		return damaged(w, "its two heads do not agree");
	if (w->meta.last_page < 1 || w->meta.last_page >= w->f->map_size / size ||
	    w->meta.map_size / size <= w->meta.last_page)
		return damaged(w, "it claims to be larger than it can be");
	return 0;
}

static int walk_all(struct walk *w)
{
	size_t i, bytes = w->meta.last_page / 8 + 1;
	int r;

	w->used = calloc(1, bytes);
	w->unused = calloc(1, bytes);
	w->levels = malloc(MAX_DEPTH * w->page_size);
	w->node_sizes = malloc(w->page_size / 2 * sizeof(*w->node_sizes));
	if (!w->used || !w->unused || !w->levels || !w->node_sizes)
		return -ENOMEM;
	r = walk_tree(w, &w->meta.free, TREE_FREE);
	if (r == 0)
		r = walk_tree(w, &w->meta.main, TREE_MAIN);
	for (i = 0; r == 0 && i < w->n_tables; i++)
		r = walk_tree(w, &w->tables[i], TREE_TABLE);
	/* Only free pages may never have been written. */
	if (r == 0 && w->meta.last_page + 1 > w->f->size / w->page_size + w->n_unused)
		return damaged(w, "it claims to be larger than it is");
	return r;
}

int pages_check(const struct pages_file *f, const char **ret_why)
{
	struct walk w = {.f = f, .page_size = 512};
	int r = read_metas(&w);

	if (r == 0)
		r = walk_all(&w);
	free(w.used);
	free(w.unused);
	free(w.levels);
	free(w.node_sizes);
	*ret_why = w.why;
	return r;
}
