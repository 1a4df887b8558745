/* SPDX-License-Identifier: Apache-2.0 */
/* Make the index anew from the blobs. */
#pragma once

#include "varve-base.h"

struct check;

/* rebuild_all.c: hash every blob, read every document, and put a new database in the place of the
 * old one. */
int rebuild_all(struct check *c, struct varve_err *e);
