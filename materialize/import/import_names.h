/* SPDX-License-Identifier: Apache-2.0 */
/* The names of what an OCI layout holds. */
#pragma once

#include "materialize/import/import_layout.h"

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
