/* SPDX-License-Identifier: Apache-2.0 */
/* Labels, listing, switch, rollback, remove, recovery: over directories made by hand. */
#include "unit.h"

#include "materialize/trees/trees.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/catalog.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct place {
	char dir[40], store_dir[64], roots[64];
	struct varve_store *store;
	int fd; /* of the roots dir */
	unsigned users;
};

/*
 * renameat2 of the kernel, or of a file system without the flags (NFS, FUSE), or a kill at the n-th
 * rename: the library's calls come here.
 */
static bool no_flags;
static int kill_at;

int renameat2(int olddir, const char *old, int newdir, const char *new_name, unsigned flags)
{
	if (no_flags && flags) {
		errno = EINVAL;
		return -1;
	}
	if (kill_at && --kill_at == 0)
		_exit(77);
	return (int)syscall(SYS_renameat2, olddir, old, newdir, new_name, flags);
}

static void place_begin(struct place *p)
{
	struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;
	struct varve_err e = VARVE_ERR_INIT;

	*p = (struct place){.dir = "/tmp/varve-trees-XXXXXX"};
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->store_dir, sizeof(p->store_dir), "%s/store", p->dir);
	(void)snprintf(p->roots, sizeof(p->roots), "%s/roots", p->dir);
	o.path = p->store_dir;
	o.create = true;
	assert_ok(varve_store_open(&p->store, NULL, &o, &e), &e);
	assert_int_equal(mkdir(p->roots, 0755), 0);
	p->fd = open(p->roots, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void place_end(struct place *p)
{
	varve_store_close(p->store);
	close(p->fd);
	{
		VARVE_CLOSE int tmp = fsx_open_dir(AT_FDCWD, "/tmp");

		assert_int_equal(fsx_remove_tree(tmp, p->dir + strlen("/tmp/"), NULL, NULL, NULL),
				 0);
	}
}

/* A tree with one file that tells which it is. */
static void make_tree(struct place *p, const char *name, const char *content)
{
	VARVE_CLOSE int dir = fsx_make_dir(p->fd, name, 0755);
	VARVE_CLOSE int fd = openat(dir, "who", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(fsx_write_all(fd, content, strlen(content)), 0);
}

static void put_file(struct place *p, const char *tree, const char *dir, const char *name,
		     const char *content)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", p->roots, tree, dir);
	assert_ok(fsx_make_path(path, 0755, NULL), NULL);
	strcat(path, "/");
	strcat(path, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fsx_write_all(fd, content, strlen(content)), 0);
	close(fd);
}

/* As an install would record it. */
static void record(struct place *p, const char *directory, const char *label)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_install_record in = {
		.roots = p->roots,
		.label = label,
		.directory = directory,
		.reference = "docker.io/library/x:1",
		.state = VARVE_INSTALL_READY,
		.installed_at = time(NULL),
	};
	struct stat st;
	char id[17];

	assert_int_equal(fstatat(p->fd, directory, &st, AT_SYMLINK_NOFOLLOW), 0);
	in.ino = st.st_ino;
	in.dev = st.st_dev;
	in.manifest.algo = VARVE_SHA256;
	in.manifest.bytes[0] = 1;
	fsx_random_name(id);
	in.id = id;
	assert_ok(catalog_put_install(p->store, &in, &e), &e);
}

static void assert_who(struct place *p, const char *tree, const char *want)
{
	char path[256];
	struct buf b;

	(void)snprintf(path, sizeof(path), "%s/%s/who", p->roots, tree);
	buf_init(&b, 100);
	if (fsx_read_file(AT_FDCWD, path, &b, NULL) < 0)
		fail_msg("%s is not there", path);
	assert_string_equal(b.p, want);
	buf_done(&b);
}

