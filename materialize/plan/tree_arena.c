/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed all at once: strings and arrays of a tree. */
#include <stdlib.h>
#include <string.h>

#include "materialize/plan/tree_internal.h"

#define CHUNK (64u << 10)

struct tree_arena {
	struct tree_arena *next;
	size_t used, cap;
	max_align_t p[];
};

void *tree_alloc(struct tree_arena **a, size_t n, size_t align)
{
	struct tree_arena *c = *a;
	size_t at = c ? (c->used + align - 1) / align * align : 0;

	if (!c || at > c->cap || n > c->cap - at) {
		size_t cap = VARVE_MAX(n, (size_t)CHUNK);

		c = malloc(sizeof(*c) + cap);
		if (!c)
			return NULL;
		c->cap = cap;
		c->next = *a;
		*a = c;
		at = 0;
	}
	c->used = at + n;
	return (char *)c->p + at;
}

char *tree_strdup(struct tree_arena **a, const char *p, size_t n)
{
	char *s = tree_alloc(a, n + 1, 1);

	if (!s)
		return NULL;
	memcpy(s, p, n);
	s[n] = 0;
	return s;
}

void tree_arena_free(struct tree_arena *a)
{
	while (a) {
		struct tree_arena *next = a->next;

		free(a);
		a = next;
	}
}
