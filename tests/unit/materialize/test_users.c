/* SPDX-License-Identifier: Apache-2.0 */
/* Carrying users between trees of every shape, and
 * an image that tries to lead us out of its tree. */
#include "unit.h"

#include "mktree.h"
#include "store/base/compiler.h"
#include "varve-materialize.h"

#include <fcntl.h>
#include <string.h>

static struct mktree from, to;
static char notes[4096];

static int begin(void **state VARVE_UNUSED)
{
	mktree_begin(&from);
	mktree_begin(&to);
	notes[0] = '\0';
	mktree_put(&from, "etc/passwd",
		   "root:x:0:0:root:/root:/bin/bash\n"
		   "me:x:1000:1000:Me,,,:/home/me:/bin/zsh", /* no final newline */
		   0644);
	mktree_put(&from, "etc/shadow", "root:$y$root:1:0:99999:7:::\nme:$y$mine:2:0:99999:7:::\n",
		   0);
	mktree_put(&from, "etc/group", "root:x:0:\nsudo:x:27:me\nme:x:1000:\n", 0644);
	mktree_put(&from, "etc/gshadow", "root:*::\nsudo:*::me\nme:!::\n", 0640);
	mktree_put(&to, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0644);
	mktree_put(&to, "etc/shadow", "root:*:1:0:99999:7:::\n", 0640);
	mktree_put(&to, "etc/group", "root:x:0:\nsudo:x:27:\nwheel:x:10:root\n", 0644);
	mktree_put(&to, "bin/sh", "", 0755);
	mktree_dir(&to, "home", 0755);
	return 0;
}

static int end(void **state VARVE_UNUSED)
{
	mktree_end(&from);
	mktree_end(&to);
	return 0;
}

static void take_note(void *user VARVE_UNUSED, const char *message)
{
	strcat(notes, message);
	strcat(notes, "\n");
}

static struct varve_user_options options(const char *name)
{
	struct varve_user_options o = VARVE_USER_OPTIONS_INIT;

	o.name = name;
	o.from = from.dir;
	o.note = take_note;
	return o;
}

static int carry(const char *name, struct varve_user_result *ret)
{
	struct varve_user_options o = options(name);
	struct varve_err e = VARVE_ERR_INIT;
	int r = varve_user_carry(to.fd, &o, ret, &e);

	if (r < 0)
		print_message("%s\n", varve_err_text(&e, (char[2048]){0}, 2048));
	return r;
}

static void assert_file(const struct mktree *t, const char *path, const char *want)
{
	VARVE_FREE char *got = mktree_get(t, path);

	assert_non_null(got);
	assert_string_equal(got, want);
}

