/* SPDX-License-Identifier: Apache-2.0 */
/* One run of pull: its documents, blobs and images; shared by the files that do its stages. */
#pragma once

#include "fetch/registry/client.h"
#include "store/catalog.h"
#include "store/lease.h"
#include "store/oci/oci.h"

struct transfer;

/* A blob that the run needs, once however many manifests name it. */
struct need {
	struct varve_digest digest;
	uint64_t size; /* VARVE_SIZE_UNKNOWN: schema1 */
	enum varve_blob_kind kind;
	struct repo *repo;
	char *const *urls; /* foreign layers; borrowed from the manifest */
	bool follow;       /* read it while it comes */
	/* What will always be the same bytes, for those whose digest nobody has said: digest is not
	 * set until they are there. NULL: the digest is known. */
	const char *key;
	/* --- found out --- */
	bool there, fetched;
	bool has_facts;
	struct varve_layer_facts facts;
	uint64_t wire_bytes;
};

/* A document of the run that was put into the store. */
struct stored_doc {
	struct varve_digest digest;
	uint64_t size;
	enum varve_blob_kind kind;
};

/* One reference of the run. */
struct image_job {
	const struct varve_reference *ref;
	struct varve_pull_result *result;
	struct repo *repo;
	bool unchanged;
	struct varve_digest target;   /* what the name means at the registry */
	struct varve_digest manifest; /* of the platform, in the store */
	struct oci_manifest *doc;     /* either this */
	struct oci_schema1 *schema1;  /* or this */
	struct varve_digest parents[8];
	size_t n_parents;
	struct stored_doc docs[12];
	size_t n_docs;
};

struct pull {
	struct varve_store *store;
	const struct varve_ctx *ctx;
	struct client *client;
	struct lease *lease;
	const struct varve_layer_ops *layers; /* may be NULL */
	struct varve_platform platform;
	bool explicit_platform;
	unsigned jobs;
	struct image_job *images;
	size_t n_images;
	struct need *needs;
	size_t n_needs;
	/* --- of fetch_blobs() --- */
	bool idle;  /* nothing is under way and nothing is left */
	int result; /* of the first blob that failed */
	struct varve_err err;
	struct transfer *active;
	size_t next_need;
	unsigned n_running;
	struct following *following; /* the oldest first */
	unsigned n_following;
	struct http_timer poll; /* while there are too many of them */
};

/* A layer whose bytes are all there while its reader is still at work. */
struct following {
	struct following *next;
	void *job;
	int fd;
	struct need *need;
};
