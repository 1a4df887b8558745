/* SPDX-License-Identifier: Apache-2.0 */
/* Installs of plans made by hand into a real store's records: replace, keep, roll back, fail, be
 * killed, be attacked. */
#include "unit.h"

#include "materialize/trees/trees.h"
#include "mkplan.h"
#include "mktree.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct mktree top;
static struct varve_store *store;
static char roots[64], store_dir[64];

/* Kill at the n-th call that changes names: the library's calls come here. */
static int kill_at;

int renameat2(int olddir, const char *old, int newdir, const char *new_name, unsigned flags)
{
	if (kill_at && --kill_at == 0)
		_exit(77);
	return (int)syscall(SYS_renameat2, olddir, old, newdir, new_name, flags);
}

int renameat(int olddir, const char *old, int newdir, const char *new_name)
{
	return renameat2(olddir, old, newdir, new_name, 0);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
	if (kill_at && --kill_at == 0)
		_exit(77);
	return (int)syscall(SYS_mkdirat, dir, name, mode);
}

static void open_store(void)
{
	struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;
	struct varve_err e = VARVE_ERR_INIT;

	o.path = store_dir;
	o.create = true;
	assert_ok(varve_store_open(&store, NULL, &o, &e), &e);
}

static int begin(void **state VARVE_UNUSED)
{
	mktree_begin(&top);
	(void)snprintf(store_dir, sizeof(store_dir), "%s/store", top.dir);
	(void)snprintf(roots, sizeof(roots), "%s/roots", top.dir);
	open_store();
	return 0;
}

static int end(void **state VARVE_UNUSED)
{
	varve_store_close(store);
	mktree_end(&top);
	return 0;
}

/* An image whose /etc/os-release says who it is. */
static struct mk *image(const char *who)
{
	struct mk *m = mk_new();
	uint32_t etc = mk_dir(m, PLAN_ROOT, "etc", 0755);

	m->plan.store = store;
	m->plan.manifest.algo = VARVE_SHA256;
	(void)snprintf((char *)m->plan.manifest.bytes, 32, "%s", who);
	(void)mk_file(m, etc, "os-release", 0644, 0, who, strlen(who));
	(void)mk_dir(m, PLAN_ROOT, "locked", 0);
	m->plan.summary.entries = 4;
	m->plan.summary.inodes = 4;
	return m;
}

static struct varve_install_options options(const char *label)
{
	struct varve_install_options o = VARVE_INSTALL_OPTIONS_INIT;

	o.roots = roots;
	o.label = label;
	o.reference = "docker.io/library/x:1";
	o.threads = 2;
	o.no_sync = true; /* of a shared disk: not what is tested here */
	return o;
}

static int install_with(const char *who, const struct varve_install_options *o,
			struct varve_install_result *ret, struct varve_err *e)
{
	struct mk *m = image(who);
	int r = varve_install(store, &m->plan, o, ret, e);

	mk_free(m);
	return r;
}

static int install(const char *who, const char *label, bool force, struct varve_err *e)
{
	struct varve_install_options o = options(label);
	struct varve_install_result ret;

	o.force = force;
	return install_with(who, &o, &ret, e);
}

static void assert_who(const char *tree, const char *want)
{
	char path[256];
	VARVE_FREE char *got = NULL;

	(void)snprintf(path, sizeof(path), "roots/%s/etc/os-release", tree);
	got = mktree_get(&top, path);
	if (!got || strcmp(got, want))
		fail_msg("%s is %s, not %s", tree, got ? got : "absent", want);
}

/* Names in the roots dir but sidecars, sorted. */
static void assert_names(const char *want)
{
	struct dirent **list;
	char got[2048] = "";
	int n = scandir(roots, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (strcmp(name, ".") && strcmp(name, "..") && !strstr(name, ".varve.json")) {
			strcat(got, name);
			strcat(got, " ");
		}
		free(list[i]);
	}
	free(list);
	assert_string_equal(got, want);
}

static unsigned sidecars(void)
{
	DIR *d = opendir(roots);
	struct dirent *de;
	unsigned n = 0;

	while ((de = readdir(d)))
		n += strstr(de->d_name, ".varve.json") != NULL;
	closedir(d);
	return n;
}

static void switch_to(const char *label)
{
	struct varve_switch_options o = VARVE_SWITCH_OPTIONS_INIT;
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	o.roots = roots;
	assert_ok(varve_switch(store, label, &o, &ret, &e), &e);
}

