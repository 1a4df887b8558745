/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed all at once: strings and arrays of a list or a tree. */
#include "store/base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/invariant.h"

#define CHUNK_FIRST (16u << 10)
#define CHUNK       (64u << 10)

struct arena {
	struct arena *next;
	size_t used, cap;
	max_align_t p[];
};

void *arena_alloc(struct arena **a, size_t n, size_t align)
{
	struct arena *c = *a;
	size_t at = c ? (c->used + align - 1) / align * align : 0;

	assert(align && !(align & (align - 1)) && align <= _Alignof(max_align_t));
	if (!c || at > c->cap || n > c->cap - at) {
		size_t cap = VARVE_MAX(n, c ? (size_t)CHUNK : (size_t)CHUNK_FIRST);

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

char *arena_strn(struct arena **a, const char *p, size_t n)
{
	char *s = arena_alloc(a, n + 1, 1);

	if (!s)
		return NULL;
	memcpy(s, p, n);
	s[n] = 0;
	return s;
}

void arena_free(struct arena *a)
{
	while (a) {
		struct arena *next = a->next;

		free(a);
		a = next;
	}
}
