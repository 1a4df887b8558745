/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that are written while a layer comes:
 * where they go, and what a layer that fails leaves. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "materialize/spool/spool.h"
#include "store/base/fsx.h"
#include "unit.h"

struct fixture {
	char dir[32];
	struct varve_ctx ctx;
	struct varve_spool *sp;
	struct varve_err e;
};

static void begin(struct fixture *f)
{
	*f = (struct fixture){.dir = "/tmp/test-spool.XXXXXX"};
	assert_non_null(mkdtemp(f->dir));
	assert_ok(varve_spool_new(&f->sp, &f->ctx, f->dir, 2, true, &f->e), &f->e);
}

static void end(struct fixture *f)
{
	varve_spool_free(f->sp);
	assert_int_equal(rmdir(f->dir), 0); /* nothing is left */
}

static struct spool_layer *layer(struct fixture *f, unsigned char number)
{
	struct varve_digest d = {.algo = VARVE_SHA256, .bytes = {number}};
	struct spool_layer *l = spool_layer_new(f->sp, &d);

	assert_non_null(l);
	return l;
}

static void file(struct spool_layer *l, const char *path, uint64_t off, const char *body)
{
	struct tar_entry t = {
		.path = span_str(path),
		.mode = S_IFREG | 0644,
		.body_off = off,
		.body_len = strlen(body),
		.size = strlen(body),
	};

	spool_layer_entry(l, &t);
	spool_layer_body(l, body, strlen(body));
}

/* What is in the future tree at path; "" is nothing. */
static const char *content(struct fixture *f, const char *path)
{
	static char got[64];
	char full[512];
	ssize_t n;
	int fd;

	(void)snprintf(full, sizeof(full), "%s/tree/%s", spool_path(f->sp), path);
	fd = open(full, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return "";
	n = read(fd, got, sizeof(got) - 1);
	assert_true(n >= 0);
	got[n] = '\0';
	assert_int_equal(close(fd), 0);
	return got;
}

/* Directories of layers beside the tree, and the files in them. */
static unsigned beside(struct fixture *f)
{
	DIR *top = opendir(spool_path(f->sp));
	struct dirent *entry, *child;
	unsigned n = 0;

	assert_non_null(top);
	while ((entry = readdir(top))) {
		char path[512];
		DIR *d;

		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "tree"))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", spool_path(f->sp), entry->d_name);
		d = opendir(path);
		assert_non_null(d);
		while ((child = readdir(d)))
			n += child->d_name[0] != '.';
		(void)closedir(d);
	}
	(void)closedir(top);
	return n;
}

static void test_places(void **state)
{
	static const char *const refused[] = {
		"../x", "a/../x", "a/./x", "a//x",    "..",           ".",       "",
		"a/",   "a/..",   ".wh.x", "a/.wh.x", ".wh..wh..opq", ".wh.d/x",
	};
	struct fixture f;
	struct spool_layer *l;
	uint64_t off = 512;

	(void)state;
	begin(&f);
	l = layer(&f, 1);
	file(l, "a/b/plain", off, "1");
	file(l, "./dot", off += 1024, "2");
	file(l, "/abs/x", off += 1024, "3");
	file(l, "top", off += 1024, "4");
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		file(l, refused[i], off += 1024, "no");
	spool_layer_end(l, true);
	assert_string_equal(content(&f, "a/b/plain"), "1");
	assert_string_equal(content(&f, "dot"), "2");
	assert_string_equal(content(&f, "abs/x"), "3");
	assert_string_equal(content(&f, "top"), "4");
	assert_string_equal(content(&f, "x"), "");
	assert_string_equal(content(&f, "a/x"), "");
	assert_int_equal(beside(&f), sizeof(refused) / sizeof(*refused));
	end(&f);
}

/* A whole layer of files with one content. */
static void files(struct fixture *f, unsigned char number, const char *body,
		  const char *const paths[4])
{
	struct spool_layer *l = layer(f, number);

	for (unsigned i = 0; i < 4; i++)
		file(l, paths[i], 512 + 1024 * i, body);
	spool_layer_end(l, true);
}

/* Who comes first has the place; a file is no directory, and the other way round. */
static void test_conflicts(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	files(&f, 1, "one", (const char *const[]){"same", "file", "dir/x", "same"});
	files(&f, 2, "two", (const char *const[]){"same", "file/x", "dir", "dir/y"});
	assert_string_equal(content(&f, "same"), "one");
	assert_string_equal(content(&f, "file"), "one");
	assert_string_equal(content(&f, "dir/x"), "one");
	assert_string_equal(content(&f, "dir/y"), "two");
	/* same again; same, file/x, dir of the second */
	assert_int_equal(beside(&f), 4);
	end(&f);
}

/* A layer whose bytes turn out to be wrong leaves
 * no file, and its places to those who come next. */
static void test_layer_that_fails(void **state)
{
	struct fixture f;
	struct spool_layer *bad, *good;
	char *big = malloc(3u << 20);

	(void)state;
	assert_non_null(big);
	memset(big, 'x', (3u << 20) - 1);
	big[(3u << 20) - 1] = '\0';
	begin(&f);
	good = layer(&f, 1);
	file(good, "d/kept", 512, "kept");
	bad = layer(&f, 2);
	file(bad, "d/evil", 512, "evil");
	file(bad, "d/kept", 1536, "evil");
	file(bad, "e/big", 2560, big);
	spool_layer_end(bad, false);
	spool_layer_end(good, true);
	assert_string_equal(content(&f, "d/evil"), "");
	assert_string_equal(content(&f, "e/big"), "");
	assert_string_equal(content(&f, "d/kept"), "kept");
	assert_int_equal(beside(&f), 0);
	good = layer(&f, 2);
	file(good, "d/evil", 512, "good");
	spool_layer_end(good, true);
	assert_string_equal(content(&f, "d/evil"), "good");
	end(&f);
	free(big);
}

/* Names that one hash without a secret would put into one chain; and deep ones. */
static void test_many_directories(void **state)
{
	char path[1024] = "";
	struct fixture f;
	struct spool_layer *l;

	(void)state;
	begin(&f);
	l = layer(&f, 1);
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(path, sizeof(path), "d%u/f", i);
		file(l, path, 512 + 1024 * i, "x");
	}
	path[0] = '\0';
	for (unsigned i = 0; i < 200; i++)
		strcat(path, "p/");
	strcat(path, "f");
	file(l, path, 1u << 30, "deep");
	spool_layer_end(l, true);
	assert_string_equal(content(&f, "d0/f"), "x");
	assert_string_equal(content(&f, "d4999/f"), "x");
	assert_string_equal(content(&f, path), ""); /* deeper than a cache of directories goes */
	assert_int_equal(beside(&f), 1);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_conflicts),
		cmocka_unit_test(test_layer_that_fails),
		cmocka_unit_test(test_many_directories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
