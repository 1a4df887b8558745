/* SPDX-License-Identifier: Apache-2.0 */
/* squashfs images made by mksquashfs: entries, the virtual stream, damage. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "materialize/layer/squashfs.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

static char dir[] = "/tmp/varve-squashfs-XXXXXX";

static void make(const char *fmt, ...) VARVE_PRINTF(1, 2);
static void make(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	assert_int_equal(system(cmd), 0);
}

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	make("cd %s && mkdir -p t/a/b t/empty && printf hello > t/a/hello && ln t/a/hello "
	     "t/a/b/again"
	     " && ln -s ../a/hello t/link && seq 1 200000 > t/big && seq 1 30000 > t/a/mid"
	     " && seq 1 30000 > t/same && : > t/none && chmod 4750 t/a/mid && mkfifo t/fifo"
	     " && truncate -s 1M t/holes && printf x | dd of=t/holes bs=1 seek=600000 conv=notrunc"
	     " status=none && truncate -s 300000 t/allhole && touch -d @1234567890 t/big",
	     dir);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	make("rm -rf %s", dir);
	return 0;
}

static bool pack(const char *compressor)
{
	char cmd[512];

	(void)snprintf(cmd, sizeof(cmd),
		       "cd %s && rm -f i && mksquashfs t i -comp %s -b 65536 -quiet -no-progress"
		       " -p 'dev c 600 0 0 5 1' >/dev/null 2>&1",
		       dir, compressor);
	return system(cmd) == 0;
}

static char *slurp(const char *name, size_t *ret_n)
{
	struct buf b;
	char path[512];
	struct varve_err e = VARVE_ERR_INIT;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	buf_init(&b, 64u << 20);
	assert_ok(fsx_read_file(AT_FDCWD, path, &b, &e), &e);
	*ret_n = b.n;
	return buf_take(&b);
}

struct image {
	int fd;
	struct squashfs *q;
	struct toc *toc;
	void *toc_bytes;
	char *stream;
	uint64_t stream_n;
};

static int load(struct image *im, uint64_t size, struct varve_err *e)
{
	struct toc_writer *w = NULL;
	struct varve_digest d = {.algo = VARVE_SHA256};
	size_t n;
	const struct varve_limits limits = {.max_layer_bytes = 1ull << 36, .max_ratio = 1000};
	int r = squashfs_open(&im->q, im->fd, size, &limits, e);

	if (r < 0)
		return r;
	r = toc_writer_new(&w, NULL, e);
	if (r == 0)
		r = squashfs_toc(im->q, w, e);
	if (r == 0)
		r = toc_writer_finish(w, &d, squashfs_stream_size(im->q), e);
	if (r == 0) {
		im->toc_bytes = toc_writer_take(w, &n);
		r = toc_open_memory(&im->toc, im->toc_bytes, n, e);
	}
	toc_writer_free(w);
	if (r < 0)
		return r;
	im->stream = malloc(squashfs_stream_size(im->q) + 1);
	assert_non_null(im->stream);
	for (;;) {
		const void *p;

		r = squashfs_next(im->q, 50000, &p, &n, e);
		if (r < 0 || n == 0)
			return r;
		assert_true(im->stream_n + n <= squashfs_stream_size(im->q));
		memcpy(im->stream + im->stream_n, p, n);
		im->stream_n += n;
	}
}

static void unload(struct image *im)
{
	toc_free(im->toc);
	free(im->toc_bytes);
	free(im->stream);
	squashfs_free(im->q);
	if (im->fd >= 0)
		(void)close(im->fd);
	*im = (struct image){.fd = -1};
}

static int open_image(const char *name, uint64_t *ret_size)
{
	char path[512];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*ret_size = (uint64_t)st.st_size;
	return fd;
}

static bool get(const struct image *im, const char *path, struct toc_entry *ret)
{
	size_t cursor = 0;

	while (toc_next(im->toc, &cursor, ret) == 1)
		if (!strcmp(ret->path, path))
			return true;
	return false;
}

/* The logical content of an entry, from its extents, against a file of the tree. */
static void check_content(const struct image *im, const char *path)
{
	struct toc_entry t;
	char name[512];
	size_t n;
	VARVE_FREE char *want = NULL;
	VARVE_FREE char *got = NULL;
	uint64_t at;
	uint32_t i;

	(void)snprintf(name, sizeof(name), "t/%s", path);
	want = slurp(name, &n);
	if (!get(im, path, &t))
		fail_msg("no entry %s", path);
	assert_int_equal(t.size, n);
	assert_true(t.body_off + t.body_len <= im->stream_n);
	got = calloc(n + 1, 1);
	assert_non_null(got);
	at = t.body_off;
	for (i = 0; i < t.n_extents; i++) {
		memcpy(got + t.extents[i].off, im->stream + at, t.extents[i].n);
		at += t.extents[i].n;
	}
	if (!t.n_extents) {
		memcpy(got, im->stream + at, n);
		at += n;
	}
	assert_int_equal(at - t.body_off, t.body_len);
	if (memcmp(got, want, n) != 0)
		fail_msg("content of %s", path);
}

