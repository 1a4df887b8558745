/* SPDX-License-Identifier: Apache-2.0 */
/* Take back what a failed command published. */
#pragma once

#include "varve-store.h"

/*
 * After a command failed, and after its lease ended: the blobs that this handle published, that no
 * record of an image claims and that nobody holds go, as gc would decide it. What cannot be removed
 * now is left to gc. Nothing happens on a read-only store.
 */
void store_discard_published(struct varve_store *s);
