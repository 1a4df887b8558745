/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uncompressed bytes of a layer, window by window: the decoder is chosen by the first bytes,
 * never by a media type (docs/requirements.md 7.1). gzip members and zstd frames are followed to
 * the end.
 */
#pragma once

#include "varve-store.h"

/* Where compressed bytes come from: a window that stays valid until the next call; *ret_n 0 at the
 * end. */
struct inflate_source {
	int (*next)(void *user, const void **ret, size_t *ret_n, struct varve_err *e);
	void *user;
	int fd; /* the same bytes by position, once they are all there: for squashfs; -1: none */
};

/* The first bytes of a squashfs image: no stream, but told from the compressions. */
#define SQUASHFS_MAGIC "hsqs"

#define INFLATE_MAX_BYTES  ((uint64_t)64 << 30) /* of output, unless told otherwise */
#define INFLATE_MAX_RATIO  1000u
#define INFLATE_RATIO_FREE ((uint64_t)1 << 30) /* output that no ratio limits */

struct inflate;
/* max_bytes, max_ratio 0: the constants above. Reads the first bytes. */
int inflate_new(struct inflate **ret, const struct inflate_source *src, uint64_t max_bytes,
		uint32_t max_ratio, struct varve_err *e);
/*
 * Restart points: about every INFLATE_POINT_EVERY bytes of output, fn is given what a decoder needs
 * to go on from there (gzip by ISA-L only).
 */
#define INFLATE_POINT_EVERY ((uint64_t)4 << 20)
struct inflate_point {
	uint64_t in, out; /* bytes taken from the source, bytes made */
	const void *state;
	size_t state_n;
};
typedef int inflate_point_fn(void *user, const struct inflate_point *p, struct varve_err *e);
void inflate_on_point(struct inflate *z, inflate_point_fn *fn, void *user);
/* Changes when the states of another build or
 * library would not fit; 0: this build has no points. */
uint32_t inflate_point_kind(void);
#define INFLATE_STATE_MAX (256u << 10)
/*
 * Go on at p; src gives the bytes from p->in on. state NULL: an uncompressed layer. Limits do not
 * apply: the whole was read before.
 */
int inflate_resume(struct inflate **ret, const struct inflate_source *src,
		   const struct inflate_point *p, struct varve_err *e);
void inflate_free(struct inflate *z);
/* VARVE_COMP_SQUASHFS: no decoder; its bytes are handed out as they are (squashfs.h reads it). */
enum varve_compression inflate_kind(const struct inflate *z);
/* Bytes that a decoder will take for what begins so: mostly its window. */
uint64_t inflate_memory(enum varve_compression kind, const void *head, size_t n);
/* The same for this one; before the first inflate_next(), which is what takes them. */
uint64_t inflate_need(const struct inflate *z);
/*
 * At most max bytes, valid until the next call, and those of a compressed stream one call longer;
 * *ret_n 0: the end, and the input was consumed to its end.
 */
int inflate_next(struct inflate *z, size_t max, const void **ret, size_t *ret_n,
		 struct varve_err *e);
/* At the end: behind it begins what may be a further archive, compressed in another way. */
bool inflate_mixed(const struct inflate *z);
/* Does a compressed stream that we can read begin like this? */
bool inflate_is_compressed(const void *p, size_t n);
/* Bytes given out. */
uint64_t inflate_out(const struct inflate *z);
