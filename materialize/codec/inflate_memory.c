/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a decoder will take, from the first bytes of what it decodes. Pure. */
#include "materialize/codec/inflate.h"

#include <string.h>

#define OTHER_NEED ((uint64_t)1 << 20)
#define BZIP2_NEED ((uint64_t)4 << 20)
#define GUESS      ((uint64_t)8 << 20) /* of most levels; what cannot be read needs no exact number */

static uint64_t little_endian(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

/* The window of the first frame (RFC 8878 3.1.1.1). */
static uint64_t zstd_window(const uint8_t *p, size_t n)
{
	static const uint8_t dictionary[] = {0, 1, 2, 4}, content[] = {1, 2, 4, 8};
	unsigned at, size;

	if (n < 18 || memcmp(p, "\x28\xb5\x2f\xfd", 4) != 0)
		return GUESS;
	if (!(p[4] & 0x20)) {
		uint64_t base = (uint64_t)1 << (10 + (p[5] >> 3));

		return base + base / 8 * (p[5] & 7);
	}
	/* One segment: the content itself is the window. */
	at = 5 + dictionary[p[4] & 3];
	size = content[p[4] >> 6];
	return little_endian(p + at, size) + (size == 2 ? 256 : 0);
}

static bool vli(const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
	unsigned shift = 0;

	for (*ret = 0; *p < end && shift < 63; shift += 7) {
		uint8_t c = *(*p)++;

		*ret |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return true;
	}
	return false;
}

/* The dictionary of the first block's LZMA2 filter (xz file format 3.1, 5.3.1). */
static uint64_t xz_dictionary(const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;
	uint64_t id, size, skipped;
	uint8_t flags;

	if (n < 16)
		return GUESS;
	flags = p[13];
	p += 14;
	for (unsigned bit = 0x40; bit <= 0x80; bit <<= 1)
		if ((flags & bit) && !vli(&p, end, &skipped))
			return GUESS;
	for (unsigned i = 0; i <= (flags & 3u); i++) {
		if (!vli(&p, end, &id) || !vli(&p, end, &size) || size >= (uint64_t)(end - p))
			return GUESS;
		if (id == 0x21 && size == 1)
			return p[0] >= 40 ? UINT32_MAX
					  : (uint64_t)(2 | (p[0] & 1)) << (p[0] / 2 + 11);
		p += size;
	}
	return GUESS;
}

uint64_t inflate_memory(enum varve_compression kind, const void *head, size_t n)
{
	switch (kind) {
	case VARVE_COMP_ZSTD:
		return OTHER_NEED + zstd_window(head, n);
	case VARVE_COMP_XZ:
		return OTHER_NEED + xz_dictionary(head, n);
	case VARVE_COMP_BZIP2:
		return BZIP2_NEED;
	default:
		return OTHER_NEED;
	}
}
