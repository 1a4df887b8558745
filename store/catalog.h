/* SPDX-License-Identifier: Apache-2.0 */
/* Records over blobs: images, tags, installs, and small state of other modules; each commit is one
 * transaction. */
#pragma once

#include "store/base/buf.h"
#include "varve-store.h"

/* A name that will be set; strings are borrowed. */
struct catalog_tag {
	const char *name;      /* familiar */
	const char *reference; /* canonical, without digest */
	const char *source;    /* "registry", "official", "import" */
	const char *origin;    /* may be NULL */
	const char *place;     /* host that resolved the tag; may be NULL */
	struct varve_digest
		target; /* what the registry said the name is: index, manifest or schema1 payload */
	struct varve_digest manifest; /* of the platform; in the store */
	struct varve_platform platform;
	bool explicit_platform; /* asked for by the user: does not take the plain name from another
				   platform */
};
/* One blob of a batch that became present. */
struct catalog_blob {
	struct varve_digest digest;
	uint64_t size;
	enum varve_blob_kind kind;
	const char *origin; /* may be NULL */
	bool has_facts;
	struct varve_layer_facts facts;
};
/*
 * Record a finished pull or import in ONE transaction: the blobs, the image (manifest and config
 * are read from the store and parsed: edges, platform, sizes; parents are indexes that led to it),
 * the tags; then index.json. All blobs must have been published. No tag: pulled by digest (name it
 * with reference@digest). Returns after it is durable.
 */
struct catalog_commit {
	const struct catalog_blob *blobs;
	size_t n_blobs;
	struct varve_digest manifest; /* not set: only the blobs are recorded */
	const struct varve_digest *parents;
	size_t n_parents;
	const struct varve_digest *extra; /* other blobs to keep with the image (schema1 payload) */
	size_t n_extra;
	const struct catalog_tag *tags; /* all of this manifest */
	size_t n_tags;
	bool more; /* others follow at once: index.json is left to the caller's mirror_update() */
};
int catalog_commit(struct varve_store *s, const struct catalog_commit *c, struct varve_err *e);

/* The tag of a canonical reference for a platform (NULL: default). 1 found, 0 not. Strings are in
 * *priv: free(). */
int catalog_get_tag(struct varve_store *s, const char *reference,
		    const struct varve_platform *platform, struct catalog_tag *ret, void **priv,
		    struct varve_err *e);
/*
 * Count a use now: written at most once per hour per image, and never on a read-only store. What
 * was asked for is done all the same, so a failure is only warned of.
 */
void catalog_touch(struct varve_store *s, const struct varve_digest *manifest);

/* Installs: the record of in->id is replaced or made. Durable on return. On a read-only store they
 * and state succeed and do nothing, so that one can install from it. */
int catalog_put_install(struct varve_store *s, const struct varve_install_record *in,
			struct varve_err *e);
/* Several records in one transaction; del ids may be NULL-terminated or NULL. */
int catalog_update_installs(struct varve_store *s, const struct varve_install_record *put,
			    size_t n_put, const char *const *del, struct varve_err *e);
