/* SPDX-License-Identifier: Apache-2.0 */
/* The tar parser: dialects, extended headers, sparse files, limits, damage; and metadata as it
 * reaches the plan. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image_build.h"
#include "materialize/tar/tar_header.h"
#include "store/base/compiler.h"
#include "unit.h"

#define MAX ((size_t)1 << 28)

/* A layer of these bytes (and end blocks), dumped with attributes; "." is left out. */
static const char *dump(struct buf *tar, bool end)
{
	static char text[65536];
	static const char zeros[1024];
	struct image m;
	struct buf out;
	const char *p;

	image_init(&m);
	buf_init(&out, MAX);
	if (end)
		buf_add(tar, zeros, sizeof(zeros));
	image_layer_raw(&m, tar->p, tar->n);
	image_dump(&m, NULL, true, &out);
	p = strncmp(out.p, "d .", 3) == 0 ? strchr(out.p, '\n') + 1 : out.p;
	(void)snprintf(text, sizeof(text), "%s", p);
	image_done(&m);
	buf_done(&out);
	buf_reset(tar);
	return text;
}

static void put(uint8_t *h, size_t off, const char *field, size_t n)
{
	memcpy(h + off, field, n);
	image_checksum(h);
}

static void test_dialects(void **state)
{
	struct buf b;
	uint8_t *h;

	(void)state;
	buf_init(&b, MAX);
	/* v7: no magic, '\0' type; a trailing slash means directory there, and only there (N11) */
	h = image_header(&b, 0, "dir/", 0);
	memset(h + 257, 0, 8);
	image_checksum(h);
	h = image_header(&b, 0, "file", 0);
	memset(h + 257, 0, 8);
	image_checksum(h);
	(void)image_header(&b, '0', "slash/", 0);
	(void)image_header(&b, '7', "contiguous", 3);
	image_body(&b, "abc", 3);
	assert_string_equal(dump(&b, true), "f contiguous abc m=644 u=0:0 t=1000\n"
					    "d dir m=644 u=0:0 t=1000\n"
					    "f file m=644 u=0:0 t=1000\n"
					    "f slash m=644 u=0:0 t=1000\n");
	/* ustar prefix */
	h = image_header(&b, '0', "name", 0);
	put(h, 345, "some/prefix", 11);
	assert_non_null(strstr(dump(&b, true), "f some/prefix/name "));
	(void)image_header(&b, 'L', "././@LongLink", 5);
	image_body(&b, "long", 5);
	(void)image_header(&b, 'K', "././@LongLink", 7);
	image_body(&b, "target", 7);
	(void)image_header(&b, '2', "short", 0);
	assert_string_equal(dump(&b, true), "s long target m=644 u=0:0 t=1000\n");
	/* an unsigned and a signed checksum of a name above 127 */
	h = image_header(&b, '0', "\xe9", 0);
	{
		int32_t sum = 8 * ' ';
		char text[8];

		for (int i = 0; i < 512; i++)
			sum += i >= 148 && i < 156 ? 0 : (int8_t)h[i];
		(void)snprintf(text, sizeof(text), "%06o", (unsigned)sum);
		memcpy(h + 148, text, 7);
	}
	assert_string_equal(dump(&b, true), "f \\xe9 m=644 u=0:0 t=1000\n");
	buf_done(&b);
}

/* star's prefix is shorter; GNU has none, but Go before 1.8 wrote one there (N15). */
static void test_prefixes(void **state)
{
	struct buf b;
	uint8_t *h;
	char expect[400], p131[132];

	(void)state;
	buf_init(&b, MAX);
	memset(p131, 'p', 131);
	p131[131] = 0;
	h = image_header(&b, '0', "name", 0);
	memset(h + 345, 'p', 131);
	memcpy(h + 345 + 131,
	       "14000000000\0"
	       "14000000000\0",
	       24);
	put(h, 508, "tar\0", 4);
	(void)snprintf(expect, sizeof(expect),
		       "d %.131s m=755 u=0:0 t=1000\nf %.131s/name m=644 u=0:0 t=1000\n", p131,
		       p131);
	assert_string_equal(dump(&b, true), expect);
	h = image_header(&b, '0', "gnu", 0);
	memcpy(h + 345,
	       "14000000000\0"
	       "14000000000\0",
	       24);
	put(h, 257, "ustar  ", 8);
	assert_string_equal(dump(&b, true), "f gnu m=644 u=0:0 t=1000\n");
	h = image_header(&b, '0', "go", 0);
	memcpy(h + 345, "old", 3);
	put(h, 257, "ustar  ", 8);
	assert_non_null(strstr(dump(&b, true), "f old/go "));
	buf_done(&b);
}

