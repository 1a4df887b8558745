/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a directory of its own, and images of text layers in it (image_build.h), for tests. */
#pragma once

#include "image_build.h"
#include "store/lease.h"
#include "store/oci/oci.h"
#include "unit.h"

#define MAX ((size_t)1 << 28)

struct fixture {
	char dir[64];
	struct varve_store *s;
	struct lease *l;
	struct varve_err e;
};

struct stored {
	struct oci_layer_desc l[8];
	size_t n;
	struct varve_image image;
};

/* For cmocka's setup and teardown: *state is a struct fixture with an open store. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
void open_store(struct fixture *f, bool read_only);
void pack(struct buf *to, const struct buf *plain, enum varve_compression c);
void put_blob(struct fixture *f, const struct buf *b, enum varve_blob_kind kind,
	      struct varve_digest *ret);
/* A layer of a text, stored. Its media type is not believed by anybody. */
void put_layer(struct fixture *f, struct stored *m, const char *text, enum varve_compression c);
/* Config (of the first n_config_layers), manifest, records of what is there; m->image is set. */
void put_image(struct fixture *f, struct stored *m, size_t n_config_layers);
