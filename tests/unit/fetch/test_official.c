/* SPDX-License-Identifier: Apache-2.0 */
/* Library files of official-images, paths in a git tree, URLs of raw-file hosts. */
#include "fetch/official/official_arch.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/config/official_path.h"
#include "fetch/official/official_library.h"
#include "store/base/compiler.h"

#define C1 "1111111111111111111111111111111111111111"
#define C2 "2222222222222222222222222222222222222222"
#define C3 "3333333333333333333333333333333333333333"

static int find(const char *text, const char *tag, const char *arch, struct official_place *ret,
		struct varve_err *e)
{
	VARVE_CLEANUP(official_library_cleanup) struct official_library *l = NULL;
	int r = official_library_parse(&l, text, strlen(text), e);

	return r < 0 ? r : official_library_find(l, tag, arch, ret, e);
}

static const char paragraphs[] = "# a comment\n"
				 "\n"
				 "Maintainers: A <a@x> (@a),\n"
				 "# between continuation lines\n"
				 "             B <b@x> (@b)\n"
				 "GitRepo: https://github.com/o/r.git\n"
				 "GitCommit: " C1 "\n"
				 "arm64v8-GitCommit: " C2 "\n"
				 "SharedTags: everywhere\n"
				 "\n"
				 "\n"
				 "Tags: 1.0,one,\n"
				 " uno\n"
				 "Architectures: amd64, arm64v8\n"
				 "amd64-Directory: ./x//y/../z/\n"
				 "\n"
				 "Tags: win\n"
				 "SharedTags: shared\n"
				 "Architectures: windows-amd64\n"
				 "\n"
				 "Tags: 2.0\n"
				 "SharedTags: shared\n"
				 "GitCommit: " C3 "\n"
				 "Directory: two\n"
				 "File: sub/index.json\n"
				 "Builder: oci-import\n"
				 "GitFetch: refs/heads/dist";