#define PAX(key, value) image_pax(&b, key, value, strlen(value))

static void test_pax(void **state)
{
	struct buf b;
	char longname[300];

	(void)state;
	buf_init(&b, MAX);
	memset(longname, 'n', 255);
	longname[255] = 0;
	PAX("path", longname);
	(void)image_header(&b, '0', "short", 0);
	assert_int_equal(strncmp(dump(&b, true) + 2, longname, 255), 0); /* N08 */
	longname[255] = 'n';
	longname[256] = 0;
	PAX("path", longname);
	(void)image_header(&b, '0', "short", 0);
	assert_string_equal(dump(&b, true), "error over-limit"); /* N08 */
	PAX("path", "d\xc3\xa9/x");                              /* N07 */
	(void)image_header(&b, '0', "short", 0);
	assert_non_null(strstr(dump(&b, true), "f d\xc3\xa9/x "));
	image_pax(&b, "path", "a\0b", 3); /* N10 */
	(void)image_header(&b, '0', "short", 0);
	assert_string_equal(dump(&b, true), "error bad-format");
	image_pax(&b, "linkpath", "a\0b", 3);
	(void)image_header(&b, '2', "short", 0);
	assert_string_equal(dump(&b, true), "error bad-format");
	/* the second x header replaces the first; an empty value is no value */
	PAX("path", "first");
	PAX("path", "");
	(void)image_header(&b, '0', "own", 0);
	assert_string_equal(dump(&b, true), "f own m=644 u=0:0 t=1000\n");
	/* M18: global headers count for nothing */
	(void)image_header(&b, 'g', "global", 20);
	image_body(&b, "20 mtime=1234567890\n", 20);
	(void)image_header(&b, '0', "x", 0);
	assert_string_equal(dump(&b, true), "f x m=644 u=0:0 t=1000\n");
	/* size from pax, the field is too small for it */
	PAX("size", "3");
	(void)image_header(&b, '0', "x", 0);
	image_body(&b, "abc", 3);
	assert_string_equal(dump(&b, true), "f x abc m=644 u=0:0 t=1000\n");
	buf_done(&b);
}

static void test_damaged_pax(void **state)
{
	static const char *const bad[] = {
		"5 a=b\n",
		"7 a=b\n",
		"6 a=b ",
		"0 a=b\n",
		"x a=b\n",
		"6 =ab\n",
		"6 abc\n",
		" 6 a=b\n",
		"-6 a=b\n",
		"99999999999999999999 a=b\n",
		"12 size=-1\n",
		"13 mtime=1x\n",
		"9 uid=x\n",
		"18 uid=4294967295\n",
		"21 GNU.sparse.map=1\n",
		"26 GNU.sparse.numbytes=10\n",
	};
	struct buf b;

	(void)state;
	buf_init(&b, MAX);
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(bad); i++) {
		(void)image_header(&b, 'x', "pax", strlen(bad[i]));
		image_body(&b, bad[i], strlen(bad[i]));
		(void)image_header(&b, '0', "x", 0);
		if (strcmp(dump(&b, true), "error bad-format") != 0)
			fail_msg("accepted: %s", bad[i]);
	}
	/* behind it nothing */
	PAX("path", "x");
	assert_string_equal(dump(&b, true), "error bad-format");
	PAX("path", "x");
	assert_string_equal(dump(&b, false), "error bad-format");
	buf_done(&b);
}

