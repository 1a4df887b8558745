/* SPDX-License-Identifier: Apache-2.0 */
/* How a pull ends, wherever its images come from: what is checked, recorded and told. */
#pragma once

#include "fetch/blobs/pull.h"

/*
 * 1: the image of a name is in the store, with every file of it; *ret says which. origin: only if
 * it came from there; NULL: from anywhere. 0: it is not.
 */
int finish_stored(struct pull *p, const char *name, const char *origin,
		  struct varve_pull_result *ret, struct varve_err *e);
/*
 * The config of a manifest is for the platform that was asked for (of_index: an index has said so),
 * and its diffIDs are those of the layers that were read. VARVE_E_DIGEST, VARVE_E_FORMAT: the image
 * is broken although each blob is right (docs/requirements.md 3.17, 7.5).
 */
int finish_check_config(struct pull *p, const struct oci_manifest *doc, bool of_index,
			struct varve_err *e);
/* Record the image of c->manifest under a reference; source, origin, place and target of the tag
 * are the caller's, the rest is filled in. */
int finish_commit(struct pull *p, const struct varve_reference *ref, struct catalog_commit *c,
		  struct catalog_tag *tag, struct varve_err *e);
/* What was fetched for an image and what was there. repo: only blobs from there; NULL: all. */
void finish_result(const struct pull *p, const struct repo *repo, struct varve_pull_result *ret);
