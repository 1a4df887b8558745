/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept here of layers that only a lower
 * store has, and copies of what its owner can change. */
#pragma once

#include "store/base/buf.h"
#include "varve-store.h"

/*
 * Facts of a layer that has no record here: in aux/facts, under the digest of the blob. They are of
 * its bytes, wherever these are, and were found out by reading all of them.
 */
int lower_put_facts(struct varve_store *s, const struct varve_digest *blob,
		    const struct varve_layer_facts *facts, struct varve_err *e);
bool lower_get_facts(struct varve_store *s, const struct varve_digest *blob,
		     struct varve_layer_facts *ret);
/* The file's content; for lower.c and its test. */
void lower_facts_write(struct buf *b, const struct varve_digest *blob,
		       const struct varve_layer_facts *facts);
bool lower_facts_parse(struct span text, const struct varve_digest *blob,
		       struct varve_layer_facts *ret);

#define LOWER_FACTS "facts" /* the kind of derived data, for aux_open() */
