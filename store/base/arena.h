/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed all at once: strings and arrays of a list or a tree. */
#pragma once

#include <stddef.h>

/* NULL is an empty one. */
struct arena;
/* n bytes at a multiple of align, a power of 2 that
 * max_align_t has at least; NULL without memory. */
void *arena_alloc(struct arena **a, size_t n, size_t align);
/* A terminated copy of n bytes; NULL without memory. */
char *arena_strn(struct arena **a, const char *p, size_t n);
void arena_free(struct arena *a);
