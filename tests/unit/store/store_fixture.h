/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a temporary directory, and small images in it. */
#pragma once

#include "unit.h"

#include "store/blob.h"
#include "store/catalog.h"
#include "store/ingest.h"
#include "store/lease.h"
#include "store/oci/oci.h"

struct fixture {
	char dir[64]; /* holds "store" */
	char path[80];
	struct varve_ctx ctx;
	struct varve_store *store;
	struct varve_err err;
	unsigned warnings;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Close and open again with other options. */
void fixture_reopen(struct fixture *f, bool read_only);
int fixture_open(struct fixture *f, bool create, bool read_only);

/* A layer of this text, published and recorded with the next commit. */
struct varve_digest fixture_blob(struct fixture *f, const char *text);
struct fixture_image {
	struct varve_digest manifest, config, layers[8];
	size_t n;
};
/* An image of layers with these texts (NULL-terminated), committed as name (may be NULL) for the
 * platform. */
struct fixture_image fixture_image(struct fixture *f, const char *name, const char *platform,
				   const char *const *layers);
/* Path of a blob's file. */
const char *fixture_blob_path(struct fixture *f, const struct varve_digest *d, char buf[512]);
/* Whole file as text; "" if it cannot be read. Lives until the next call. */
const char *fixture_file(struct fixture *f, const char *name);
void fixture_write(struct fixture *f, const char *name, const char *text);
bool fixture_exists(struct fixture *f, const char *name);
/* Names in a directory of the store, without "." and "..". */
size_t fixture_count(struct fixture *f, const char *name);
