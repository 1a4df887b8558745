/* SPDX-License-Identifier: Apache-2.0 */
/* Damage of every kind is found by name, and healed; a store that commands were cut in is clean. */
#include "store/state.h"
#include "store_fixture.h"

#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/index/index.h"
#include "store/record.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const ab[] = {"layer a", "layer b", NULL};
static const char *const ac[] = {"layer a", "layer c is longer", NULL};

struct seen {
	char text[4096];
	struct fixture *f;
	const char *refetch; /* content to bring back; NULL: nothing */
	const char *origin;
};

static void see(void *user, const struct varve_check_finding *f)
{
	struct seen *s = user;
	size_t n = strlen(s->text);

	snprintf(s->text + n, sizeof(s->text) - n, "%s %s %s: %s\n",
		 f->repaired ? "repaired"
		 : f->error  ? "error"
			     : "note",
		 f->what, f->name, f->message);
}

static int bring(void *user, const struct varve_digest *d, uint64_t size, const char *origin,
		 struct varve_err *e)
{
	struct seen *s = user;

	(void)size;
	assert_string_equal(origin, "registry:example.org/test");
	if (!s->refetch)
		return varve_fail(e, VARVE_E_NETWORK, "no network today");
	/* Published only: to record it is the business of check. */
	return ingest_bytes(s->f->store, NULL, VARVE_BLOB_LAYER, s->refetch, strlen(s->refetch), d,
			    NULL, e);
}

static struct varve_check_result run(struct fixture *f, struct seen *s, bool repair, bool read_data)
{
	struct varve_check_options opt = VARVE_CHECK_OPTIONS_INIT;
	struct varve_check_result r;

	s->text[0] = '\0';
	s->f = f;
	opt.finding = see;
	opt.user = s;
	opt.repair = repair;
	opt.read_data = read_data;
	opt.refetch = bring;
	opt.refetch_user = s;
	assert_ok(varve_store_check(f->store, &opt, &r, &f->err), &f->err);
	assert_true(r.repaired <= r.errors);
	r.errors -= r.repaired; /* what is left */
	return r;
}

static void rebuild(struct fixture *f, struct seen *s)
{
	struct varve_check_options opt = VARVE_CHECK_OPTIONS_INIT;
	struct varve_check_result r;

	opt.rebuild = true;
	opt.finding = see;
	opt.user = s;
	s->text[0] = '\0';
	assert_ok(varve_store_check(f->store, &opt, &r, &f->err), &f->err);
	assert_int_equal(r.errors, 0);
}

static void assert_clean(struct fixture *f)
{
	struct seen s = {.f = f};
	struct varve_check_result r = run(f, &s, false, true);

	if (r.errors)
		fail_msg("%s", s.text);
}

static void a_sound_store_is_clean(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};
	struct varve_check_result r;

	assert_clean(f);
	fixture_image(f, "one:1", NULL, ab);
	fixture_image(f, "two:1", NULL, ac);
	r = run(f, &s, false, true);
	assert_string_equal(s.text, "");
	assert_int_equal(r.blobs, 7);
	assert_int_equal(r.images, 2);
	assert_int_equal(r.tags, 2);
	fixture_reopen(f, true);
	assert_clean(f);
}

enum damage { FLIP, TRUNCATE, DELETE, GROW };

static void damage(struct fixture *f, const struct varve_digest *d, enum damage how)
{
	char path[512];
	int fd;

	fixture_blob_path(f, d, path);
	if (how == DELETE) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	if (how == FLIP)
		assert_int_equal(pwrite(fd, "X", 1, 3), 1);
	else
		assert_int_equal(ftruncate(fd, how == GROW ? 100 : 2), 0);
	close(fd);
}

