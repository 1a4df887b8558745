/* SPDX-License-Identifier: Apache-2.0 */
/* One blob's record, whole: joined from its two values. */
#pragma once

#include "store/index/index.h"
#include "store/record.h"

/* 1 found, 0 not. Strings are borrowed until the transaction changes something. */
int blob_record_load(struct index_txn *t, const struct varve_digest *d, struct blob_record *ret,
		     struct varve_err *e);
int blob_record_store(struct index_txn *t, const struct varve_digest *d,
		      const struct blob_record *rec, struct varve_err *e);
int blob_record_delete(struct index_txn *t, const struct varve_digest *d, struct varve_err *e);