static void test_metadata(void **state)
{
	struct buf b;
	uint8_t *h;

	(void)state;
	buf_init(&b, MAX);
	/* M02: only 07777 of the mode; type bits in it are rubbish */
	h = image_header(&b, '0', "suid", 0);
	put(h, 100, "0104755", 8);
	h = image_header(&b, '5', "sticky", 0);
	put(h, 100, "0043777", 8);
	assert_string_equal(dump(&b, true), "d sticky m=3777 u=0:0 t=1000\n"
					    "f suid m=4755 u=0:0 t=1000\n");
	PAX("mtime", "1234567890.123456789"); /* M03 */
	(void)image_header(&b, '0', "a", 0);
	PAX("mtime", "-1000.5"); /* M04 */
	(void)image_header(&b, '0', "b", 0);
	PAX("mtime", "-1.000000001");
	(void)image_header(&b, '0', "c", 0);
	PAX("mtime", "7.1234567899");
	(void)image_header(&b, '0', "d", 0);
	h = image_header(&b, '0', "e", 0);
	put(h, 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfc\x18", 12); /* base-256 -1000 */
	h = image_header(&b, '0', "f", 0);
	put(h, 136, "\0\0\0\0\0\0\0\0\0\0\0\0", 12); /* M06 */
	assert_string_equal(dump(&b, true), "f a m=644 u=0:0 t=1234567890.123456789\n"
					    "f b m=644 u=0:0 t=-1001.500000000\n"
					    "f c m=644 u=0:0 t=-2.999999999\n"
					    "f d m=644 u=0:0 t=7.123456789\n"
					    "f e m=644 u=0:0 t=-1000\n"
					    "f f m=644 u=0:0 t=0\n");
	PAX("mtime", "99999999999999999999999"); /* M05 */
	(void)image_header(&b, '0', "a", 0);
	assert_string_equal(dump(&b, true), "f a m=644 u=0:0 t=9223372036854775807\n");
	/* M08 */
	PAX("uid", "3000000");
	h = image_header(&b, '0', "a", 0);
	put(h, 116, "\x80\0\0\0\0\x2d\xc6\xc2", 8);
	assert_string_equal(dump(&b, true), "f a m=644 u=3000000:3000002 t=1000\n");
	/* M07: neither wrapped nor -1 */
	PAX("uid", "4294967301");
	(void)image_header(&b, '0', "a", 0);
	assert_string_equal(dump(&b, true), "error bad-format");
	h = image_header(&b, '0', "a", 0);
	put(h, 108, "\x80\0\0\x01\0\0\0\x05", 8);
	assert_string_equal(dump(&b, true), "error bad-format");
	h = image_header(&b, '0', "a", 0);
	put(h, 108, "\x80\0\0\0\xff\xff\xff\xff", 8);
	assert_string_equal(dump(&b, true), "error bad-format");
	/* a field without a value does not matter where pax has one */
	PAX("uid", "5");
	h = image_header(&b, '0', "a", 0);
	put(h, 108, "rubbish!", 8);
	assert_string_equal(dump(&b, true), "f a m=644 u=5:0 t=1000\n");
	/* M19 */
	h = image_header(&b, '4', "blk", 0);
	memcpy(h + 329, "0007777", 8);
	put(h, 337, "3777777", 8);
	assert_string_equal(dump(&b, true), "b blk 4095:1048575 m=644 u=0:0 t=1000\n");
	h = image_header(&b, '3', "chr", 0);
	put(h, 329, "0010000", 8);
	assert_string_equal(dump(&b, true), "error bad-format");
	buf_done(&b);
}

static void test_xattrs(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MAX);
	/* M11; a record with "=" in the value; M12: other dialects are not ours */
	{
		struct buf rec;

		buf_init(&rec, MAX);
		image_record(&rec, "SCHILY.xattr.user.a", "\0\1=\n\xff", 5);
		image_record(&rec, "SCHILY.xattr.user.b", "", 0);
		image_record(&rec, "LIBARCHIVE.xattr.user.c", "Zm9v", 4);
		image_record(&rec, "RHT.security.selinux", "label", 5);
		image_record(&rec, "SCHILY.xattr.security.selinux", "abc", 3);
		image_record(&rec, "SCHILY.acl.access", "user::rw-", 9);
		image_records(&b, &rec);
	}
	(void)image_header(&b, '0', "x", 0);
	assert_string_equal(dump(&b, true), "f x m=644 u=0:0 t=1000 x=user.a:\\x00\\x01=\\x0a\\xff "
					    "x=user.b:\n");
	buf_done(&b);
}

