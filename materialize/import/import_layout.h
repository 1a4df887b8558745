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
	bool child; /* an index that is listed, too, has it */
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

/* --- import_names.c --- */
/* The whole name of an image, or only its tag, or NULL. */
const char *layout_own_name(const struct layout *l, size_t i);
bool layout_is_selected(const struct layout *l, size_t i, const char *select);
/* All names of an image: of docker's list, or of its entries in index.json. */
struct layout_names {
	const char **items; /* NULL-terminated */
	char **made;        /* those that are ours to free */
	size_t n, n_made;
};
void layout_names_done(struct layout_names *n);
/* first: the first entry of its digest. */
int layout_names(struct layout *l, size_t first, const struct varve_digest *config,
		 const struct varve_digest *manifest, struct layout_names *ret,
		 struct varve_err *e);

/* --- import_choose.c --- */
/*
 * Which entries are imported: what is no image is left out, of one name that of the platform is
 * taken. Sets wanted, next and later; an error names what there is.
 */
int layout_choose(struct layout *l, struct varve_err *e);
