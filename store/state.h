/* SPDX-License-Identifier: Apache-2.0 */
/* Small JSON values of other modules, by key. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

struct buf;

/* Small JSON values of other modules, by key ("ratelimit:docker.io", "journal:…"). value NULL:
 * delete. */
int catalog_put_state(struct varve_store *s, const char *key, const void *value, size_t n,
		      struct varve_err *e);
int catalog_get_state(struct varve_store *s, const char *key, struct buf *out,
		      struct varve_err *e); /* 1/0 */
int catalog_each_state(struct varve_store *s, const char *prefix,
		       int (*fn)(void *user, const char *key, const void *value, size_t n),
		       void *user, struct varve_err *e);
