/* SPDX-License-Identifier: Apache-2.0 */
/* What gc keeps, what it removes, and why; what others hold while it runs. */
#include "store_fixture.h"

#include "store/base/hash.h"
#include "store/blob_record.h"
#include "store/care/discard.h"
#include "store/care/gc_files.h"
#include "store/record.h"
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const ab[] = {"layer a", "layer b", NULL};
static const char *const ac[] = {"layer a", "layer c is longer", NULL};
static const char *const d[] = {"layer d", NULL};

/* The last verdict on one name, and how many there were of a kind. */
struct seen {
	const char *name;
	enum varve_gc_verdict verdict;
	char reason[256], what[32];
	size_t n;
};

static void see(void *user, const struct varve_gc_item *item)
{
	struct seen *s = user;

	if (strcmp(item->name, s->name) != 0)
		return;
	s->verdict = item->verdict;
	snprintf(s->reason, sizeof(s->reason), "%s", item->reason);
	snprintf(s->what, sizeof(s->what), "%s", item->what);
	s->n++;
}

static struct varve_gc_result run(struct fixture *f, struct varve_gc_options *opt)
{
	struct varve_gc_result r;

	assert_ok(varve_store_gc(f->store, opt, &r, &f->err), &f->err);
	return r;
}

static bool has(struct fixture *f, const struct varve_digest *digest)
{
	char path[512];

	return access(fixture_blob_path(f, digest, path), F_OK) == 0;
}

static size_t images(struct fixture *f)
{
	struct varve_image_list l;
	size_t n;

	assert_ok(varve_store_images(f->store, &l, &f->err), &f->err);
	n = l.n;
	varve_image_list_free(&l);
	return n;
}

/* A failed command takes back what it published, but not what an image or somebody else needs. */
static void a_failed_command_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct varve_digest alone, adopted, held, named;
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_store *other;
	struct lease *lease;

	opt.path = f->path;
	alone = fixture_blob(f, "nobody");
	adopted = fixture_blob(f, "looked up");
	held = fixture_blob(f, "held by another");
	assert_int_equal(unlink(fixture_blob_path(f, &one.layers[0], (char[512]){0})), 0);
	named = fixture_blob(f, "layer a");
	assert_true(varve_digest_equal(&named, &one.layers[0]));

	assert_ok(varve_store_open(&other, &f->ctx, &opt, &f->err), &f->err);
	assert_int_equal(blob_stat(other, &adopted, NULL, &f->err), 1);
	assert_ok(lease_begin(&lease, other, "test", &f->err), &f->err);
	assert_ok(lease_add(lease, &held, &f->err), &f->err);
	store_discard_published(f->store);
	assert_false(has(f, &alone));
	assert_false(has(f, &adopted));
	assert_int_equal(blob_stat(f->store, &adopted, NULL, &f->err), 0);
	assert_true(has(f, &held));
	assert_true(has(f, &named));
	assert_true(has(f, &one.manifest));
	assert_int_equal(fixture_count(f, "trash"), 0);
	lease_end(lease);
	varve_store_close(other);
}

static void removes_what_nothing_needs(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct fixture_image two = fixture_image(f, "two:1", NULL, ac);
	struct varve_gc_result r = run(f, &opt);
	struct seen s = {.name = DIGEST_STR(&one.layers[1])};
	uint64_t would;

	assert_int_equal(r.removed_blobs, 0);
	assert_int_equal(r.kept_blobs, 7);
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	opt.dry_run = true;
	opt.item = see;
	opt.user = &s;
	r = run(f, &opt);
	assert_int_equal(r.removed_blobs, 3);
	assert_int_equal(s.verdict, VARVE_GC_REMOVE);
	assert_string_equal(s.reason, "no image needs it");
	assert_true(has(f, &one.layers[1]));
	would = r.removed_bytes;
	opt.dry_run = false;
	s = (struct seen){.name = DIGEST_STR(&two.layers[0])};
	r = run(f, &opt);
	assert_int_equal(r.removed_bytes, would);
	assert_false(has(f, &one.layers[1]));
	assert_false(has(f, &one.manifest));
	assert_true(has(f, &one.layers[0])); /* shared */
	assert_string_equal(s.reason, "tag two:1");
	assert_int_equal(images(f), 1);
	assert_int_equal(fixture_count(f, "trash"), 0);
	assert_int_equal(run(f, &opt).removed_blobs, 0);
}

