/* SPDX-License-Identifier: Apache-2.0 */
/* How an installed tree differs from its image: every kind of change is found, and nothing else is
 * told. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store_image.h"
#include "varve-materialize.h"

struct tree_fixture {
	struct fixture *f;
	struct varve_plan *p;
	char roots[80], tree[128];
	int fd;
	struct varve_diff_options o;
	struct varve_diff_result r;
	char *lines[64];
	size_t n;
};

static int collect(void *user, const struct varve_diff_item *x)
{
	struct tree_fixture *t = user;

	assert_true(t->n < VARVE_ARRAY_SIZE(t->lines));
	assert_true(asprintf(&t->lines[t->n++], "%c %s %u", "+*-"[x->kind], x -> path,
			     x -> changes) > 0);
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The differences as sorted lines: "+ path 0", "- path 0", "* path BITS". */
static void expect(struct tree_fixture *t, const char *text)
{
	struct buf b;

	t->n = 0;
	assert_ok(varve_diff(t->p, t->tree, &t->o, &t->r, &t->f->e), &t->f->e);
	qsort(t->lines, t->n, sizeof(t->lines[0]), by_text);
	buf_init(&b, 65536);
	for (size_t i = 0; i < t->n; i++) {
		buf_printf(&b, "%s\n", t->lines[i]);
		free(t->lines[i]);
	}
	assert_string_equal(b.p, text);
	buf_done(&b);
}

static void begin(struct tree_fixture *t, struct fixture *f)
{
	struct varve_install_options io = VARVE_INSTALL_OPTIONS_INIT;
	struct varve_install_result result;
	struct stored m = {0};

	if (geteuid() != 0)
		skip();
	memset(t, 0, sizeof(*t));
	t->f = f;
	put_layer(f, &m,
		  "d etc t=5; f etc/passwd root t=6; h etc/pw etc/passwd; s etc/l passwd t=7; c "
		  "null 1:3; "
		  "d d; d d/e; f d/e/x 1; p fifo; f z zz t=8 x=user.k:v",
		  VARVE_COMP_GZIP);
	put_layer(f, &m, "f upper up t=9", VARVE_COMP_ZSTD);
	put_image(f, &m, 2);
	assert_ok(varve_plan_new(&t->p, f->s, &m.image, NULL, &f->e), &f->e);
	(void)snprintf(t->roots, sizeof(t->roots), "%s-roots", f->dir);
	io.roots = t->roots;
	io.label = "t_1";
	assert_ok(varve_install(f->s, t->p, &io, &result, &f->e), &f->e);
	(void)snprintf(t->tree, sizeof(t->tree), "%s/rootfs_t_1", t->roots);
	t->fd = open(t->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->fd >= 0);
	t->o = (struct varve_diff_options)VARVE_DIFF_OPTIONS_INIT;
	t->o.item = collect;
	t->o.user = t;
	expect(t, "");
	assert_int_equal(t->r.entries, t->p->n_names);
	assert_int_equal(t->r.files_read, 0);
}

static void end(struct tree_fixture *t)
{
	int tmp = fsx_open_dir(AT_FDCWD, "/tmp");

	(void)close(t->fd);
	varve_plan_free(t->p);
	assert_int_equal(fsx_remove_tree(tmp, t->roots + strlen("/tmp/"), NULL, NULL, NULL), 0);
	(void)close(tmp);
}