/* --- sparse files (M21) --- */

static void test_sparse_old(void **state)
{
	struct buf b;
	uint8_t *h;

	(void)state;
	buf_init(&b, MAX);
	h = image_header(&b, 'S', "s", 6);
	memcpy(h + 386,
	       "00000000002\0"
	       "00000000003\0"
	       "00000000010\0"
	       "00000000003\0",
	       48);
	memcpy(h + 483, "00000000024\0", 12);
	put(h, 257, "ustar  ", 8);
	image_body(&b, "abcdef", 6);
	(void)image_header(&b, '0', "t", 0);
	assert_string_equal(dump(&b, true), "f s [2]abc[3]def[9] m=644 u=0:0 t=1000\n"
					    "f t m=644 u=0:0 t=1000\n");
	/* with an extension block */
	h = image_header(&b, 'S', "s", 6);
	for (unsigned i = 0; i < 4; i++) {
		char slot[25];

		(void)snprintf(slot, sizeof(slot), "%011o%c%011o", i * 2, 0, 1);
		memcpy(h + 386 + i * 24, slot, 24);
	}
	h[482] = 1;
	memcpy(h + 483, "00000000024\0", 12);
	put(h, 257, "ustar  ", 8);
	{
		char ext[512] = {0};

		memcpy(ext,
		       "00000000010\0"
		       "00000000001\0"
		       "00000000012\0"
		       "00000000001\0",
		       48);
		image_body(&b, ext, sizeof(ext));
	}
	image_body(&b, "abcdef", 6);
	assert_string_equal(dump(&b, true), "f s [0]a[1]b[1]c[1]d[1]e[1]f[9] m=644 u=0:0 t=1000\n");
	/* outside of GNU tar there is no such type */
	(void)image_header(&b, 'S', "s", 0);
	assert_string_equal(dump(&b, true), "error unsupported");
	buf_done(&b);
}

static void sparse_pax(struct buf *b, const char *const *records, const char *body, size_t n)
{
	struct buf rec;

	buf_init(&rec, MAX);
	for (; *records; records++) {
		char *key = strdup(*records), *value = strchr(key, '=');

		*value++ = 0;
		image_record(&rec, key, value, strlen(value));
		free(key);
	}
	image_records(b, &rec);
	(void)image_header(b, '0', "GNUSparseFile.0/s", n);
	image_body(b, body, n);
}