static void rollback(void)
{
	struct varve_switch_options o = VARVE_SWITCH_OPTIONS_INIT;
	struct varve_switch_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	o.roots = roots;
	assert_ok(varve_rollback(store, &o, &ret, &e), &e);
}

static void install_and_replace(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_tree_list l;

	assert_ok(install("one", "x_1", false, &e), &e);
	assert_who("rootfs_x_1", "one");
	assert_names("rootfs_x_1 ");
	assert_int_equal(install("one", "x_1", false, &e), -VARVE_E_EXISTS);
	assert_int_equal(install("two", "x_1", false, &e), -VARVE_E_EXISTS);
	assert_names("rootfs_x_1 ");
	assert_ok(install("two", "x_1", true, &e), &e);
	assert_who("rootfs_x_1", "two");
	assert_who(".rootfs_x_1.old.1", "one");
	assert_ok(install("three", "x_1", true, &e), &e); /* one previous generation stays */
	assert_names(".rootfs_x_1.old.2 rootfs_x_1 ");
	assert_who(".rootfs_x_1.old.2", "two");
	assert_int_equal(sidecars(), 2);
	assert_ok(varve_trees(store, roots, &l, &e), &e);
	assert_int_equal(l.n, 2);
	assert_true(l.items[0].previous && l.items[0].ours);
	assert_string_equal(l.items[0].label, "x_1");
	assert_string_equal(l.items[1].reference, "docker.io/library/x:1");
	assert_string_equal((char *)l.items[1].manifest.bytes, "three");
	varve_tree_list_free(&l);

	rollback();
	assert_who("rootfs_x_1", "two");
	assert_who(".rootfs_x_1.old.3", "three");
	rollback();
	assert_who("rootfs_x_1", "three");
}

static void replace_the_active_one(void **state VARVE_UNUSED)
{
	struct varve_install_options o = options("x_1");
	struct varve_install_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	assert_ok(install("one", "x_1", false, &e), &e);
	switch_to("x_1");
	o.force = true;
	o.keep = 2;
	assert_ok(install_with("two", &o, &ret, &e), &e);
	assert_true(ret.active && ret.replaced);
	assert_who("rootfs", "two");
	assert_non_null(strstr(ret.path, "/rootfs"));
	assert_ok(install_with("three", &o, &ret, &e), &e);
	assert_names(".rootfs_x_1.old.1 .rootfs_x_1.old.2 rootfs ");
	rollback();
	assert_who("rootfs", "two");
	o.keep = VARVE_KEEP_NONE;
	assert_ok(install_with("four", &o, &ret, &e), &e);
	assert_names("rootfs ");
	assert_who("rootfs", "four");
}

static void labels_of_others(void **state VARVE_UNUSED)
{
	struct varve_install_options o = options("x_1");
	struct varve_install_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	assert_ok(install("one", "x_1", false, &e), &e);
	o.reference = "docker.io/other/x:1";
	o.force = true;
	assert_int_equal(install_with("two", &o, &ret, &e), -VARVE_E_CONFLICT);
	assert_non_null(strstr(varve_err_frame(&e, 0), "docker.io/library/x:1"));
	mktree_put(&top, "roots/rootfs_mine/etc/os-release", "mine", 0644);
	assert_int_equal(install("two", "mine", false, &e), -VARVE_E_CONFLICT);
	assert_who("rootfs_mine", "mine");
	assert_ok(install("two", "mine", true, &e), &e);
	assert_who("rootfs_mine", "two");
	assert_who(".rootfs_mine.old.1", "mine"); /* never thrown away */
	rollback();
	assert_who("rootfs_mine", "mine");
	assert_int_equal(symlinkat("/tmp", top.fd, "roots/rootfs_link"), 0);
	assert_int_equal(install("two", "link", true, &e), -VARVE_E_CONFLICT);
	assert_int_equal(install("two", "../x", true, &e), -VARVE_E_USAGE);
}

static int finish_fails(void *user, int rootfd, const char *path, struct varve_err *e)
{
	struct stat st;

	assert_non_null(user);
	assert_int_equal(fstatat(rootfd, "etc/os-release", &st, 0), 0);
	assert_int_equal(access(path, F_OK), 0);
	return varve_fail(e, VARVE_E_HOOK, "said no");
}