static void damaged_blobs_are_found_and_healed(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};
	struct fixture_image im = fixture_image(f, "one:1", NULL, ab);
	struct varve_check_result r;
	struct varve_image_list l;
	enum damage how;

	for (how = FLIP; how <= GROW; how++) {
		damage(f, &im.layers[1], how);
		r = run(f, &s, false, false); /* the fast check sees that the file was touched */
		assert_int_equal(r.errors, 1);
		assert_non_null(strstr(s.text, DIGEST_STR(&im.layers[1])));
		assert_non_null(strstr(s.text, "needed by one:1"));
		s.refetch = NULL; /* nobody has it: set aside, and the image is partial */
		r = run(f, &s, true, false);
		assert_int_equal(r.errors, 1);
		assert_non_null(strstr(s.text, "no network today"));
		assert_non_null(strstr(s.text, "note image one:1: is partial"));
		assert_ok(varve_store_find(f->store, "one:1", NULL, &l, &f->err), &f->err);
		assert_false(l.items[0].complete);
		varve_image_list_free(&l);
		s.refetch = "layer b";
		r = run(f, &s, true, false);
		assert_int_equal(r.errors, 0);
		assert_int_equal(r.repaired, 1);
		fixture_reopen(f, false);
		assert_clean(f);
		assert_ok(varve_store_find(f->store, "one:1", NULL, &l, &f->err), &f->err);
		assert_true(l.items[0].complete);
		varve_image_list_free(&l);
	}
}

static void damaged_documents_are_found(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};
	struct fixture_image im = fixture_image(f, "one:1", NULL, ab);

	damage(f, &im.manifest, FLIP);
	damage(f, &im.config, TRUNCATE);
	assert_int_equal(run(f, &s, false, false).errors, 2);
	(void)run(f, &s, true, false);
	fixture_image(f, "one:1", NULL, ab); /* pulled again */
	assert_clean(f);
}

static void index_json_is_made_again(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};

	fixture_image(f, "one:1", NULL, ab);
	fixture_write(f, "index.json", "{ broken");
	assert_int_equal(run(f, &s, false, false).errors, 1);
	assert_int_equal(run(f, &s, true, false).errors, 0);
	assert_non_null(strstr(fixture_file(f, "index.json"), "one:1"));
	fixture_write(f, "index.json", "{\"schemaVersion\":2,\"manifests\":[]}");
	assert_int_equal(run(f, &s, false, false).errors, 1);
	assert_non_null(strstr(s.text, "lacks the tag one:1"));
	assert_int_equal(run(f, &s, true, false).repaired, 1);
	fixture_write(f, "oci-layout", "");
	assert_int_equal(run(f, &s, false, false).errors, 1);
	assert_int_equal(run(f, &s, true, false).repaired, 1);
	assert_clean(f);
}

/* --- the database --- */

static void corrupt_at(struct fixture *f, off_t at, size_t n, unsigned char with)
{
	char path[512];
	unsigned char block[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	memset(block, with, sizeof(block));
	assert_int_equal(pwrite(fd, block, n, at), (ssize_t)n);
	close(fd);
}

static void shorten(struct fixture *f, off_t size)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	assert_int_equal(truncate(path, size), 0);
}

static void remove_database(struct fixture *f)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	assert_int_equal(unlink(path), 0);
}