static void test_sparse_pax(void **state)
{
	struct buf b;
	char body[512 + 6];

	(void)state;
	buf_init(&b, MAX);
	sparse_pax(&b,
		   (const char *const[]){"GNU.sparse.size=20", "GNU.sparse.numblocks=2",
					 "GNU.sparse.offset=2", "GNU.sparse.numbytes=3",
					 "GNU.sparse.offset=8", "GNU.sparse.numbytes=3", "path=sss",
					 NULL},
		   "abcdef", 6);
	assert_string_equal(dump(&b, true), "f sss [2]abc[3]def[9] m=644 u=0:0 t=1000\n");
	sparse_pax(&b,
		   (const char *const[]){"GNU.sparse.size=20", "GNU.sparse.map=2,3,8,3",
					 "GNU.sparse.name=s", NULL},
		   "abcdef", 6);
	assert_string_equal(dump(&b, true), "f s [2]abc[3]def[9] m=644 u=0:0 t=1000\n");
	memset(body, 0, sizeof(body));
	memcpy(body, "2\n2\n3\n8\n3\n", 10);
	memcpy(body + 512, "abcdef", 6);
	{
		const char *const v1[] = {"GNU.sparse.major=1", "GNU.sparse.minor=0",
					  "GNU.sparse.name=s", "GNU.sparse.realsize=20", NULL};

		sparse_pax(&b, v1, body, sizeof(body));
		(void)image_header(&b, '0', "t", 0);
		assert_string_equal(dump(&b, true), "f s [2]abc[3]def[9] m=644 u=0:0 t=1000\n"
						    "f t m=644 u=0:0 t=1000\n");
		/* all hole */
		memcpy(body, "0\n\0\0\0\0\0\0\0\0", 10);
		sparse_pax(&b, v1, body, 512);
		assert_string_equal(dump(&b, true), "f s [0][20] m=644 u=0:0 t=1000\n");
		/* a map that never ends, one that says more than is there, one out of order */
		memset(body, '1', 512);
		sparse_pax(&b, v1, body, 512);
		assert_string_equal(dump(&b, true), "error bad-format");
		memset(body, 0, sizeof(body));
		memcpy(body, "2\n2\n3\n8\n4\n", 10);
		sparse_pax(&b, v1, body, sizeof(body));
		assert_string_equal(dump(&b, true), "error bad-format");
		memcpy(body, "2\n8\n3\n2\n3\n", 10);
		sparse_pax(&b, v1, body, sizeof(body));
		assert_string_equal(dump(&b, true), "error bad-format");
		memcpy(body, "9999999999\n", 11);
		sparse_pax(&b, v1, body, sizeof(body));
		assert_string_equal(dump(&b, true), "error over-limit");
	}
	sparse_pax(&b,
		   (const char *const[]){"GNU.sparse.size=17592186044417", "GNU.sparse.map=0,6",
					 "GNU.sparse.name=s", NULL},
		   "abcdef", 6);
	assert_string_equal(dump(&b, true), "error over-limit"); /* above 16 TiB */
	sparse_pax(&b, (const char *const[]){"GNU.sparse.major=2", "GNU.sparse.size=20", NULL},
		   "abcdef", 6);
	assert_string_equal(dump(&b, true), "error unsupported");
	buf_done(&b);
}

/* --- the stream (T) and the body (H14, M26) --- */

static void test_stream(void **state)
{
	struct buf b;
	uint8_t *h;
	char zeros[1024] = {0};

	(void)state;
	buf_init(&b, MAX);
	assert_string_equal(dump(&b, false), ""); /* T05: 0 bytes */
	assert_string_equal(dump(&b, true), "");  /* T05: 1024 NULs */
	image_tar(&b, "f x abc");
	assert_string_equal(dump(&b, false), "f x abc m=644 u=0:0 t=1000\n"); /* T07 */
	image_tar(&b, "f x abc");
	b.n -= 100; /* T06: in the padding */
	assert_string_equal(dump(&b, false), "f x abc m=644 u=0:0 t=1000\n");
	image_tar(&b, "f x abc");
	b.n -= 509; /* all data, no padding */
	assert_string_equal(dump(&b, false), "f x abc m=644 u=0:0 t=1000\n");
	image_tar(&b, "f x abc");
	b.n -= 510;
	assert_string_equal(dump(&b, false), "error bad-format"); /* T06, M26: in the body */
	image_tar(&b, "f x abc");
	b.n = 300;
	assert_string_equal(dump(&b, false), "error bad-format"); /* T06: in the header */
	image_tar(&b, "f x abc");
	b.p[0] = 'y';
	assert_string_equal(dump(&b, true), "error bad-format"); /* T08 */
	image_tar(&b, "f x abc; f y");
	memset(b.p + 1024, 'z', 512);
	assert_string_equal(dump(&b, true), "error bad-format"); /* M26: more body than said */
	image_tar(&b, "f x abc");
	buf_add(&b, zeros, sizeof(zeros));
	buf_adds(&b, "junk behind the end");
	assert_string_equal(dump(&b, false), "f x abc m=644 u=0:0 t=1000\n"); /* T01 */
	image_tar(&b, "f x abc");
	buf_add(&b, zeros, 512);
	image_tar(&b, "f y");
	assert_string_equal(dump(&b, true), "error bad-format"); /* one zero block inside */
	h = image_header(&b, '1', "l", 5);
	memcpy(h + 157, "x", 1);
	image_checksum(h);
	image_body(&b, "abcde", 5);
	assert_string_equal(dump(&b, true), "error bad-format"); /* H14 */
	(void)image_header(&b, '0', "x", 0);
	h = image_header(&b, '1', "l", 5); /* as v7 tars write it: a size, and no body */
	memcpy(h + 157, "x", 1);
	image_checksum(h);
	assert_string_equal(dump(&b, true), "f l m=644 u=0:0 t=1000\nh x l\n");
	(void)image_header(&b, 'M', "continued", 0);
	assert_string_equal(dump(&b, true), "error unsupported");
	(void)image_header(&b, 'V', "label", 0);
	(void)image_header(&b, 'D', "dump", 3);
	image_body(&b, "Yx", 3);
	assert_string_equal(dump(&b, true), "d dump m=644 u=0:0 t=1000\n");
	buf_done(&b);
}