static void pins_and_leases_hold(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct fixture_image other = fixture_image(f, "one:1", NULL, ac); /* the name moved */
	struct lease *lease = NULL;

	assert_ok(lease_begin(&lease, f->store, "test", &f->err), &f->err);
	assert_ok(lease_add(lease, &one.manifest, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	lease_end(lease);
	assert_int_equal(fixture_count(f, "leases"), 0);
	assert_ok(varve_store_pin(f->store, DIGEST_STR(&one.manifest), true, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_non_null(strstr(fixture_file(f, "index.json"), DIGEST_STR(&one.manifest)));
	assert_ok(varve_store_pin(f->store, DIGEST_STR(&one.manifest), false, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 3);
	assert_true(has(f, &other.layers[0]));
}

static void a_lease_of_a_killed_process_holds_nothing(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct varve_digest blob = {0};
	struct timespec old[2] = {{time(NULL) - 90000, 0}, {time(NULL) - 90000, 0}};
	int ready[2], status;
	char byte, path[512];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_ok(hash_bytes(VARVE_SHA256, "layer d", 7, &blob, &f->err), &f->err);
	pid = fork();
	if (pid == 0) { /* a puller between its lease and its record */
		struct lease *lease;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fixture_open(f, false, false) < 0 || /* a handle is not for two processes */
		    lease_begin(&lease, f->store, "test", NULL) < 0 ||
		    ingest_bytes(f->store, lease, VARVE_BLOB_LAYER, "layer d", 7, NULL, NULL,
				 NULL) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	opt.max_size = 1;
	assert_int_equal(varve_store_gc(f->store, &opt, &(struct varve_gc_result){0}, &f->err) ==
					 0 ||
				 f->err.code == VARVE_E_BUDGET,
			 1);
	assert_true(has(f, &blob));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(fixture_count(f, "leases"), 1);
	(void)varve_store_gc(f->store, &opt, &(struct varve_gc_result){0}, &f->err);
	assert_int_equal(fixture_count(f, "leases"), 0);
	/* Not even a budget takes it before its day is over: it may be of another tool. */
	assert_true(has(f, &blob));
	assert_int_equal(utimensat(AT_FDCWD, fixture_blob_path(f, &blob, path), old, 0), 0);
	assert_int_equal(run(f, &opt).removed_blobs, 1);
	assert_false(has(f, &blob));
	close(ready[0]);
	close(ready[1]);
}

static void orphans_have_a_day(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct varve_digest blob = fixture_blob(f, "orphan");
	struct seen s = {.name = DIGEST_STR(&blob)};
	struct timespec old[2] = {{time(NULL) - 90000, 0}, {time(NULL) - 90000, 0}};
	char path[512];

	opt.item = see;
	opt.user = &s;
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_int_equal(s.verdict, VARVE_GC_KEEP);
	assert_int_equal(utimensat(AT_FDCWD, fixture_blob_path(f, &blob, path), old, 0), 0);
	assert_int_equal(run(f, &opt).removed_blobs, 1);
	assert_false(has(f, &blob));
}

static void installs_hold_their_image(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct varve_install_record in = {.id = "0123456789abcdef",
					  .roots = f->dir,
					  .label = "one_1",
					  .directory = "rootfs_one_1",
					  .manifest = one.manifest,
					  .state = VARVE_INSTALL_READY};
	struct varve_install_list l;
	char tree[200];
	struct stat st;

	snprintf(tree, sizeof(tree), "%s/rootfs_one_1", f->dir);
	assert_int_equal(mkdir(tree, 0755), 0);
	assert_int_equal(stat(tree, &st), 0);
	in.dev = st.st_dev;
	in.ino = st.st_ino;
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	opt.max_size = 1;
	opt.older_than = 1;
	assert_int_equal(varve_store_gc(f->store, &opt, &(struct varve_gc_result){0}, &f->err),
			 -VARVE_E_BUDGET);
	assert_true(has(f, &one.layers[0]));
	/* The tree was deleted by hand: its record goes, and what it held. */
	assert_int_equal(rmdir(tree), 0);
	opt = (struct varve_gc_options)VARVE_GC_OPTIONS_INIT;
	assert_int_equal(run(f, &opt).removed_blobs, 4);
	assert_ok(varve_store_installs(f->store, NULL, &l, &f->err), &f->err);
	assert_int_equal(l.n, 0);
	varve_install_list_free(&l);
	/* A roots directory that is not there may be on a disk that is not mounted. */
	one = fixture_image(f, "one:1", NULL, ab);
	in.roots = "/nonexistent/roots";
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	/* And neither is one that is there, but on another file system than it was. */
	in.roots = f->dir;
	in.dev++;
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	in.dev--;
	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 4);
}

static struct varve_install_record tree_of(struct fixture *f, const struct varve_digest *manifest)
{
	struct varve_install_record in = {.id = "0123456789abcdef",
					  .roots = f->dir,
					  .label = "one_1",
					  .directory = "rootfs_one_1",
					  .manifest = *manifest,
					  .state = VARVE_INSTALL_READY};
	char tree[200];
	struct stat st;

	snprintf(tree, sizeof(tree), "%s/rootfs_one_1", f->dir);
	assert_int_equal(mkdir(tree, 0755), 0);
	assert_int_equal(stat(tree, &st), 0);
	in.dev = st.st_dev;
	in.ino = st.st_ino;
	return in;
}

static int forget_image(struct index_txn *t, void *user, struct varve_err *e)
{
	return index_del(t, INDEX_IMAGE, record_digest_key(user), record_digest_len(user), e);
}

static void an_installed_image_cannot_be_removed(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, NULL, NULL, ab);
	struct varve_install_record in = tree_of(f, &one.manifest);
	char text[500];

	assert_ok(catalog_put_install(f->store, &in, &f->err), &f->err);
	assert_int_equal(varve_store_untag(f->store, DIGEST_STR(&one.manifest), NULL, &f->err),
			 -VARVE_E_CONFLICT);
	varve_err_text(&f->err, text, sizeof(text));
	assert_non_null(strstr(text, "varve remove --installed one_1"));
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_int_equal(images(f), 1);
	/* Even without its record the tree keeps the layers. */
	assert_ok(index_update(f->store->index, forget_image, &one.manifest, &f->err), &f->err);
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_true(has(f, &one.layers[0]) && has(f, &one.config));
}

static void entries_of_other_tools_hold(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct seen s = {.name = DIGEST_STR(&one.layers[1])};
	char text[1000];

	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	snprintf(text, sizeof(text),
		 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" OCI_MT_MANIFEST
		 "\",\"digest\":\"%s\",\"size\":3,\"annotations\":"
		 "{\"org.opencontainers.image.ref.name\":\"theirs\"}}]}",
		 DIGEST_STR(&one.manifest));
	fixture_write(f, "index.json", text);
	opt.item = see;
	opt.user = &s;
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_string_equal(s.reason, "index.json theirs");
	fixture_write(f, "index.json", "{\"schemaVersion\":2,\"manifests\":[]}");
	assert_int_equal(run(f, &opt).removed_blobs, 4);
}

static void budget_drops_the_least_recently_used(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	const char *const keep[] = {"two:*", NULL};
	struct varve_image_list l;
	uint64_t total = 0;
	size_t i;

	fixture_image(f, "one:1", NULL, ab);
	sleep(1);
	fixture_image(f, "two:1", NULL, ac);
	sleep(1);
	fixture_image(f, "three:1", NULL, d);
	assert_ok(varve_store_images(f->store, &l, &f->err), &f->err);
	for (i = 0; i < l.n; i++)
		total += l.items[i].own_size;
	varve_image_list_free(&l);
	opt.max_size = total; /* less than all, as layer a is shared: one name must go */
	assert_int_equal(run(f, &opt).removed_tags, 1);
	assert_int_equal(varve_store_find(f->store, "one:1", NULL, &l, &f->err), -VARVE_E_NOTFOUND);
	opt.max_size = 1;
	opt.keep = keep;
	assert_int_equal(varve_store_gc(f->store, &opt, &(struct varve_gc_result){0}, &f->err),
			 -VARVE_E_BUDGET);
	assert_int_equal(images(f), 1);
	assert_ok(varve_store_find(f->store, "two:1", NULL, &l, &f->err), &f->err);
	varve_image_list_free(&l);
	opt = (struct varve_gc_options)VARVE_GC_OPTIONS_INIT;
	opt.older_than = 3600;
	assert_int_equal(run(f, &opt).removed_tags, 0);
	sleep(1);
	opt.older_than = 1;
	assert_int_equal(run(f, &opt).removed_tags, 1);
	assert_int_equal(images(f), 0);
	assert_int_equal(fixture_count(f, "blobs/sha256"), 0);
}

static void partials(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct ingest_want want = {.size = 11};
	struct timespec old[2] = {{time(NULL) - 8 * 86400, 0}, {time(NULL) - 8 * 86400, 0}};
	struct ingest *in;
	char path[512];

	assert_ok(hash_bytes(VARVE_SHA256, "hello world", 11, &want.digest, &f->err), &f->err);
	snprintf(path, sizeof(path), "%s/tmp/partial/%s", f->path, DIGEST_HEX(&want.digest));
	assert_int_equal(ingest_open(&in, f->store, NULL, &want, &f->err), 0);
	assert_ok(ingest_write(in, "hello", 5, &f->err), &f->err);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	assert_int_equal(run(f, &opt).removed_partials, 0); /* is being downloaded */
	ingest_close(in, true);
	assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
	assert_int_equal(run(f, &opt).removed_partials, 0); /* the next pull resumes it */
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	assert_int_equal(run(f, &opt).removed_partials, 1);
	assert_int_equal(fixture_count(f, "tmp/partial"), 0);
}

/* What a killed download had reserved: df and gc see it, gc gives it back. */
static void reserved_blocks(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	const char *name = "tmp/partial/"
			   "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
	struct varve_df df;
	char path[512];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->path, name);
	fixture_write(f, name, "hello");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20) < 0) {
		close(fd);
		skip();
	}
	assert_ok(varve_store_df(f->store, &df, &f->err), &f->err);
	assert_true(df.partial_bytes >= 1 << 20);
	opt.dry_run = true;
	assert_int_equal(run(f, &opt).removed_partials, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks >= (1 << 20) / 512);
	opt.dry_run = false;
	assert_int_equal(run(f, &opt).removed_partials, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks < (1 << 19) / 512);
	assert_int_equal(st.st_size, 5);
	/* Of nothing, nothing can be continued. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(run(f, &opt).removed_partials, 1);
	assert_false(fixture_exists(f, name));
	close(fd);
}

static void a_budget_takes_partials_only_for_their_room(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct varve_gc_result r;
	const char *name = "tmp/partial/"
			   "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
	uint64_t bytes;

	fixture_image(f, "one:1", NULL, ab);
	bytes = run(f, &opt).kept_bytes;
	fixture_write(f, name, "hello");
	opt.max_size = bytes + 5; /* what the store takes now */
	assert_int_equal(run(f, &opt).removed_partials, 0);
	opt.max_size = bytes + 4;
	opt.dry_run = true;
	r = run(f, &opt);
	assert_int_equal(r.removed_partials, 1);
	assert_int_equal(r.removed_bytes, 5);
	assert_true(fixture_exists(f, name));
	opt.dry_run = false;
	r = run(f, &opt);
	assert_int_equal(r.removed_partials, 1);
	assert_int_equal(r.removed_tags, 0); /* a name goes only after it */
	assert_int_equal(r.kept_bytes, bytes);
	assert_false(fixture_exists(f, name));
}

static void nothing_is_a_budget_too(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);

	fixture_image(f, "two:1", NULL, ac);
	assert_ok(varve_store_pin(f->store, "one:1", true, &f->err), &f->err);
	opt.older_than = 0;
	assert_int_equal(run(f, &opt).removed_tags, 1);
	assert_true(has(f, &one.layers[1]));
	assert_ok(varve_store_pin(f->store, "one:1", false, &f->err), &f->err);
	opt = (struct varve_gc_options)VARVE_GC_OPTIONS_INIT;
	opt.max_size = 0;
	assert_int_equal(run(f, &opt).removed_tags, 1);
	assert_int_equal(fixture_count(f, "blobs/sha256"), 0);
}

