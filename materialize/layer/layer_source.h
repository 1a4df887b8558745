/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed bytes of a stored blob, read in large pieces and hashed on the way. */
#pragma once

#include "materialize/codec/inflate.h"
#include "store/base/hash.h"

struct layer_source {
	struct varve_store *s;
	struct varve_digest blob;
	int fd;
	bool by_position; /* fd always gives the same bytes, which are verified or will be */
	const struct varve_store *from; /* where the blob was found */
	uint64_t size, at;
	struct hash *hash; /* NULL: not hashed */
	uint8_t *window;
	bool progress; /* report VARVE_STAGE_READ */
};
/*
 * verify: hash while reading. What is read in parts or by position is copied first where another
 * user could change it between its verification and its use (blob.h, "proven").
 */
int layer_source_open(struct layer_source *ret, struct varve_store *s,
		      const struct varve_digest *blob, bool verify, struct varve_err *e);
void layer_source_done(struct layer_source *l);
struct inflate_source layer_source_input(struct layer_source *l);
/* Read what is left. */
int layer_source_drain(struct layer_source *l, struct varve_err *e);
/*
 * Read what is left and compare: VARVE_E_DIGEST if the blob is not what its name says; it is then
 * recorded as damaged.
 */
int layer_source_verify(struct layer_source *l, struct varve_err *e);