static void plain(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;
	struct stat st;

	assert_int_equal(carry("me", &ret), 0);
	assert_int_equal(ret.uid, 1000);
	assert_false(ret.renumbered);
	assert_file(&to, "etc/passwd",
		    "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000:Me,,,:/home/me:/bin/sh\n");
	assert_non_null(strstr(notes, "/bin/zsh is not in the new tree"));
	assert_file(&to, "etc/shadow", "root:$y$root:1:0:99999:7:::\nme:$y$mine:2:0:99999:7:::\n");
	assert_file(&to, "etc/group", "root:x:0:\nsudo:x:27:\nwheel:x:10:root\nme:x:1000:\n");
	assert_file(&to, "etc/gshadow", "me:!::\n"); /* made: the image had none */
	assert_int_equal(fstatat(to.fd, "etc/shadow", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(fstatat(to.fd, "home/me", &st, 0), 0);
	assert_int_equal(st.st_uid, 1000);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* Again: nothing twice. */
	assert_int_equal(carry("me", &ret), 0);
	assert_file(&to, "etc/passwd",
		    "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000:Me,,,:/home/me:/bin/sh\n");
	assert_file(&to, "etc/gshadow", "me:!::\n");
}

static void ids_that_are_taken(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;

	mktree_put(&to, "etc/passwd",
		   "root:x:0:0:root:/root:/bin/sh\nubuntu:x:1000:1000:U:/home/ubuntu:/bin/sh\n",
		   0644);
	mktree_put(&to, "etc/group", "root:x:0:\nubuntu:x:1000:", 0644);
	assert_int_equal(carry("me", &ret), 0);
	assert_true(ret.renumbered);
	assert_int_equal(ret.uid, 1001);
	assert_int_equal(ret.gid, 1001);
	assert_file(&to, "etc/group", "root:x:0:\nubuntu:x:1000:\nme:x:1001:\n");
	assert_non_null(strstr(notes, "has uid 1001 in the new tree, 1000 in the old one"));
}

/* Hashes of this system must not be for all to read because an image says so. */
static void shadow_for_all(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;
	struct stat st;

	mktree_put(&to, "etc/shadow", "root:*:1::::::\n", 0666);
	assert_int_equal(fchmodat(to.fd, "etc/shadow", 0666, 0), 0);
	if (geteuid() == 0)
		assert_int_equal(fchownat(to.fd, "etc/shadow", 1000, 1000, 0), 0);
	assert_int_equal(carry("me", &ret), 0);
	assert_int_equal(fstatat(to.fd, "etc/shadow", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_gid, getegid());
	assert_int_equal(fchmodat(to.fd, "etc/shadow", 0640, 0), 0);
	if (geteuid() == 0)
		assert_int_equal(fchownat(to.fd, "etc/shadow", 0, 42, 0), 0);
	assert_int_equal(carry("me", &ret), 0);
	assert_int_equal(fstatat(to.fd, "etc/shadow", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	if (geteuid() == 0)
		assert_int_equal(st.st_gid, 42);
}

static void user_that_the_image_has(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;

	mktree_put(&to, "etc/passwd",
		   "root:x:0:0:root:/root:/bin/sh\nme:x:500:100:x:/home/me:/bin/sh\nz:x:7:7::/:\n",
		   0644);
	mktree_put(&to, "etc/group", "root:x:0:\nme:x:501:\n", 0644);
	assert_int_equal(carry("me", &ret), 0);
	assert_int_equal(ret.uid, 500); /* its files in the image belong to that */
	assert_int_equal(ret.gid, 501);
	assert_file(&to, "etc/passwd",
		    "root:x:0:0:root:/root:/bin/sh\nme:x:500:501:Me,,,:/home/me:/bin/sh\n"
		    "z:x:7:7::/:\n");
}

static void without_shadow(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;
	struct stat st;

	assert_int_equal(unlinkat(to.fd, "etc/shadow", 0), 0);
	assert_int_equal(carry("me", &ret), 0);
	assert_file(&to, "etc/shadow", "me:$y$mine:2:0:99999:7:::\n");
	assert_int_equal(fstatat(to.fd, "etc/shadow", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_non_null(strstr(notes, "root's password was not carried"));
	/* The other direction: the old tree has none. */
	mktree_put(&to, "etc/shadow", "root:*:::::::\n", 0600);
	assert_int_equal(unlinkat(from.fd, "etc/shadow", 0), 0);
	assert_int_equal(unlinkat(from.fd, "etc/gshadow", 0), 0);
	assert_int_equal(carry("me", &ret), 0);
	assert_file(&to, "etc/shadow", "root:*:::::::\n");
}

static void root_passwords(void **state VARVE_UNUSED)
{
	static const struct {
		const char *root; /* in the old tree */
		enum varve_root_password rule;
		const char *want;
	} cases[] = {
		{"$6$r", VARVE_ROOT_ORIGINAL, "root:$6$r:1:0:99999:7:::\n"},
		{"*", VARVE_ROOT_ORIGINAL, "root:!:1:0:99999:7:::\n"},
		{"!locked", VARVE_ROOT_ORIGINAL, "root:!:1:0:99999:7:::\n"},
		{"$6$r", VARVE_ROOT_KEEP, "root:!:1:0:99999:7:::\n"},
		{"*", VARVE_ROOT_USER, "root:$y$mine:1:0:99999:7:::\n"},
		{"$6$r", VARVE_ROOT_USER, "root:$6$r:1:0:99999:7:::\n"},
	};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct varve_user_options o = options("me");
		struct varve_user_result ret;
		char text[256];
		VARVE_FREE char *got = NULL;

		(void)snprintf(text, sizeof(text), "root:%s:1:::::: \nme:$y$mine:2::::::\n",
			       cases[i].root);
		mktree_put(&from, "etc/shadow", text, 0640);
		mktree_put(&to, "etc/shadow", "root:!:1:0:99999:7:::\n", 0640);
		o.root_password = cases[i].rule;
		assert_int_equal(varve_user_carry(to.fd, &o, &ret, NULL), 0);
		got = mktree_get(&to, "etc/shadow");
		if (strncmp(got, cases[i].want, strlen(cases[i].want)))
			fail_msg("%zu: %s", i, got);
	}
}

static void further_groups(void **state VARVE_UNUSED)
{
	static const char *const groups[] = {"sudo", "wheel", "docker", NULL};
	struct varve_user_options o = options("me");
	struct varve_user_result ret;

	mktree_put(&to, "etc/gshadow", "sudo:*::\nwheel:*::root", 0640);
	o.groups = groups;
	assert_int_equal(varve_user_carry(to.fd, &o, &ret, NULL), 0);
	assert_int_equal(varve_user_carry(to.fd, &o, &ret, NULL), 0);
	assert_file(&to, "etc/group", "root:x:0:\nsudo:x:27:me\nwheel:x:10:root,me\nme:x:1000:\n");
	assert_file(&to, "etc/gshadow", "sudo:*::me\nwheel:*::root,me\nme:!::\n");
	assert_non_null(strstr(notes, "group docker: is not in the new tree"));
}

/* An image whose /etc, or /etc/passwd, leads to the host (CVE-2024-9676 class, D10 and D11). */
static void hostile_links(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;
	struct mktree host;
	char path[128];

	mktree_begin(&host);
	mktree_put(&host, "passwd", "host\n", 0644);
	mktree_put(&host, "shadow", "host\n", 0644);
	mktree_put(&host, "group", "host\n", 0644);
	/* /etc/passwd -> <host>/passwd: inside the tree that path does not exist. */
	assert_int_equal(unlinkat(to.fd, "etc/passwd", 0), 0);
	(void)snprintf(path, sizeof(path), "%s/passwd", host.dir);
	assert_int_equal(symlinkat(path, to.fd, "etc/passwd"), 0);
	assert_true(carry("me", &ret) < 0);
	/* With as many ".." as it likes. */
	assert_int_equal(unlinkat(to.fd, "etc/passwd", 0), 0);
	(void)snprintf(path, sizeof(path), "../../../../../..%s/passwd", host.dir);
	assert_int_equal(symlinkat(path, to.fd, "etc/passwd"), 0);
	assert_true(carry("me", &ret) < 0);
	/* The whole /etc. */
	assert_int_equal(renameat(to.fd, "etc", to.fd, "etc.real"), 0);
	assert_int_equal(symlinkat(host.dir, to.fd, "etc"), 0);
	assert_true(carry("me", &ret) < 0);
	assert_file(&host, "passwd", "host\n");
	assert_file(&host, "shadow", "host\n");
	assert_file(&host, "group", "host\n");
	/* Links that stay inside are followed: /etc -> /etc.real, passwd -> ../usr/lib/passwd */
	assert_int_equal(unlinkat(to.fd, "etc", 0), 0);
	assert_int_equal(symlinkat("/etc.real", to.fd, "etc"), 0);
	assert_int_equal(unlinkat(to.fd, "etc.real/passwd", 0), 0);
	assert_int_equal(symlinkat("../usr/lib/passwd", to.fd, "etc.real/passwd"), 0);
	mktree_put(&to, "usr/lib/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0644);
	assert_int_equal(carry("me", &ret), 0);
	{
		VARVE_FREE char *got = mktree_get(&to, "usr/lib/passwd");

		assert_non_null(strstr(got, "\nme:x:1000:1000:"));
	}
	mktree_end(&host);
}

static void bad_input(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;

	assert_int_equal(carry("nobody-here", &ret), -VARVE_E_NOTFOUND);
	assert_int_equal(carry("a:b", &ret), -VARVE_E_USAGE);
	assert_int_equal(carry("", &ret), -VARVE_E_USAGE);
	assert_int_equal(unlinkat(to.fd, "etc/passwd", 0), 0);
	assert_int_equal(mknodat(to.fd, "etc/passwd", S_IFIFO | 0644, 0), 0);
	assert_int_equal(carry("me", &ret), -VARVE_E_UNSAFE);
}

static void only_the_root_password(void **state VARVE_UNUSED)
{
	struct varve_user_result ret;

	assert_int_equal(carry("root", &ret), 0);
	assert_file(&to, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
	assert_file(&to, "etc/shadow", "root:$y$root:1:0:99999:7:::\n");
}

static void wsl_conf(void **state VARVE_UNUSED)
{
	struct varve_wsl_conf_options o = VARVE_WSL_CONF_OPTIONS_INIT;

	assert_int_equal(varve_wsl_conf(to.fd, &o, NULL), 0); /* nothing asked: nothing made */
	assert_null(mktree_get(&to, "etc/wsl.conf"));
	o.default_user = "me";
	o.systemd = 1;
	assert_int_equal(varve_wsl_conf(to.fd, &o, NULL), 0);
	assert_file(&to, "etc/wsl.conf", "[user]\ndefault=me\n\n[boot]\nsystemd=true\n");
	mktree_put(&to, "etc/wsl.conf",
		   "# mine\n[ user ]\n[user]\nDefault = old\nx=1\n[boot]\ncommand=y", 0644);
	o.systemd = 0;
	assert_int_equal(varve_wsl_conf(to.fd, &o, NULL), 0);
	assert_file(
		&to, "etc/wsl.conf",
		"# mine\n[ user ]\n[user]\ndefault=me\nx=1\n[boot]\nsystemd=false\ncommand=y\n");
	o.default_user = "a\nb";
	assert_int_equal(varve_wsl_conf(to.fd, &o, NULL), -VARVE_E_USAGE);
}

/* A line that would not fit into what is written with it is no user. */
static void line_of_any_length(void **state VARVE_UNUSED)
{
	static const struct {
		unsigned n;
		int result;
	} cases[] = {{500, 0}, {2000, 0}, {2040, -VARVE_E_FORMAT}, {5000, -VARVE_E_FORMAT}};
	struct varve_user_result ret;
	char text[6000];

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		int n = snprintf(text, sizeof(text), "me:x:1000:1000:%0*d:/home/me:/bin/sh\n",
				 (int)cases[i].n, 0);

		assert_true((size_t)n >= cases[i].n && (size_t)n < sizeof(text));
		mktree_put(&from, "etc/passwd", text, 0644);
		assert_int_equal(carry("me", &ret), cases[i].result);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(shadow_for_all),          TEST(plain),
		TEST(line_of_any_length),      TEST(ids_that_are_taken),
		TEST(user_that_the_image_has), TEST(without_shadow),
		TEST(root_passwords),          TEST(further_groups),
		TEST(hostile_links),           TEST(bad_input),
		TEST(only_the_root_password),  TEST(wsl_conf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
