/* SPDX-License-Identifier: Apache-2.0 */
/* The decoders: chosen by magic, followed to the end, damage found, bombs stopped. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "image_build.h"
#include "materialize/codec/inflate.h"
#include "store/base/compiler.h"
#include "unit.h"

#define MAX ((size_t)1 << 28)

struct feed {
	const struct buf *b;
	size_t at, step;
};

static int feed_next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct feed *f = user;

	(void)e;
	*ret_n = VARVE_MIN(f->step, f->b->n - f->at);
	*ret = f->b->p + f->at;
	f->at += *ret_n;
	return 0;
}

/* Everything of in, read in windows of step bytes, into out. */
static int unpack_limited(const struct buf *in, size_t step, uint64_t max_bytes, uint32_t max_ratio,
			  struct buf *out, enum varve_compression *kind)
{
	struct feed f = {in, 0, step};
	struct inflate_source src = {feed_next, &f, -1};
	struct inflate *z;
	int r = inflate_new(&z, &src, max_bytes, max_ratio, NULL);

	if (r < 0)
		return r;
	buf_reset(out);
	for (;;) {
		const void *p;
		size_t n;

		r = inflate_next(z, 12345, &p, &n, NULL);
		if (r < 0 || n == 0)
			break;
		assert_true(n <= 12345);
		buf_add(out, p, n);
	}
	if (r == 0) {
		/* To the last byte of the input, so that its digest is right (T01). */
		assert_int_equal(f.at, in->n);
		assert_int_equal(inflate_out(z), out->n);
	}
	if (kind)
		*kind = inflate_kind(z);
	inflate_free(z);
	return r;
}

static int unpack(const struct buf *in, size_t step, struct buf *out)
{
	return unpack_limited(in, step, 0, 0, out, NULL);
}

static void pack_gzip(struct buf *to, const void *p, size_t n)
{
	z_stream s = {0};
	size_t room = compressBound(n) + 64;
	char *q = buf_room(to, room);

	assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	s.next_in = (Bytef *)(uintptr_t)p;
	s.avail_in = (uInt)n;
	s.next_out = (Bytef *)q;
	s.avail_out = (uInt)room;
	assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
	to->n += room - s.avail_out;
	(void)deflateEnd(&s);
}

static void pack_zstd(struct buf *to, const void *p, size_t n)
{
	size_t room = ZSTD_compressBound(n), made;
	char *q = buf_room(to, room);

	made = ZSTD_compress(q, room, p, n, 3);
	assert_false(ZSTD_isError(made));
	to->n += made;
}

static void pack_archive(struct buf *to, int (*filter)(struct archive *), const void *p, size_t n)
{
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	size_t used = 0, room = n + 65536;
	char *q = buf_room(to, room);

	assert_int_equal(filter(a), ARCHIVE_OK);
	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	assert_int_equal(archive_write_set_bytes_in_last_block(a, 1), ARCHIVE_OK);
	assert_int_equal(archive_write_open_memory(a, q, room, &used), ARCHIVE_OK);
	archive_entry_set_filetype(entry, AE_IFREG);
	assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, p, n), n);
	archive_entry_free(entry);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
	to->n += used;
}

/* A tar of 300 KiB that packs neither to nothing nor not at all. */
static void make_tar(struct buf *b)
{
	char *body = malloc(300u << 10);
	uint32_t x = 1;

	for (size_t i = 0; i < 300u << 10; i++) {
		x = x * 1664525 + 1013904223;
		body[i] = (char)("abcdefgh"[x >> 29] + (x >> 24 == 0));
	}
	image_tar(b, "d etc; f etc/passwd root");
	(void)image_header(b, '0', "big", 300u << 10);
	image_body(b, body, 300u << 10);
	free(body);
	buf_addc(b, 0);
	memset(buf_room(b, 1023), 0, 1023);
	b->n += 1023;
}

static void check_all_steps(const struct buf *packed, const struct buf *plain,
			    enum varve_compression want)
{
	static const size_t steps[] = {1, 7, 511, 512, 4096, 65536, MAX};
	enum varve_compression kind;
	struct buf out;

	buf_init(&out, MAX);
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(steps); i++) {
		assert_int_equal(unpack_limited(packed, steps[i], 0, 0, &out, &kind), 0);
		assert_int_equal(kind, want);
		assert_int_equal(out.n, plain->n);
		assert_memory_equal(out.p, plain->p, plain->n);
	}
	buf_done(&out);
}

