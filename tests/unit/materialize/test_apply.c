/* SPDX-License-Identifier: Apache-2.0 */
/* The writer: every type and attribute, bodies cut in every way, many threads, failures. */
#include "materialize/apply/meta.h"
#include "unit.h"

#include "materialize/apply/apply.h"
#include "mkplan.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

struct place {
	char dir[32];
	int top, root;
};

static void place_begin(struct place *p)
{
	strcpy(p->dir, "/tmp/varve-apply-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->top = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(p->top, "t", 0700), 0);
	p->root = openat(p->top, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->root >= 0);
}

static void place_end(struct place *p)
{
	close(p->root);
	assert_int_equal(fsx_remove_tree(p->top, "t", NULL, NULL, NULL), 0);
	close(p->top);
	assert_int_equal(rmdir(p->dir), 0);
}

static int run(struct mk *m, struct place *p, unsigned threads, struct varve_losses *losses,
	       struct varve_err *e)
{
	struct apply_options o = {.rootfd = p->root, .threads = threads, .chown = geteuid() == 0};
	int r = apply_plan(&m->plan, &o, losses, e);

	return r < 0 ? r : apply_finish_root(&m->plan, &o, losses, e);
}

static struct stat stat_of(struct place *p, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(p->root, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void assert_content(struct place *p, const char *path, const void *want, size_t n)
{
	VARVE_CLOSE int fd = openat(p->root, path, O_RDONLY | O_CLOEXEC);
	VARVE_FREE char *got = malloc(n + 1);

	assert_true(fd >= 0);
	assert_int_equal(fsx_pread_full(fd, got, n + 1, 0), n);
	assert_memory_equal(got, want, n);
}

static void every_type(void **state VARVE_UNUSED)
{
	static const struct varve_xattr xattrs[] = {
		{"user.kept", "v\0w", 3},
		{"user.overlay.opaque", "y", 1},
		{"trusted.overlay.opaque", "y", 1},
	};
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	struct place p;
	uint32_t d, f, l;
	struct stat st;
	char v[8];

	place_begin(&p);
	d = mk_dir(m, PLAN_ROOT, "d", 01755);
	mk_inode(m, d)->uid = 7;
	f = mk_file(m, d, "f", 04751, 0, "hello", 5);
	mk_inode(m, f)->uid = 3000000;
	mk_inode(m, f)->gid = 9;
	mk_inode(m, f)->xattrs = xattrs;
	mk_inode(m, f)->n_xattrs = 3;
	(void)mk_link(m, PLAN_ROOT, "f2", f);
	(void)mk_file(m, PLAN_ROOT, "empty", 0, 0, "", 0);
	l = mk_symlink(m, d, "l", "../nowhere");
	mk_inode(m, l)->mtime = -1001;
	(void)mk_link(m, d, "l2", l);
	(void)mk_node(m, PLAN_ROOT, "fifo", S_IFIFO | 0622, 0, 0);
	(void)mk_node(m, PLAN_ROOT, "null", S_IFCHR | 0666, 1, 3);
	(void)mk_dir(m, PLAN_ROOT, "closed", 0);
	mk_inode(m, PLAN_ROOT)->mode = S_IFDIR | 0555;
	assert_ok(run(m, &p, 2, &losses, &e), &e);

	st = stat_of(&p, "d");
	assert_int_equal(st.st_mode, S_IFDIR | 01755);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_mtim.tv_sec, 1000000001);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	st = stat_of(&p, "d/f");
	assert_int_equal(st.st_mode, S_IFREG | 04751);
	assert_int_equal(st.st_uid, 3000000);
	assert_int_equal(st.st_gid, 9);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_ino, stat_of(&p, "f2").st_ino);
	assert_content(&p, "d/f", "hello", 5);
	assert_int_equal(stat_of(&p, "empty").st_mode, S_IFREG);
	st = stat_of(&p, "d/l");
	assert_int_equal(st.st_mtim.tv_sec, -1001);
	assert_int_equal(st.st_ino, stat_of(&p, "d/l2").st_ino);
	assert_int_equal(stat_of(&p, "fifo").st_mode, S_IFIFO | 0622);
	st = stat_of(&p, "null");
	assert_int_equal(st.st_mode, S_IFCHR | 0666);
	assert_int_equal(st.st_rdev, makedev(1, 3));
	assert_int_equal(stat_of(&p, "closed").st_mode, S_IFDIR);
	st = stat_of(&p, ".");
	assert_int_equal(st.st_mode, S_IFDIR | 0555);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	{
		char path[64];

		(void)snprintf(path, sizeof(path), "%s/t/d/f", p.dir);
		if (getxattr(path, "user.kept", v, sizeof(v)) == 3)
			assert_memory_equal(v, "v\0w", 3);
		else
			assert_int_equal(losses.xattrs, 1); /* tmpfs of an old kernel */
		assert_int_equal(getxattr(path, "trusted.overlay.opaque", v, sizeof(v)), -1);
		assert_int_equal(getxattr(path, "user.overlay.opaque", v, sizeof(v)), -1);
	}
	place_end(&p);
	mk_free(m);
}

static void umask_does_not_matter(void **state VARVE_UNUSED)
{
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	struct place p;
	mode_t old = umask(0277);
	uint32_t d;

	place_begin(&p);
	assert_int_equal(fchmod(p.root, 0700), 0);
	d = mk_dir(m, PLAN_ROOT, "d", 0777);
	(void)mk_file(m, d, "f", 0666, 0, "x", 1);
	(void)mk_node(m, d, "p", S_IFIFO | 0666, 0, 0);
	assert_ok(run(m, &p, 1, &losses, &e), &e);
	umask(old);
	assert_int_equal(stat_of(&p, "d").st_mode, S_IFDIR | 0777);
	assert_int_equal(stat_of(&p, "d/f").st_mode, S_IFREG | 0666);
	assert_int_equal(stat_of(&p, "d/p").st_mode, S_IFIFO | 0666);
	place_end(&p);
	mk_free(m);
}

/* Files of many sizes over several layers, with gaps, in windows that cut them everywhere. */
static void cut(unsigned threads, size_t window)
{
	static const size_t sizes[] = {1, 4095, 4096, 100000, 131072, 131073, 1u << 20, 3000000, 7};
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	VARVE_FREE char *body = malloc(3000000);
	char names[3 * 40][16];
	struct place p;
	unsigned n = 0;

	place_begin(&p);
	for (size_t i = 0; i < 3000000; i++)
		body[i] = (char)(i * 7 + i / 251);
	for (uint32_t layer = 0; layer < 3; layer++) {
		mk_layers[layer].window = window;
		for (unsigned i = 0; i < 40; i++) {
			size_t size = sizes[(i + layer) % VARVE_ARRAY_SIZE(sizes)];

			(void)snprintf(names[n], sizeof(names[n]), "f%u", n);
			if (i % 3 == 0)
				mk_gap(layer, i * 5000);
			(void)mk_file(m, PLAN_ROOT, names[n], 0644, layer, body + n,
				      size - (size > n ? n : 0));
			n++;
		}
		mk_gap(layer, 3000000); /* the rest of a layer is not read */
	}
	assert_ok(run(m, &p, threads, &losses, &e), &e);
	for (unsigned i = 0; i < n; i++) {
		size_t size = sizes[(i % 40 + i / 40) % VARVE_ARRAY_SIZE(sizes)];

		assert_content(&p, names[i], body + i, size - (size > i ? i : 0));
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(mk_layers[i].opened, 1);
		assert_int_equal(mk_layers[i].ended, 1);
	}
	assert_int_equal(mk_layers[3].opened, 0); /* supplies nothing: not even opened */
	place_end(&p);
	mk_free(m);
}

static void bodies_cut_everywhere(void **state VARVE_UNUSED)
{
	static const size_t windows[] = {0, 3000, 65536, 999983};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(windows); i++)
		for (unsigned threads = 1; threads <= 4; threads += 3)
			cut(threads, windows[i]);
}

