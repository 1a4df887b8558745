/* SPDX-License-Identifier: Apache-2.0 */
/* Concatenated archives as one. */
#pragma once

#include "materialize/codec/inflate.h"
#include "materialize/layer/layer_join.h"
#include "varve-store.h"

struct sink;

/* Everything that in has, compressed or not, as one gzip archive into out; out is not finished. */
int layer_join_stream(const struct varve_ctx *ctx, const struct inflate_source *in,
		      struct sink *out, struct varve_err *e);
/* join of varve_layer_ops(). */
int layer_join(struct varve_store *s, const struct varve_digest *blob,
	       int (*put)(void *user, const void *p, size_t n, struct varve_err *e), void *user,
	       struct varve_err *e);
