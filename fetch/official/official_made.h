/* SPDX-License-Identifier: Apache-2.0 */
/* Documents and blobs that an official image is made of, noted for its commit. */
#pragma once

#include "fetch/official/official.h"

/* What an image was made of, for its commit. */
struct made {
	struct varve_digest manifest;
	size_t n_layers;
	struct catalog_blob *blobs;
	size_t n;
	char origin[VARVE_ORIGIN_MAX]; /* "<repository>@<commit>:<directory>/<file>" */
};

int made_blob(struct made *m, const struct catalog_blob *b, struct varve_err *e);
/* Store a document, and note it. want: the digest that it must have; NULL: any. */
int made_document(struct official *o, struct made *m, enum varve_blob_kind kind,
		  const struct buf *b, const struct varve_digest *want, struct varve_digest *ret,
		  struct varve_err *e);
/* Note the blobs that came, with where they came from: check --repair asks there again. */
int made_needs(struct official *o, struct made *m, struct varve_err *e);
/* What the layer is; read if it was not yet. */
int made_facts(struct official *o, struct need *n, struct varve_err *e);
