/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks: which, in what order, how they run, how they fail, and what they leave. */
#include "unit.h"

#include "mktree.h"
#include "store/base/compiler.h"
#include "varve-materialize.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static struct mktree tree, hooks;
static char output[65536], order[4096];
static int last_status;
static const char *last_problem;

static int begin(void **state VARVE_UNUSED)
{
	mktree_begin(&tree);
	mktree_begin(&hooks);
	mktree_copy(&tree, "/bin/busybox", "bin/sh", 0755);
	mktree_copy(&tree, "/bin/busybox", "bin/busybox", 0755);
	mktree_dir(&tree, "root", 0700);
	mktree_dir(&tree, "proc", 0555);
	mktree_dir(&tree, "dev", 0755);
	mktree_dir(&tree, "etc", 0755);
	output[0] = order[0] = '\0';
	last_problem = NULL;
	return 0;
}

static int end(void **state VARVE_UNUSED)
{
	mktree_end(&tree);
	mktree_end(&hooks);
	return 0;
}

static void on_start(void *user VARVE_UNUSED, const char *hook)
{
	strcat(order, hook);
	strcat(order, " ");
}

static void on_output(void *user VARVE_UNUSED, const char *hook VARVE_UNUSED, const void *data,
		      size_t n)
{
	size_t at = strlen(output);

	n = VARVE_MIN(n, sizeof(output) - 1 - at);
	memcpy(output + at, data, n);
	output[at + n] = '\0';
}

static void on_end(void *user VARVE_UNUSED, const char *hook VARVE_UNUSED, int status,
		   const char *problem)
{
	last_status = status;
	last_problem = problem;
}

static struct varve_hook_options options(void)
{
	struct varve_hook_options o = VARVE_HOOK_OPTIONS_INIT;

	o.directory = hooks.dir;
	o.image = "team/app";
	o.tag = "1";
	o.label = "team_app_1";
	o.roots = "/srv/roots";
	o.regular_user = "me";
	o.start = on_start;
	o.output = on_output;
	o.end = on_end;
	return o;
}

static int run(const struct varve_hook_options *o, struct varve_hook_result *ret,
	       struct varve_err *e)
{
	return varve_hooks_run(tree.fd, o, ret, e);
}

