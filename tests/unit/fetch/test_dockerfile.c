/* SPDX-License-Identifier: Apache-2.0 */
/* The ADD rule. */
#include "unit.h"

#include <string.h>

#include "fetch/official/dockerfile.h"
#include "store/base/compiler.h"

static void finds_add(void **state)
{
	static const struct {
		const char *text, *source;
		unsigned n_lost;
	} cases[] = {
		{"FROM scratch\nADD rootfs.tar.xz /\nCMD [\"sh\"]\n", "rootfs.tar.xz", 0},
		{"from scratch\nadd rootfs.tar.xz /", "rootfs.tar.xz", 0},
		{"FROM scratch\r\nADD --chown=0:0 --link x.tar / \r\n", "x.tar", 0},
		{"FROM scratch\nADD 0123456789abcdef0123456789abcdef01234567 /\n",
		 "0123456789abcdef0123456789abcdef01234567", 0},
		{"FROM scratch\nADD one.tar /\nADD two.tar /\n", "two.tar", 0},
		{"FROM scratch\nADD a.tar \\\n# comment\n\n  /\nRUN x\nCOPY a /b\nADD c /d\n",
		 "a.tar", 3},
		{"FROM scratch\nADD [\"my root.tar\", \"/\"]\n", "my root.tar", 0},
		{"FROM alpine AS build\nADD wrong.tar /\nFROM scratch\nADD right.tar /\n",
		 "right.tar", 0},
		{"FROM --platform=linux/amd64 scratch\nADD x.tar /\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar /\nRUN <<-'EOF'\nadd evil.tar /\nEOF\n", "x.tar", 1},
		{"ADD x.tar /\n", "x.tar", 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct dockerfile_add d = {0};
		struct varve_err e = VARVE_ERR_INIT;

		assert_ok(dockerfile_parse(&d, cases[i].text, strlen(cases[i].text), &e), &e);
		assert_string_equal(d.source, cases[i].source);
		assert_int_equal(d.n_lost, cases[i].n_lost);
		dockerfile_add_done(&d);
	}
}

static void says_what_is_lost(void **state)
{
	static const char text[] = "FROM scratch\nADD x.tar /\nRUN echo \033[31m\nRUN two\n";
	struct dockerfile_add d = {0};
	struct varve_err e = VARVE_ERR_INIT;

	(void)state;
	assert_ok(dockerfile_parse(&d, text, strlen(text), &e), &e);
	assert_int_equal(d.n_lost, 2);
	assert_string_equal(d.first_lost, "RUN echo \\x1b[31m");
	dockerfile_add_done(&d);
}

static void refuses(void **state)
{
	static const struct {
		const char *text, *says;
		int code;
	} cases[] = {
		{"FROM scratch\nCOPY --from=x / /\n", "no line \"ADD FILE /\"",
		 VARVE_E_UNSUPPORTED},
		{"", "no line \"ADD FILE /\"", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD x.tar /root/\n", "no line \"ADD FILE /\"", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD / \n", "no line \"ADD FILE /\"", VARVE_E_UNSUPPORTED},
		{"FROM debian:sid\nADD x.tar /\n", "debian:sid", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD x.tar /\nFROM debian:sid\nRUN y\n", "debian:sid",
		 VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD https://h/x.tar /\n", "no file of the repository",
		 VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD ${F}.tar /\n", "variables", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD x\xff /\n", "UTF-8", VARVE_E_FORMAT},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct dockerfile_add d = {0};
		struct varve_err e = VARVE_ERR_INIT;
		char text[2048];
		int r = dockerfile_parse(&d, cases[i].text, strlen(cases[i].text), &e);

		varve_err_text(&e, text, sizeof(text));
		if (r != -cases[i].code || !strstr(text, cases[i].says))
			fail_msg("case %zu: %d: %s", i, r, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_add),
		cmocka_unit_test(says_what_is_lost),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