/* Put back mtime, as whoever wants to hide a change does. */
static void set_mtime(struct tree_fixture *t, const char *path, time_t s)
{
	const struct timespec times[2] = {{s, 0}, {s, 0}};

	assert_int_equal(utimensat(t->fd, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static void put(struct tree_fixture *t, const char *path, const char *text)
{
	int fd = openat(t->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static void test_attributes(void **state)
{
	struct tree_fixture t;

	begin(&t, *state);
	assert_int_equal(fchmodat(t.fd, "z", 0600, 0), 0);
	expect(&t, "* z 2\n");
	assert_int_equal(fchmodat(t.fd, "z", 0644, 0), 0);
	assert_int_equal(fchownat(t.fd, "fifo", 5, 0, 0), 0);
	expect(&t, "* fifo 4\n");
	t.o.unprivileged = true;
	expect(&t, "");
	t.o.unprivileged = false;
	assert_int_equal(fchownat(t.fd, "fifo", 0, 0, 0), 0);
	set_mtime(&t, "etc", 4);
	expect(&t, "* etc 16\n");
	set_mtime(&t, "etc", 5);
	{
		char path[200];

		(void)snprintf(path, sizeof(path), "%s/z", t.tree);
		assert_int_equal(setxattr(path, "user.k", "w", 1, 0), 0);
		expect(&t, "* z 256\n");
		assert_int_equal(setxattr(path, "user.k", "v", 1, 0), 0);
		assert_int_equal(setxattr(path, "user.more", "v", 1, 0), 0);
		expect(&t, "* z 256\n");
		assert_int_equal(removexattr(path, "user.more"), 0);
	}
	assert_int_equal(unlinkat(t.fd, "null", 0), 0);
	assert_int_equal(mknodat(t.fd, "null", S_IFCHR | 0644, 0x105), 0);
	set_mtime(&t, "null", 1000);
	expect(&t, "* . 16\n* null 128\n");
	end(&t);
}

static void test_content(void **state)
{
	struct tree_fixture t;
	struct stat st;

	begin(&t, *state);
	put(&t, "z", "zzz");
	expect(&t, "* z 24\n"); /* size, mtime */
	put(&t, "z", "yy");
	expect(&t, "* z 48\n"); /* mtime, content */
	assert_int_equal(t.r.files_read, 1);
	put(&t, "z", "zz");
	expect(&t, "* z 16\n"); /* touched only */
	put(&t, "z", "yy");
	set_mtime(&t, "z", 8);
	expect(&t, ""); /* size and mtime say nothing, and nobody said when it was installed */
	t.o.installed_at = 1;
	expect(&t, "* z 32\n");
	assert_int_equal(fstatat(t.fd, "z", &st, AT_SYMLINK_NOFOLLOW), 0);
	t.o.installed_at = st.st_ctim.tv_sec; /* the second in which the install may have ended */
	expect(&t, "* z 32\n");
	t.o.installed_at = st.st_ctim.tv_sec + 1;
	expect(&t, "");
	t.o.installed_at = 0;
	t.o.read_data = true;
	expect(&t, "* z 32\n");
	assert_int_equal(t.r.files_read, 4);
	/* both names of a file */
	put(&t, "etc/pw", "toor");
	set_mtime(&t, "etc/pw", 6);
	expect(&t, "* etc/passwd 32\n* etc/pw 32\n* z 32\n");
	end(&t);
}

static void test_names(void **state)
{
	struct tree_fixture t;

	begin(&t, *state);
	put(&t, "etc/new", "n");
	assert_int_equal(mkdirat(t.fd, "dir", 0755), 0);
	put(&t, "dir/file", "n");
	assert_int_equal(unlinkat(t.fd, "d/e/x", 0), 0);
	assert_int_equal(unlinkat(t.fd, "d/e", AT_REMOVEDIR), 0);
	expect(&t, "* . 16\n* d 16\n* etc 16\n+ dir 0\n+ dir/file 0\n+ etc/new 0\n- d/e 0\n- d/e/x "
		   "0\n");
	end(&t);
}

static void test_types_and_links(void **state)
{
	struct tree_fixture t;

	begin(&t, *state);
	/* a directory became a link that leads out: nothing behind it is looked at */
	assert_int_equal(renameat(t.fd, "d", t.fd, "moved"), 0);
	assert_int_equal(symlinkat("/etc", t.fd, "d"), 0);
	expect(&t, "* . 16\n* d 1\n+ moved 0\n+ moved/e 0\n+ moved/e/x 0\n- d/e 0\n- d/e/x 0\n");
	assert_int_equal(unlinkat(t.fd, "d", 0), 0);
	assert_int_equal(renameat(t.fd, "moved", t.fd, "d"), 0);
	set_mtime(&t, ".", 0);
	expect(&t, "");
	/* one file of two names became two files */
	assert_int_equal(unlinkat(t.fd, "etc/pw", 0), 0);
	put(&t, "etc/pw", "root");
	set_mtime(&t, "etc/pw", 6);
	set_mtime(&t, "etc", 5);
	expect(&t, "* etc/passwd 512\n* etc/pw 512\n");
	assert_int_equal(unlinkat(t.fd, "etc/pw", 0), 0);
	assert_int_equal(linkat(t.fd, "etc/passwd", t.fd, "etc/pw", 0), 0);
	assert_int_equal(unlinkat(t.fd, "etc/l", 0), 0);
	assert_int_equal(symlinkat("shadow", t.fd, "etc/l"), 0);
	set_mtime(&t, "etc/l", 7);
	set_mtime(&t, "etc", 5);
	expect(&t, "* etc/l 64\n");
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_attributes, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_content, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_names, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_types_and_links, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests_name("diff", tests, NULL, NULL);
}
