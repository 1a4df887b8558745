/* SPDX-License-Identifier: Apache-2.0 */
/* An image's record from its manifest and config in the store. */
#pragma once

#include "store/record.h"
#include "store/store.h"

struct image_doc {
	struct image_record record;
	struct image_ref *refs;
	size_t n, cap;
};
#define IMAGE_DOC_INIT                                                                             \
	{                                                                                          \
		.n = 0                                                                             \
	}

/* Reads and checks both documents: as many layers as diffIDs (VARVE_E_FORMAT otherwise). */
int image_doc_read(struct image_doc *ret, struct varve_store *s,
		   const struct varve_digest *manifest, struct varve_err *e);
int image_doc_add(struct image_doc *d, enum image_role role, const struct varve_digest *digest,
		  uint64_t size, struct varve_err *e);
/* Write the record; those of an older one with the role EXTRA or PARENT are kept. */
int image_doc_put(struct image_doc *d, struct index_txn *t, struct varve_err *e);
void image_doc_done(struct image_doc *d);