/* What a decoder gave stays while it makes the next: a digest is computed beside it. */
static void check_outlives(void (*pack)(struct buf *, const void *, size_t), size_t n)
{
	uint8_t *plain = malloc(n);
	const uint8_t *before = NULL;
	size_t n_before = 0, at = 0, windows = 0;
	struct buf b;
	struct feed f = {&b, 0, 65536};
	struct inflate_source src = {feed_next, &f, -1};
	struct inflate *z;

	assert_non_null(plain);
	for (size_t i = 0; i < n; i++)
		plain[i] = (uint8_t)(i >> 10 ^ i >> 18);
	buf_init(&b, MAX);
	pack(&b, plain, n);
	assert_int_equal(inflate_new(&z, &src, 0, 0, NULL), 0);
	for (;;) {
		const void *p;
		size_t k;

		assert_int_equal(inflate_next(z, MAX, &p, &k, NULL), 0);
		if (before)
			assert_memory_equal(before, plain + at - n_before, n_before);
		if (k == 0)
			break;
		before = p;
		n_before = k;
		at += k;
		windows++;
	}
	assert_int_equal(at, n);
	assert_true(windows > 5);
	inflate_free(z);
	buf_done(&b);
	free(plain);
}

static void pack_xz(struct buf *to, const void *p, size_t n)
{
	pack_archive(to, archive_write_add_filter_xz, p, n);
}

static void pack_bzip2(struct buf *to, const void *p, size_t n)
{
	pack_archive(to, archive_write_add_filter_bzip2, p, n);
}

static void test_windows_outlive_one_call(void **state)
{
	(void)state;
	check_outlives(pack_gzip, 3u << 20);
	check_outlives(pack_zstd, 3u << 20);
	check_outlives(pack_xz, 3u << 20);
	check_outlives(pack_bzip2, 3u << 20);
}

static void test_kinds(void **state)
{
	struct buf plain, b;

	(void)state;
	buf_init(&plain, MAX);
	buf_init(&b, MAX);
	make_tar(&plain);
	check_all_steps(&plain, &plain, VARVE_COMP_NONE);
	pack_gzip(&b, plain.p, plain.n);
	check_all_steps(&b, &plain, VARVE_COMP_GZIP);
	buf_reset(&b);
	pack_zstd(&b, plain.p, plain.n);
	check_all_steps(&b, &plain, VARVE_COMP_ZSTD);
	buf_reset(&b);
	pack_archive(&b, archive_write_add_filter_xz, plain.p, plain.n);
	check_all_steps(&b, &plain, VARVE_COMP_XZ);
	buf_reset(&b);
	pack_archive(&b, archive_write_add_filter_bzip2, plain.p, plain.n);
	check_all_steps(&b, &plain, VARVE_COMP_BZIP2);
	buf_done(&plain);
	buf_done(&b);
}

static void test_empty(void **state)
{
	struct buf b, out;

	(void)state;
	buf_init(&b, MAX);
	buf_init(&out, MAX);
	assert_int_equal(unpack(&b, 10, &out), 0); /* T05 */
	assert_int_equal(out.n, 0);
	pack_gzip(&b, "", 0);
	assert_int_equal(unpack(&b, 10, &out), 0);
	assert_int_equal(out.n, 0);
	buf_reset(&b);
	pack_zstd(&b, "", 0);
	assert_int_equal(unpack(&b, 10, &out), 0);
	assert_int_equal(out.n, 0);
	buf_done(&b);
	buf_done(&out);
}

/* T02: members behind each other, with header fields, cut anywhere; then zeros or rubbish. */
static void test_gzip_members(void **state)
{
	static const uint8_t fields[] = {0x1f, 0x8b, 8,   0x1e, 0,   0,   0, 0,   0, 3,
					 2,    0,    'x', 'y',  'n', 'a', 0, 'c', 0};
	struct buf plain, b, out;
	size_t third;

	(void)state;
	buf_init(&plain, MAX);
	buf_init(&b, MAX);
	buf_init(&out, MAX);
	make_tar(&plain);
	third = plain.n / 3;
	pack_gzip(&b, plain.p, third);
	pack_gzip(&b, "", 0);
	pack_gzip(&b, plain.p + third, 1);
	pack_gzip(&b, plain.p + third + 1, plain.n - third - 1);
	check_all_steps(&b, &plain, VARVE_COMP_GZIP);
	buf_add(&b, "\0\0\0\0\0", 5);
	check_all_steps(&b, &plain, VARVE_COMP_GZIP);
	buf_adds(&b, "rubbish");
	check_all_steps(&b, &plain, VARVE_COMP_GZIP);
	buf_reset(&b);
	pack_gzip(&b, plain.p, plain.n);
	buf_add(&b, "\x1f", 1);
	check_all_steps(&b, &plain, VARVE_COMP_GZIP);
	/* extra field, name, comment, header checksum */
	{
		struct buf raw;
		uint32_t crc = (uint32_t)crc32(0, fields, sizeof(fields));
		uint8_t hcrc[2] = {(uint8_t)crc, (uint8_t)(crc >> 8)};

		buf_init(&raw, MAX);
		pack_gzip(&raw, plain.p, plain.n);
		buf_reset(&b);
		buf_add(&b, fields, sizeof(fields));
		buf_add(&b, hcrc, 2);
		buf_add(&b, raw.p + 10, raw.n - 10);
		buf_done(&raw);
	}
	check_all_steps(&b, &plain, VARVE_COMP_GZIP);
	buf_done(&plain);
	buf_done(&b);
	buf_done(&out);
}

