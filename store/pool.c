/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed all at once. */
#include "store/pool.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 16384

struct pool_chunk {
	struct pool_chunk *next;
	size_t size;
	char bytes[];
};

char *pool_strn(struct pool *p, const char *s, size_t n)
{
	char *out;

	if (!p->chunks || p->chunks->size - p->used <= n) {
		size_t size = n + 1 > CHUNK ? n + 1 : CHUNK;
		struct pool_chunk *c = malloc(sizeof(*c) + size);

		if (!c)
			return NULL;
		c->size = size;
		c->next = p->chunks;
		p->chunks = c;
		p->used = 0;
	}
	out = p->chunks->bytes + p->used;
	memcpy(out, s, n);
	out[n] = '\0';
	p->used += n + 1;
	return out;
}

void pool_done(struct pool *p)
{
	while (p->chunks) {
		struct pool_chunk *next = p->chunks->next;

		free(p->chunks);
		p->chunks = next;
	}
	p->used = 0;
}
