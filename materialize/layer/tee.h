/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever wants what a layer contains while the layer is read for the first time. */
#pragma once

#include "materialize/tar/tar.h"

struct layer_tee {
	void *user;
	const char *dir; /* it writes below this directory, which the reader's cage has to allow */
	/* A layer begins. NULL: it is not wanted; there is no failure. */
	void *(*begin)(void *user, const struct varve_digest *blob);
	/* Entries and bodies of that layer, from the thread that reads it. */
	int (*entry)(void *layer, const struct tar_entry *t, struct varve_err *e);
	int (*body)(void *layer, const void *p, size_t n, struct varve_err *e);
	/* ok: it was read to its end; otherwise what came of it is void. Takes NULL. */
	void (*end)(void *layer, bool ok);
};