static off_t database_size(struct fixture *f)
{
	char path[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void assert_all_there(struct fixture *f, const struct fixture_image *pinned)
{
	struct varve_install_list installs;
	struct varve_image_list l;
	struct varve_platform arm;
	char text[VARVE_DIGEST_STR_MAX];

	assert_ok(varve_platform_parse(&arm, "arm64", &f->err), &f->err);
	assert_ok(varve_store_find(f->store, "one:1", NULL, &l, &f->err), &f->err);
	assert_true(l.items[0].complete && l.items[0].is_default);
	assert_string_equal(l.items[0].reference, "docker.io/library/one:1");
	assert_string_equal(l.items[0].source, "registry");
	varve_image_list_free(&l);
	assert_ok(varve_store_find(f->store, "one:1", &arm, &l, &f->err), &f->err);
	assert_true(l.items[0].complete && !l.items[0].is_default);
	varve_image_list_free(&l);
	assert_ok(varve_store_find(f->store, varve_digest_str(&pinned->manifest, text), NULL, &l,
				   &f->err),
		  &f->err);
	assert_true(l.items[0].pinned);
	varve_image_list_free(&l);
	assert_ok(varve_store_installs(f->store, NULL, &installs, &f->err), &f->err);
	assert_int_equal(installs.n, 1);
	assert_string_equal(installs.items[0].label, "one_1");
	assert_int_equal(installs.items[0].ino, 0xffffffffffffff01u);
	varve_install_list_free(&installs);
}

static struct fixture_image fill(struct fixture *f)
{
	static const char *const de[] = {"layer d", "layer e", NULL};
	struct varve_install_record in = {.id = "0123456789abcdef",
					  .roots = "/nonexistent/roots",
					  .label = "one_1",
					  .directory = "rootfs",
					  .ino = 0xffffffffffffff01u,
					  .state = VARVE_INSTALL_READY};
	struct fixture_image pinned = fixture_image(f, NULL, NULL, de);

	fixture_image(f, "one:1", NULL, ab);
	fixture_image(f, "one:1", "arm64", ac);
	assert_ok(varve_store_pin(f->store, DIGEST_STR(&pinned.manifest), true, &f->err), &f->err);
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	return pinned;
}

static void assert_damaged_then_rebuilt(struct fixture *f, const struct fixture_image *pinned,
					const char *what)
{
	struct seen s = {.f = f};
	struct varve_image_list l;
	int r;

	fixture_reopen(f, false);
	r = varve_store_images(f->store, &l, &f->err);
	if (r != -VARVE_E_CORRUPT)
		fail_msg("%s: list gives %d", what, r);
	assert_int_equal(run(f, &s, false, false).errors, 1);
	assert_non_null(strstr(s.text, "error database db"));
	rebuild(f, &s);
	assert_all_there(f, pinned);
	assert_clean(f);
	fixture_reopen(f, false);
	assert_all_there(f, pinned);
}

static void a_lost_database_is_rebuilt(void **state)
{
	struct fixture *f = *state;
	struct fixture_image pinned = fill(f);
	off_t size = database_size(f);

	corrupt_at(f, 0, 4096, 0);
	corrupt_at(f, 4096, 4096, 0);
	assert_damaged_then_rebuilt(f, &pinned, "zero meta pages");
	shorten(f, 0);
	assert_damaged_then_rebuilt(f, &pinned, "empty");
	shorten(f, 5000);
	assert_damaged_then_rebuilt(f, &pinned, "one page");
	shorten(f, size / 2 / 4096 * 4096);
	assert_damaged_then_rebuilt(f, &pinned, "half");
	remove_database(f);
	assert_damaged_then_rebuilt(f, &pinned, "gone");
}

/* Each page in turn filled with each pattern: found, or harmless (a free page); never a crash. */
static void any_damaged_page_is_survived(void **state)
{
	static const unsigned char patterns[] = {0x00, 0xff, 0x5a, 0x01};
	struct fixture *f = *state;
	struct fixture_image pinned = fill(f);
	off_t at, size = database_size(f);
	size_t i, found = 0;

	for (at = 0; at < size; at += 4096) {
		for (i = 0; i < sizeof(patterns); i++) {
			struct seen s = {.f = f};
			struct varve_image_list l;

			varve_store_close(f->store);
			corrupt_at(f, at, 4096, patterns[i]);
			assert_ok(fixture_open(f, false, false), &f->err);
			if (varve_store_images(f->store, &l, &f->err) == 0)
				varve_image_list_free(&l);
			else
				found++;
			rebuild(f, &s);
			assert_all_there(f, &pinned);
			size = database_size(f);
		}
	}
	assert_true(found > 10);
}

static void one_flipped_byte_in_a_record_is_found(void **state)
{
	struct fixture *f = *state;
	struct fixture_image pinned = fill(f);
	off_t at, size = database_size(f);
	char path[512], *text;
	int fd;

	/* A tag's record holds its name: change one letter of it wherever it stands. */
	snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	text = malloc((size_t)size);
	assert_int_equal(pread(fd, text, (size_t)size, 0), size);
	for (at = 0; at + 23 < size; at++) {
		if (memcmp(text + at, "registry:example.org", 20) == 0)
			assert_int_equal(pwrite(fd, "R", 1, at), 1);
	}
	free(text);
	close(fd);
	assert_damaged_then_rebuilt(f, &pinned, "flipped byte");
}

static void rebuild_of_a_sound_database_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct fixture_image pinned = fill(f);
	struct varve_layer_facts facts = {.size = 77, .entries = 3};
	struct varve_blob_info info;
	struct seen s = {.f = f};
	struct buf b;

	facts.diff_id = pinned.layers[0];
	assert_ok(blob_set_facts(f->store, &pinned.layers[0], &facts, &f->err), &f->err);
	assert_ok(catalog_put_state(f->store, "k", "v", 1, &f->err), &f->err);
	rebuild(f, &s);
	assert_all_there(f, &pinned);
	assert_int_equal(blob_stat(f->store, &pinned.layers[0], &info, &f->err), 1);
	assert_true(info.has_facts);
	assert_int_equal(info.facts.size, 77);
	buf_init(&b, 100);
	assert_int_equal(catalog_get_state(f->store, "k", &b, &f->err), 1);
	buf_done(&b);
}

static void rebuild_takes_over_names_of_other_tools(void **state)
{
	struct fixture *f = *state;
	struct fixture_image im = fixture_image(f, NULL, NULL, ab);
	struct varve_image_list l;
	struct seen s = {.f = f};
	char text[1000];
	const char *found;

	snprintf(text, sizeof(text),
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" OCI_MT_MANIFEST
		 "\",\"digest\":\"%s\",\"size\":3,\"annotations\":"
		 "{\"org.opencontainers.image.ref.name\":\"theirs:1\"}}]}",
		 DIGEST_STR(&im.manifest));
	fixture_write(f, "index.json", text);
	rebuild(f, &s);
	assert_ok(varve_store_find(f->store, "docker.io/library/theirs:1", NULL, &l, &f->err),
		  &f->err);
	assert_true(l.items[0].complete);
	varve_image_list_free(&l);
	found = strstr(fixture_file(f, "index.json"), "\"theirs:1\"");
	assert_non_null(found);
	assert_null(strstr(found + 1, "\"theirs:1\"")); /* one entry of the name, ours */
	assert_clean(f);
}

/* --- what a cut leaves, made by hand --- */

static void cut_between_publish_and_record(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};
	struct varve_digest d = fixture_blob(f, "published");

	fixture_reopen(f, false);
	assert_int_equal(run(f, &s, false, true).errors, 0);
	assert_non_null(strstr(s.text, "note blob"));
	assert_int_equal(blob_stat(f->store, &d, NULL, &f->err), 1);
	assert_clean(f);
}