static void reads_images(void **state)
{
	static const char *const compressors[] = {"gzip", "xz", "zstd", "lz4"};
	static const char *const files[] = {"a/b/again", "big",   "a/mid",
					    "same",      "holes", "allhole"};
	size_t i, k, packed = 0;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(compressors); i++) {
		struct varve_err e = VARVE_ERR_INIT;
		struct image im = {.fd = -1};
		struct toc_entry t, first;
		uint64_t size;

		if (!pack(compressors[i]))
			continue;
		packed++;
		im.fd = open_image("i", &size);
		assert_ok(load(&im, size, &e), &e);
		assert_int_equal(im.stream_n, squashfs_stream_size(im.q));
		for (k = 0; k < VARVE_ARRAY_SIZE(files); k++)
			check_content(&im, files[k]);
		assert_true(get(&im, "holes", &t) && t.body_len < 100000);
		assert_true(get(&im, "none", &t) && t.size == 0 && S_ISREG(t.mode));
		assert_true(get(&im, "a/mid", &t) && t.mode == (S_IFREG | 04750));
		assert_true(get(&im, "big", &t) && t.mtime == 1234567890);
		assert_true(get(&im, "link", &t) && S_ISLNK(t.mode));
		assert_int_equal(t.link_len, strlen("../a/hello"));
		assert_memory_equal(t.link, "../a/hello", t.link_len);
		assert_true(get(&im, "fifo", &t) && S_ISFIFO(t.mode));
		assert_true(get(&im, "dev", &t) && S_ISCHR(t.mode) && t.rdev_major == 5 &&
			    t.rdev_minor == 1);
		assert_true(get(&im, "empty", &t) && S_ISDIR(t.mode));
		/* "a/b/again" comes before "a/hello": it has the content */
		assert_true(get(&im, "a/b/again", &first) && first.size == 5);
		assert_true(get(&im, "a/hello", &t) == true);
		assert_true(t.flags & TAR_HARDLINK);
		assert_memory_equal(t.link, "a/b/again", t.link_len);
		unload(&im);
	}
	if (!packed)
		skip();
}

/* lzo is no part of libsquashfs: a clear answer, not a guess. */
static void names_compressor(void **state)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct image im = {.fd = -1};
	char text[1024];
	uint64_t size;

	(void)state;
	if (!pack("lzo"))
		skip();
	im.fd = open_image("i", &size);
	if (load(&im, size, &e) == 0)
		check_content(&im, "big");
	else
		assert_non_null(strstr(varve_err_text(&e, text, sizeof(text)), "lzo"));
	unload(&im);
}

static void refuses_damage(void **state)
{
	VARVE_FREE char *bytes = NULL;
	char path[512];
	unsigned seed = 1, refused = 0;
	size_t n;
	int i, k;

	(void)state;
	if (!pack("gzip"))
		skip();
	bytes = slurp("i", &n);
	(void)snprintf(path, sizeof(path), "%s/bad", dir);
	for (i = 0; i < 400; i++) {
		struct varve_err e = VARVE_ERR_INIT;
		struct image im = {.fd = -1};
		VARVE_FREE char *bad = malloc(n);
		size_t size = n;

		assert_non_null(bad);
		memcpy(bad, bytes, n);
		/* Tables stand at the end: hit them often, and cut now and then. */
		for (k = 0; k < 1 + i % 4; k++) {
			size_t at = (size_t)rand_r(&seed);

			at = i % 3 ? n - 1 - at % VARVE_MIN(n, 1200u) : at % n;
			bad[at] = (char)rand_r(&seed);
		}
		if (i % 10 == 9)
			size = (size_t)rand_r(&seed) % n;
		im.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_int_equal(fsx_write_all(im.fd, bad, size), 0);
		if (load(&im, size, &e) < 0) {
			refused++;
			assert_true(e.n_frames > 0);
		}
		unload(&im);
	}
	assert_true(refused > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_images),
		cmocka_unit_test(names_compressor),
		cmocka_unit_test(refuses_damage),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
