/* SPDX-License-Identifier: Apache-2.0 */
/* Undo a Content-Encoding that nobody asked for (docs/requirements.md 4.36 to 4.38). */
#pragma once

#include "fetch/http/headers.h"
#include "varve-base.h"

/* The answer says that its body is gzip. */
bool encoding_declared(const struct headers *h);

struct encoding;
/* NULL without memory. */
struct encoding *encoding_new(void);
void encoding_free(struct encoding *d);
/* Inflate n bytes; put is called with what comes
 * out, its negative result ends it. VARVE_E_FORMAT. */
int encoding_feed(struct encoding *d, const void *p, size_t n,
		  int (*put)(void *user, const void *p, size_t n), void *user, struct varve_err *e);
/* A whole document that begins like gzip is inflated in place (its ceiling applies). */
int encoding_undo(struct buf *b, struct varve_err *e);
