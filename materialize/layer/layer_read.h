/* SPDX-License-Identifier: Apache-2.0 */
/* Read a stored layer from end to end, verifying it. */
#pragma once

#include "varve-store.h"

/* Publishes the toc and records the facts (on a
 * read-only store both live as long as its handle). */
int layer_read(struct varve_store *s, const struct varve_digest *blob,
	       struct varve_layer_facts *ret, struct varve_err *e);