static void cut_between_record_and_index_json(void **state)
{
	struct fixture *f = *state;
	struct fixture_image im;
	char *before;

	before = strdup(fixture_file(f, "index.json"));
	im = fixture_image(f, "one:1", NULL, ab);
	(void)im;
	/* As if it had died before it wrote either file. The seal is of an earlier time, too. */
	fixture_write(f, "index.json", before);
	fixture_write(f, "db/lock", "");
	free(before);
	fixture_reopen(f, false);
	assert_non_null(strstr(fixture_file(f, "index.json"), "one:1"));
	assert_clean(f);
}

static int bump(struct index_txn *t, void *user, struct varve_err *e)
{
	(void)user;
	return index_bump(t, e);
}

/* A check that is under way while a writer dies between its record and index.json. */
static void cut_beside_a_check(void **state)
{
	struct fixture *f = *state;
	char *before = strdup(fixture_file(f, "index.json"));
	pid_t writer = fork();
	int status;

	if (writer == 0) {
		f->store = NULL; /* the parent's */
		assert_ok(fixture_open(f, false, false), &f->err);
		fixture_image(f, "one:1", NULL, ab);
		fixture_write(f, "index.json", before);
		/* The records are a change ahead of what the seal says of the file. */
		assert_ok(index_update(f->store->index, bump, NULL, &f->err), &f->err);
		_exit(0);
	}
	assert_true(writer > 0);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
	assert_string_equal(fixture_file(f, "index.json"), before);
	free(before);
	assert_clean(f);
	assert_non_null(strstr(fixture_file(f, "index.json"), "one:1"));
}