static void test_gzip_damage(void **state)
{
	struct buf plain, b, out;
	size_t whole;

	(void)state;
	buf_init(&plain, MAX);
	buf_init(&b, MAX);
	buf_init(&out, MAX);
	make_tar(&plain);
	pack_gzip(&b, plain.p, plain.n);
	whole = b.n;
	/* cut off: every byte of the trailer, and some places before */
	for (size_t cut = 1; cut < 40; cut++) {
		b.n = whole - cut;
		assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
		assert_int_equal(unpack(&b, 1, &out), -VARVE_E_FORMAT);
	}
	b.n = 700;
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
	b.n = 5;
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
	/* CRC-32 and length */
	b.n = whole;
	for (size_t i = 1; i <= 8; i++) {
		b.p[whole - i] ^= 1;
		assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
		b.p[whole - i] ^= 1;
	}
	assert_int_equal(unpack(&b, 4096, &out), 0);
	/* a second member that is damaged is no rubbish to ignore */
	buf_add(&b, "\x1f\x8b\x08\0\0\0\0\0\0\3\xff\xff\xff", 13);
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
	buf_done(&plain);
	buf_done(&b);
	buf_done(&out);
}

/* T03 */
static void test_zstd(void **state)
{
	struct buf plain, b, out;
	size_t half, whole;

	(void)state;
	buf_init(&plain, MAX);
	buf_init(&b, MAX);
	buf_init(&out, MAX);
	make_tar(&plain);
	half = plain.n / 2;
	/* a skippable frame first, between and last; magic 5a is one of them too */
	buf_add(&b, "\x5a\x2a\x4d\x18\x04\0\0\0skip", 12);
	pack_zstd(&b, plain.p, half);
	buf_add(&b, "\x50\x2a\x4d\x18\0\0\0\0", 8);
	pack_zstd(&b, plain.p + half, plain.n - half);
	buf_add(&b, "\x5f\x2a\x4d\x18\x02\0\0\0xx", 10);
	check_all_steps(&b, &plain, VARVE_COMP_ZSTD);
	whole = b.n;
	for (size_t cut = 1; cut < 60; cut++) {
		/* Only whole frames end a stream: 10 bytes less is the end of a frame. */
		b.n = whole - cut;
		assert_int_equal(unpack(&b, 4096, &out), cut == 10 ? 0 : -VARVE_E_FORMAT);
	}
	/* a window of 512 MiB */
	buf_reset(&b);
	buf_add(&b, "\x28\xb5\x2f\xfd\x00\x98\x01\0\0", 9);
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_LIMIT);
	buf_done(&plain);
	buf_done(&b);
	buf_done(&out);
}

static void test_other_damage(void **state)
{
	struct buf plain, b, out;

	(void)state;
	buf_init(&plain, MAX);
	buf_init(&b, MAX);
	buf_init(&out, MAX);
	make_tar(&plain);
	pack_archive(&b, archive_write_add_filter_xz, plain.p, plain.n);
	b.n /= 2;
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
	buf_reset(&b);
	pack_archive(&b, archive_write_add_filter_bzip2, plain.p, plain.n);
	b.n /= 2;
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
	buf_reset(&b);
	buf_adds(&b, "<html>not found</html>");
	assert_int_equal(unpack(&b, 4096, &out), -VARVE_E_FORMAT);
	buf_reset(&b);
	buf_adds(&b, "hsqs");
	assert_int_equal(unpack(&b, 4096, &out), 0); /* squashfs: handed out as it is */
	assert_string_equal(out.p, "hsqs");
	buf_done(&plain);
	buf_done(&b);
	buf_done(&out);
}

