/* SPDX-License-Identifier: Apache-2.0 */
/* Layers through the store: reading, following a download, plans of stored images, and what goes
 * wrong on the way. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "materialize/codec/inflate.h"
#include "materialize/layer/layer_parts.h"
#include "materialize/layer/layer_stream.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store_image.h"

static int list_one(void *user, const struct varve_entry *x)
{
	struct buf *b = user;

	buf_printf(b, "%s%s%s;", x->path,
		   x->is_hardlink ? "="
		   : x->link      ? ">"
				  : "",
		   x->link ? x->link : "");
	return 0;
}

static int append(void *user, const void *p, size_t n)
{
	buf_add(user, p, n);
	return 0;
}

static void test_compressions(void **state)
{
	struct fixture *f = *state;
	struct stored m = {0};
	struct varve_plan *p;
	struct varve_plan_summary sum;
	struct buf b;

	put_layer(f, &m, "d etc; f etc/passwd root; f etc/shadow x; s l etc; h etc/pw etc/passwd",
		  VARVE_COMP_GZIP);
	put_layer(f, &m, "f l/group wheel; f etc/.wh.shadow", VARVE_COMP_ZSTD);
	put_layer(f, &m, "f z last", VARVE_COMP_NONE); /* T04: media type says gzip */
	put_image(f, &m, 3);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	varve_plan_summary(p, &sum);
	assert_int_equal(sum.entries, 7);
	assert_int_equal(sum.files, 3);
	assert_int_equal(sum.hardlinks, 1);
	assert_int_equal(sum.symlinks, 1);
	assert_int_equal(sum.bytes, 4 + 5 + 4);
	assert_int_equal(sum.inodes, 6);
	assert_int_equal(sum.disk, 3 * 4096 + 2 * 4096);
	assert_int_equal(sum.n_layers, 3);
	assert_int_equal(sum.layers[0].entries, 5);
	assert_int_equal(sum.layers[0].used_entries, 4);
	assert_int_equal(sum.layers[1].used_bytes, 5);
	buf_init(&b, MAX);
	assert_ok(varve_plan_each(p, NULL, list_one, &b, &f->e), &f->e);
	assert_string_equal(b.p, ".;etc;etc/group;etc/passwd;etc/pw=etc/passwd;l>etc;z;");
	buf_reset(&b);
	assert_ok(varve_plan_each(p, "etc", list_one, &b, &f->e), &f->e);
	assert_string_equal(b.p, "etc;etc/group;etc/passwd;etc/pw=etc/passwd;");
	buf_reset(&b);
	assert_ok(varve_plan_each(p, "/etc/group", list_one, &b, &f->e), &f->e);
	assert_string_equal(b.p, "etc/group;");
	assert_int_equal(varve_plan_each(p, "none", list_one, &b, NULL), -VARVE_E_NOTFOUND);
	buf_reset(&b);
	assert_ok(varve_plan_cat(p, "l/pw", append, &b, &f->e), &f->e);
	assert_ok(varve_plan_cat(p, "/l/../l/group", append, &b, &f->e), &f->e);
	assert_ok(varve_plan_cat(p, "z", append, &b, &f->e), &f->e);
	assert_string_equal(b.p, "rootwheellast");
	assert_int_equal(varve_plan_cat(p, "etc/shadow", append, &b, NULL), -VARVE_E_NOTFOUND);
	assert_int_equal(varve_plan_cat(p, "etc", append, &b, NULL), -VARVE_E_USAGE);
	varve_plan_free(p);
	buf_done(&b);
}

/* T10: one layer twice; T12: counts that differ; 7.5: a diffID that is wrong; a layer that is not
 * there. */
