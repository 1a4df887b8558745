/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All blobs, images, tags and pins of a store in memory, joined: what list, df, gc and check
 * compute from. About 110 bytes a blob, 5 an edge.
 */
#pragma once

#include "store/base/arena.h"
#include "store/record.h"
#include "store/store.h"

#define GRAPH_NONE UINT32_MAX

struct graph_blob {
	struct varve_digest digest;
	uint8_t kind, compression;
	bool recorded;   /* has a record; else only named by an image */
	bool present;    /* the record says so */
	uint32_t stamp;  /* scratch of walks: the last image that counted it */
	uint32_t images; /* distinct images that name it (not as parent) */
	uint32_t mark;   /* of gc: root + 1 */
	uint64_t size;
	uint64_t unpacked;
};
struct graph_edge {
	uint32_t blob;
	enum image_role role;
};
struct graph_image {
	uint32_t blob; /* its manifest */
	uint32_t first_edge, n_edges, n_layers;
	struct varve_platform platform;
	int64_t fetched_at, last_used;
	bool pinned;
	bool docker;
	bool complete;
	uint64_t size, unpacked;
	uint32_t misfit; /* a blob of another size than the manifest says, or GRAPH_NONE */
	uint64_t misfit_said;
	uint64_t own_size, shared_size; /* of what is here, not in a lower store */
	const char *pin_reference;      /* name it was pinned by; may be NULL */
};
struct graph_tag {
	const char *name, *reference, *source, *origin, *place;
	uint32_t image;  /* GRAPH_NONE: no such record */
	uint32_t target; /* blob */
	struct varve_digest manifest;
	struct varve_platform platform;
	bool is_default;
	int64_t fetched_at;
};
struct graph {
	struct graph_blob *blobs;
	size_t n_blobs, cap_blobs;
	struct graph_slot { /* open addressing over blobs */
		uint32_t blob;
		uint32_t tag; /* more of the digest: most other blobs are not looked at */
	} * slots;
	size_t n_slots;
	struct graph_edge *edges;
	size_t n_edges, cap_edges;
	struct graph_image *images;
	size_t n_images, cap_images;
	struct graph_tag *tags;
	size_t n_tags, cap_tags;
	struct arena *strings;
	uint64_t txn_id, generation;
};

/* The whole store, in one transaction. */
int graph_load(struct graph *ret, struct varve_store *s, struct varve_err *e);
void graph_done(struct graph *g); /* accepts a zeroed struct */
/* GRAPH_NONE if absent. */
uint32_t graph_find_blob(const struct graph *g, const struct varve_digest *d);
/* The blob's number; made as unrecorded if it is new. */
int graph_intern(struct graph *g, const struct varve_digest *d, uint32_t *ret, struct varve_err *e);
uint32_t graph_find_image(const struct graph *g, const struct varve_digest *manifest);
