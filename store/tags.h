/* SPDX-License-Identifier: Apache-2.0 */
/* Names within a transaction. */
#pragma once

#include "store/index/index.h"
#include "varve-store.h"

/*
 * The canonical and the familiar form of a name that the caller has checked already; only the
 * defaults are filled in here (docs/requirements.md 1): docker.io, library/, :latest.
 */
int tags_both_forms(const char *text, char canonical[800], char familiar[800], struct varve_err *e);
/* Remove one name; another platform of it takes the plain name over. The caller bumps. */
int tags_remove(struct index_txn *t, const char *reference, const struct varve_platform *platform,
		struct varve_err *e);