/* Names in a directory of the tree. */
static void assert_names(const char *dir, const char *want)
{
	DIR *d = fdopendir(openat(tree.fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	char got[1024] = "";
	struct dirent *de;

	while ((de = readdir(d)))
		if (de->d_name[0] != '.') {
			strcat(got, de->d_name);
			strcat(got, " ");
		}
	closedir(d);
	assert_string_equal(got, want);
}

static void order_and_environment(void **state VARVE_UNUSED)
{
	static const char *const env[] = {"WINVER=22631", "SUDONOPASSWD=1", NULL};
	struct varve_hook_options o = options();
	struct varve_hook_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	o.env = env;
	assert_int_equal(setenv("SECRET_OF_CALLER", "x", 1), 0);
	mktree_put(&hooks, "hook_postinstall_all.sh",
		   "#!/bin/sh\r\necho $REGULARUSER $VARVE_IMAGE $VARVE_TAG $VARVE_LABEL $WINVER "
		   "$SUDONOPASSWD [$SECRET_OF_CALLER] $VARVE_ROOTFS\r\n",
		   0644);
	mktree_put(&hooks, "hook_postinstall_team/app.sh", "#!/bin/sh\necho dir\n", 0644);
	mktree_put(&hooks, "hook_postinstall_team_app.sh", "echo no interpreter line\n", 0644);
	mktree_put(
		&hooks, "hook_postinstall_team_app_1.sh",
		"#!/bin/sh\nbusybox id -u; pwd; echo made >/made; test -c /dev/null && echo null; "
		"test -d /proc/1 && echo proc; test -e /dev/sda -o -e /dev/vda && echo disk; "
		"exit 0\n",
		0755);
	mktree_put(&hooks, "hook_postinstall_other.sh", "exit 1\n", 0755);
	assert_ok(run(&o, &ret, &e), &e);
	assert_int_equal(ret.found, 4);
	assert_string_equal(order, "hook_postinstall_all.sh hook_postinstall_team/app.sh "
				   "hook_postinstall_team_app.sh hook_postinstall_team_app_1.sh ");
	assert_string_equal(output,
			    "me team/app 1 team_app_1 22631 1 [] /\ndir\nno interpreter line\n"
			    "0\n/\nnull\nproc\n");
	assert_names("root", "");
	assert_names("proc", "");
	assert_names("dev", "");
	assert_names("etc", "");
	assert_int_equal(faccessat(tree.fd, "made", F_OK, 0), 0);
}

static void failing(void **state VARVE_UNUSED)
{
	struct varve_hook_options o = options();
	struct varve_hook_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	mktree_put(&hooks, "hook_postinstall_all.sh", "#!/bin/sh\nexit 3\n", 0644);
	mktree_put(&hooks, "hook_postinstall_team_app.sh", "#!/bin/sh\necho second\n", 0644);
	assert_int_equal(run(&o, &ret, &e), -VARVE_E_HOOK);
	assert_int_equal(last_status, 3);
	assert_string_equal(output, "");
	o.keep_going = true;
	assert_ok(run(&o, &ret, &e), &e);
	assert_int_equal(ret.failed, 1);
	assert_string_equal(output, "second\n");
	mktree_put(&hooks, "hook_postinstall_all.sh", "#!/no/such/shell\n", 0644);
	o.keep_going = false;
	assert_int_equal(run(&o, &ret, &e), -VARVE_E_HOOK);
	assert_names("root", "");
}

/* Is there a process with this name? */
static bool lives(const char *comm)
{
	DIR *d = opendir("/proc");
	struct dirent *de;
	bool found = false;

	while ((de = readdir(d))) {
		char path[300], got[64] = "";
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%s/comm", de->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(got, sizeof(got), f))
			got[strcspn(got, "\n")] = '\0';
		found |= !strcmp(got, comm);
		fclose(f);
	}
	closedir(d);
	return found;
}

/* The kernel ends and reaps a process a moment after the signal. */
static bool ends(const char *comm)
{
	for (unsigned i = 0; i < 500; i++) {
		if (!lives(comm))
			return true;
		usleep(10000);
	}
	return false;
}

static void timeout_and_orphans(void **state VARVE_UNUSED)
{
	char name[16], path[32], script[200]; /* a name of this run: another may go on beside it */
	struct varve_hook_options o = options();
	struct varve_hook_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	(void)snprintf(name, sizeof(name), "orphan%d", (int)getpid() % 100000000);
	(void)snprintf(path, sizeof(path), "bin/%s", name);
	mktree_copy(&tree, "/bin/busybox", path, 0755);
	(void)snprintf(script, sizeof(script), "#!/bin/sh\nexec -a sleep /%s 1000 &\nexit 0\n",
		       path);
	mktree_put(&hooks, "hook_postinstall_all.sh", script, 0644);
	/* busybox acts by argv[0]; comm is the file's name */
	assert_ok(run(&o, &ret, &e), &e);
	assert_true(ends(name));
	(void)snprintf(script, sizeof(script),
		       "#!/bin/sh\ntrap '' TERM INT\nexec -a sleep /%s 1000\n", path);
	mktree_put(&hooks, "hook_postinstall_all.sh", script, 0644);
	o.timeout = 1;
	assert_int_equal(run(&o, &ret, &e), -VARVE_E_HOOK);
	assert_non_null(strstr(last_problem, "too long"));
	assert_true(ends(name));
	assert_names("root", "");
}

static void cancelled(void **state VARVE_UNUSED)
{
	volatile int cancel = 1;
	struct varve_ctx ctx = {.cancel = &cancel};
	struct varve_hook_options o = options();
	struct varve_hook_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	o.ctx = &ctx;
	mktree_put(&hooks, "hook_postinstall_all.sh", "#!/bin/sh\nbusybox sleep 100\n", 0644);
	assert_int_equal(run(&o, &ret, &e), -VARVE_E_INTERRUPTED);
	assert_names("root", "");
}

/* /root leads out of the tree: inside, that path does not exist; the hook goes elsewhere. */
static void hostile_root(void **state VARVE_UNUSED)
{
	struct varve_hook_options o = options();
	struct varve_hook_result ret;
	struct varve_err e = VARVE_ERR_INIT;

	assert_int_equal(unlinkat(tree.fd, "root", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat(hooks.dir, tree.fd, "root"), 0);
	assert_int_equal(unlinkat(tree.fd, "proc", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/tmp", tree.fd, "proc"), 0);
	mktree_put(&hooks, "hook_postinstall_all.sh", "#!/bin/sh\necho $0\n", 0644);
	assert_ok(run(&o, &ret, &e), &e);
	assert_string_equal(output, "/hook_postinstall_all.sh\n");
	assert_int_equal(faccessat(tree.fd, "hook_postinstall_all.sh", F_OK, 0), -1);
}

/* A name that is in the image stays as it is. */
static void name_that_the_image_has(void **state VARVE_UNUSED)
{
	struct varve_hook_options o = options();
	struct varve_hook_result ret;
	struct varve_err e = VARVE_ERR_INIT;
	VARVE_FREE char *got = NULL;

	mktree_put(&tree, "root/hook_postinstall_all.sh", "image's own\n", 0755);
	mktree_put(&hooks, "hook_postinstall_all.sh", "#!/bin/sh\necho ours\n", 0644);
	assert_ok(run(&o, &ret, &e), &e);
	assert_string_equal(output, "ours\n");
	got = mktree_get(&tree, "root/hook_postinstall_all.sh");
	assert_string_equal(got, "image's own\n");
	assert_names("root", "hook_postinstall_all.sh ");
}

/* As an ordinary user: in a user namespace, or refused with a reason. */
static void unprivileged(void **state VARVE_UNUSED)
{
	pid_t pid;
	int status;

	if (geteuid() != 0)
		skip();
	mktree_put(&hooks, "hook_postinstall_all.sh", "#!/bin/sh\nbusybox id -u\necho x >/made\n",
		   0644);
	assert_int_equal(fchmodat(AT_FDCWD, hooks.dir, 0755, 0), 0);
	assert_int_equal(fchown(tree.fd, 65533, 65533), 0);
	assert_int_equal(fchownat(tree.fd, "root", 65533, 65533, 0), 0);
	assert_int_equal(fchownat(tree.fd, "etc", 65533, 65533, 0), 0);
	pid = fork();
	if (pid == 0) {
		struct varve_hook_options o = options();
		struct varve_hook_result ret;
		struct varve_err e = VARVE_ERR_INIT;
		int r;

		if (setgid(65533) || setuid(65533))
			_exit(9);
		r = run(&o, &ret, &e);
		if (r == -VARVE_E_UNSUPPORTED)
			_exit(5);
		_exit(r == 0 && !strcmp(output, "0\n") && faccessat(tree.fd, "made", F_OK, 0) == 0
			      ? 0
			      : 1);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != 5)
		assert_int_equal(WEXITSTATUS(status), 0);
	assert_names("root", "");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(order_and_environment), TEST(failing),
		TEST(timeout_and_orphans),   TEST(cancelled),
		TEST(hostile_root),          TEST(name_that_the_image_has),
		TEST(unprivileged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
