/* SPDX-License-Identifier: Apache-2.0 */
/* The ADD rule. */
#include "unit.h"

#include <string.h>

#include "fetch/official/dockerfile.h"
#include "store/base/compiler.h"

/* The sources with blanks between them. */
static void joined(const struct dockerfile_add *d, char *out, size_t size)
{
	*out = 0;
	for (size_t i = 0; i < d->n_sources; i++)
		(void)snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? " " : "",
			       d->sources[i]);
}

/* What stands in here-documents is no instruction, and what is none hides nothing. */
static void here_documents(void **state)
{
	static const char *const runs[] = {
		"RUN <<-'EOF'\nadd evil.tar /\nEOF\n",
		"RUN <<EOF\nFROM debian\nADD evil.tar /\nEOF\n",
		"RUN <<A cat >x && <<B cat\nx\nA\nADD evil.tar /\nB\n",
		"RUN <<-\"EOT\"\n\tADD evil.tar /\n\tEOT\n",
		"RUN <<E\n E\nADD evil.tar /\nE\n",
		"RUN 3<<EOF cat\nADD evil.tar /\nEOF\n",
		"RUN cat <<EOF\r\nADD evil.tar /\r\nEOF\r\n",
		"COPY <<one <<two /x/\nADD evil.tar /\none\nADD evil.tar /\ntwo\n",
		"ADD <<one /x\nADD evil.tar /\none\n",
		"RUN echo \\\n <<EOF\nADD evil.tar /\nEOF\n",
		/* None. */
		"RUN echo $((1<<2))\n",
		"RUN echo 'a<<b'\n",
		"RUN echo \"<<EOF\"\n",
		"RUN echo '<<EOF'\n",
		"RUN cat <<<word\n",
		"RUN a<<b\n",
		"RUN echo << x\n",
		"RUN echo \\<<EOF\n",
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(runs); i++) {
		struct dockerfile_add d = {0};
		struct varve_err e = VARVE_ERR_INIT;
		char text[512], found[256];

		(void)snprintf(text, sizeof(text), "FROM scratch\n%sADD x.tar /\n", runs[i]);
		assert_ok(dockerfile_parse(&d, text, strlen(text), &e), &e);
		joined(&d, found, sizeof(found));
		if (strcmp(found, "x.tar") != 0 || d.n_lost != 1)
			fail_msg("%s: '%s', %u lost", runs[i], found, d.n_lost);
		dockerfile_add_done(&d);
	}
}

static void finds_add(void **state)
{
	static const struct {
		const char *text, *source;
		unsigned n_lost;
	} cases[] = {
		{"FROM scratch\nADD rootfs.tar.xz /\nCMD [\"sh\"]\n", "rootfs.tar.xz", 0},
		{"from scratch\nadd rootfs.tar.xz /", "rootfs.tar.xz", 0},
		{"FROM scratch\r\nADD --link x.tar / \r\n", "x.tar", 0},
		{"FROM scratch\nADD 0123456789abcdef0123456789abcdef01234567 /\n",
		 "0123456789abcdef0123456789abcdef01234567", 0},
		/* All archives, in their order. */
		{"FROM scratch\nADD one.tar /\nADD two.tar /\n", "one.tar two.tar", 0},
		{"FROM scratch\nADD one.tar two.tar /\n", "one.tar two.tar", 0},
		{"FROM scratch\nADD [\"one.tar\", \"two.tar\", \"/\"]\n", "one.tar two.tar", 0},
		{"FROM scratch\nADD one.tar /\nADD https://h/y /\n", "one.tar", 1},
		{"FROM scratch\nADD a.tar \\\n# comment\n\n  /\nRUN x\nCOPY a /b\nADD c /d\n",
		 "a.tar", 3},
		{"FROM scratch\nADD [\"my root.tar\", \"/\"]\n", "my root.tar", 0},
		{"FROM scratch\nADD --link [\"x.tar\",\"/\"]\n", "x.tar", 0},
		{"FROM alpine AS build\nADD wrong.tar /\nFROM scratch\nADD right.tar /\n",
		 "right.tar", 0},
		{"FROM --platform=linux/amd64 scratch\nADD x.tar /\n", "x.tar", 0},
		{"ADD x.tar /\n", "x.tar", 0},
		{"\xef\xbb\xbf"
		 "FROM scratch\nADD x.tar /\n",
		 "x.tar", 0},
		/* Continued lines are joined as they are. */
		{"FROM scratch\nADD x.t\\\nar /\\\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar \\ \n /", "x.tar", 0},
		{"FROM scratch\nRUN dir \\\\\nADD x.tar /\n", "x.tar", 1},
		{"# escape=`\nFROM scratch\nADD x.tar `\n /\n", "x.tar", 0},
		{"# syntax=a/b:1\n#escape = `\nFROM scratch\nRUN dir c:\\\nADD x.tar /\n", "x.tar",
		 1},
		{"# a comment\n# escape=`\nFROM scratch\nADD x.tar \\\n /\n", "x.tar", 0},
		/* Spellings of "/". */
		{"FROM scratch\nADD x.tar .\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar ./\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar /.\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar //\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar /a/..\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar \"/\"\n", "x.tar", 0},
		{"FROM scratch\nWORKDIR /\nADD x.tar .\n", "x.tar", 0},
		{"FROM scratch\nWORKDIR /a/b\nWORKDIR ../..\nADD x.tar .\n", "x.tar", 0},
		{"FROM scratch\nADD x.tar /\nWORKDIR /srv\nADD y.tar .\n", "x.tar", 1},
		{"FROM scratch\nADD x.tar /\nWORKDIR $D\nADD y.tar .\n", "x.tar", 1},
		/* Sources as people write them. */
		{"FROM scratch\nADD \"x.tar\" '/'\n", "x.tar", 0},
		{"FROM scratch\nADD ./x.tar /\n", "./x.tar", 0},
		{"FROM scratch\nADD /x.tar /\n", "x.tar", 0},
		{"FROM scratch\nADD 'a$b.tar' /\n", "a$b.tar", 0},
		/* An archive that stays packed is a file that is missing. */
		{"FROM scratch\nADD x.tar /\nADD --unpack=false y.tar /\n", "x.tar", 1},
		{"FROM scratch\nADD x.tar /\nADD --chown=1 y.tar /srv/\n", "x.tar", 1},
		{"FROM scratch\nONBUILD ADD y.tar /\nADD x.tar /\n", "x.tar", 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct dockerfile_add d = {0};
		struct varve_err e = VARVE_ERR_INIT;
		char found[256];

		assert_ok(dockerfile_parse(&d, cases[i].text, strlen(cases[i].text), &e), &e);
		joined(&d, found, sizeof(found));
		assert_string_equal(found, cases[i].source);
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
		{"FROM scratch\nADD \"${F}.tar\" /\n", "variables", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD *.tar /\n", "patterns", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD a.tar b?.tar /\n", "patterns", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD --chown=1:2 x.tar /\n", "\"x.tar\" with --chown=1:2",
		 VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD --chmod=755 x.tar /\n", "--chmod=755", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD --exclude=*.x x.tar /\n", "--exclude", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD --new x.tar /\n", "--new", VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD --unpack=false x.tar /\n", "no line \"ADD FILE /\"",
		 VARVE_E_UNSUPPORTED},
		{"FROM scratch\nADD x.tar /\nRUN <<EOF\nADD y.tar /\n", "without an end",
		 VARVE_E_UNSUPPORTED},
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
		cmocka_unit_test(here_documents),
		cmocka_unit_test(says_what_is_lost),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