/* D.3: the absolute limit and the ratio. */
static void test_bombs(void **state)
{
	size_t n = (1u << 30) + (64u << 20);
	struct buf b;
	struct feed f;
	struct inflate_source src = {feed_next, &f, -1};
	struct inflate *z;
	uint64_t seen = 0;
	int r;

	(void)state;
	buf_init(&b, MAX);
	{
		/* 1.06 GiB of zeros: one gzip member of 16 MiB, many times. */
		char *zeros = calloc(1, 16u << 20);
		struct buf one;

		buf_init(&one, MAX);
		pack_gzip(&one, zeros, 16u << 20);
		for (size_t i = 0; i < n >> 24; i++)
			buf_add(&b, one.p, one.n);
		buf_done(&one);
		free(zeros);
	}
	for (int pass = 0; pass < 3; pass++) {
		f = (struct feed){&b, 0, 65536};
		/* the limit; a ratio below gzip's 1030; one above it */
		r = inflate_new(&z, &src, pass == 0 ? 100u << 20 : 0, pass == 1 ? 20 : 1100, NULL);
		assert_int_equal(r, 0);
		do {
			const void *p;
			size_t k;

			r = inflate_next(z, MAX, &p, &k, NULL);
			seen = inflate_out(z);
			if (k == 0)
				break;
		} while (r == 0);
		inflate_free(z);
		assert_int_equal(r, pass < 2 ? -VARVE_E_LIMIT : 0);
		if (pass == 0)
			assert_true(seen <= (100u << 20) + (1u << 20));
	}
	assert_int_equal(seen, n);
	buf_done(&b);
}

/* What a decoder will take is known from the first bytes. */
static void test_memory(void **state)
{
	static const uint8_t xz6[] = {0xfd, '7',  'z', 'X', 'Z',  0, 0,    4, 0xe6, 0xd6,
				      0xb4, 0x46, 2,   0,   0x21, 1, 0x16, 0, 0,    0};
	static const uint8_t xz_bcj[] = {0xfd, '7',  'z',  'X',  'Z', 0,    0,    4,
					 0xe6, 0xd6, 0xb4, 0x46, 2,   0xc1, 0x85, 1,
					 5,    4,    0,    0x21, 1,   0x1c, 0,    0};
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
	const uint64_t mib = 1 << 20;

	(void)state;
	for (int log = 17; log <= 27; log++) {
		char in[4096] = "text", bytes[8192];
		ZSTD_inBuffer ib = {in, sizeof(in), 0};
		ZSTD_outBuffer ob = {bytes, sizeof(bytes), 0};
		ZSTD_CCtx *c = ZSTD_createCCtx();

		assert_non_null(c);
		assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, log)));
		/* Flushed before the end, as tools that stream do: the size is not known. */
		(void)ZSTD_compressStream2(c, &ob, &ib, ZSTD_e_flush);
		assert_int_equal(inflate_memory(VARVE_COMP_ZSTD, bytes, ob.pos),
				 mib + ((uint64_t)1 << log));
		(void)ZSTD_freeCCtx(c);
		/* One segment. */
		ob.pos = ZSTD_compress(bytes, sizeof(bytes), in, sizeof(in), 3);
		assert_int_equal(inflate_memory(VARVE_COMP_ZSTD, bytes, ob.pos), mib + 4096);
	}
	assert_int_equal(inflate_memory(VARVE_COMP_XZ, xz6, sizeof(xz6)), 9 * mib);
	assert_int_equal(inflate_memory(VARVE_COMP_XZ, xz_bcj, sizeof(xz_bcj)), 65 * mib);
	for (size_t n = 0; n < sizeof(xz_bcj); n++)
		assert_true(inflate_memory(VARVE_COMP_XZ, xz_bcj, n) > mib);
	assert_int_equal(inflate_memory(VARVE_COMP_ZSTD, skippable, sizeof(skippable)), 9 * mib);
	assert_int_equal(inflate_memory(VARVE_COMP_GZIP, xz6, sizeof(xz6)), mib);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_windows_outlive_one_call),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_gzip_members),
		cmocka_unit_test(test_gzip_damage),
		cmocka_unit_test(test_zstd),
		cmocka_unit_test(test_other_damage),
		cmocka_unit_test(test_bombs),
	};

	return cmocka_run_group_tests_name("inflate", tests, NULL, NULL);
}