static void failures_leave_nothing(void **state VARVE_UNUSED)
{
	struct varve_install_options o = options("x_1");
	struct varve_install_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	struct varve_install_list l;
	struct mk *m;

	o.finish = finish_fails;
	o.user = &o;
	assert_int_equal(install_with("one", &o, &ret, &e), -VARVE_E_HOOK);
	assert_names("");
	o.finish = NULL;
	m = image("rotten");
	mk_layers[0].rotten = true;
	assert_int_equal(varve_install(store, &m->plan, &o, &ret, &e), -VARVE_E_DIGEST);
	mk_free(m);
	assert_names("");
	m = image("large");
	m->plan.summary.disk = 1ULL << 60;
	assert_int_equal(varve_install(store, &m->plan, &o, &ret, &e), -VARVE_E_NOSPACE);
	assert_non_null(strstr(varve_err_frame(&e, 0), "1.0 EiB"));
	m->plan.summary.disk = 0;
	m->plan.summary.inodes = 1ULL << 60;
	assert_int_equal(varve_install(store, &m->plan, &o, &ret, &e), -VARVE_E_NOSPACE);
	mk_free(m);
	assert_names("");
	assert_int_equal(sidecars(), 0);
	assert_ok(varve_store_installs(store, NULL, &l, &e), &e);
	assert_int_equal(l.n, 0);
	varve_install_list_free(&l);
}

/* kill -9 at the n-th change of names: old or new, whole, and the next command finds its way. */
static void killed_anywhere(void **state VARVE_UNUSED)
{
	int status = 0;

	end(NULL);
	for (int n = 1; status == 0 || n < 3; n++) {
		struct varve_err e = VARVE_ERR_INIT;
		struct varve_tree_list l;
		VARVE_FREE char *who = NULL;
		pid_t pid;

		assert_true(n < 60);
		begin(NULL);
		assert_ok(install("old", "x_1", false, &e), &e);
		switch_to("x_1");
		varve_store_close(store);
		pid = fork();
		if (pid == 0) {
			open_store();
			kill_at = n;
			_exit(install("new", "x_1", true, NULL) < 0);
		}
		waitpid(pid, &status, 0);
		status = WIFEXITED(status) && WEXITSTATUS(status) == 77 ? 0 : 1;
		who = mktree_get(&top, "roots/rootfs/etc/os-release");
		assert_non_null(who); /* whole, before anything was repaired */
		open_store();
		assert_ok(varve_trees(store, roots, &l, &e), &e);
		assert_int_equal(strcmp(who, "new") == 0, l.n == 2);
		assert_true(l.items[l.n - 1].active && l.items[l.n - 1].ours);
		varve_tree_list_free(&l);
		assert_ok(install("newer", "x_1", true, &e), &e);
		assert_who("rootfs", "newer");
		rollback();
		assert_who("rootfs", who);
		assert_names(strcmp(who, "new") ? ".rootfs_x_1.old.2 rootfs "
						: ".rootfs_x_1.old.3 rootfs ");
		end(NULL);
	}
	begin(NULL);
}

static void two_at_once(void **state VARVE_UNUSED)
{
	pid_t pids[2];
	unsigned done = 0;

	varve_store_close(store);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			open_store();
			_exit(-install(i ? "a" : "b", "x_1", false, NULL) == VARVE_E_EXISTS ? 1
											    : 0);
		}
	}
	for (int i = 0; i < 2; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		assert_true(WIFEXITED(status));
		done += WEXITSTATUS(status) == 0;
	}
	open_store();
	assert_int_equal(done, 1); /* the other one found it installed */
	assert_names("rootfs_x_1 ");
}

/*
 * A process that swaps the directories of the staging tree for links to a victim directory while
 * the install writes (CVE-2018-15664 class): whatever comes of the install, nothing is written
 * there. hits counts what was swapped: without any, the test would prove nothing.
 */
