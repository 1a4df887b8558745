/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-c-d as its authors describe it. */
#include "store/base/siphash.h"

#include <endian.h>
#include <string.h>
#include <sys/random.h>

struct sip {
	uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void mix(struct sip *v, unsigned rounds)
{
	while (rounds--) {
		v->a += v->b;
		v->c += v->d;
		v->b = rotate(v->b, 13) ^ v->a;
		v->d = rotate(v->d, 16) ^ v->c;
		v->a = rotate(v->a, 32);
		v->c += v->b;
		v->a += v->d;
		v->b = rotate(v->b, 17) ^ v->c;
		v->d = rotate(v->d, 21) ^ v->a;
		v->c = rotate(v->c, 32);
	}
}

static inline void absorb(struct sip *v, uint64_t word, unsigned rounds)
{
	v->d ^= word;
	mix(v, rounds);
	v->a ^= word;
}

static inline uint64_t siphash(const struct siphash_key *key, uint64_t first, const char *p,
			       size_t n, unsigned c, unsigned d)
{
	struct sip v = {
		key->k[0] ^ 0x736f6d6570736575ull,
		key->k[1] ^ 0x646f72616e646f6dull,
		key->k[0] ^ 0x6c7967656e657261ull,
		key->k[1] ^ 0x7465646279746573ull,
	};
	uint64_t last = (uint64_t)(n + 8) << 56, word;

	absorb(&v, first, c);
	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&word, p, 8);
		absorb(&v, le64toh(word), c);
	}
	word = 0;
	memcpy(&word, p, n);
	absorb(&v, last | le64toh(word), c);
	v.c ^= 0xff;
	mix(&v, d);
	return v.a ^ v.b ^ v.c ^ v.d;
}

uint64_t siphash13(const struct siphash_key *key, uint64_t first, const void *p, size_t n)
{
	return siphash(key, first, p, n, 1, 3);
}

uint64_t siphash24(const struct siphash_key *key, uint64_t first, const void *p, size_t n)
{
	return siphash(key, first, p, n, 2, 4);
}

void siphash_key_new(struct siphash_key *ret, const void *any)
{
	if (getrandom(ret, sizeof(*ret), 0) != (ssize_t)sizeof(*ret))
		*ret = (struct siphash_key){{(uintptr_t)any, (uintptr_t)ret}};
}
