/* SPDX-License-Identifier: Apache-2.0 */
/* An OCI layout that is being imported; for import_layout.c and what it uses only. */
#pragma once

#include "materialize/import/import_members.h"
#include "store/base/json.h"

#define LAYOUT_NESTING_MAX 4u

/* Of index.json. Those with the same digest are one image of several names. */
struct entry {
	const json *raw;
	char *what; /* why no tree can be made of it; NULL: an image, as far as can be seen */
	bool artifact;
	bool child;  /* an index that is listed, too, has it */
	bool marked; /* the first of its digest: whether they are children is known */
	bool wanted;
	bool has_platform;
	struct varve_platform platform; /* as the entry says, or else its config */
	size_t next;                    /* the next one with its digest, 0: none */
	bool later;                     /* not the first one of its digest */
};
struct layout {
	struct import *im;
	struct members *m;
	struct oci_index *index;
	json *raw;    /* index.json: annotations that the parser does not keep */
	json *docker; /* manifest.json beside it (docker save); NULL: none */
	struct import_blobs blobs;
	struct varve_digest parents[LAYOUT_NESTING_MAX];
	size_t n_parents;
	unsigned unnamed;      /* images without a name so far */
	struct entry *entries; /* one for each of index */
};