static void assert_absent(struct place *p, const char *name)
{
	assert_int_equal(faccessat(p->fd, name, F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void count_user(void *user, long pid VARVE_UNUSED, const char *command VARVE_UNUSED,
		       const char *how VARVE_UNUSED)
{
	((struct place *)user)->users++;
}

static struct varve_switch_options options(struct place *p)
{
	struct varve_switch_options o = VARVE_SWITCH_OPTIONS_INIT;

	o.roots = p->roots;
	o.in_use = count_user;
	o.user = p;
	return o;
}

static int do_switch(struct place *p, const char *label, struct varve_switch_result *ret,
		     struct varve_err *e)
{
	struct varve_switch_options o = options(p);

	return varve_switch(p->store, label, &o, ret, e);
}

static int do_rollback(struct place *p, struct varve_err *e)
{
	struct varve_switch_options o = options(p);
	struct varve_switch_result ret;

	return varve_rollback(p->store, &o, &ret, e);
}

/* --- labels --- */

static void directory_names(void **state VARVE_UNUSED)
{
	static const struct {
		const char *name;
		int kind; /* -1: not one of ours */
		const char *label;
		uint64_t generation;
	} cases[] = {
		{"rootfs", TREE_ACTIVE, "", 0},
		{"rootfs_debian_sid", TREE_NAMED, "debian_sid", 0},
		{"rootfs_a.old.1", TREE_NAMED, "a.old.1", 0},
		{".rootfs_a.old.1.old.12", TREE_PREVIOUS, "a.old.1", 12},
		{".rootfs_a.new.0123456789abcdef", TREE_STAGING, "a", 0},
		{".rootfs_a.del.0123456789abcdef", TREE_DELETED, "a", 0},
		{".rootfs_a.old.", -1, "", 0},
		{".rootfs_a.old.x", -1, "", 0},
		{".rootfs_a.new.0123", -1, "", 0},
		{".rootfs_.old.1", -1, "", 0},
		{".rootfs_a.lock", -1, "", 0},
		{"rootfs_", -1, "", 0},
		{"rootfsx", -1, "", 0},
		{"ROOTFS", -1, "", 0},
	};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		enum tree_kind kind = TREE_ACTIVE;
		uint64_t generation;
		char label[256];
		bool is = label_from_directory(cases[i].name, &kind, label, &generation);

		if (is != (cases[i].kind >= 0) || (is && (int)kind != cases[i].kind) ||
		    strcmp(label, cases[i].label) || generation != cases[i].generation)
			fail_msg("%s: %d %d %s", cases[i].name, is, kind, label);
	}
	assert_int_equal(label_check("debian_sid", NULL), 0);
	assert_int_equal(label_check("", NULL), -VARVE_E_USAGE);
	assert_int_equal(label_check("..", NULL), -VARVE_E_USAGE);
	assert_int_equal(label_check("-x", NULL), -VARVE_E_USAGE);
	assert_int_equal(label_check("a/b", NULL), -VARVE_E_USAGE);
	assert_int_equal(label_check("a\nb", NULL), -VARVE_E_USAGE);
}

static void assert_label(struct place *p, const char *tree, const char *want)
{
	VARVE_CLOSE int fd = fsx_open_dir(p->fd, tree);
	char label[256];

	label_from_tree(fd, label);
	assert_string_equal(label, want);
}

static void labels_of_old_trees(void **state VARVE_UNUSED)
{
	struct place p;

	place_begin(&p);
	make_tree(&p, "a", "a");
	put_file(&p, "a", ".", ".switch_label", "  debian_sid \nmore\n");
	put_file(&p, "a", "etc", "os-release", "ID=other\n");
	assert_label(&p, "a", "debian_sid");

	make_tree(&p, "b", "b"); /* the last line that counts wins, quotes go, lower case */
	put_file(&p, "b", "etc", "lsb-release", "DISTRIB_ID=\"Ubuntu\"\nDISTRIB_CODENAME=Trusty\n");
	put_file(&p, "b", "etc", "os-release", "NAME='x'\nid=Debian\nVERSION_ID=\"9\"\n");
	assert_label(&p, "b", "debian_trusty");

	make_tree(&p, "c", "c");
	put_file(&p, "c", "usr/lib", "os-release", "ID=alpine\nVERSION_ID=3.20.1\n");
	assert_label(&p, "c", "alpine_3.20.1");

	make_tree(&p, "d", "d");
	assert_label(&p, "d", "");
	put_file(&p, "d", ".", ".switch_label", "../../etc\n");
	assert_label(&p, "d", ""); /* cannot be a directory name */

	make_tree(&p, "e", "e"); /* a FIFO must not hold us up, a link must not lead out */
	assert_int_equal(mknodat(p.fd, "e/.switch_label", S_IFIFO | 0644, 0), 0);
	put_file(&p, "e", "etc", "x", "");
	assert_int_equal(symlinkat("/etc/os-release", p.fd, "e/etc/os-release"), 0);
	assert_label(&p, "e", "");
	place_end(&p);
}

/* --- switching --- */

static void switching(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	make_tree(&p, "rootfs_b", "b");
	record(&p, "rootfs_a", "a");
	assert_ok(do_switch(&p, "a", &ret, &e), &e); /* the first: there is no active one */
	assert_string_equal(ret.from, "");
	assert_who(&p, "rootfs", "a");
	assert_absent(&p, "rootfs_a");
	assert_int_equal(do_rollback(&p, &e), -VARVE_E_NOTFOUND);

	assert_ok(do_switch(&p, "b", &ret, &e), &e); /* b was made by hand: adopted */
	assert_string_equal(ret.from, "a");
	assert_string_equal(ret.to, "b");
	assert_who(&p, "rootfs", "b");
	assert_who(&p, "rootfs_a", "a");
	assert_absent(&p, "rootfs_b");
	assert_ok(do_switch(&p, "b", &ret, &e), &e);
	assert_true(ret.already);

	assert_ok(do_rollback(&p, &e), &e);
	assert_who(&p, "rootfs", "a");
	assert_who(&p, "rootfs_b", "b"); /* by the label that was remembered: nothing in it tells */
	assert_ok(do_rollback(&p, &e), &e);
	assert_who(&p, "rootfs", "b");

	assert_int_equal(do_switch(&p, "aa", &ret, &e), -VARVE_E_NOTFOUND);
	assert_non_null(strstr(varve_err_frame(&e, 0), "nearest: a"));
	assert_int_equal(do_switch(&p, "debian", &ret, &e), -VARVE_E_NOTFOUND);
	assert_non_null(strstr(varve_err_frame(&e, 0), "installed: b, a"));
	place_end(&p);
}

static void without_exchange(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	make_tree(&p, "rootfs_b", "b");
	no_flags = true;
	assert_ok(do_switch(&p, "a", &ret, &e), &e);
	assert_ok(do_switch(&p, "b", &ret, &e), &e);
	assert_who(&p, "rootfs", "b");
	assert_who(&p, "rootfs_a", "a");
	assert_ok(do_rollback(&p, &e), &e);
	assert_who(&p, "rootfs", "a");
	no_flags = false;
	place_end(&p);
}

static void bad_targets(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs", "active"); /* says nowhere what it is */
	make_tree(&p, "rootfs_a", "a");
	assert_int_equal(symlinkat("rootfs_a", p.fd, "rootfs_link"), 0);
	assert_int_equal(do_switch(&p, "link", &ret, &e), -VARVE_E_CONFLICT);
	assert_int_equal(do_switch(&p, "a", &ret, &e), -VARVE_E_CONFLICT);
	assert_non_null(strstr(varve_err_frame(&e, 0), ".switch_label"));
	put_file(&p, "rootfs", ".", ".switch_label", "a");
	assert_int_equal(do_switch(&p, "a", &ret, &e), 0);
	assert_true(ret.already); /* the active one has the label */
	assert_who(&p, "rootfs", "active");
	assert_who(&p, "rootfs_a", "a");
	place_end(&p);
}

static void fallback_label(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_switch_result ret;
	struct varve_switch_options o;
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs", "active");
	make_tree(&p, "rootfs_a", "a");
	o = options(&p);
	o.fallback_label = "debian_9";
	assert_ok(varve_switch(p.store, "a", &o, &ret, &e), &e);
	assert_who(&p, "rootfs", "a");
	assert_who(&p, "rootfs_debian_9", "active");
	place_end(&p);
}

static void in_use(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct place p;
	pid_t pid;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	put_file(&p, "rootfs_a", "deep/er", "x", "");
	pid = fork();
	if (pid == 0) {
		if (fchdir(p.fd) || chdir("rootfs_a/deep/er"))
			_exit(1);
		pause();
		_exit(0);
	}
	usleep(50000);
	assert_int_equal(do_switch(&p, "a", &ret, &e), -VARVE_E_BUSY);
	assert_int_equal(p.users, 1);
	assert_who(&p, "rootfs_a", "a");
	{
		struct varve_switch_options o = options(&p);

		assert_int_equal(varve_remove_tree(p.store, "a", &o, &e), -VARVE_E_CONFLICT);
		o.force = true;
		assert_ok(varve_switch(p.store, "a", &o, &ret, &e), &e);
	}
	assert_who(&p, "rootfs", "a");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	place_end(&p);
}

static void mounts(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_switch_options o;
	char path[128];
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	put_file(&p, "rootfs_a", "mnt dir", "x", "");
	(void)snprintf(path, sizeof(path), "%s/rootfs_a/mnt dir", p.roots);
	if (mount("tmpfs", path, "tmpfs", 0, NULL)) {
		place_end(&p);
		assert_int_not_equal(geteuid(), 0);
		skip();
	}
	o = options(&p);
	assert_int_equal(do_switch(&p, "a", &ret, &e), -VARVE_E_BUSY);
	assert_non_null(strstr(varve_err_frame(&e, 0), "mnt dir"));
	o.force = true;
	assert_int_equal(varve_remove_tree(p.store, "a", &o, &e), -VARVE_E_BUSY);
	assert_ok(varve_switch(p.store, "a", &o, &ret, &e), &e); /* the mount travels with it */
	(void)snprintf(path, sizeof(path), "%s/rootfs/mnt dir", p.roots);
	assert_int_equal(umount(path), 0);
	place_end(&p);
}

/* --- a kill between any two renames --- */

static void kill_in_switch(unsigned n, bool exchange)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_switch_result ret;
	struct varve_tree_list l;
	struct place p;
	int status;
	pid_t pid;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	make_tree(&p, "rootfs_b", "b");
	assert_ok(do_switch(&p, "a", &ret, &e), &e);
	varve_store_close(p.store);
	pid = fork();
	if (pid == 0) {
		struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;

		o.path = p.store_dir;
		if (varve_store_open(&p.store, NULL, &o, NULL) < 0)
			_exit(1);
		no_flags = !exchange;
		kill_at = (int)n;
		_exit(do_switch(&p, "b", &ret, NULL) < 0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 0));
	if (exchange) /* at every instant */
		assert_int_equal(faccessat(p.fd, "rootfs/who", F_OK, 0), 0);
	{
		struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;

		o.path = p.store_dir;
		assert_ok(varve_store_open(&p.store, NULL, &o, &e), &e);
	}
	assert_ok(varve_trees(p.store, p.roots, &l, &e), &e);
	assert_int_equal(l.n, 2);
	assert_true(l.items[0].active);
	if (!strcmp(l.items[0].label, "a")) {
		assert_who(&p, "rootfs", "a");
		assert_who(&p, "rootfs_b", "b");
	} else {
		assert_string_equal(l.items[0].label, "b");
		assert_who(&p, "rootfs", "b");
		assert_who(&p, "rootfs_a", "a");
	}
	varve_tree_list_free(&l);
	assert_ok(do_switch(&p, "a", &ret, &e), &e);
	assert_ok(do_switch(&p, "b", &ret, &e), &e);
	place_end(&p);
}

static void killed_anywhere(void **state VARVE_UNUSED)
{
	for (unsigned n = 1; n <= 4; n++) {
		kill_in_switch(n, true);
		kill_in_switch(n, false);
	}
}

static void a_thousand_switches(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct place p;
	int status;
	pid_t pid;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	make_tree(&p, "rootfs_b", "b");
	assert_ok(do_switch(&p, "a", &ret, &e), &e);
	pid = fork();
	if (pid == 0) { /* reads as fast as it can; ends when told, 1 if it ever failed */
		for (;;) {
			int fd = openat(p.fd, "rootfs/who", O_RDONLY | O_CLOEXEC);

			if (fd < 0)
				_exit(faccessat(p.fd, "stop", F_OK, 0) ? 1 : 0);
			close(fd);
			if (!faccessat(p.fd, "stop", F_OK, 0))
				_exit(0);
		}
	}
	for (int i = 0; i < 1000; i++) {
		struct varve_switch_options o = options(&p);

		o.force = true; /* the look at /proc is tested elsewhere */
		assert_ok(varve_switch(p.store, i % 2 ? "a" : "b", &o, &ret, &e), &e);
	}
	close(openat(p.fd, "stop", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	place_end(&p);
}

/* --- removing --- */

static void removing(void **state VARVE_UNUSED)
{
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_switch_options o;
	struct varve_tree_list l;
	struct place p;

	place_begin(&p);
	o = options(&p);
	make_tree(&p, "rootfs_a", "a");
	make_tree(&p, "rootfs_b", "b");
	make_tree(&p, ".rootfs_a.old.1", "old");
	record(&p, "rootfs_a", "a");
	assert_int_equal(varve_remove_tree(p.store, "b", &o, &e), -VARVE_E_CONFLICT);
	assert_ok(do_switch(&p, "a", &ret, &e), &e);
	assert_int_equal(varve_remove_tree(p.store, "a", &o, &e), -VARVE_E_BUSY);
	assert_ok(do_switch(&p, "b", &ret, &e), &e);
	assert_ok(varve_remove_tree(p.store, "a", &o, &e), &e);
	assert_absent(&p, "rootfs_a");
	assert_absent(&p, ".rootfs_a.old.1");
	assert_int_equal(varve_remove_tree(p.store, "a", &o, &e), -VARVE_E_NOTFOUND);
	assert_ok(varve_trees(p.store, p.roots, &l, &e), &e);
	assert_int_equal(l.n, 1);
	varve_tree_list_free(&l);
	place_end(&p);
}

static void numbers_used_again(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_tree_list l;
	struct varve_install_list in;
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs_a", "a");
	record(&p, "rootfs_a", "a");
	assert_ok(varve_trees(p.store, p.roots, &l, &e), &e);
	assert_true(l.items[0].ours);
	varve_tree_list_free(&l);
	/* Deleted and made anew by hand: whatever inode number it got, it is not ours any more. */
	assert_int_equal(fsx_remove_tree(p.fd, "rootfs_a", NULL, NULL, NULL), 0);
	usleep(1100000);
	make_tree(&p, "rootfs_a", "mine");
	assert_ok(varve_trees(p.store, p.roots, &l, &e), &e);
	assert_int_equal(l.n, 1);
	assert_false(l.items[0].ours);
	varve_tree_list_free(&l);
	assert_ok(varve_store_installs(p.store, p.roots, &in, &e), &e);
	varve_install_list_free(&in);
	place_end(&p);
}

static void records_from_sidecars(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_install_record in = {
		.id = "0123456789abcdef",
		.label = "a_1",
		.reference = "docker.io/library/a:1",
		.installed_at = time(NULL) + 1,
	};
	struct varve_tree_list l;
	struct roots r;
	struct stat st;
	struct place p;

	place_begin(&p);
	make_tree(&p, "rootfs", "a"); /* active: its name does not tell the label */
	assert_int_equal(fstatat(p.fd, "rootfs", &st, 0), 0);
	in.ino = st.st_ino;
	in.manifest.algo = VARVE_SHA256;
	varve_platform_host(&in.platform);
	assert_ok(roots_open(&r, p.store, p.roots, false, &e), &e);
	assert_ok(sidecar_write(&r, &in, &e), &e);
	assert_ok(varve_trees(p.store, p.roots, &l, &e), &e);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.items[0].label, "a_1");
	assert_string_equal(l.items[0].reference, "docker.io/library/a:1");
	assert_true(l.items[0].active && l.items[0].ours);
	varve_tree_list_free(&l);
	roots_close(&r);
	place_end(&p);
}

static void bad_roots(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_tree_list l;
	struct place p;

	place_begin(&p);
	assert_int_equal(varve_trees(p.store, "relative", &l, &e), -VARVE_E_USAGE);
	assert_ok(varve_trees(p.store, "/nonexistent-dir/roots", &l, &e), &e);
	assert_int_equal(l.n, 0);
	assert_int_equal(fchmod(p.fd, 0777), 0);
	assert_int_equal(varve_trees(p.store, p.roots, &l, &e), -VARVE_E_UNSAFE);
	assert_int_equal(varve_trees(p.store, p.store_dir, &l, &e), -VARVE_E_CONFLICT);
	place_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directory_names),
		cmocka_unit_test(labels_of_old_trees),
		cmocka_unit_test(switching),
		cmocka_unit_test(without_exchange),
		cmocka_unit_test(bad_targets),
		cmocka_unit_test(fallback_label),
		cmocka_unit_test(in_use),
		cmocka_unit_test(mounts),
		cmocka_unit_test(killed_anywhere),
		cmocka_unit_test(a_thousand_switches),
		cmocka_unit_test(removing),
		cmocka_unit_test(numbers_used_again),
		cmocka_unit_test(records_from_sidecars),
		cmocka_unit_test(bad_roots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