static void swapper(const char *victim, atomic_int *hits)
{
	int fd = inotify_init1(IN_CLOEXEC);
	char event[4096];

	(void)inotify_add_watch(fd, roots, IN_CREATE);
	for (;;) {
		DIR *d = opendir(roots);
		struct dirent *de;

		while (d && (de = readdir(d))) {
			char a[400], b[400];

			if (!strstr(de->d_name, ".new."))
				continue;
			for (int i = 0; i < 40; i++) {
				(void)snprintf(a, sizeof(a), "%s/%s/d%d", roots, de->d_name, i);
				(void)snprintf(b, sizeof(b), "%s/%s/away%d", roots, de->d_name, i);
				if (!rename(a, b) && !symlink(victim, a))
					atomic_fetch_add(hits, 1);
			}
		}
		if (d)
			closedir(d);
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		(void)!read(fd, event, sizeof(event));
	}
}

static void swapped_directories(void **state VARVE_UNUSED)
{
	static char names[40][8], files[40][50][8];
	atomic_int *hits = mmap(NULL, sizeof(*hits), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char victim[64];
	struct stat before, after;
	pid_t pid;

	assert_ptr_not_equal(hits, MAP_FAILED);
	mktree_dir(&top, "victim", 0755);
	mktree_dir(&top, "roots", 0700);
	(void)snprintf(victim, sizeof(victim), "%s/victim", top.dir);
	assert_int_equal(stat(victim, &before), 0);
	pid = fork();
	if (pid == 0)
		swapper(victim, hits);
	for (int round = 0; round < 20 || (!atomic_load(hits) && round < 500); round++) {
		struct varve_install_options o = options("x_1");
		struct varve_install_result ret;
		struct mk *m = image("x");

		for (int i = 0; i < 40; i++) {
			uint32_t dir;

			(void)snprintf(names[i], sizeof(names[i]), "d%d", i);
			dir = mk_dir(m, PLAN_ROOT, names[i], 0755);
			for (int k = 0; k < 50; k++) {
				(void)snprintf(files[i][k], sizeof(files[i][k]), "f%d", k);
				(void)mk_file(m, dir, files[i][k], 0644, 0, "evil", 4);
			}
		}
		o.force = true;
		(void)varve_install(store, &m->plan, &o, &ret, NULL); /* may well fail */
		mk_free(m);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(atomic_load(hits) > 0);
	assert_int_equal(munmap(hits, sizeof(*hits)), 0);
	assert_int_equal(stat(victim, &after), 0);
	assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_equal(before.st_mode, after.st_mode);
	assert_int_equal(rmdir(victim), 0); /* still empty */
}

/* As an ordinary user: devices and owners are lost and counted, closed directories can be replaced
 * and removed. */
static void unprivileged(void **state VARVE_UNUSED)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	varve_store_close(store);
	assert_int_equal(fchown(top.fd, 65533, 65533), 0);
	pid = fork();
	if (pid == 0) {
		struct varve_install_options o = options("x_1");
		struct varve_install_result ret;
		struct varve_switch_options so = VARVE_SWITCH_OPTIONS_INIT;
		struct varve_err e = VARVE_ERR_INIT;
		struct mk *m;

		(void)snprintf(store_dir, sizeof(store_dir), "%s/store2", top.dir);
		(void)snprintf(roots, sizeof(roots), "%s/roots2", top.dir);
		if (setgid(65533) || setuid(65533))
			_exit(9);
		open_store();
		m = image("u");
		mk_inode(m, mk_node(m, PLAN_ROOT, "null", S_IFCHR | 0666, 1, 3))->uid = 0;
		mk_inode(m, mk_dir(m, PLAN_ROOT, "ro", 0500))->uid = 33;
		(void)mk_file(m, m->plan.n_names - 1, "in", 0400, 0, "x", 1);
		mk_inode(m, PLAN_ROOT)->mode = S_IFDIR | 0555;
		if (varve_install(store, &m->plan, &o, &ret, &e) < 0)
			_exit(2);
		if (ret.losses.devices != 1 || ret.losses.owners != 1)
			_exit(3);
		o.force = true;
		o.keep = VARVE_KEEP_NONE;
		if (varve_install(store, &m->plan, &o, &ret, &e) < 0)
			_exit(4);
		so.roots = roots;
		if (varve_remove_tree(store, "x_1", &so, &e) < 0)
			_exit(5);
		_exit(rmdir(roots) ? 6 : 0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	(void)snprintf(store_dir, sizeof(store_dir), "%s/store", top.dir);
	open_store();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(install_and_replace),    TEST(replace_the_active_one), TEST(labels_of_others),
		TEST(failures_leave_nothing), TEST(killed_anywhere),        TEST(two_at_once),
		TEST(swapped_directories),    TEST(unprivileged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
