/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing over libcrypto, and the text form of digests. */

/*
 * The plain functions and not EVP, though OpenSSL 3 would rather have the latter: the first use of
 * EVP makes some 5000 allocations, of which many crash libcrypto when they fail, and takes longer
 * than all else in a short command. The code that computes is the same, and so is its speed.
 */
#define OPENSSL_API_COMPAT 0x10101000L

#include "store/base/hash.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#include <openssl/sha.h>
#include <string.h>

struct hash {
	union {
		SHA256_CTX sha256;
		SHA512_CTX sha512;
	} state;
	enum varve_algo algo;
	bool failed;
};

size_t digest_len(enum varve_algo algo)
{
	return algo == VARVE_SHA256 ? 32 : algo == VARVE_SHA512 ? 64 : 0;
}

void hash_reset(struct hash *h)
{
	h->failed = (h->algo == VARVE_SHA256 ? SHA256_Init(&h->state.sha256)
					     : SHA512_Init(&h->state.sha512)) != 1;
}

int hash_new(struct hash **ret, enum varve_algo algo, struct varve_err *e)
{
	struct hash *h;

	if (!digest_len(algo))
		return varve_fail(e, VARVE_E_UNSUPPORTED, "unknown digest algorithm");
	h = calloc(1, sizeof(*h));
	if (!h)
		return varve_fail_oom(e);
	h->algo = algo;
	hash_reset(h);
	*ret = h;
	return 0;
}

void hash_free(struct hash *h)
{
	free(h);
}

void hash_update(struct hash *h, const void *p, size_t n)
{
	if (n && (h->algo == VARVE_SHA256 ? SHA256_Update(&h->state.sha256, p, n)
					  : SHA512_Update(&h->state.sha512, p, n)) != 1)
		h->failed = true;
}

int hash_final(struct hash *h, struct varve_digest *ret, struct varve_err *e)
{
	struct varve_digest d = {.algo = (uint8_t)h->algo};

	if (h->failed || (h->algo == VARVE_SHA256 ? SHA256_Final(d.bytes, &h->state.sha256)
						  : SHA512_Final(d.bytes, &h->state.sha512)) != 1)
		return varve_fail(e, EIO, "the crypto library cannot compute a digest");
	*ret = d;
	return 0;
}

int hash_bytes(enum varve_algo algo, const void *p, size_t n, struct varve_digest *ret,
	       struct varve_err *e)
{
	VARVE_CLEANUP(hash_cleanup) struct hash *h = NULL;
	int r = hash_new(&h, algo, e);

	if (r < 0)
		return r;
	hash_update(h, p, n);
	return hash_final(h, ret, e);
}

int hash_fd(enum varve_algo algo, int fd, const struct varve_ctx *ctx, struct varve_digest *ret,
	    uint64_t *ret_size, struct varve_err *e)
{
	VARVE_CLEANUP(hash_cleanup) struct hash *h = NULL;
	const size_t window = 256 * 1024;
	VARVE_FREE char *p = malloc(window);
	uint64_t off = 0;
	ssize_t n;
	int r;

	if (!p)
		return varve_fail_oom(e);
	r = hash_new(&h, algo, e);
	if (r < 0)
		return r;
	while ((n = fsx_pread_full(fd, p, window, off)) > 0) {
		hash_update(h, p, (size_t)n);
		off += (uint64_t)n;
		r = ctx_check(ctx, e);
		if (r < 0)
			return r;
	}
	if (n < 0)
		return varve_fail_errno(e, "reading at byte %llu", (unsigned long long)off);
	r = hash_final(h, ret, e);
	if (r == 0 && ret_size)
		*ret_size = off;
	return r;
}

static const char *const algo_names[] = {[VARVE_SHA256] = "sha256", [VARVE_SHA512] = "sha512"};

static void put_hex(const struct varve_digest *d, char *buf)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = digest_len((enum varve_algo)d->algo);

	for (size_t i = 0; i < n; i++) {
		buf[2 * i] = hex[d->bytes[i] >> 4];
		buf[2 * i + 1] = hex[d->bytes[i] & 15];
	}
	buf[2 * n] = '\0';
}

const char *digest_hex(const struct varve_digest *d, char buf[VARVE_DIGEST_STR_MAX])
{
	put_hex(d, buf);
	return buf;
}

const char *varve_digest_str(const struct varve_digest *d, char buf[VARVE_DIGEST_STR_MAX])
{
	if (!varve_digest_is_set(d)) {
		memcpy(buf, "none", 5);
		return buf;
	}
	memcpy(buf, algo_names[d->algo], 6);
	buf[6] = ':';
	put_hex(d, buf + 7);
	return buf;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1; /* upper case is not allowed: image-spec descriptor.md#sha-256 */
}

static int parse_hex(struct varve_digest *ret, enum varve_algo algo, struct span hex)
{
	struct varve_digest d = {.algo = (uint8_t)algo};

	if (hex.n != 2 * digest_len(algo))
		return -VARVE_E_FORMAT;
	for (size_t i = 0; i < hex.n; i++) {
		int v = nibble(hex.p[i]);

		if (v < 0)
			return -VARVE_E_FORMAT;
		d.bytes[i / 2] = (uint8_t)((unsigned)d.bytes[i / 2] << 4 | (unsigned)v);
	}
	*ret = d;
	return 0;
}

int digest_parse_span(struct varve_digest *ret, struct span s)
{
	struct span name;

	if (!span_cut(&s, ':', &name))
		return -VARVE_E_FORMAT;
	for (enum varve_algo a = VARVE_SHA256; a <= VARVE_SHA512; a++)
		if (span_eq(name, algo_names[a]))
			return parse_hex(ret, a, s);
	return -VARVE_E_FORMAT;
}

int varve_digest_parse(struct varve_digest *ret, const char *text)
{
	return digest_parse_span(ret, span_str(text));
}

int digest_cmp(const struct varve_digest *a, const struct varve_digest *b)
{
	if (a->algo != b->algo)
		return a->algo < b->algo ? -1 : 1;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

bool varve_digest_equal(const struct varve_digest *a, const struct varve_digest *b)
{
	return digest_cmp(a, b) == 0;
}

bool varve_digest_is_set(const struct varve_digest *d)
{
	return d->algo != VARVE_ALGO_NONE;
}