static void finds_tags(void **state)
{
	static const struct {
		const char *tag, *arch, *commit, *directory, *file, *builder, *fetch;
	} cases[] = {
		{"1.0", "amd64", C1, "x/z", "Dockerfile", "", "refs/heads/master"},
		{"uno", "amd64", C1, "x/z", "Dockerfile", "", "refs/heads/master"},
		{"one", "arm64v8", C2, ".", "Dockerfile", "", "refs/heads/master"},
		/* the plain field of the entry does not beat <arch>- of the defaults */
		{"2.0", "amd64", C3, "two", "sub/index.json", "oci-import", "refs/heads/dist"},
		{"shared", "amd64", C3, "two", "sub/index.json", "oci-import", "refs/heads/dist"},
		{"everywhere", "arm64v8", C2, ".", "Dockerfile", "", "refs/heads/master"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct official_place p;
		struct varve_err e = VARVE_ERR_INIT;

		assert_ok(find(paragraphs, cases[i].tag, cases[i].arch, &p, &e), &e);
		assert_string_equal(p.repo, "https://github.com/o/r.git");
		assert_string_equal(p.commit, cases[i].commit);
		assert_string_equal(p.directory, cases[i].directory);
		assert_string_equal(p.file, cases[i].file);
		assert_string_equal(p.builder, cases[i].builder);
		assert_string_equal(p.fetch, cases[i].fetch);
	}
}

static void finds_old_lines(void **state)
{
	static const char text[] = "# maintainer: A <a@x> (@a)\n"
				   "1.0:   git://github.com/o/r@" C1 " some/dir \r\n"
				   "latest: git://github.com/o/r@v1.2\n";
	struct official_place p;
	struct varve_err e = VARVE_ERR_INIT;

	(void)state;
	assert_ok(find(text, "1.0", "amd64", &p, &e), &e);
	assert_string_equal(p.repo, "git://github.com/o/r");
	assert_string_equal(p.commit, C1);
	assert_string_equal(p.directory, "some/dir");
	assert_ok(find(text, "latest", "amd64", &p, &e), &e);
	assert_string_equal(p.commit, "v1.2");
	assert_string_equal(p.fetch, "refs/tags/v1.2");
	assert_string_equal(p.directory, ".");
	assert_int_equal(find(text, "1.0", "arm64v8", &p, &e), -VARVE_E_NOPLATFORM);
}

static void refuses(void **state)
{
#define HEAD "Maintainers: A (@a)\nGitRepo: https://github.com/o/r\n\n"
	static const struct {
		const char *text, *tag, *arch;
		int code;
		const char *says;
	} cases[] = {
		{"Maintainers: A (@a)\nGitRepo: x\n", "latest", "amd64", VARVE_E_UNSUPPORTED,
		 "image has no supported tags"},
		{paragraphs, "uon", "amd64", VARVE_E_NOTFOUND, "nearest: one, uno, win"},
		{paragraphs, "win", "amd64", VARVE_E_NOPLATFORM, "windows-amd64"},
		{HEAD "Tags: a\n", "a", "amd64", VARVE_E_FORMAT, "no GitCommit"},
		{HEAD "Tags: a\nGitCommit: master\n", "a", "amd64", VARVE_E_FORMAT, "not a commit"},
		{HEAD "Tags: a\nGitCommit: " C1 "\nDirectory: ../up\n", "a", "amd64",
		 VARVE_E_UNSAFE, "leaves the tree"},
		{HEAD "Tags: a\nGitCommit: " C1 "\nFile: /etc/passwd\n", "a", "amd64",
		 VARVE_E_UNSAFE, "absolute"},
		{HEAD "GitCommit: " C1 "\n", "a", "amd64", VARVE_E_FORMAT, "no Tags"},
		{"Tags:\n", "a", "amd64", VARVE_E_NOTFOUND, "not in the library file"},
		{" continued: x\nTags: a\n", "a", "amd64", VARVE_E_FORMAT, "continues no field"},
		{"Tags: a\nnonsense\n", "a", "amd64", VARVE_E_FORMAT, "nonsense"},
		{"404: Not Found", "a", "amd64", VARVE_E_FORMAT, "repository@commit"},
		{"<html>\n", "a", "amd64", VARVE_E_FORMAT, "repository@commit"},
		{"a: git://h/r@../../x d\n", "a", "amd64", VARVE_E_FORMAT, "not a commit"},
		{"a\xff: b\n", "a", "amd64", VARVE_E_FORMAT, "UTF-8"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct official_place p;
		struct varve_err e = VARVE_ERR_INIT;
		char text[2048];
		int r = find(cases[i].text, cases[i].tag, cases[i].arch, &p, &e);

		varve_err_text(&e, text, sizeof(text));
		if (r != -cases[i].code || !strstr(text, cases[i].says))
			fail_msg("case %zu: %d: %s", i, r, text);
	}
}

static void refuses_huge(void **state)
{
	VARVE_FREE char *big = malloc(OFFICIAL_LIBRARY_MAX + 1);
	struct official_library *l = NULL;

	(void)state;
	assert_non_null(big);
	memset(big, '\n', OFFICIAL_LIBRARY_MAX + 1);
	assert_int_equal(official_library_parse(&l, big, OFFICIAL_LIBRARY_MAX + 1, NULL),
			 -VARVE_E_LIMIT);
	memcpy(big, "Tags: a", 7); /* nothing but blank lines behind it */
	assert_int_equal(official_library_parse(&l, big, OFFICIAL_LIBRARY_MAX, NULL), 0);
	official_library_free(l);
}

static void maps_platforms(void **state)
{
	static const struct {
		struct varve_platform p;
		const char *arch;
	} cases[] = {
		{{"linux", "amd64", ""}, "amd64"},
		{{"linux", "386", ""}, "i386"},
		{{"linux", "arm", "v5"}, "arm32v5"},
		{{"linux", "arm", "v6"}, "arm32v6"},
		{{"linux", "arm", ""}, "arm32v7"},
		{{"linux", "arm64", ""}, "arm64v8"},
		{{"linux", "arm64", "v8"}, "arm64v8"},
		{{"linux", "ppc64le", ""}, "ppc64le"},
		{{"linux", "riscv64", ""}, "riscv64"},
		{{"linux", "s390x", ""}, "s390x"},
		{{"linux", "mips64le", ""}, "mips64le"},
		{{"windows", "amd64", ""}, "windows-amd64"},
	};
	struct varve_platform back;
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		assert_string_equal(official_arch(&cases[i].p), cases[i].arch);
		assert_true(official_arch_platform(cases[i].arch, &back));
		assert_string_equal(back.os, cases[i].p.os);
		assert_string_equal(back.arch, cases[i].p.arch);
	}
	assert_null(official_arch(&(struct varve_platform){"linux", "loong64", ""}));
	assert_false(official_arch_platform("x86_64", &back));
}

static void joins_paths(void **state)
{
	static const struct {
		const char *root, *dir, *name;
		int code;
		const char *want;
	} cases[] = {
		{"latest/musl/amd64", "latest/musl/amd64/blobs/sha256", "../../rootfs.tar.gz", 0,
		 "latest/musl/amd64/rootfs.tar.gz"},
		{".", "blobs/sha256", "../x", 0, "blobs/x"},
		{".", ".", "x", 0, "x"},
		{"a", "a", ".", 0, "a"},
		{"a", "a/b", "../../c", VARVE_E_UNSAFE, "leaves its directory"},
		{"a", "a/b", "../../ab/c", VARVE_E_UNSAFE, "leaves its directory"},
		{"a", "a/b", "../../../../etc/passwd", VARVE_E_UNSAFE, "leaves the tree"},
		{"a", "a/b", "/etc/passwd", VARVE_E_UNSAFE, "absolute"},
		{"a", "a", "x\ny", VARVE_E_UNSAFE, "control"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		VARVE_CLEANUP(buf_done) struct buf b = {0};
		struct varve_err e = VARVE_ERR_INIT;
		char text[2048];
		int r;

		buf_init(&b, 2048);
		r = official_path_join(&b, cases[i].root, cases[i].dir, span_str(cases[i].name),
				       &e);
		assert_int_equal(r, -cases[i].code);
		if (r == 0)
			assert_string_equal(b.p, cases[i].want);
		else
			assert_non_null(
				strstr(varve_err_text(&e, text, sizeof(text)), cases[i].want));
	}
}

static void composes_urls(void **state)
{
	static const struct official_host own[] = {
		{"github.com", "http://127.0.0.1:8080/{repo}/{commit}/{path}"},
		{"odd.example", "http://h/{nonsense}"},
	};
	static const struct {
		size_t n_own;
		const char *repo, *want;
		int code;
	} cases[] = {
		{0, "https://github.com/o/r.git", "https://raw.githubusercontent.com/o/r/C/d/a%20b",
		 0},
		{0, "git://github.com/o/r", "https://raw.githubusercontent.com/o/r/C/d/a%20b", 0},
		{0, "https://gitlab.archlinux.org/archlinux/archlinux-docker.git",
		 "https://gitlab.archlinux.org/archlinux/archlinux-docker/-/raw/C/d/a%20b", 0},
		{0, "https://gitlab.example:8443/g/s/p.git",
		 "https://gitlab.example:8443/g/s/p/-/raw/C/d/a%20b", 0},
		{0, "https://git.launchpad.net/cloud-images/+oci/ubuntu-base",
		 "https://git.launchpad.net/cloud-images/+oci/ubuntu-base/plain/d/a%20b?id=C", 0},
		{0, "https://git.example/r.git/", "https://git.example/r/plain/d/a%20b?id=C", 0},
		{1, "https://user:pw@GitHub.com/o/r.git", "http://127.0.0.1:8080/o/r/C/d/a%20b", 0},
		{2, "https://odd.example/r", "unknown placeholder", VARVE_E_CONFIG},
		{0, "git@github.com:o/r.git", "not a URL", VARVE_E_UNSUPPORTED},
		{0, "https://github.com/", "not a URL", VARVE_E_UNSUPPORTED},
	};
	size_t i;

	(void)state;
	for (i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		VARVE_CLEANUP(buf_done) struct buf b = {0};
		struct varve_err e = VARVE_ERR_INIT;
		char text[2048];
		int r;

		buf_init(&b, 8192);
		r = official_url(&b, own, cases[i].n_own, cases[i].repo, "C", "d/a b", &e);
		assert_int_equal(r, -cases[i].code);
		if (r == 0)
			assert_string_equal(b.p, cases[i].want);
		else
			assert_non_null(
				strstr(varve_err_text(&e, text, sizeof(text)), cases[i].want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_tags),     cmocka_unit_test(finds_old_lines),
		cmocka_unit_test(refuses),        cmocka_unit_test(refuses_huge),
		cmocka_unit_test(maps_platforms), cmocka_unit_test(joins_paths),
		cmocka_unit_test(composes_urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
