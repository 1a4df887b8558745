/* SPDX-License-Identifier: Apache-2.0 */
/* Read a layer once, from its first byte to its last: diffID, table of contents, facts. */
#pragma once

#include "materialize/codec/inflate.h"
#include "materialize/layer/zran.h"
#include "materialize/tar/tar.h"
#include "store/blob.h"
#include "store/derived.h"

struct layer_scan_to {
	struct aux_file *toc;       /* made by aux_create; written, not published */
	struct zran_writer *points; /* may be NULL */
	const struct varve_limits *limits;
	const struct tar_events *tee; /* sees every entry and body as well; may be NULL */
	/* Asked before that much memory is taken for
	 * decoding; may wait, may refuse. May be NULL. */
	int (*admit)(void *user, uint64_t memory, struct varve_err *e);
	void *admit_user;
};
/* Entries and bytes are bounded. Notes of the tar parser go to the log. */
int layer_scan(const struct varve_ctx *ctx, const struct inflate_source *src,
	       const struct layer_scan_to *to, struct varve_layer_facts *ret, struct varve_err *e);