static void test_limits(void **state)
{
	struct varve_plan_options o = VARVE_PLAN_OPTIONS_INIT;
	struct image m;
	struct buf b, out;
	uint8_t *h;

	(void)state;
	buf_init(&b, MAX);
	buf_init(&out, MAX);
	/* D14: an extended header above 1 MiB */
	(void)image_header(&b, 'x', "pax", (1u << 20) + 1);
	assert_string_equal(dump(&b, true), "error over-limit");
	(void)image_header(&b, 'L', "long", (1u << 20) + 1);
	assert_string_equal(dump(&b, true), "error over-limit");
	h = image_header(&b, '0', "neg", 0);
	put(h, 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	assert_string_equal(dump(&b, true), "error bad-format");
	h = image_header(&b, '0', "huge", 0);
	put(h, 124, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12);
	assert_string_equal(dump(&b, true), "error over-limit");
	{
		char *big = malloc(70000);

		memset(big, 'v', 70000);
		image_pax(&b, "SCHILY.xattr.user.big", big, 70000);
		free(big);
		(void)image_header(&b, '0', "x", 0);
		assert_string_equal(dump(&b, true), "error over-limit");
	}
	/* entries, depth, length of the whole path */
	o.limits.max_entries = 3;
	image_init(&m);
	image_layer(&m, "f a; f b");
	image_layer(&m, "f c; f d");
	image_dump(&m, &o, false, &out);
	assert_string_equal(out.p, "error over-limit");
	image_done(&m);
	o = (struct varve_plan_options)VARVE_PLAN_OPTIONS_INIT;
	o.limits.max_depth = 3;
	image_init(&m);
	image_layer(&m, "f a/b/c/d");
	image_dump(&m, &o, false, &out);
	assert_string_equal(out.p, "error over-limit");
	image_done(&m);
	/* symlinks cannot go around it */
	image_init(&m);
	image_layer(&m, "d a/b; s l a/b; d l/c; s m l/c");
	image_layer(&m, "d m/d");
	image_dump(&m, &o, false, &out);
	assert_string_equal(out.p, "error over-limit");
	image_done(&m);
	o = (struct varve_plan_options)VARVE_PLAN_OPTIONS_INIT;
	o.limits.max_path = 10;
	image_init(&m);
	image_layer(&m, "f aaaaa/bbbbb");
	image_dump(&m, &o, false, &out);
	assert_string_equal(out.p, "error over-limit");
	image_done(&m);
	buf_done(&out);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialects),   cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_pax),        cmocka_unit_test(test_damaged_pax),
		cmocka_unit_test(test_metadata),   cmocka_unit_test(test_xattrs),
		cmocka_unit_test(test_sparse_old), cmocka_unit_test(test_sparse_pax),
		cmocka_unit_test(test_stream),     cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