/*
 * One layer and several threads: who has nothing to do reads the later half of what is left, as
 * often as there is enough; what came out is what one thread makes, and the layer is verified once.
 */
static void one_layer_is_shared(void **state VARVE_UNUSED)
{
	enum { FILES = 500 };
	VARVE_FREE char *body = malloc(FILES + 260000);
	char names[FILES][16];
	unsigned parts = 0;

	for (size_t i = 0; i < FILES + 260000; i++)
		body[i] = (char)(i * 7 + i / 251);
	/* Whether a thread finds nothing to do depends on the machine, but not ten times. */
	for (int run_nr = 0; run_nr < 11 && !parts; run_nr++) {
		bool points = run_nr > 0;
		struct varve_losses losses = {0};
		struct varve_err e = VARVE_ERR_INIT;
		struct mk *m = mk_new();
		struct place p;

		place_begin(&p);
		mk_layers[0].points = points;
		for (unsigned i = 0; i < FILES; i++) {
			(void)snprintf(names[i], sizeof(names[i]), "f%u", i);
			mk_gap(0, i % 5 * 512);
			(void)mk_file(m, PLAN_ROOT, names[i], 0644, 0, body + i,
				      i % 7 ? 120000 : 260000);
		}
		assert_ok(run(m, &p, 4, &losses, &e), &e);
		for (unsigned i = 0; i < FILES; i++) {
			assert_content(&p, names[i], body + i, i % 7 ? 120000 : 260000);
		}
		assert_int_equal(mk_layers[0].opened, 1);
		assert_int_equal(mk_layers[0].ended, 1);
		if (!points)
			assert_int_equal(mk_layers[0].parts, 0);
		parts = mk_layers[0].parts;
		place_end(&p);
		mk_free(m);
	}
	assert_true(parts > 0);
}

