/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, ingesting, committing, listing, naming. */
#include "store/derived.h"
#include "store/state.h"
#include "store_fixture.h"

#include "store/base/hash.h"
#include "store/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const ab[] = {"layer a", "layer b", NULL};
static const char *const ac[] = {"layer a", "layer c is longer", NULL};

static void open_makes_a_layout(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_string_equal(fixture_file(f, "oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}\n");
	assert_non_null(strstr(fixture_file(f, "index.json"), "\"manifests\":[]"));
	assert_non_null(strstr(fixture_file(f, "VERSION"), "varve 1\n"));
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	fixture_reopen(f, false);
}

/* Records of version byte 1 do not say how the tree was made. */
static void old_install_record(void **state)
{
	struct varve_install_record in = {.roots = "/r",
					  .label = "l",
					  .directory = "d",
					  .state = VARVE_INSTALL_READY,
					  .generation = 7,
					  .made = VARVE_MADE_RECORDED | VARVE_MADE_NO_OWNERS};
	struct varve_install_record out;
	struct span s[INSTALL_STRINGS];
	const size_t source = 3 * 2 + 1; /* three strings and a digest that are not there */
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	install_record_put(&b, &in);
	assert_true(install_record_get(span_of(b.p, b.n), &out, s));
	assert_int_equal(out.made, in.made);
	assert_false(install_record_get(span_of(b.p, b.n - 1), &out, s));
	assert_true(install_record_get(span_of(b.p, b.n - source), &out, s));
	assert_null(s[4].p);
	b.p[0] = 1;
	assert_true(install_record_get(span_of(b.p, b.n - source - 4), &out, s));
	assert_int_equal(out.made, 0);
	assert_int_equal(out.generation, 7);
	b.p[0] = 3;
	assert_false(install_record_get(span_of(b.p, b.n), &out, s));
	buf_done(&b);
}

static void open_refuses(void **state)
{
	struct fixture *f = *state;
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_store *s = NULL;
	struct varve_err e;

	opt.path = f->dir; /* holds "store" */
	opt.create = true;
	assert_int_equal(varve_store_open(&s, &f->ctx, &opt, &e), -VARVE_E_NOSTORE);
	opt.path = "/nonexistent/store";
	opt.create = false;
	assert_int_equal(varve_store_open(&s, &f->ctx, &opt, &e), -VARVE_E_NOTFOUND);
	fixture_write(f, "VERSION", "varve 2\n");
	opt.path = f->path;
	assert_int_equal(varve_store_open(&s, &f->ctx, &opt, &e), -VARVE_E_VERSION);
	fixture_write(f, "VERSION", "varve 1\ncompat: x\nro-compat:\nincompat: packs\n");
	assert_int_equal(varve_store_open(&s, &f->ctx, &opt, &e), -VARVE_E_VERSION);
	fixture_write(f, "VERSION", "varve 1\ncompat: x\nro-compat: y\nincompat:\n");
	assert_ok(varve_store_open(&s, &f->ctx, &opt, &e), &e);
	assert_true(varve_store_is_read_only(s));
	varve_store_close(s);
}

/* Who opens a store while another process makes it waits for it, and never sees half of one. */
static void open_while_another_makes_it(void **state)
{
	struct fixture *f = *state;
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	char version[600], lock[600];
	struct varve_store *s = NULL;
	struct varve_err e;
	pid_t maker;
	int fd, status;

	opt.path = f->path;
	varve_store_close(f->store);
	f->store = NULL;
	snprintf(version, sizeof(version), "%s/VERSION", f->path);
	snprintf(lock, sizeof(lock), "%s/lock", f->path);
	assert_int_equal(unlink(version), 0);
	fd = open(lock, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	maker = fork(); /* shares the open file description, and so the lock */
	if (maker == 0) {
		usleep(200000);
		fixture_write(f, "VERSION", "varve 1\ncompat:\nro-compat:\nincompat:\n");
		_exit(0);
	}
	assert_true(maker > 0);
	assert_int_equal(close(fd), 0); /* now it is the maker's alone */
	assert_ok(varve_store_open(&s, &f->ctx, &opt, &e), &e);
	varve_store_close(s);
	assert_int_equal(waitpid(maker, &status, 0), maker);
	assert_int_equal(status, 0);
}

static void open_of_an_empty_directory(void **state)
{
	struct fixture *f = *state;
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_store *s = NULL;
	struct varve_err e;
	char path[600];

	snprintf(path, sizeof(path), "%s/empty", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	opt.path = path;
	assert_int_equal(varve_store_open(&s, &f->ctx, &opt, &e), -VARVE_E_NOTFOUND);
	opt.create = true;
	assert_ok(varve_store_open(&s, &f->ctx, &opt, &e), &e);
	varve_store_close(s);
}

static void commit_and_list(void **state)
{
	struct fixture *f = *state;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct fixture_image two = fixture_image(f, "two:1", NULL, ac);
	struct varve_image_list l;
	int pass;

	for (pass = 0; pass < 3; pass++) {
		assert_ok(varve_store_images(f->store, &l, &f->err), &f->err);
		assert_int_equal(l.n, 2);
		assert_string_equal(l.items[0].name, "one:1");
		assert_string_equal(l.items[0].reference, "docker.io/library/one:1");
		assert_true(varve_digest_equal(&l.items[0].manifest, &one.manifest));
		assert_true(varve_digest_equal(&l.items[1].config, &two.config));
		assert_true(l.items[0].complete && l.items[0].is_default);
		assert_int_equal(l.items[0].shared_size, strlen("layer a"));
		assert_int_equal(l.items[0].own_size + l.items[0].shared_size, l.items[0].size);
		assert_int_equal(l.items[1].n_layers, 2);
		varve_image_list_free(&l);
		fixture_reopen(f, pass == 1); /* the last time read only */
	}
}

static void index_json_names_the_image(void **state)
{
	struct fixture *f = *state;
	struct fixture_image im = fixture_image(f, "one:1", NULL, ab);
	const char *text = fixture_file(f, "index.json");

	assert_non_null(strstr(text, DIGEST_STR(&im.manifest)));
	assert_non_null(strstr(text, "\"org.opencontainers.image.ref.name\": \"one:1\""));
}

static const struct {
	const char *what;
	int code;
} finds[] = {
	{"one:1", 0},
	{"docker.io/library/one:1", 0},
	{"two", 0}, /* two:latest */
	{"one", -VARVE_E_NOTFOUND},
	{"one:2", -VARVE_E_NOTFOUND},
	{"", -VARVE_E_NOTFOUND},
	{"sha256:0000000000000000000000000000000000000000000000000000000000000000",
	 -VARVE_E_NOTFOUND},
};

static void find_by_what_a_user_types(void **state)
{
	struct fixture *f = *state;
	struct fixture_image im = fixture_image(f, "one:1", NULL, ab);
	struct varve_image_list l;
	char text[300], chain[512];
	size_t i;

	fixture_image(f, "two:latest", NULL, ac);
	for (i = 0; i < sizeof(finds) / sizeof(finds[0]); i++) {
		int r = varve_store_find(f->store, finds[i].what, NULL, &l, &f->err);

		if (r != finds[i].code)
			fail_msg("%s: %d", finds[i].what, r);
		if (r == 0)
			varve_image_list_free(&l);
	}
	assert_int_equal(varve_store_find(f->store, "one:l", NULL, &l, &f->err), -VARVE_E_NOTFOUND);
	assert_non_null(
		strstr(varve_err_text(&f->err, chain, sizeof(chain)), "did you mean one:1?"));
	snprintf(text, sizeof(text), "%.12s", DIGEST_HEX(&im.manifest));
	assert_ok(varve_store_find(f->store, text, NULL, &l, &f->err), &f->err);
	assert_string_equal(l.items[0].name, "one:1");
	varve_image_list_free(&l);
	snprintf(text, sizeof(text), "one:1@%s", DIGEST_STR(&im.manifest));
	assert_ok(varve_store_find(f->store, text, NULL, &l, &f->err), &f->err);
	varve_image_list_free(&l);
	snprintf(text, sizeof(text), "two@%s", DIGEST_STR(&im.manifest));
	assert_int_equal(varve_store_find(f->store, text, NULL, &l, &f->err), -VARVE_E_NOTFOUND);
}

static void platforms_share_a_name(void **state)
{
	struct fixture *f = *state;
	struct varve_platform arm;
	struct fixture_image amd = fixture_image(f, "one:1", NULL, ab);
	struct fixture_image other = fixture_image(f, "one:1", "linux/arm64", ac);
	struct varve_image_list l;
	const char *text;

	assert_ok(varve_platform_parse(&arm, "aarch64", &f->err), &f->err);
	assert_ok(varve_store_find(f->store, "one:1", NULL, &l, &f->err), &f->err);
	assert_true(varve_digest_equal(&l.items[0].manifest, &amd.manifest));
	varve_image_list_free(&l);
	assert_ok(varve_store_find(f->store, "one:1", &arm, &l, &f->err), &f->err);
	assert_true(varve_digest_equal(&l.items[0].manifest, &other.manifest));
	assert_false(l.items[0].is_default);
	varve_image_list_free(&l);
	text = strstr(fixture_file(f, "index.json"), "image.ref.name");
	assert_non_null(text);
	assert_null(strstr(text + 1, "image.ref.name")); /* the plain name once */
	/* Without the default one the other takes the name over. */
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	assert_ok(varve_store_find(f->store, "one:1", NULL, &l, &f->err), &f->err);
	assert_true(varve_digest_equal(&l.items[0].manifest, &other.manifest));
	assert_true(l.items[0].is_default);
	varve_image_list_free(&l);
}

static void tag_and_untag(void **state)
{
	struct fixture *f = *state;
	struct varve_image_list l;

	fixture_image(f, "one:1", NULL, ab);
	assert_ok(varve_store_tag(f->store, "one:1", "mine", &f->err), &f->err);
	assert_ok(varve_store_find(f->store, "docker.io/library/mine:latest", NULL, &l, &f->err),
		  &f->err);
	assert_string_equal(l.items[0].name, "mine:latest");
	varve_image_list_free(&l);
	assert_ok(varve_store_tag(f->store, "mine", "127.0.0.1:5000/a/b", &f->err), &f->err);
	assert_ok(varve_store_find(f->store, "127.0.0.1:5000/a/b:latest", NULL, &l, &f->err),
		  &f->err);
	varve_image_list_free(&l);
	assert_ok(varve_store_pin(f->store, "one:1", true, &f->err), &f->err);
	assert_ok(varve_store_untag(f->store, "mine", NULL, &f->err), &f->err);
	assert_ok(varve_store_untag(f->store, "127.0.0.1:5000/a/b", NULL, &f->err), &f->err);
	assert_int_equal(varve_store_untag(f->store, "one:1", NULL, &f->err), -VARVE_E_CONFLICT);
	assert_ok(varve_store_pin(f->store, "one:1", false, &f->err), &f->err);
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	assert_int_equal(varve_store_find(f->store, "one:1", NULL, &l, &f->err), -VARVE_E_NOTFOUND);
	assert_int_equal(varve_store_tag(f->store, "one:1", "x", &f->err), -VARVE_E_NOTFOUND);
	assert_null(strstr(fixture_file(f, "index.json"), "digest"));
}

static void entries_of_other_tools_stay(void **state)
{
	struct fixture *f = *state;
	const char *text;

	fixture_write(f, "index.json",
		      "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/x-y\","
		      "\"digest\":\"sha256:00\",\"size\":3,\"annotations\":{"
		      "\"org.opencontainers.image.ref.name\":\"one:1\"}}]}");
	fixture_image(f, "one:1", NULL, ab);
	fixture_image(f, "two:1", NULL, ac);
	text = fixture_file(f, "index.json");
	assert_non_null(strstr(text, "application/x-y"));
	assert_non_null(strstr(text, "docker.io/library/one:1"));
	/* Their "one:1" keeps the plain name. */
	assert_non_null(strstr(text, "\"dev.varve.name\": \"one:1\""));
	assert_non_null(strstr(text, "image.ref.name\": \"two:1\""));
}

static void ingest_resumes(void **state)
{
	struct fixture *f = *state;
	struct ingest_want want = {.size = 11, .kind = VARVE_BLOB_LAYER};
	struct ingest *in = NULL, *other = NULL;
	uint64_t size;
	struct stat st;
	char path[512];

	assert_ok(hash_bytes(VARVE_SHA256, "hello world", 11, &want.digest, &f->err), &f->err);
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_ok(ingest_write(in, "hello", 5, &f->err), &f->err);
	assert_int_equal(ingest_open(&other, f->store, NULL, &want, &f->err), -VARVE_E_BUSY);
	assert_int_equal(ingest_partial_size(f->store, &want.digest), 5);
	ingest_close(in, true);
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_int_equal(ingest_offset(in), 5);
	assert_int_equal(ingest_write(in, "too much more", 13, &f->err), -VARVE_E_SIZE);
	assert_ok(ingest_write(in, " world", 6, &f->err), &f->err);
	assert_ok(ingest_commit(&in, &size, &f->err), &f->err);
	assert_int_equal(size, 11);
	assert_int_equal(stat(fixture_blob_path(f, &want.digest, path), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(fixture_count(f, "tmp/partial"), 0);
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 1);
	assert_null(in);
}

static void ingest_refuses_wrong_content(void **state)
{
	struct fixture *f = *state;
	struct ingest_want want = {.size = 5, .kind = VARVE_BLOB_LAYER};
	struct ingest *in = NULL, *other = NULL;

	assert_ok(hash_bytes(VARVE_SHA512, "right", 5, &want.digest, &f->err), &f->err);
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_ok(ingest_write(in, "wrong", 5, &f->err), &f->err);
	assert_int_equal(ingest_commit(&in, NULL, &f->err), -VARVE_E_DIGEST);
	/* "Close" data is never kept, but the lock is: nobody else begins it in between. */
	assert_int_equal(ingest_offset(in), 0);
	assert_int_equal(ingest_open(&other, f->store, NULL, &want, &f->err), -VARVE_E_BUSY);
	assert_ok(ingest_write(in, "righ", 4, &f->err), &f->err);
	assert_int_equal(ingest_commit(&in, NULL, &f->err), -VARVE_E_SIZE);
	ingest_close(in, true);
	assert_int_equal(fixture_count(f, "tmp/partial"), 0);
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_ok(ingest_write(in, "xx", 2, &f->err), &f->err);
	assert_ok(ingest_restart(in, &f->err), &f->err);
	assert_ok(ingest_write(in, "right", 5, &f->err), &f->err);
	assert_ok(ingest_commit(&in, NULL, &f->err), &f->err);
	assert_int_equal(fixture_count(f, "blobs/sha512"), 1);
}

/* A file or URL whose digest nobody has said. */
static void ingest_finds_the_digest(void **state)
{
	struct fixture *f = *state;
	struct ingest *in = NULL, *other = NULL;
	struct varve_digest want, got;
	char text[1024];
	uint64_t size;

	assert_ok(hash_bytes(VARVE_SHA256, "hello world", 11, &want, &f->err), &f->err);
	assert_ok(
		ingest_open_unnamed(&in, f->store, "https://h/x@c", VARVE_BLOB_LAYER, 12, &f->err),
		&f->err);
	assert_ok(ingest_write(in, "hello", 5, &f->err), &f->err);
	assert_int_equal(ingest_open_unnamed(&other, f->store, "https://h/x@c", VARVE_BLOB_LAYER,
					     12, &f->err),
			 -VARVE_E_BUSY);
	ingest_close(in, true);
	f->err = (struct varve_err)VARVE_ERR_INIT;
	/* resumed under the same key, a private one beside it */
	assert_ok(
		ingest_open_unnamed(&in, f->store, "https://h/x@c", VARVE_BLOB_LAYER, 12, &f->err),
		&f->err);
	assert_int_equal(ingest_offset(in), 5);
	assert_int_equal(ingest_write(in, "12345678", 8, &f->err), -VARVE_E_LIMIT);
	assert_non_null(strstr(varve_err_text(&f->err, text, sizeof(text)), "https://h/x@c"));
	f->err = (struct varve_err)VARVE_ERR_INIT;
	assert_ok(ingest_write(in, " world", 6, &f->err), &f->err);
	assert_ok(ingest_open_unnamed(&other, f->store, NULL, VARVE_BLOB_LAYER, 0, &f->err),
		  &f->err);
	assert_ok(ingest_write(other, "hello world", 11, &f->err), &f->err);
	assert_ok(ingest_commit_unnamed(in, NULL, &got, &size, &f->err), &f->err);
	assert_true(varve_digest_equal(&got, &want));
	assert_int_equal(size, 11);
	assert_int_equal(blob_stat(f->store, &want, NULL, &f->err), 1);
	assert_int_equal(ingest_commit_unnamed(other, NULL, &got, NULL, &f->err), 1);
	assert_true(varve_digest_equal(&got, &want));
	assert_int_equal(fixture_count(f, "tmp/partial"), 0);
}

static void unrecorded_blobs_are_adopted(void **state)
{
	struct fixture *f = *state;
	struct varve_digest good, bad;
	struct varve_blob_info info;
	char path[512], name[200];

	assert_ok(hash_bytes(VARVE_SHA256, "good", 4, &good, &f->err), &f->err);
	assert_ok(hash_bytes(VARVE_SHA256, "bad", 3, &bad, &f->err), &f->err);
	assert_int_equal(blob_stat(f->store, &good, &info, &f->err), 0);
	snprintf(name, sizeof(name), "blobs/sha256/%s", DIGEST_HEX(&good));
	fixture_write(f, name, "good");
	snprintf(name, sizeof(name), "blobs/sha256/%s", DIGEST_HEX(&bad));
	fixture_write(f, name, "tampered");
	assert_int_equal(blob_stat(f->store, &good, &info, &f->err), 1);
	assert_int_equal(info.size, 4);
	assert_int_equal(blob_stat(f->store, &bad, &info, &f->err), 0);
	assert_int_equal(access(fixture_blob_path(f, &bad, path), F_OK), -1);
}

static void damaged_blobs_count_as_missing(void **state)
{
	struct fixture *f = *state;
	struct fixture_image im = fixture_image(f, "one:1", NULL, ab);
	struct varve_image_list l;
	struct varve_blob_info info;
	char path[512], name[200];

	assert_ok(blob_set_damaged(f->store, &im.layers[0], &f->err), &f->err);
	assert_int_equal(blob_stat(f->store, &im.layers[0], &info, &f->err), 1); /* it is not */
	fixture_blob_path(f, &im.layers[0], path);
	snprintf(name, sizeof(name), "blobs/sha256/%s", DIGEST_HEX(&im.layers[0]));
	fixture_write(f, name, "layer X"); /* the same size */
	assert_ok(blob_set_damaged(f->store, &im.layers[0], &f->err), &f->err);
	assert_int_equal(blob_stat(f->store, &im.layers[0], &info, &f->err), 0);
	assert_ok(varve_store_images(f->store, &l, &f->err), &f->err);
	assert_false(l.items[0].complete);
	varve_image_list_free(&l);
	fixture_image(f, "one:1", NULL, ab); /* pulled again */
	assert_ok(varve_store_images(f->store, &l, &f->err), &f->err);
	assert_true(l.items[0].complete);
	varve_image_list_free(&l);
}

static void state_values(void **state)
{
	struct fixture *f = *state;
	struct buf b;

	buf_init(&b, 100);
	assert_int_equal(catalog_get_state(f->store, "k", &b, &f->err), 0);
	assert_ok(catalog_put_state(f->store, "k", "value", 5, &f->err), &f->err);
	assert_int_equal(catalog_get_state(f->store, "k", &b, &f->err), 1);
	assert_string_equal(b.p, "value");
	assert_ok(catalog_put_state(f->store, "k", NULL, 0, &f->err), &f->err);
	assert_int_equal(catalog_get_state(f->store, "k", &b, &f->err), 0);
	buf_done(&b);
}

static void derived_data(void **state)
{
	struct fixture *f = *state;
	struct varve_digest d;
	struct aux_file a;
	int fd, pass;
	char got[4];

	assert_ok(hash_bytes(VARVE_SHA256, "x", 1, &d, &f->err), &f->err);
	for (pass = 0; pass < 2;
	     pass++) { /* also on a read-only store, for as long as it is open */
		assert_int_equal(aux_open(f->store, "toc", &d, &fd, &f->err), -VARVE_E_NOTFOUND);
		assert_ok(aux_create(f->store, &a, &f->err), &f->err);
		assert_int_equal(write(a.fd, "toc", 3), 3);
		assert_ok(aux_commit(&a, "toc", &d, &f->err), &f->err);
		assert_ok(aux_open(f->store, "toc", &d, &fd, &f->err), &f->err);
		assert_int_equal(read(fd, got, 4), 3);
		close(fd);
		assert_ok(aux_create(f->store, &a, &f->err), &f->err);
		aux_abort(&a);
		assert_int_equal(fixture_count(f, "tmp"), 1); /* partial */
		assert_ok(hash_bytes(VARVE_SHA256, "y", 1, &d, &f->err), &f->err);
		fixture_reopen(f, true);
	}
	assert_int_equal(aux_open(f->store, "toc", &d, &fd, &f->err), -VARVE_E_NOTFOUND);
}

static void read_only_without_a_database(void **state)
{
	struct fixture *f = *state;
	struct fixture_image im = fixture_image(f, "one:1", NULL, ab);
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_blob_info info;
	struct varve_blob_list layers;
	struct varve_image_list l;
	const char *const lower[] = {f->path, "/nonexistent", NULL};
	char upper[200], gone[200];

	varve_store_close(f->store);
	f->store = NULL;
	snprintf(gone, sizeof(gone), "%s/db/lock", f->path);
	assert_int_equal(unlink(gone), 0);
	snprintf(upper, sizeof(upper), "%s/upper", f->dir);
	opt.path = upper;
	opt.create = true;
	opt.lower = lower;
	assert_ok(varve_store_open(&f->store, &f->ctx, &opt, &f->err), &f->err);
	assert_int_equal(f->warnings, 1); /* of the one that is away */
	assert_int_equal(blob_stat(f->store, &im.layers[1], &info, &f->err), 1);
	assert_ok(varve_store_find(f->store, "one:1", NULL, &l, &f->err), &f->err);
	assert_true(l.items[0].complete);
	assert_ok(varve_store_layers(f->store, &l.items[0].manifest, &layers, &f->err), &f->err);
	assert_int_equal(layers.n, 2);
	assert_true(layers.items[0].present);
	varve_blob_list_free(&layers);
	varve_image_list_free(&l);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(open_makes_a_layout),
		TEST(open_refuses),
		TEST(old_install_record),
		TEST(open_while_another_makes_it),
		TEST(open_of_an_empty_directory),
		TEST(commit_and_list),
		TEST(index_json_names_the_image),
		TEST(find_by_what_a_user_types),
		TEST(platforms_share_a_name),
		TEST(tag_and_untag),
		TEST(entries_of_other_tools_stay),
		TEST(ingest_resumes),
		TEST(ingest_refuses_wrong_content),
		TEST(ingest_finds_the_digest),
		TEST(unrecorded_blobs_are_adopted),
		TEST(damaged_blobs_count_as_missing),
		TEST(state_values),
		TEST(derived_data),
		TEST(read_only_without_a_database),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
