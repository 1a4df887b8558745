/* SPDX-License-Identifier: Apache-2.0 */
/* References: grammar, normalisation, familiar and canonical forms, labels. */
#include "unit.h"

#include "varve-fetch.h"

#include <string.h>

#define HEX64  "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define HEX128 HEX64 HEX64
#define S255_PATH                                                                                  \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"                         \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct good {
	const char *in, *canonical, *familiar, *label;
} good[] = {
	{"debian:sid", "docker.io/library/debian:sid", "debian:sid", "debian_sid"},
	{"debian", "docker.io/library/debian:latest", "debian:latest", "debian_latest"},
	{"gentoo/stage3-amd64-hardened", "docker.io/gentoo/stage3-amd64-hardened:latest",
	 "gentoo/stage3-amd64-hardened:latest", "gentoo_stage3-amd64-hardened_latest"},
	{"127.0.0.1:5000/team/app:1", "127.0.0.1:5000/team/app:1", "127.0.0.1:5000/team/app:1",
	 "127.0.0.1_5000_team_app_1"},
	/* 1.2: no slash, no domain */
	{"example.com", "docker.io/library/example.com:latest", "example.com:latest",
	 "example.com_latest"},
	{"ubuntu:5000", "docker.io/library/ubuntu:5000", "ubuntu:5000", "ubuntu_5000"},
	/* 64 hex digits alone would not be read again. */
	{"library/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	 "docker.io/library/"
	 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:latest",
	 "library/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:latest",
	 "library_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef_latest"},
	{"docker.io/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:1",
	 "docker.io/library/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:1",
	 "library/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:1",
	 "library_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef_1"},
	{"localhost/x", "localhost/x:latest", "localhost/x:latest", "localhost_x_latest"},
	{"localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest",
	 "localhost_5000_x_latest"},
	{"Foo/bar", "Foo/bar:latest", "Foo/bar:latest", "Foo_bar_latest"},
	{"foo/bar", "docker.io/foo/bar:latest", "foo/bar:latest", "foo_bar_latest"},
	/* 1.3 */
	{"index.docker.io/debian", "docker.io/library/debian:latest", "debian:latest",
	 "debian_latest"},
	{"docker.io/debian", "docker.io/library/debian:latest", "debian:latest", "debian_latest"},
	{"library/debian:1", "docker.io/library/debian:1", "debian:1", "debian_1"},
	{"quay.io/debian", "quay.io/debian:latest", "quay.io/debian:latest",
	 "quay.io_debian_latest"},
	{"registry-1.docker.io/library/x", "registry-1.docker.io/library/x:latest",
	 "registry-1.docker.io/library/x:latest", "registry-1.docker.io_library_x_latest"},
	/* 1.4 */
	{"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest", "___1__5000_x_latest"},
	{"[fd00::2]/x:t", "[fd00::2]/x:t", "[fd00::2]/x:t", "_fd00__2__x_t"},
	/* separators */
	{"a_b", "docker.io/library/a_b:latest", "a_b:latest", "a_b_latest"},
	{"a__b", "docker.io/library/a__b:latest", "a__b:latest", "a__b_latest"},
	{"a---b.c", "docker.io/library/a---b.c:latest", "a---b.c:latest", "a---b.c_latest"},
	/* a path that would read as a host keeps docker.io */
	{"docker.io/foo.bar/baz", "docker.io/foo.bar/baz:latest", "docker.io/foo.bar/baz:latest",
	 "foo.bar_baz_latest"},
	/* digests */
	{"debian@sha256:" HEX64, "docker.io/library/debian@sha256:" HEX64, "debian@sha256:" HEX64,
	 "debian_44136fa355b3"},
	{"debian:sid@sha256:" HEX64, "docker.io/library/debian:sid@sha256:" HEX64,
	 "debian:sid@sha256:" HEX64, "debian_sid"},
	{"debian@sha512:" HEX128, "docker.io/library/debian@sha512:" HEX128,
	 "debian@sha512:" HEX128, "debian_44136fa355b3"},
	{"q.io/" S255_PATH ":t", "q.io/" S255_PATH ":t", "q.io/" S255_PATH ":t", NULL},
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct varve_reference r, again;
		struct varve_err e = VARVE_ERR_INIT;
		char buf[800], label[512];

		assert_ok(varve_reference_parse(&r, good[i].in, &e), &e);
		assert_string_equal(varve_reference_canonical(&r, buf), good[i].canonical);
		assert_ok(varve_reference_parse(&again, buf, &e), &e);
		assert_memory_equal(&r, &again, sizeof(r));
		assert_string_equal(varve_reference_familiar(&r, buf), good[i].familiar);
		assert_ok(varve_reference_parse(&again, buf, &e), &e);
		assert_memory_equal(&r, &again, sizeof(r));
		if (good[i].label)
			assert_string_equal(varve_reference_label(&r, label), good[i].label);
	}
}