static int age_layer(struct index_txn *t, void *user, struct varve_err *e)
{
	struct blob_record rec;
	int r = blob_record_load(t, user, &rec, e);

	rec.added_at -= 7200;
	return r == 1 ? blob_record_store(t, user, &rec, e) : -1;
}

static void the_young_are_kept_whole(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct seen s = {.name = DIGEST_STR(&one.layers[0])};

	assert_int_equal(index_update(f->store->index, age_layer, &one.layers[0], &f->err), 0);
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	opt.grace = 3600;
	opt.item = see;
	opt.user = &s;
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_string_equal(s.reason, "younger than asked");
	assert_int_equal(images(f), 1);
	opt.grace = 0;
	assert_int_equal(run(f, &opt).removed_blobs, 4);
}

static void what_an_unreadable_index_may_name_stays(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct fixture_image one = fixture_image(f, "one:1", NULL, ab);
	struct varve_digest theirs = fixture_blob(f, "theirs");
	struct timespec old[2] = {{time(NULL) - 90000, 0}, {time(NULL) - 90000, 0}};
	struct seen s = {.name = DIGEST_STR(&theirs)};
	char path[512];

	opt.item = see;
	opt.user = &s;
	assert_int_equal(utimensat(AT_FDCWD, fixture_blob_path(f, &theirs, path), old, 0), 0);
	assert_ok(varve_store_untag(f->store, "one:1", NULL, &f->err), &f->err);
	fixture_write(f, "index.json", "{\"manifests\": [");
	f->warnings = 0;
	assert_int_equal(run(f, &opt).removed_blobs, 0);
	assert_int_equal(images(f), 1);
	assert_true(f->warnings > 0);
	assert_non_null(strstr(s.reason, "index.json cannot be read"));
	/* A writer made it again; what was in the old one is not known all the same. */
	fixture_image(f, "two:1", NULL, ac);
	assert_int_equal(run(f, &opt).removed_blobs, 3);
	assert_false(has(f, &one.manifest));
	assert_true(has(f, &theirs));
	assert_non_null(strstr(s.reason, "index.json.bad may name it"));
	snprintf(path, sizeof(path), "%s/index.json.bad", f->path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(run(f, &opt).removed_blobs, 1);
	assert_false(has(f, &theirs));
}

static void what_cut_commands_leave_is_removed(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;

	fixture_write(f, "tmp/x.0123456789abcdef", "scratch");
	fixture_write(f, "trash/0123456789abcdef-gc", "victim");
	fixture_write(f, "leases/0123456789abcdef", "# pull\n");
	run(f, &opt);
	assert_int_equal(fixture_count(f, "tmp"), 1);
	assert_int_equal(fixture_count(f, "trash"), 0);
	assert_int_equal(fixture_count(f, "leases"), 0);
}

static void what_got_an_owner_since_the_look_stays(void **state)
{
	struct fixture *f = *state;
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct varve_gc_result r = {0};
	struct gc_trash trash = {0};
	struct gc_files files = {0};
	struct gc_state st;
	char path[512];
	int fd;

	fixture_write(f, "tmp/x.0123456789abcdef", "scratch");
	assert_ok(gc_begin(&st, f->store, &opt, &f->err), &f->err);
	assert_ok(gc_decide(&st, &f->err), &f->err);
	assert_ok(gc_files_scan(&files, &st, &f->err), &f->err);
	assert_int_equal(files.n, 1);
	assert_true(gc_file_goes(&files.items[0], &st));
	snprintf(path, sizeof(path), "%s/tmp/x.0123456789abcdef", f->path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_ok(gc_files_remove(&files, &st, GC_FILES_LOCKED, &trash, &r, &f->err), &f->err);
	assert_true(fixture_exists(f, "tmp/x.0123456789abcdef"));
	assert_string_equal(files.items[0].reason, "is in use now");
	close(fd);
	gc_files_done(&files);
	gc_end(&st);
}

static void df_tells_shared_from_own(void **state)
{
	struct fixture *f = *state;
	struct varve_df df;

	fixture_image(f, "one:1", NULL, ab);
	fixture_image(f, "two:1", NULL, ac);
	fixture_image(f, NULL, NULL, d);
	fixture_blob(f, "orphan");
	fixture_write(f, "trash/0123456789abcdef-gc", "victim");
	fixture_write(f, "tmp/x.0123456789abcdef", "scratch");
	assert_ok(varve_store_df(f->store, &df, &f->err), &f->err);
	assert_int_equal(df.blobs, 10);
	assert_int_equal(df.shared_bytes, strlen("layer a"));
	assert_int_equal(df.own_bytes + df.shared_bytes, df.blob_bytes);
	assert_int_equal(df.images, 3);
	assert_int_equal(df.tags, 2);
	assert_true(df.unneeded_bytes > strlen("layer d"));
	assert_int_equal(df.orphan_bytes, strlen("orphan"));
	assert_int_equal(df.trash_bytes, strlen("victim"));
	assert_int_equal(df.scratch_bytes, strlen("scratch"));
	assert_int_equal(df.reclaimable_bytes,
			 df.unneeded_bytes + df.trash_bytes + df.scratch_bytes);
	assert_true(df.index_bytes > 0 && df.fs_size > df.fs_free);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(removes_what_nothing_needs),
		TEST(a_failed_command_leaves_nothing),
		TEST(pins_and_leases_hold),
		TEST(a_lease_of_a_killed_process_holds_nothing),
		TEST(orphans_have_a_day),
		TEST(installs_hold_their_image),
		TEST(an_installed_image_cannot_be_removed),
		TEST(entries_of_other_tools_hold),
		TEST(budget_drops_the_least_recently_used),
		TEST(partials),
		TEST(reserved_blocks),
		TEST(a_budget_takes_partials_only_for_their_room),
		TEST(nothing_is_a_budget_too),
		TEST(the_young_are_kept_whole),
		TEST(what_an_unreadable_index_may_name_stays),
		TEST(what_cut_commands_leave_is_removed),
		TEST(what_got_an_owner_since_the_look_stays),
		TEST(df_tells_shared_from_own),
	};

	return cmocka_run_group_tests_name("gc", tests, NULL, NULL);
}
