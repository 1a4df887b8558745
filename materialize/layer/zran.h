/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restart points of a gzip layer, kept in aux/zran/<diffid>: where a decoder can begin, and its
 * state there. A cache: a file of another decoder, of other compressed bytes, or that others could
 * have written counts as absent.
 */
#pragma once

#include "materialize/codec/inflate.h"
#include "store/blob.h"

/* --- making them, while a layer is first read --- */
struct zran_writer;
int zran_writer_new(struct zran_writer **ret, struct varve_store *s,
		    const struct varve_digest *blob, struct varve_err *e);
/* For inflate_on_point. A full disk and the like only ends the making of points. */
int zran_add(void *writer, const struct inflate_point *p, struct varve_err *e);
/* The layer was read: publish what there is (nothing: no file). Failures are not told: it is a
 * cache. */
void zran_commit(struct zran_writer *w, const struct varve_digest *diff_id);
void zran_writer_free(struct zran_writer *w); /* accepts NULL */

/* --- using them --- */
struct zran;
/* -VARVE_E_NOTFOUND: none that fit. */
int zran_open(struct zran **ret, struct varve_store *s, const struct varve_digest *blob,
	      const struct varve_digest *diff_id, struct varve_err *e);
void zran_free(struct zran *z); /* accepts NULL */
size_t zran_n(const struct zran *z);
uint64_t zran_out(const struct zran *z, size_t i); /* ascending */
/* The last point at or before off; -VARVE_E_NOTFOUND: there is none. The state is in z until the
 * next call. */
int zran_find(struct zran *z, uint64_t off, struct inflate_point *ret, struct varve_err *e);