static void cut_while_downloading(void **state)
{
	struct fixture *f = *state;
	struct ingest_want want = {.size = 11};
	struct ingest *in;
	char name[200];

	assert_ok(hash_bytes(VARVE_SHA256, "hello world", 11, &want.digest, &f->err), &f->err);
	snprintf(name, sizeof(name), "tmp/partial/%s", DIGEST_HEX(&want.digest));
	fixture_write(f, name, "hellx"); /* torn by a power cut */
	assert_clean(f);
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_int_equal(ingest_offset(in), 5);
	assert_ok(ingest_write(in, " world", 6, &f->err), &f->err);
	assert_int_equal(ingest_commit(&in, NULL, &f->err), -VARVE_E_DIGEST);
	ingest_close(in, true);
	fixture_write(f, name, "hello world"); /* complete, but never published */
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_int_equal(ingest_offset(in), 11);
	assert_ok(ingest_commit(&in, NULL, &f->err), &f->err);
	fixture_write(f, name, "much longer than it may be");
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 1);
	assert_clean(f);
}

static void cut_while_creating(void **state)
{
	struct fixture *f = *state;
	static const char *const steps[] = {"VERSION", "oci-layout", "index.json", "db/data.mdb"};
	char path[512];
	size_t i, k;

	for (i = 0; i < 4; i++) {
		varve_store_close(f->store);
		f->store = NULL;
		for (k = 0; k <= i; k++) {
			snprintf(path, sizeof(path), "%s/%s", f->path, steps[k]);
			assert_int_equal(unlink(path), 0);
		}
		assert_int_equal(fixture_open(f, false, false), -VARVE_E_NOTFOUND);
		assert_ok(fixture_open(f, true, false), &f->err);
		assert_clean(f);
		fixture_image(f, "one:1", NULL, ab);
		assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	}
}

static int forget_image(struct index_txn *t, void *user, struct varve_err *e)
{
	return index_del(t, INDEX_IMAGE, record_digest_key(user), record_digest_len(user), e);
}

static void an_installed_tree_keeps_its_image(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};
	struct fixture_image one = fixture_image(f, NULL, NULL, ab);
	struct varve_install_record in = {.id = "0123456789abcdef",
					  .roots = f->dir,
					  .label = "one",
					  .directory = "store",
					  .manifest = one.manifest,
					  .state = VARVE_INSTALL_READY};
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	in.dev = st.st_dev;
	in.ino = st.st_ino;
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_int_equal(run(f, &s, false, false).errors, 0);
	assert_string_equal(s.text, "");
	assert_ok(index_update(f->store->index, forget_image, &one.manifest, &f->err), &f->err);
	assert_int_equal(run(f, &s, false, false).errors, 1);
	assert_non_null(strstr(s.text, "error install one: its image sha256:"));
	assert_int_equal(run(f, &s, true, false).errors, 0);
	assert_non_null(strstr(s.text, "repaired install one"));
	assert_clean(f);
	in.manifest.bytes[0] ^= 1; /* the store does not have that one at all */
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_int_equal(run(f, &s, false, false).errors, 0);
	assert_non_null(strstr(s.text, "note install one: its image sha256:"));
}

static void remove_part(struct fixture *f, const char *name)
{
	char path[512];
	int dir;

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	if (unlink(path) == 0)
		return;
	dir = fsx_open_dir(AT_FDCWD, f->path);
	assert_true(dir >= 0);
	assert_ok(fsx_remove_tree(dir, name, NULL, NULL, &f->err), &f->err);
	close(dir);
}

