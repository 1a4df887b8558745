/* SPDX-License-Identifier: Apache-2.0 */
/* Make the database again from what the files say. */
#pragma once

#include "store/base/json.h"
#include "store/index/index.h"
#include "varve-store.h"

/* Fill the empty in-memory database of a read-only store from index.json, installs.json and the
 * documents they name. */
int rebuild_from_documents(struct varve_store *s, struct varve_err *e);

/* Steps of it, within a transaction on an empty database. */
int rebuild_tags(struct index_txn *t, const json *index, struct varve_err *e);
/* Names that other tools gave to images become ours,
 * where we have none of that name. Images first. */
int rebuild_take_over(struct index_txn *t, const json *index, struct varve_err *e);
int rebuild_installs(struct index_txn *t, const json *installs, struct varve_err *e);
/* An image that cannot be read is warned of and left out. target may be unset. */
int rebuild_image(struct index_txn *t, struct varve_store *s, const struct varve_digest *manifest,
		  const struct varve_digest *target, struct varve_err *e);
/* *ret is NULL if there is none. */
int rebuild_read_installs(struct varve_store *s, json **ret, struct varve_err *e);
