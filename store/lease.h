/* SPDX-License-Identifier: Apache-2.0 */
/* A lease protects the digests it lists from gc for as long as the process holds it (a flock, so a
 * kill ends it). */
#pragma once

#include "varve-store.h"

struct lease;

/* On a read-only store: succeeds and does nothing. */
int lease_begin(struct lease **ret, struct varve_store *s, const char *purpose,
		struct varve_err *e);
/* Must come before the existence check of d. Not thread-safe. */
int lease_add(struct lease *l, const struct varve_digest *d, struct varve_err *e);
void lease_end(struct lease *l); /* accepts NULL */

static inline void lease_cleanup(struct lease **l)
{
	lease_end(*l);
}
