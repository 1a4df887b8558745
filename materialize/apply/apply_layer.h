/* SPDX-License-Identifier: Apache-2.0 */
/* Turns at a layer, which threads take, and the halves that they give away. */
#pragma once

#include "varve-base.h"

struct apply_shared;
struct batch;
struct layer;

/* One turn at a layer: open it if need be, fill a batch. *ret_done: that was the last of it. */
int apply_layer_step(struct apply_shared *a, struct layer *l, struct batch *b, bool *ret_done,
		     struct varve_err *e);
/*
 * Give away the later half of what is left of a layer between two turns. False: it is too small, or
 * has no restart points.
 */
bool apply_layer_split(struct apply_shared *a, struct layer *l, struct layer *ret);
