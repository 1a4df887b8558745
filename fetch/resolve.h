/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference to the manifest of the platform. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

struct client;
struct image_job;
struct pull;
struct repo;
struct varve_reference;

/* resolve.c: from the reference to the manifest of
 * the platform; documents are stored on the way. */
int pull_resolve(struct pull *p, struct image_job *im, struct varve_err *e);
/* resolve.c: one manifest or index by its digest, into the store. */
int pull_document(struct pull *p, struct repo *repo, const struct varve_digest *digest,
		  uint64_t size, struct varve_err *e);
/* resolve.c: what a tag means now, by HEAD (by GET where HEAD is not served). */
int pull_head(struct client *c, struct repo *repo, const struct varve_reference *ref,
	      struct varve_digest *ret, char place[256], struct varve_err *e);
/* Note a stored document for the commit. */
int pull_note_doc(struct image_job *im, const struct varve_digest *d, uint64_t size,
		  enum varve_blob_kind kind, struct varve_err *e);
