/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library files of docker-library/official-images: which git repository, commit and directory a
 * tag is built from. Both formats: paragraphs (RFC 2822 like) and one line per tag. Pure.
 */
#pragma once

#include "store/base/buf.h"
#include "varve-store.h"

#define OFFICIAL_LIBRARY_MAX (4u << 20) /* bytes of a library file */

struct official_library;

/* Where the image of one tag for one architecture is built from. */
struct official_place {
	char repo[1024]; /* URL of the git repository, as written */
	char fetch[256]; /* "refs/heads/master": where the commit is found; "" in the old format */
	char commit[256];
	char directory[1024]; /* path-cleaned, inside the repository; "." is its top */
	char file[256];       /* "Dockerfile", "index.json" */
	char builder[32];     /* "", "oci-import", "buildkit", "classic" */
};

int official_library_parse(struct official_library **ret, const void *p, size_t n,
			   struct varve_err *e);
void official_library_free(struct official_library *l);
static inline void official_library_cleanup(struct official_library **l)
{
	official_library_free(*l);
}

/*
 * The tag in Tags, then in SharedTags among entries that have the architecture. VARVE_E_NOTFOUND
 * (names the nearest tags), VARVE_E_NOPLATFORM (names the architectures), VARVE_E_UNSUPPORTED (the
 * file has no entry: the image was withdrawn), VARVE_E_FORMAT (no commit, unusable values).
 */
int official_library_find(const struct official_library *l, const char *tag, const char *arch,
			  struct official_place *ret, struct varve_err *e);
/* Each tag of the file in order, SharedTags included; fn non-zero ends with that value. */
int official_library_each(const struct official_library *l, int (*fn)(void *user, const char *tag),
			  void *user);
