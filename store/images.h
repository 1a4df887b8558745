/* SPDX-License-Identifier: Apache-2.0 */
/* Find an image of a loaded graph by what a user types. Pure. */
#pragma once

#include "store/graph.h"

/* *ret_tag is NULL for an image without a name. VARVE_E_NOTFOUND, VARVE_E_NOPLATFORM. */
int images_find(const struct graph *g, const char *what, const struct varve_platform *platform,
		uint32_t *ret_image, const struct graph_tag **ret_tag, struct varve_err *e);
/* In a transaction that is about to name it. VARVE_E_NOTFOUND: others removed it meanwhile. */
int images_need(struct index_txn *t, const struct varve_digest *manifest, struct varve_err *e);
/* Whether there is a record of this manifest. */
bool images_recorded(struct varve_store *s, const struct varve_digest *manifest);