static void test_documents(void **state)
{
	struct fixture *f = *state;
	struct stored m = {0};
	struct varve_plan *p;
	struct varve_plan_summary sum;

	put_layer(f, &m, "f x 1", VARVE_COMP_GZIP);
	put_layer(f, &m, "f .wh.x; f y 2", VARVE_COMP_GZIP);
	m.l[m.n++] = m.l[0];
	put_image(f, &m, 3);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	varve_plan_summary(p, &sum);
	assert_int_equal(sum.files, 2);
	assert_int_equal(sum.layers[0].used_entries, 0);
	assert_int_equal(sum.layers[2].used_entries, 1);
	varve_plan_free(p);
	put_image(f, &m, 2);
	assert_int_equal(varve_plan_new(&p, f->s, &m.image, NULL, NULL), -VARVE_E_FORMAT);
	m.l[1].diff_id.bytes[0] ^= 1;
	put_image(f, &m, 3);
	assert_int_equal(varve_plan_new(&p, f->s, &m.image, NULL, NULL), -VARVE_E_DIGEST);
	m.l[1].diff_id.bytes[0] ^= 1;
	m.l[1].digest.bytes[0] ^= 1;
	put_image(f, &m, 3);
	assert_int_equal(varve_plan_new(&p, f->s, &m.image, NULL, NULL), -VARVE_E_INCOMPLETE);
}

static void blob_path(const struct fixture *f, const struct varve_digest *d, char path[256])
{
	(void)snprintf(path, 256, "%s/blobs/sha256/%s", f->dir, DIGEST_HEX(d));
}

static void aux_path(const struct fixture *f, const struct varve_digest *d, char path[256])
{
	(void)snprintf(path, 256, "%s/aux/toc/%s", f->dir, DIGEST_HEX(d));
}

