/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is freed all at once: the strings of a list. */
#pragma once

#include <stddef.h>

struct pool {
	struct pool_chunk *chunks;
	size_t used; /* of the first chunk */
};

/* A terminated copy, NULL without memory. A zeroed pool is ready for use. */
char *pool_strn(struct pool *p, const char *s, size_t n);
void pool_done(struct pool *p);
