/* SPDX-License-Identifier: Apache-2.0 */
/* Decode one 512-byte tar header block (POSIX ustar, GNU, star, v7). */
#include "materialize/tar/tar_header.h"

#include <string.h>
#include <sys/stat.h>

#include "store/base/err.h"

/* Offsets and lengths of the fields (POSIX.1-2017 pax, "ustar Interchange Format"). */
enum {
	OFF_MODE = 100,
	OFF_UID = 108,
	OFF_GID = 116,
	OFF_SIZE = 124,
	OFF_MTIME = 136,
	OFF_SUM = 148,
	OFF_TYPE = 156,
	OFF_LINK = 157,
	OFF_MAGIC = 257,
	OFF_MAJOR = 329,
	OFF_MINOR = 337,
	OFF_PREFIX = 345,
	OFF_GNU_CTIME = 357,
	OFF_STAR_TRAILER = 508,
};

bool tar_block_is_zero(const uint8_t *b)
{
	return b[0] == 0 && memcmp(b, b + 1, TAR_BLOCK - 1) == 0;
}

/* Some writers summed signed chars: both sums count. */
bool tar_block_checksum_ok(const uint8_t *b)
{
	uint32_t u = 8 * ' ';
	int32_t s = 8 * ' ';
	int64_t want;

	if (!tar_number(b + OFF_SUM, 8, &want))
		return false;
	for (unsigned i = 0; i < TAR_BLOCK; i++) {
		if (i >= OFF_SUM && i < OFF_SUM + 8)
			continue;
		u += b[i];
		s += (int8_t)b[i];
	}
	return want == (int64_t)u || want == (int64_t)s;
}

/* Two's complement, big endian, the top bit of the field is the marker. */
static bool number_base256(const uint8_t *p, size_t n, int64_t *ret)
{
	bool negative = p[0] & 0x40;
	uint8_t flip = negative ? 0xff : 0;
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = p[i] ^ flip;

		if (i == 0)
			c &= 0x7f;
		if (v >> 56)
			return false;
		v = v << 8 | c;
	}
	if (v >> 63)
		return false;
	*ret = negative ? (int64_t)~v : (int64_t)v;
	return true;
}

bool tar_number(const uint8_t *p, size_t n, int64_t *ret)
{
	uint64_t v = 0;

	if (n > 0 && p[0] & 0x80)
		return number_base256(p, n, ret);
	while (n > 0 && (*p == ' ' || *p == 0)) {
		p++;
		n--;
	}
	while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == 0))
		n--;
	for (size_t i = 0; i < n; i++) {
		/* Some writers leave rubbish behind the terminator. */
		if (p[i] == 0)
			break;
		if (p[i] < '0' || p[i] > '7' || v >> 60)
			return false;
		v = v << 3 | (uint64_t)(p[i] - '0');
	}
	*ret = (int64_t)v;
	return true;
}

static enum tar_format format_of(const uint8_t *b)
{
	if (memcmp(b + OFF_MAGIC, "ustar\0", 6) == 0)
		return memcmp(b + OFF_STAR_TRAILER, "tar\0", 4) == 0 ? TAR_STAR : TAR_USTAR;
	if (memcmp(b + OFF_MAGIC, "ustar ", 6) == 0)
		return TAR_GNU;
	return TAR_V7;
}

/*
 * GNU headers have no prefix field, but writers with a wrong idea of them have put one where atime
 * and ctime are (Go before 1.8): when those are no numbers, it is one.
 */
static size_t prefix_max(const uint8_t *b, enum tar_format f)
{
	int64_t v;

	switch (f) {
	case TAR_USTAR:
		return 155;
	case TAR_STAR:
		return 131;
	case TAR_GNU:
		if (b[OFF_PREFIX] && b[OFF_TYPE] != 'S' &&
		    (!tar_number(b + OFF_PREFIX, 12, &v) || !tar_number(b + OFF_GNU_CTIME, 12, &v)))
			return 155;
		return 0;
	case TAR_V7:
		break;
	}
	return 0;
}

static void copy_path(struct tar_block *ret, const uint8_t *b)
{
	size_t max = prefix_max(b, ret->format);
	size_t n = strnlen((const char *)b + OFF_PREFIX, max);
	size_t m = strnlen((const char *)b, 100);

	if (max > 0 && n > 0) {
		memcpy(ret->path, b + OFF_PREFIX, n);
		ret->path[n++] = '/';
	} else {
		n = 0;
	}
	memcpy(ret->path + n, b, m);
	ret->path[n + m] = 0;
	m = strnlen((const char *)b + OFF_LINK, 100);
	memcpy(ret->link, b + OFF_LINK, m);
	ret->link[m] = 0;
}

static int field(const uint8_t *b, unsigned off, size_t n, const char *what, int64_t min,
		 int64_t max, int64_t *ret, struct varve_err *e)
{
	if (!tar_number(b + off, n, ret))
		return varve_fail(e, VARVE_E_FORMAT, "tar header: the field %s is no number", what);
	if (*ret < min || *ret > max)
		return varve_fail(e, VARVE_E_FORMAT, "tar header: %s %lld is out of range", what,
				  (long long)*ret);
	return 0;
}

int tar_block_parse(struct tar_block *ret, const uint8_t *b, bool *ret_bad_uid, bool *ret_bad_gid,
		    struct varve_err *e)
{
	int64_t v;
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->type = (char)b[OFF_TYPE];
	ret->format = format_of(b);
	copy_path(ret, b);
	r = field(b, OFF_MODE, 8, "mode", INT64_MIN, INT64_MAX, &v, e);
	if (r < 0)
		return r;
	ret->mode = (uint32_t)v & 07777;
	r = field(b, OFF_SIZE, 12, "size", 0, INT64_MAX, &v, e);
	if (r < 0)
		return r;
	ret->size = (uint64_t)v;
	r = field(b, OFF_MTIME, 12, "mtime", INT64_MIN, INT64_MAX, &ret->mtime, e);
	if (r < 0)
		return r;
	*ret_bad_uid = !tar_number(b + OFF_UID, 8, &v) || v < 0 || v >= UINT32_MAX;
	ret->uid = *ret_bad_uid ? 0 : (uint32_t)v;
	*ret_bad_gid = !tar_number(b + OFF_GID, 8, &v) || v < 0 || v >= UINT32_MAX;
	ret->gid = *ret_bad_gid ? 0 : (uint32_t)v;
	if (ret->type != '3' && ret->type != '4')
		return 0;
	/* Linux: 12 bits of major, 20 of minor. */
	r = field(b, OFF_MAJOR, 8, "device major", 0, 0xfff, &v, e);
	if (r < 0)
		return r;
	ret->rdev_major = (uint32_t)v;
	r = field(b, OFF_MINOR, 8, "device minor", 0, 0xfffff, &v, e);
	if (r < 0)
		return r;
	ret->rdev_minor = (uint32_t)v;
	return 0;
}

bool tar_looks_like(const void *block, size_t n)
{
	const uint8_t *b = block;

	if (n < TAR_BLOCK)
		return false;
	return tar_block_is_zero(b) || tar_block_checksum_ok(b) ||
	       memcmp(b + OFF_MAGIC, "ustar", 5) == 0;
}