static void flip(const char *path, off_t at)
{
	VARVE_CLOSE int fd = -1;
	uint8_t c;

	assert_int_equal(chmod(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
}

/* A toc that is lost or damaged is made again, and nobody notices. */
static void test_toc_cache(void **state)
{
	struct fixture *f = *state;
	struct stored m = {0};
	struct varve_plan *p;
	char path[256];
	struct stat a, b;

	put_layer(f, &m, "f x 1; f y 2", VARVE_COMP_GZIP);
	put_image(f, &m, 1);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	varve_plan_free(p);
	aux_path(f, &m.l[0].diff_id, path);
	assert_int_equal(stat(path, &a), 0);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	varve_plan_free(p);
	assert_int_equal(stat(path, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino); /* used, not made again */
	for (off_t at = 0; at < a.st_size; at += 5) {
		flip(path, at);
		assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
		assert_int_equal(p->n_names, 3);
		varve_plan_free(p);
	}
	assert_int_equal(truncate(path, 10), 0);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	varve_plan_free(p);
	assert_int_equal(unlink(path), 0);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	varve_plan_free(p);
	/* without the right to write */
	assert_int_equal(unlink(path), 0);
	lease_end(f->l);
	varve_store_close(f->s);
	open_store(f, true);
	assert_ok(lease_begin(&f->l, f->s, "test", &f->e), &f->e);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	assert_int_equal(p->n_names, 3);
	varve_plan_free(p);
	assert_int_equal(access(path, F_OK), -1);
}

/* A bit that rotted: found while the layer is read, by toc making and by streams, whether or not it
 * still unpacks. */
static void test_rotten(void **state)
{
	struct fixture *f = *state;
	struct stored m = {0};
	struct varve_plan *p;
	struct layer_stream *ls;
	char path[256];
	struct buf b;
	const void *q;
	size_t n;
	int r;

	put_layer(f, &m, "f x 1; f y 2", VARVE_COMP_GZIP);
	put_layer(f, &m, "f z 3", VARVE_COMP_NONE);
	put_image(f, &m, 2);
	put_layer(f, &m, "f zz 4", VARVE_COMP_NONE);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	blob_path(f, &m.l[1].digest, path);
	flip(path, 512); /* the content of z: still a fine tar */
	buf_init(&b, MAX);
	assert_int_equal(varve_plan_cat(p, "z", append, &b, NULL), -VARVE_E_DIGEST);
	buf_done(&b);
	varve_plan_free(p);
	/* it was set aside: the image is incomplete now */
	assert_int_equal(varve_plan_new(&p, f->s, &m.image, NULL, NULL), -VARVE_E_INCOMPLETE);
	/* the first reading of all */
	blob_path(f, &m.l[2].digest, path);
	flip(path, 3);
	assert_int_equal(varve_layer_ops()->read(f->s, &m.l[2].digest, NULL, NULL),
			 -VARVE_E_DIGEST);
	/* compressed data that no longer unpacks */
	blob_path(f, &m.l[0].digest, path);
	flip(path, 30);
	assert_ok(layer_stream_open(&ls, f->s, &m.l[0].digest, &f->e), &f->e);
	do
		r = layer_stream_next(ls, MAX, &q, &n, NULL);
	while (r == 0 && n > 0);
	assert_int_equal(layer_stream_end(ls, NULL), -VARVE_E_DIGEST);
	layer_stream_free(ls);
}

/* --- parts of a layer --- */

static void read_part(struct fixture *f, const struct oci_layer_desc *l, uint64_t off, size_t n,
		      const char *expect)
{
	struct layer_stream *ls;
	size_t at = 0;

	assert_ok(layer_stream_open_at(&ls, f->s, &l->digest, &l->diff_id, off, &f->e), &f->e);
	while (at < n) {
		const void *p;
		size_t k;

		assert_ok(layer_stream_next(ls, n - at, &p, &k, &f->e), &f->e);
		assert_true(k > 0);
		assert_memory_equal(p, expect + off + at, k);
		at += k;
	}
	assert_ok(layer_stream_end(ls, &f->e), &f->e);
	layer_stream_free(ls);
}

/* 20 MiB of text and of noise, stored as c; *plain gets the tar. */
static void put_big(struct fixture *f, struct stored *m, enum varve_compression c,
		    struct buf *plain)
{
	struct oci_layer_desc *l = &m->l[m->n++];
	struct buf packed;
	uint32_t x = 1;

	buf_init(plain, MAX);
	buf_init(&packed, MAX);
	image_tar(plain, "f first 1");
	for (int i = 0; i < 20; i++) {
		char *body = malloc(1u << 20), name[16];

		for (size_t k = 0; k < 1u << 20; k++) {
			x = x * 1664525 + 1013904223;
			body[k] = i % 5 == 4 ? (char)(x >> 24) : "etaoin shrdlu"[(x >> 20) % 13];
		}
		(void)snprintf(name, sizeof(name), "big%02d", i);
		(void)image_header(plain, '0', name, 1u << 20);
		image_body(plain, body, 1u << 20);
		free(body);
	}
	image_tar(plain, "f last text");
	memset(buf_room(plain, 1024), 0, 1024);
	plain->n += 1024;
	pack(&packed, plain, c);
	l->media_type = DOCKER_MT_LAYER;
	l->size = packed.n;
	put_blob(f, &packed, VARVE_BLOB_LAYER, &l->digest);
	assert_ok(hash_bytes(VARVE_SHA256, plain->p, plain->n, &l->diff_id, &f->e), &f->e);
	buf_done(&packed);
}

static void test_parts(void **state)
{
	static const enum varve_compression kinds[] = {VARVE_COMP_GZIP, VARVE_COMP_NONE,
						       VARVE_COMP_ZSTD};
	struct fixture *f = *state;

	for (size_t k = 0; k < VARVE_ARRAY_SIZE(kinds); k++) {
		struct stored m = {0};
		struct varve_plan *p;
		struct buf plain, b;
		uint64_t *points;
		size_t n;

		put_big(f, &m, kinds[k], &plain);
		put_image(f, &m, 1);
		assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
		assert_ok(layer_points(f->s, &m.l[0].digest, &m.l[0].diff_id, &points, &n, &f->e),
			  &f->e);
		assert_int_equal(points[0], 0);
		if (kinds[k] == VARVE_COMP_ZSTD ||
		    (kinds[k] == VARVE_COMP_GZIP && inflate_point_kind() == 0))
			assert_int_equal(n, 1);
		else
			assert_true(n >= 4 && n <= 6);
		for (size_t i = 0; i < n; i++) {
			assert_true(i == 0 || points[i] > points[i - 1]);
			read_part(f, &m.l[0], points[i], plain.n - points[i], plain.p);
		}
		for (uint64_t off = 12345; off + 70000 < plain.n; off += 1234567)
			read_part(f, &m.l[0], off, 70000, plain.p);
		read_part(f, &m.l[0], plain.n, 0, plain.p);
		buf_init(&b, MAX);
		assert_ok(varve_plan_cat(p, "last", append, &b, &f->e), &f->e);
		assert_string_equal(b.p, "text");
		buf_reset(&b);
		assert_ok(varve_plan_cat(p, "big17", append, &b, &f->e), &f->e);
		assert_int_equal(b.n, 1u << 20);
		assert_non_null(memmem(plain.p, plain.n, b.p, b.n));
		assert_ok(layer_verify(f->s, &m.l[0].digest, &f->e), &f->e);
		buf_done(&b);
		buf_done(&plain);
		free(points);
		varve_plan_free(p);
	}
}

/* Points that are damaged, of other bytes, or that others can write are not there. */
static void test_points_distrusted(void **state)
{
	struct fixture *f = *state;
	struct stored m = {0};
	struct varve_plan *p;
	struct buf plain;
	uint64_t *points;
	char path[256];
	size_t n;
	struct stat st;

	if (inflate_point_kind() == 0)
		skip(); /* built without ISA-L */
	put_big(f, &m, VARVE_COMP_GZIP, &plain);
	put_image(f, &m, 1);
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	(void)snprintf(path, sizeof(path), "%s/aux/zran/%s", f->dir, DIGEST_HEX(&m.l[0].diff_id));
	assert_int_equal(stat(path, &st), 0);
	for (int pass = 0; pass < 3; pass++) {
		if (pass == 0)
			assert_int_equal(chmod(path, 0664), 0);
		if (pass == 1) {
			assert_int_equal(chmod(path, 0644), 0);
			flip(path, 13); /* the decoder's kind */
		}
		if (pass == 2) {
			flip(path, 13);
			flip(path, st.st_size - 10); /* the index */
		}
		assert_ok(layer_points(f->s, &m.l[0].digest, &m.l[0].diff_id, &points, &n, &f->e),
			  &f->e);
		assert_int_equal(n, 1);
		free(points);
		read_part(f, &m.l[0], 17u << 20, 1000, plain.p);
	}
	flip(path, st.st_size - 10);
	assert_int_equal(chmod(path, 0644), 0);
	flip(path, 500); /* a state */
	assert_ok(layer_points(f->s, &m.l[0].digest, &m.l[0].diff_id, &points, &n, &f->e), &f->e);
	assert_true(n > 1);
	free(points);
	read_part(f, &m.l[0], 5u << 20, 1000, plain.p);
	assert_int_equal(unlink(path), 0);
	read_part(f, &m.l[0], 17u << 20, 1000, plain.p);
	varve_plan_free(p);
	buf_done(&plain);
}

/* --- following a download --- */

struct download {
	struct buf packed;
	struct varve_digest diff_id;
	char path[64];
	int fd;
};

static void download_init(struct fixture *f, struct download *d, const char *text)
{
	static const char end[1024];
	struct buf plain;

	buf_init(&plain, MAX);
	buf_init(&d->packed, MAX);
	for (int i = 0; i < 2000; i++)
		image_tar(&plain, "f many/files some%20content");
	image_tar(&plain, text);
	buf_add(&plain, end, sizeof(end));
	assert_ok(hash_bytes(VARVE_SHA256, plain.p, plain.n, &d->diff_id, &f->e), &f->e);
	pack(&d->packed, &plain, VARVE_COMP_GZIP);
	buf_done(&plain);
	(void)snprintf(d->path, sizeof(d->path), "/tmp/varve-follow.XXXXXX");
	d->fd = mkstemp(d->path);
	assert_true(d->fd >= 0);
	assert_int_equal(unlink(d->path), 0);
}

static void download_done(struct download *d)
{
	buf_done(&d->packed);
	assert_int_equal(close(d->fd), 0);
}

static void *begin(struct fixture *f, struct download *d)
{
	const struct varve_layer_ops *ops = varve_layer_ops();
	struct varve_digest blob = {.algo = VARVE_SHA256};
	void *job;

	assert_ok(ops->follow(ops, &job, f->s, &blob, d->fd, &f->e), &f->e);
	return job;
}

static void grow(struct download *d, void *job, size_t from, size_t to, bool end)
{
	assert_int_equal(fsx_pwrite_all(d->fd, d->packed.p + from, to - from, from), 0);
	varve_layer_ops()->advance(job, to, end);
}

static void test_follow(void **state)
{
	struct fixture *f = *state;
	const struct varve_layer_ops *ops = varve_layer_ops();
	struct varve_layer_facts facts;
	struct download d;
	struct toc *toc;
	void *job;

	download_init(f, &d, "f x 1");
	job = begin(f, &d);
	for (size_t at = 0; at < d.packed.n; at += 1000)
		grow(&d, job, at, VARVE_MIN(at + 1000, d.packed.n), false);
	ops->advance(job, d.packed.n, true);
	assert_ok(ops->finish(job, false, &facts, &f->e), &f->e);
	assert_true(varve_digest_equal(&facts.diff_id, &d.diff_id));
	assert_int_equal(facts.entries, 2001);
	assert_int_equal(facts.compression, VARVE_COMP_GZIP);
	assert_ok(toc_open(&toc, f->s, &d.diff_id, &f->e), &f->e);
	assert_int_equal(toc_entries(toc), 2001);
	assert_int_equal(toc_stream_size(toc), facts.size);
	toc_free(toc);
	download_done(&d);
}

static void test_follow_restart(void **state)
{
	struct fixture *f = *state;
	const struct varve_layer_ops *ops = varve_layer_ops();
	struct varve_layer_facts facts;
	struct download d;
	void *job;

	download_init(f, &d, "f x 1");
	/* what came first was rubbish: void after the restart, whether it was looked at or not */
	for (int pass = 0; pass < 40; pass++) {
		job = begin(f, &d);
		assert_int_equal(pwrite(d.fd, "<html>rubbish", 13, 0), 13);
		ops->advance(job, 13, pass & 2);
		if (pass & 1)
			usleep(200);
		ops->restart(job);
		assert_int_equal(ftruncate(d.fd, 0), 0);
		grow(&d, job, 0, d.packed.n, true);
		assert_ok(ops->finish(job, false, &facts, &f->e), &f->e);
		assert_true(varve_digest_equal(&facts.diff_id, &d.diff_id));
	}
	/* and again in the middle */
	job = begin(f, &d);
	grow(&d, job, 0, d.packed.n / 2, false);
	usleep(1000);
	ops->restart(job);
	assert_int_equal(ftruncate(d.fd, 0), 0);
	grow(&d, job, 0, d.packed.n, true);
	assert_ok(ops->finish(job, false, &facts, &f->e), &f->e);
	assert_true(varve_digest_equal(&facts.diff_id, &d.diff_id));
	download_done(&d);
}

static void test_follow_failures(void **state)
{
	struct fixture *f = *state;
	const struct varve_layer_ops *ops = varve_layer_ops();
	struct varve_layer_facts facts;
	struct download d;
	char path[256];
	void *job;

	download_init(f, &d, "f x 1");
	/* given up at the start, and in the middle: does not wait for bytes that never come */
	ops->finish(begin(f, &d), true, NULL, NULL);
	job = begin(f, &d);
	grow(&d, job, 0, d.packed.n / 2, false);
	assert_int_equal(ops->finish(job, true, NULL, NULL), 0);
	/* all there but given up: nothing is published */
	job = begin(f, &d);
	grow(&d, job, 0, d.packed.n, true);
	usleep(10000);
	assert_int_equal(ops->finish(job, true, NULL, NULL), 0);
	aux_path(f, &d.diff_id, path);
	assert_int_equal(access(path, F_OK), -1);
	/* cut off */
	job = begin(f, &d);
	grow(&d, job, 0, d.packed.n - 1, true);
	assert_int_equal(ops->finish(job, false, &facts, NULL), -VARVE_E_FORMAT);
	download_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_compressions, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_documents, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_toc_cache, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_rotten, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_parts, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_points_distrusted, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_follow, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_follow_restart, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_follow_failures, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
