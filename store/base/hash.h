/* SPDX-License-Identifier: Apache-2.0 */
/* Incremental hashing over libcrypto; the only file that includes it is hash.c. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

struct hash;

int hash_new(struct hash **ret, enum varve_algo algo, struct varve_err *e);
void hash_free(struct hash *h);
void hash_reset(struct hash *h); /* begin again */
void hash_update(struct hash *h, const void *p, size_t n);
/* Ends the run; hash_reset() before the next. A failure of libcrypto shows here, never as a wrong
 * digest. */
int hash_final(struct hash *h, struct varve_digest *ret, struct varve_err *e);
int hash_bytes(enum varve_algo algo, const void *p, size_t n, struct varve_digest *ret,
	       struct varve_err *e);
/* Hash a whole file from offset 0; *ret_size may be NULL. */
int hash_fd(enum varve_algo algo, int fd, const struct varve_ctx *ctx, struct varve_digest *ret,
	    uint64_t *ret_size, struct varve_err *e);

static inline void hash_cleanup(struct hash **h)
{
	hash_free(*h);
}

/* Lengths in bytes; 0 for an unknown algorithm. */
size_t digest_len(enum varve_algo algo);
/* Only the hex part, terminated. */
const char *digest_hex(const struct varve_digest *d, char buf[VARVE_DIGEST_STR_MAX]);
int digest_parse_span(struct varve_digest *ret, struct span s);
int digest_cmp(const struct varve_digest *a, const struct varve_digest *b);
/* A short-lived string for messages: DIGEST_STR(&d) lives until the end of the block. */
#define DIGEST_STR(d) varve_digest_str((d), (char[VARVE_DIGEST_STR_MAX]){0})
#define DIGEST_HEX(d) digest_hex((d), (char[VARVE_DIGEST_STR_MAX]){0})
