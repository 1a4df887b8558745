/* SPDX-License-Identifier: Apache-2.0 */
/* What registries say about their limits: kept per registry, shown by "varve registry status"
 * (docs/requirements.md 4.22). */
#pragma once

#include "fetch/registry/client.h"

/* ", 3 of 100 left (per 6 h)" or "". */
void ratelimit_words(const struct headers *h, char *out, size_t size);
/* Remember what the answer says, if it says anything. A failure to remember is not an error. */
void ratelimit_note(struct client *c, const char *domain, const struct headers *h);