static void sparse_files_keep_their_holes(void **state VARVE_UNUSED)
{
	static const struct file_extent extents[] = {{65536, 10}, {200000, 5}, {1u << 20, 3}};
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	struct plan_inode *in;
	struct place p;
	const char *want = "klmno";
	char got[5];
	struct stat st;
	int fd;

	place_begin(&p);
	mk_layers[0].window = 4; /* every extent is cut */
	in = mk_inode(m, mk_file(m, PLAN_ROOT, "s", 0644, 0, "abcdefghijklmnopqr", 18));
	in->extents = extents;
	in->n_extents = 3;
	in->size = 5u << 20;
	in = mk_inode(m, mk_file(m, PLAN_ROOT, "hole", 0644, 0, "", 0));
	in->size = 1u << 30;
	assert_ok(run(m, &p, 2, &losses, &e), &e);
	st = stat_of(&p, "s");
	assert_int_equal(st.st_size, 5u << 20);
	assert_true(st.st_blocks * 512 < 100000);
	st = stat_of(&p, "hole");
	assert_int_equal(st.st_size, 1u << 30);
	assert_true(st.st_blocks * 512 < 100000);
	fd = openat(p.root, "s", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, 5, 200000), 5);
	assert_memory_equal(got, want, 5);
	assert_int_equal(pread(fd, got, 3, 1u << 20), 3);
	assert_memory_equal(got, "pqr", 3);
	close(fd);
	place_end(&p);
	mk_free(m);
}

static void rotten_layer_fails(void **state VARVE_UNUSED)
{
	for (unsigned threads = 1; threads <= 2; threads++) {
		struct varve_losses losses = {0};
		struct varve_err e = VARVE_ERR_INIT;
		struct mk *m = mk_new();
		VARVE_FREE char *body = calloc(1, 5u << 20);
		struct place p;

		place_begin(&p);
		(void)mk_file(m, PLAN_ROOT, "a", 0644, 0, body, 5u << 20);
		(void)mk_file(m, PLAN_ROOT, "b", 0644, 1, body, 5u << 20);
		mk_layers[1].rotten = true;
		assert_int_equal(run(m, &p, threads, &losses, &e), -VARVE_E_DIGEST);
		place_end(&p);
		mk_free(m);
	}
}

static void short_layer_fails(void **state VARVE_UNUSED)
{
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	struct place p;

	place_begin(&p);
	(void)mk_file(m, PLAN_ROOT, "a", 0644, 0, "1234567890", 10);
	mk_layers[0].bytes.n = 9;
	assert_int_equal(run(m, &p, 2, &losses, &e), -VARVE_E_FORMAT);
	assert_non_null(strstr(varve_err_frame(&e, 0), "before a"));
	place_end(&p);
	mk_free(m);
}

static void same_name_twice_is_told(void **state VARVE_UNUSED)
{
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	struct place p;

	place_begin(&p);
	(void)mk_file(m, PLAN_ROOT, "a", 0644, 0, "1", 1);
	(void)mk_file(m, PLAN_ROOT, "a", 0644, 0, "2", 1);
	assert_int_equal(run(m, &p, 1, &losses, &e), -VARVE_E_CONFLICT);
	place_end(&p);
	mk_free(m);
}

