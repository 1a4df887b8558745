/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of a stored image. */
#pragma once

#include "store/oci/oci.h"
#include "varve-store.h"

/*
 * Verified and parsed; the caller frees it (oci_manifest_free). ret_size: its bytes; may be NULL.
 * VARVE_E_NOTFOUND, VARVE_E_DIGEST, VARVE_E_FORMAT.
 */
int manifest_read(struct oci_manifest **ret, struct varve_store *s, const struct varve_digest *d,
		  uint64_t *ret_size, struct varve_err *e);