static const struct bad {
	const char *in, *says;
} bad[] = {
	{"", "empty"},
	{"Foo//bar", "lower case"},
	{"Foo", "lower case"},
	{"foo//bar", "empty"},
	{"foo/", "empty"},
	{"/foo", "empty"},
	{"q.io/", "empty"},
	{"q.io/Foo", "lower case"},
	{"a..b", "single separators"},
	{"a___b", "single separators"},
	{"-a", "single separators"},
	{"a-", "single separators"},
	{"a b", "single separators"},
	{"a\x1b[2J", "\\x1b"},
	{"../../etc/passwd", NULL},
	{"a/../b", NULL},
	{"debian:", "tag"},
	{"debian:.x", "tag"},
	{"debian:-x", "tag"},
	{"debian:a/b/c:d e", "tag"},
	{"http://q.io/x", "URL"},
	{"docker://debian", "URL"},
	{HEX64, "image id"},
	{"debian@", "sha256"},
	{"debian@sha256:" HEX64 "0", "64"},
	{"debian@sha256:44136FA355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "64"},
	{"debian@sha256:../../../../../../../../../../../../../../../../../../../../etc/x", "64"},
	{"debian@blake3:" HEX64, "only sha256"},
	{"debian@sha256:" HEX64 "@sha256:" HEX64, "64"},
	{"h:0/x", "registry must be"},
	{"h:70000/x", "registry must be"},
	{"h:/x", "registry must be"},
	{"-h.io/x", "registry must be"},
	{"h..io/x", "registry must be"},
	{"[::1%eth0]/x", "registry must be"},
	{"[]:1/x", "registry must be"},
	{"user:pw@q.io/x", NULL},
	{"q.io/" S255_PATH "a:t", NULL},
	{S255_PATH "/b", "255"},
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct varve_reference r;
		struct varve_err e = VARVE_ERR_INIT;
		char text[2048];

		if (varve_reference_parse(&r, bad[i].in, &e) != -VARVE_E_REFERENCE)
			fail_msg("'%s' was accepted", bad[i].in);
		varve_err_text(&e, text, sizeof(text));
		if (bad[i].says && !strstr(text, bad[i].says))
			fail_msg("'%s': '%s' does not say '%s'", bad[i].in, text, bad[i].says);
	}
}

static void test_bad_tag_length(void **state)
{
	struct varve_reference r;
	char text[200] = "debian:";

	(void)state;
	memset(text + 7, 'a', 128);
	assert_int_equal(varve_reference_parse(&r, text, NULL), 0);
	text[135] = 'a';
	assert_int_equal(varve_reference_parse(&r, text, NULL), -VARVE_E_REFERENCE);
}

static void test_label_is_a_file_name(void **state)
{
	struct varve_reference r, s;
	char a[512], b[512];

	(void)state;
	assert_int_equal(varve_reference_parse(&r, "q.io/" S255_PATH ":one", NULL), 0);
	assert_int_equal(varve_reference_parse(&s, "q.io/" S255_PATH ":two", NULL), 0);
	assert_int_equal(strlen(varve_reference_label(&r, a)), 200);
	assert_int_equal(strlen(varve_reference_label(&s, b)), 200);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_bad_tag_length),
		cmocka_unit_test(test_label_is_a_file_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