static void filtered_xattrs(void **state VARVE_UNUSED)
{
	assert_false(meta_xattr_is_filtered("user.comment"));
	assert_false(meta_xattr_is_filtered("security.capability"));
	assert_true(meta_xattr_is_filtered("security.selinux"));
	assert_true(meta_xattr_is_filtered("trusted.overlay.redirect"));
}

static void many_small_files(void **state VARVE_UNUSED)
{
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	static char names[9000][12];
	uint32_t dirs[60], parent = PLAN_ROOT;
	struct place p;
	struct stat st;

	place_begin(&p);
	for (unsigned i = 0; i < 60; i++) { /* deep: more directories than the cache has room for */
		(void)snprintf(names[i], sizeof(names[i]), "d%u", i);
		parent = dirs[i] = mk_dir(m, i % 20 ? parent : PLAN_ROOT, names[i], 0755);
	}
	for (unsigned i = 60; i < 9000; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "f%u", i);
		if (i % 4 == 0)
			(void)mk_symlink(m, dirs[i * 7 % 60], names[i], "x");
		else
			(void)mk_file(m, dirs[i * 7 % 60], names[i], 0644, i % 2, names[i],
				      strlen(names[i]));
	}
	assert_ok(run(m, &p, 4, &losses, &e), &e);
	st = stat_of(&p, "d0/d1/d2/d3/d4/d5/d6/d7");
	assert_int_equal(st.st_mtim.tv_sec, 1000000008);
	assert_content(&p, "d0/d1/d2/d3/d4/d5/f4475", "f4475", 5);
	place_end(&p);
	mk_free(m);
}

/* A callback that does not come back (a stopped terminal) keeps one thread, not all of them. */
enum { MANY = 3000 };
struct slow {
	struct place p;
	unsigned events;
	bool inside, overlapped, others_finished, told_last;
	uint64_t done;
};

static void slow_progress(void *user, const struct varve_progress *ev)
{
	struct slow *s = user;
	struct stat st;

	s->overlapped |= s->inside || ev->done < s->done;
	s->inside = true;
	s->done = ev->done;
	s->told_last = ev->finished;
	for (int i = 0; i < 2000 && !s->events && !s->others_finished; i++) {
		s->others_finished = !fstatat(s->p.root, "f2999", &st, AT_SYMLINK_NOFOLLOW);
		(void)usleep(10000);
	}
	s->events++;
	s->inside = false;
}

static void slow_callback(void **state VARVE_UNUSED)
{
	struct slow slow = {.events = 0};
	struct varve_ctx ctx = {.progress = slow_progress, .progress_user = &slow};
	struct varve_store_options so = VARVE_STORE_OPTIONS_INIT;
	struct varve_losses losses = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct mk *m = mk_new();
	static char names[MANY][8];
	char store[64];

	place_begin(&slow.p);
	(void)snprintf(store, sizeof(store), "%s/store", slow.p.dir);
	so.path = store;
	so.create = true;
	assert_ok(varve_store_open(&m->plan.store, &ctx, &so, &e), &e);
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "f%04d", i % 10000);
		(void)mk_file(m, PLAN_ROOT, names[i], 0644, 0, "", 0);
	}
	assert_ok(run(m, &slow.p, 4, &losses, &e), &e);
	assert_true(slow.others_finished);
	assert_false(slow.overlapped);
	assert_true(slow.told_last);
	assert_true(slow.events >= 2);
	varve_store_close(m->plan.store);
	assert_int_equal(fsx_remove_tree(slow.p.top, "store", NULL, NULL, NULL), 0);
	place_end(&slow.p);
	mk_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type),
		cmocka_unit_test(umask_does_not_matter),
		cmocka_unit_test(bodies_cut_everywhere),
		cmocka_unit_test(sparse_files_keep_their_holes),
		cmocka_unit_test(one_layer_is_shared),
		cmocka_unit_test(rotten_layer_fails),
		cmocka_unit_test(short_layer_fails),
		cmocka_unit_test(same_name_twice_is_told),
		cmocka_unit_test(filtered_xattrs),
		cmocka_unit_test(many_small_files),
		cmocka_unit_test(slow_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