/* Whatever of this is lost, nothing but work is: the next command makes it again. */
static void what_may_vanish_is_made_again(void **state)
{
	struct fixture *f = *state;
	static const char *const parts[] = {"lock", "gate", "leases", "tmp/partial",
					    "tmp",  "aux",  "trash",  "blobs/sha512"};
	struct varve_gc_options gc = VARVE_GC_OPTIONS_INIT;
	struct varve_gc_result removed;
	struct lease *lease = NULL;
	size_t i;

	fixture_image(f, "kept:1", NULL, ac);
	for (i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		varve_store_close(f->store);
		f->store = NULL;
		if (strchr(parts[i], '/')) {
			char path[512];

			snprintf(path, sizeof(path), "%s/%s", f->path, parts[i]);
			assert_int_equal(rmdir(path), 0);
		} else {
			remove_part(f, parts[i]);
		}
		assert_ok(fixture_open(f, false, false), &f->err);
		assert_true(fixture_exists(f, parts[i]));
		fixture_image(f, "one:1", NULL, ab);
		assert_ok(lease_begin(&lease, f->store, "test", &f->err), &f->err);
		lease_end(lease);
		assert_clean(f);
		assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
		assert_ok(varve_store_gc(f->store, &gc, &removed, &f->err), &f->err);
		assert_int_equal(removed.removed_blobs, 3);
		assert_clean(f);
	}
}

static void a_lost_database_directory_is_rebuilt(void **state)
{
	struct fixture *f = *state;
	struct seen s = {.f = f};

	fixture_image(f, "one:1", NULL, ab);
	varve_store_close(f->store);
	f->store = NULL;
	remove_part(f, "db");
	assert_ok(fixture_open(f, false, false), &f->err);
	assert_int_equal(run(f, &s, false, false).errors, 1);
	assert_non_null(strstr(s.text, "check --rebuild"));
	rebuild(f, &s);
	assert_clean(f);
	assert_int_equal(run(f, &s, false, false).tags, 1);
}

/* docs/store-format.md: blobs, index.json and installs.json are what to back up. */
static void a_backup_is_restored(void **state)
{
	struct fixture *f = *state;
	static const char *const rest[] = {"VERSION", "oci-layout", "lock",   "gate", "db",
					   "aux",     "tmp",        "leases", "trash"};
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_install_record in = {.id = "0123456789abcdef",
					  .roots = "/nonexistent",
					  .label = "one",
					  .directory = "rootfs_one",
					  .state = VARVE_INSTALL_READY};
	struct varve_check_result r;
	struct seen s = {.f = f};
	char text[1000];
	size_t i;

	in.manifest = fixture_image(f, "one:1", NULL, ab).manifest;
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	varve_store_close(f->store);
	f->store = NULL;
	for (i = 0; i < sizeof(rest) / sizeof(*rest); i++)
		remove_part(f, rest[i]);
	assert_int_equal(fixture_open(f, true, false), -VARVE_E_NOSTORE);
	assert_non_null(strstr(varve_err_text(&f->err, text, sizeof(text)), "check --rebuild"));
	opt.path = f->path;
	opt.restore = true;
	assert_ok(varve_store_open(&f->store, &f->ctx, &opt, &f->err), &f->err);
	rebuild(f, &s);
	assert_true(fixture_exists(f, "oci-layout"));
	r = run(f, &s, false, true);
	assert_int_equal(r.errors, 0);
	assert_int_equal(r.tags, 1);
	assert_int_equal(r.images, 1);
	assert_int_equal(r.installs, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_sound_store_is_clean),
		TEST(damaged_blobs_are_found_and_healed),
		TEST(damaged_documents_are_found),
		TEST(index_json_is_made_again),
		TEST(a_lost_database_is_rebuilt),
		TEST(any_damaged_page_is_survived),
		TEST(one_flipped_byte_in_a_record_is_found),
		TEST(rebuild_of_a_sound_database_loses_nothing),
		TEST(rebuild_takes_over_names_of_other_tools),
		TEST(cut_between_publish_and_record),
		TEST(cut_between_record_and_index_json),
		TEST(cut_beside_a_check),
		TEST(cut_while_downloading),
		TEST(cut_while_creating),
		TEST(an_installed_tree_keeps_its_image),
		TEST(what_may_vanish_is_made_again),
		TEST(a_lost_database_directory_is_rebuilt),
		TEST(a_backup_is_restored),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
