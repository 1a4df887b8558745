/* SPDX-License-Identifier: Apache-2.0 */
/* A private copy of a blob, for who reads it more than once or by position. */
#pragma once

#include "store/blob.h"

/*
 * Replace f->fd by a file without a name that has the blob's bytes, which are verified as they are
 * copied: VARVE_E_DIGEST.
 */
int blob_copy(struct varve_store *s, const struct varve_digest *blob, struct blob_file *f,
	      struct varve_err *e);
