/* SPDX-License-Identifier: Apache-2.0 */
/* The blobs of a run: what is needed, and its transfers. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

struct need;
struct pull;

/* blobs.c: all of p->needs, several at once. What was complete stays in any case. */
int pull_blobs(struct pull *p, struct varve_err *e);
/* The need of a digest; must exist. */
struct need *pull_need(struct pull *p, const struct varve_digest *d);
