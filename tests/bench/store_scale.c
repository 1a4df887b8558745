/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fill a store's database with many images and measure what walks over all of them: open, list,
 * find, gc's mark, df.
 *
 *     store_scale [IMAGES [LAYERS]]      5000 images of 18 layers: 100,000 blobs
 *
 * One layer in ten is shared. Records only: no blob files, so that filling takes seconds; each step
 * runs in a process of its own, and the memory is that process' peak.
 */
#include "store/base/buf.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/blob_record.h"
#include "store/catalog.h"
#include "store/image_doc.h"
#include "store/mirror.h"
#include "store/record.h"
#include "store/state.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned n_images = 5000, n_layers = 18;

static void die(struct varve_err *e)
{
	char text[1024];

	fprintf(stderr, "store_scale: %s\n", varve_err_text(e, text, sizeof(text)));
	exit(1);
}

static struct varve_digest name_of(const char *what, unsigned i, unsigned k)
{
	struct varve_digest d;
	char text[64];

	snprintf(text, sizeof(text), "%s-%u-%u", what, i, k);
	(void)hash_bytes(VARVE_SHA256, text, strlen(text), &d, NULL);
	return d;
}

static int put_blob(struct index_txn *t, const struct varve_digest *d, uint64_t size,
		    enum varve_blob_kind kind, struct varve_err *e)
{
	struct blob_record rec = {.size = size,
				  .state = BLOB_PRESENT,
				  .kind = kind,
				  .added_at = 1,
				  .verified_at = 1,
				  .mtime_ns = 1};

	if (kind == VARVE_BLOB_LAYER) {
		rec.has_facts = true;
		rec.facts.diff_id = *d;
		rec.facts.size = size * 3;
	}
	(void)blob_record_add_origin(&rec, span_str("registry:docker.io/library/image"));
	return blob_record_store(t, d, &rec, e);
}

static int put_tag(struct index_txn *t, unsigned i, const struct varve_digest *manifest,
		   struct varve_err *e)
{
	struct tag_record rec = {.manifest = *manifest, .target = *manifest, .is_default = true};
	char name[64], reference[100], key[RECORD_KEY_MAX];
	struct buf b;
	size_t n;
	int r;

	snprintf(name, sizeof(name), "image%u:latest", i);
	snprintf(reference, sizeof(reference), "docker.io/library/%s", name);
	rec.name = span_str(name);
	rec.reference = span_str(reference);
	rec.source = span_str("registry");
	rec.origin = span_str("registry:docker.io/library/image");
	(void)varve_platform_parse(&rec.platform, "linux/amd64", NULL);
	n = tag_key(key, rec.reference, &rec.platform);
	buf_init(&b, RECORD_MAX);
	tag_record_put(&b, &rec);
	r = index_put(t, INDEX_TAG, key, n, b.p, b.n, e);
	buf_done(&b);
	return r;
}

static int put_image(struct index_txn *t, void *user, struct varve_err *e)
{
	struct image_doc doc = IMAGE_DOC_INIT;
	unsigned i = *(unsigned *)user, k;
	struct varve_digest manifest = name_of("manifest", i, 0), config = name_of("config", i, 0);
	int r = put_blob(t, &manifest, 3000, VARVE_BLOB_MANIFEST, e);

	if (r == 0)
		r = put_blob(t, &config, 5000, VARVE_BLOB_CONFIG, e);
	if (r == 0)
		r = image_doc_add(&doc, ROLE_MANIFEST, &manifest, 3000, e);
	if (r == 0)
		r = image_doc_add(&doc, ROLE_CONFIG, &config, 5000, e);
	for (k = 0; r == 0 && k < n_layers; k++) {
		struct varve_digest layer = name_of("layer", k % 10 ? i : i / 10, k);

		r = put_blob(t, &layer, 1000000 + k, VARVE_BLOB_LAYER, e);
		if (r == 0)
			r = image_doc_add(&doc, ROLE_LAYER, &layer, 1000000 + k, e);
	}
	doc.record.n_layers = n_layers;
	(void)varve_platform_parse(&doc.record.platform, "linux/amd64", NULL);
	if (r == 0)
		r = image_doc_put(&doc, t, e);
	image_doc_done(&doc);
	return r == 0 ? put_tag(t, i, &manifest, e) : r;
}

static int put_many(struct index_txn *t, void *user, struct varve_err *e)
{
	unsigned i, first = *(unsigned *)user;
	int r = 0;

	for (i = first; r == 0 && i < n_images && i < first + 10; i++)
		r = put_image(t, &i, e);
	return r == 0 ? index_bump(t, e) : r;
}

static struct varve_store *open_store(const char *path, bool create, struct varve_err *e)
{
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_store *s;

	opt.path = path;
	opt.create = create;
	if (varve_store_open(&s, NULL, &opt, e) < 0)
		die(e);
	return s;
}

static void fill(const char *path)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_store *s = open_store(path, true, &e);
	unsigned i;

	for (i = 0; i < n_images; i += 10) {
		if (index_update(s->index, put_many, &i, &e) < 0)
			die(&e);
	}
	if (mirror_update(s, MIRROR_ALWAYS, &e) < 0)
		die(&e);
	varve_store_close(s);
}

