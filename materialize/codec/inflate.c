/* SPDX-License-Identifier: Apache-2.0 */
/* Choose the decoder by the first bytes, hand out its windows, keep the limits. */
#include "materialize/codec/inflate_codec.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/tar/tar.h"
#include "materialize/tar/tar_header.h"
#include "store/base/compiler.h"
#include "store/base/err.h"

struct inflate {
	const struct inflate_codec *codec; /* NULL: not compressed */
	void *state;
	struct inflate_input in;
	const uint8_t *p; /* decoded, not handed out yet */
	size_t n;
	bool done, squashfs, mixed;
	uint64_t out, max_bytes;
	uint32_t max_ratio;
};

/* Collect up to 512 bytes; what the last window has beyond them is held back. */
static int read_head(struct inflate_input *in, struct varve_err *e)
{
	size_t have = VARVE_MIN(in->n, sizeof(in->head));

	if (in->n >= sizeof(in->head))
		return 0;
	if (have)
		memmove(in->head, in->p, have);
	while (have < sizeof(in->head)) {
		size_t k;
		int r;

		in->n = 0;
		r = inflate_refill(in, e);
		if (r < 0)
			return r;
		if (in->n == 0)
			break;
		k = VARVE_MIN(in->n, sizeof(in->head) - have);
		memcpy(in->head + have, in->p, k);
		have += k;
		in->held = in->p + k;
		in->held_n = in->n - k;
	}
	in->p = in->head;
	in->n = have;
	return 0;
}

static const struct inflate_codec *find_codec(const uint8_t *p, size_t n)
{
	static const uint8_t xz[] = {0xfd, '7', 'z', 'X', 'Z', 0};

	if (n >= 3 && p[0] == 0x1f && p[1] == 0x8b)
		return &inflate_gzip;
	if (n >= 4 && (memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0 ||
		       ((p[0] & 0xf0) == 0x50 && memcmp(p + 1, "\x2a\x4d\x18", 3) == 0)))
		return &inflate_zstd;
	if (n >= sizeof(xz) && memcmp(p, xz, sizeof(xz)) == 0)
		return &inflate_xz;
	if (n >= 4 && memcmp(p, "BZh", 3) == 0)
		return &inflate_bzip2;
	return NULL;
}

bool inflate_is_compressed(const void *p, size_t n)
{
	return find_codec(p, n) != NULL;
}

/* Squashfs before version 4 had the byte order of its machine; firmware has it with lzma. */
static bool is_old_squashfs(const uint8_t *p, size_t n)
{
	return n >= 4 && (!memcmp(p, "sqsh", 4) || !memcmp(p, "shsq", 4) || !memcmp(p, "qshs", 4));
}

static int choose(struct inflate *z, struct varve_err *e)
{
	const uint8_t *p = z->in.p;
	size_t n = z->in.n;

	if (n == 0)
		return 0; /* a layer of no bytes is an empty tar (T05) */
	z->codec = find_codec(p, n);
	if (!z->codec && n >= 4 && memcmp(p, SQUASHFS_MAGIC, 4) == 0)
		z->squashfs = true;
	else if (!z->codec && is_old_squashfs(p, n))
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "a squashfs of before version 4 (big-endian, or with lzma as "
				  "firmware has it); unsquashfs -d DIR FILE reads it where it can, "
				  "mksquashfs DIR NEW makes one of version 4");
	else if (!z->codec && !tar_looks_like(p, n))
		return varve_fail(e, VARVE_E_FORMAT,
				  "neither a tar (plain or compressed by gzip, zstd, xz or "
				  "bzip2) nor a squashfs image");
	return z->codec ? z->codec->open(&z->state, e) : 0;
}

int inflate_new(struct inflate **ret, const struct inflate_source *src, uint64_t max_bytes,
		uint32_t max_ratio, struct varve_err *e)
{
	struct inflate *z = calloc(1, sizeof(*z));
	int r;

	if (!z)
		return varve_fail_oom(e);
	z->in.src = *src;
	z->max_bytes = max_bytes ? max_bytes : INFLATE_MAX_BYTES;
	z->max_ratio = max_ratio ? max_ratio : INFLATE_MAX_RATIO;
	r = read_head(&z->in, e);
	if (r == 0)
		r = choose(z, e);
	if (r < 0) {
		inflate_free(z);
		return r;
	}
	*ret = z;
	return 0;
}

