/* SPDX-License-Identifier: Apache-2.0 */
/* Official images from their source: the library file, the git tree at its commit, the tarball. */
#pragma once

#include "fetch/blobs/pull.h"
#include "fetch/official/official_library.h"

/* One image of a run. */
struct official {
	struct pull *p;
	const struct varve_reference *ref;
	const char *arch;
	struct official_place place;
	struct repo **repos; /* one for each URL that a blob comes from */
	size_t n_repos;
};

/* Pull the references one after the other; results as in varve_pull. */
int official_pull(struct pull *p, const struct varve_reference *refs, size_t n,
		  struct varve_pull_result *results, struct varve_err *e);

/* Where a tag comes from now: only the library file is read. */
int official_origin(struct pull *p, const struct varve_reference *ref, char ret[VARVE_ORIGIN_MAX],
		    struct varve_err *e);

/* One blob again from the URL that its record names. */
int official_refetch(struct pull *p, const struct need *n, const char *url, struct varve_err *e);

/* --- official_fetch.c: files of the tree --- */
/* A whole file; max: bytes that are taken. VARVE_E_NOTFOUND: 404. */
int official_get(struct pull *p, const char *url, uint64_t max, struct buf *out,
		 struct varve_err *e);
/* The URL of a path of the tree at the commit. */
int official_file_url(const struct official *o, const char *path, struct buf *out,
		      struct varve_err *e);
/*
 * The blob of an OCI layout in the tree. Git keeps some as symlinks, for which a raw-file host
 * answers the text of the link: it is followed once, inside the directory. Small blobs come whole
 * into out (verified), of others *ret_url is where they are.
 */
int official_find_blob(const struct official *o, const struct varve_digest *d, uint64_t size,
		       struct buf *out, struct buf *ret_url, struct varve_err *e);
/* Of several archives in one blob one layer is made: then *d and *facts are those of the layer. */
int official_join(struct official *o, struct varve_digest *d, struct varve_layer_facts *facts,
		  struct varve_err *e);
/* A need whose bytes are behind a URL; key: see struct need. */
int official_add_need(struct official *o, const char *url, const struct need *n,
		      struct varve_err *e);