static int do_open(struct varve_store *s, struct varve_err *e)
{
	struct buf b;
	int r;

	buf_init(&b, 100);
	r = catalog_get_state(s, "none", &b, e);
	buf_done(&b);
	return r;
}

static int do_list(struct varve_store *s, struct varve_err *e)
{
	struct varve_image_list l;

	return varve_store_images(s, &l, e);
}

static int do_find(struct varve_store *s, struct varve_err *e)
{
	struct varve_image_list l;

	return varve_store_find(s, "image77", NULL, &l, e);
}

static int do_blobs(struct varve_store *s, struct varve_err *e)
{
	struct varve_blob_list l;

	return varve_store_blobs(s, &l, e);
}

static int do_gc(struct varve_store *s, struct varve_err *e)
{
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct varve_gc_result r;

	opt.dry_run = true;
	return varve_store_gc(s, &opt, &r, e);
}

static int do_budget(struct varve_store *s, struct varve_err *e)
{
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct varve_gc_result r;

	opt.dry_run = true;
	opt.max_size = (uint64_t)n_images * n_layers * 1000000 / 4;
	return varve_store_gc(s, &opt, &r, e);
}

static int do_df(struct varve_store *s, struct varve_err *e)
{
	struct varve_df df;

	return varve_store_df(s, &df, e);
}

static int do_tag(struct varve_store *s, struct varve_err *e)
{
	return varve_store_tag(s, "image77", "other", e);
}

static const struct step {
	const char *name;
	int (*fn)(struct varve_store *s, struct varve_err *e);
} steps[] = {
	{"open and first read", do_open},
	{"list", do_list},
	{"find", do_find},
	{"list of blobs", do_blobs},
	{"gc mark (dry run)", do_gc},
	{"gc with a budget (dry run)", do_budget},
	{"df", do_df},
	{"tag (rewrites index.json)", do_tag},
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* In a process of its own: prints what it took. */
static int run_step(const char *path, size_t i)
{
	struct varve_err e = VARVE_ERR_INIT;
	double start = now_ms();
	struct varve_store *s = open_store(path, false, &e);

	if (steps[i].fn(s, &e) < 0)
		die(&e);
	printf("%.3f\n", now_ms() - start);
	return 0;
}

static double cpu_ms(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e3 +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e3;
}

static void measure(const char *path, size_t i)
{
	double best = 1e9, cpu = 1e9;
	char number[16], line[64];
	struct rusage used;
	int run, ends[2], status;
	long peak = 0;
	pid_t pid;

	snprintf(number, sizeof(number), "%zu", i);
	for (run = 0; run < 5; run++) {
		ssize_t n;

		if (pipe(ends) < 0)
			exit(1);
		pid = fork();
		if (pid == 0) {
			dup2(ends[1], STDOUT_FILENO);
			execl("/proc/self/exe", "store_scale", "--step", number, path,
			      (char *)NULL);
			_exit(1);
		}
		close(ends[1]);
		n = read(ends[0], line, sizeof(line) - 1);
		line[n > 0 ? n : 0] = '\0';
		close(ends[0]);
		if (wait4(pid, &status, 0, &used) != pid || status != 0)
			exit(1);
		best = strtod(line, NULL) < best ? strtod(line, NULL) : best;
		cpu = cpu_ms(&used) < cpu ? cpu_ms(&used) : cpu;
		peak = used.ru_maxrss > peak ? used.ru_maxrss : peak;
	}
	printf("%-28s %8.1f ms  cpu %8.1f ms  peak %5.1f MiB\n", steps[i].name, best, cpu,
	       (double)peak / 1024);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/varve-scale-XXXXXX", path[64];
	struct varve_err e = VARVE_ERR_INIT;
	double start;
	size_t i;
	int tmp;

	if (argc == 4 && strcmp(argv[1], "--step") == 0)
		return run_step(argv[3], strtoul(argv[2], NULL, 10));
	if (argc > 1)
		n_images = (unsigned)strtoul(argv[1], NULL, 10);
	if (argc > 2)
		n_layers = (unsigned)strtoul(argv[2], NULL, 10);
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/store", dir);
	start = now_ms();
	tmp = 0;
	if (fork() == 0) { /* so that its memory is not counted for the steps */
		fill(path);
		_exit(0);
	}
	if (wait(&tmp) < 0 || tmp != 0)
		return 1;
	printf("%u images of %u layers: filled in %.0f ms\n", n_images, n_layers, now_ms() - start);
	fflush(stdout);
	if (getenv("STORE_SCALE_KEEP")) {
		printf("%s\n", path);
		return 0;
	}
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		measure(path, i);
	tmp = fsx_open_dir(AT_FDCWD, "/tmp");
	if (tmp < 0 || fsx_remove_tree(tmp, dir + strlen("/tmp/"), NULL, NULL, &e) < 0)
		die(&e);
	close(tmp);
	return 0;
}