void inflate_on_point(struct inflate *z, inflate_point_fn *fn, void *user)
{
	z->in.on_point = fn;
	z->in.point_user = user;
}

int inflate_resume(struct inflate **ret, const struct inflate_source *src,
		   const struct inflate_point *p, struct varve_err *e)
{
	struct inflate *z = calloc(1, sizeof(*z));
	int r = 0;

	if (!z)
		return varve_fail_oom(e);
	z->in.src = *src;
	z->in.taken = p->in;
	z->out = p->out;
	z->max_bytes = UINT64_MAX;
	z->max_ratio = UINT32_MAX;
	if (p->state) {
		z->codec = &inflate_gzip;
		r = inflate_gzip_resume(&z->state, p, e);
	}
	if (r < 0) {
		inflate_free(z);
		return r;
	}
	*ret = z;
	return 0;
}

void inflate_free(struct inflate *z)
{
	if (!z)
		return;
	if (z->codec && z->state)
		z->codec->free(z->state);
	free(z);
}

enum varve_compression inflate_kind(const struct inflate *z)
{
	if (z->squashfs)
		return VARVE_COMP_SQUASHFS;
	return z->codec ? z->codec->kind : VARVE_COMP_NONE;
}

static int next_plain(struct inflate *z, struct varve_err *e)
{
	int r = 0;

	if (z->in.n == 0)
		r = inflate_refill(&z->in, e);
	z->p = z->in.p;
	z->n = z->in.n;
	z->in.n = 0;
	return r;
}

static bool is_archive(const uint8_t *p, size_t n)
{
	return inflate_is_compressed(p, n) ||
	       (n >= TAR_BLOCK && !tar_block_is_zero(p) && tar_block_checksum_ok(p));
}

/* Nothing behind the end of the stream is left unread: the blob's digest covers it (T01). */
static int drain(struct inflate *z, struct varve_err *e)
{
	int r = z->codec ? read_head(&z->in, e) : 0;

	z->mixed = r == 0 && z->codec && is_archive(z->in.p, z->in.n);
	while (r == 0 && !z->in.end) {
		z->in.n = 0;
		r = inflate_refill(&z->in, e);
	}
	return r;
}

static int check_limits(const struct inflate *z, struct varve_err *e)
{
	if (z->out > z->max_bytes)
		return varve_fail(e, VARVE_E_LIMIT,
				  "unpacks to more than %llu bytes (limits.max_layer_size)",
				  (unsigned long long)z->max_bytes);
	if (z->out > INFLATE_RATIO_FREE &&
	    (z->out - INFLATE_RATIO_FREE) / z->max_ratio > z->in.taken)
		return varve_fail(e, VARVE_E_LIMIT,
				  "unpacks to more than %u times its size (limits.max_ratio)",
				  z->max_ratio);
	return 0;
}

int inflate_next(struct inflate *z, size_t max, const void **ret, size_t *ret_n,
		 struct varve_err *e)
{
	size_t k;
	int r = 0;

	if (z->n == 0 && !z->done) {
		r = z->codec ? z->codec->next(z->state, &z->in, &z->p, &z->n, e) : next_plain(z, e);
		if (r == 0 && z->n == 0) {
			z->done = true;
			r = drain(z, e);
		}
		z->out += z->n;
		if (r == 0)
			r = check_limits(z, e);
		if (r < 0)
			return r;
	}
	k = VARVE_MIN(max, z->n);
	*ret = z->p;
	*ret_n = k;
	z->p += k;
	z->n -= k;
	return 0;
}

bool inflate_mixed(const struct inflate *z)
{
	return z->mixed;
}

uint64_t inflate_need(const struct inflate *z)
{
	return inflate_memory(inflate_kind(z), z->in.head, z->in.n);
}

uint64_t inflate_out(const struct inflate *z)
{
	return z->out - z->n;
}
