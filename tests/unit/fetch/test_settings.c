/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the user: configuration, auth files, netrc, answers of helpers. */
#include "unit.h"

#include <string.h>

#include "fetch/auth/authfile.h"
#include "fetch/config/config_read.h"
#include "store/base/compiler.h"

/* "dXNlcjpwYTpzcw==" is user:pa:ss, "aDpo" is h:h, "bjpu" is n:n */
#define AUTHS                                                                                      \
	"{\"auths\":{"                                                                             \
	"\"q.io\":{\"auth\":\"aDpo\"},\"q.io/team\":{\"auth\":\"bjpu\"},"                          \
	"\"colon.io\":{\"auth\":\"dXNlcjpwYTpzcw==\"},"                                            \
	"\"https://index.docker.io/v1/\":{\"auth\":\"aDpo\"},"                                     \
	"\"https://url.io/v2/\":{\"auth\":\"aDpo\"},"                                              \
	"\"id.io\":{\"auth\":\"aDpo\",\"identitytoken\":\"T\"},"                                   \
	"\"bearer.io\":{\"registrytoken\":\"B\"},"                                                 \
	"\"plain.io:5000\":{\"username\":\"u\",\"password\":\"p\"},"                               \
	"\"nul.io\":{\"auth\":\"aDpoAAA=\"},"                                                      \
	"\"empty.io\":{}},"                                                                        \
	"\"credHelpers\":{\"helped.io\":\"one\",\"https://url2.io\":\"two\"},"                     \
	"\"credsStore\":\"store\"}"

static void test_authfile(void **state)
{
	static const struct {
		const char *host, *path;
		enum credential_kind kind;
		const char *user, *secret, *helper;
	} cases[] = {
		{"q.io", NULL, CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"q.io", "other/x", CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"q.io", "team/x", CREDENTIAL_PASSWORD, "n", "n", NULL},
		{"q.io", "teamx/x", CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"colon.io", "x", CREDENTIAL_PASSWORD, "user", "pa:ss", NULL},
		{"docker.io", "library/x", CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"registry-1.docker.io", "library/x", CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"url.io", "x", CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"id.io", "x", CREDENTIAL_IDENTITY, "h", "T", NULL},
		{"bearer.io", "x", CREDENTIAL_BEARER, "", "B", NULL},
		{"plain.io:5000", "x", CREDENTIAL_PASSWORD, "u", "p", NULL},
		{"plain.io", "x", CREDENTIAL_NONE, NULL, NULL, "store"},
		{"nul.io", "x", CREDENTIAL_PASSWORD, "h", "h", NULL},
		{"empty.io", "x", CREDENTIAL_NONE, NULL, NULL, "store"},
		{"helped.io", "x", CREDENTIAL_NONE, NULL, NULL, "one"},
		{"url2.io", "x", CREDENTIAL_NONE, NULL, NULL, "two"},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct varve_err e = VARVE_ERR_INIT;
		struct authfile_answer a;

		assert_ok(authfile_find(&a, AUTHS, strlen(AUTHS), false, cases[i].host,
					cases[i].path, &e),
			  &e);
		if (a.credential.kind != cases[i].kind)
			fail_msg("%s/%s: kind %d", cases[i].host, cases[i].path, a.credential.kind);
		if (cases[i].user) {
			assert_string_equal(a.credential.user, cases[i].user);
			assert_string_equal(a.credential.secret, cases[i].secret);
		}
		if (cases[i].helper) {
			assert_string_equal(a.helper, cases[i].helper);
			assert_int_equal(a.helper_specific, strcmp(cases[i].helper, "store") != 0);
		} else {
			assert_null(a.helper);
		}
		authfile_answer_done(&a);
	}
}

static void test_authfile_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{\"auths\":{\"h\":{\"auth\":\"!!\"}}}",
		"{\"auths\":{\"h\":{\"auth\":\"aGg=\"}}}",
		"{\"credHelpers\":{\"h\":\"../../bin/sh\"}}",
		"{\"credsStore\":\"a b\"}",
		"{\"auths\":{},\"auths\":{}}",
		"{\"auths\":[\"x\"]}",
		"{\"auths\":[{\"auth\":\"aDpo\"}]}",
		"{\"auths\":\"x\"}",
		"{\"credHelpers\":[\"x\"]}",
		"{\"credHelpers\":1}",
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(bad); i++) {
		struct authfile_answer a;

		if (authfile_find(&a, bad[i], strlen(bad[i]), false, "h", NULL, NULL) !=
		    -VARVE_E_FORMAT)
			fail_msg("'%s' was accepted", bad[i]);
		authfile_answer_done(&a);
	}
}

static void test_authfile_legacy(void **state)
{
	static const char old[] = "{\"https://index.docker.io/v1/\":{\"auth\":\"aDpo\"}}";
	struct authfile_answer a;

	(void)state;
	assert_int_equal(authfile_find(&a, old, strlen(old), true, "docker.io", "x", NULL), 0);
	assert_int_equal(a.credential.kind, CREDENTIAL_PASSWORD);
	authfile_answer_done(&a);
}

static void test_helper_answer(void **state)
{
	static const char good[] = "{\"ServerURL\":\"h\",\"Username\":\"u\",\"Secret\":\"s\"}";
	static const char token[] = "{\"Username\":\"<token>\",\"Secret\":\"s\"}";
	struct credential c = {0};

	(void)state;
	assert_int_equal(helper_answer_parse(&c, good, strlen(good), NULL), 0);
	assert_int_equal(c.kind, CREDENTIAL_PASSWORD);
	assert_int_equal(helper_answer_parse(&c, token, strlen(token), NULL), 0);
	assert_int_equal(c.kind, CREDENTIAL_IDENTITY);
	credential_done(&c);
	assert_int_equal(helper_answer_parse(&c, "{}", 2, NULL), -VARVE_E_FORMAT);
	assert_true(helper_name_ok("ecr-login"));
	assert_false(helper_name_ok("../x"));
	assert_false(helper_name_ok(""));
}

static void test_netrc(void **state)
{
	static const struct {
		const char *text, *user, *password;
	} cases[] = {
		{"machine h login u password p", "u", "p"},
		{"machine x login a password b\nmachine h\n login u\n password p\n", "u", "p"},
		{"# c\nmachine h password p login u machine x password q", "u", "p"},
		/* The default is for nobody that a reference may name. */
		{"machine x password q default login d password e", NULL, NULL},
		{"default login d password e", NULL, NULL},
		{"default login d password e machine h login u password p", NULL, NULL},
		{"machine h login u password p default login d password e", "u", "p"},
		{"machine h login u default login d password e", NULL, NULL},
		{"machine hh login u password p", NULL, NULL},
		{"machine h login u", NULL, NULL},
		{"machine", NULL, NULL},
		{"", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct credential c = {0};
		bool found = netrc_find(cases[i].text, strlen(cases[i].text), "h", &c);

		if (found != (cases[i].user != NULL))
			fail_msg("'%s'", cases[i].text);
		if (!found)
			continue;
		assert_string_equal(c.user, cases[i].user);
		assert_string_equal(c.secret, cases[i].password);
		credential_done(&c);
	}
}

struct found {
	unsigned errors, warnings;
	char last[600];
};

static void on_finding(void *user, bool error, const char *member, const char *message)
{
	struct found *f = user;

	f->errors += error;
	f->warnings += !error;
	(void)snprintf(f->last, sizeof(f->last), "%s: %s", member, message);
}

static struct varve_config *read_config(const char *text, struct found *f)
{
	struct varve_config *c = calloc(1, sizeof(*c));
	struct varve_err e = VARVE_ERR_INIT;

	config_defaults(c);
	*f = (struct found){0};
	assert_ok(config_read(c, text, strlen(text), on_finding, f, &e), &e);
	return c;
}

static void test_config(void **state)
{
	static const char text[] =
		"{\"registries\":{\"docker.io\":{\"mirrors\":[{\"url\":\"https://m:5000/p/\","
		"\"capabilities\":[\"pull\",\"resolve\"],\"headers\":{\"X-A\":\"b\"},\"ns\":false}]"
		"},"
		"\"docker.io/library\":{\"fallback\":false,\"mirrors\":[{\"url\":\"http://n\"}]},"
		"\"*.corp.example\":{\"insecure\":true}},"
		"\"insecure\":[\"h:5000\"],\"lower\":[\"/l\"],\"platform\":\"arm64\",\"jobs\":3,"
		"\"connect_timeout\":\"5s\",\"max_blob_size\":\"1G\"}";
	struct found f;
	struct varve_config *c = read_config(text, &f);
	const struct config_registry *r;

	(void)state;
	assert_int_equal(f.errors + f.warnings, 0);
	r = config_registry_for(c, "docker.io", "team/x");
	assert_string_equal(r->mirrors[0].url, "https://m:5000/p");
	assert_string_equal(r->mirrors[0].headers[0], "X-A: b");
	assert_true(r->mirrors[0].resolve && r->mirrors[0].pull && !r->mirrors[0].ns);
	/* A mirror has little time: there is another place to ask. */
	assert_int_equal(r->mirrors[0].connect_ms, 3000);
	assert_int_equal(r->mirrors[0].header_ms, 10000);
	r = config_registry_for(c, "docker.io", "library/x");
	assert_string_equal(r->prefix, "docker.io/library");
	assert_false(r->fallback);
	assert_true(r->mirrors[0].ns && !r->mirrors[0].resolve);
	assert_string_equal(config_registry_for(c, "docker.io", "libraryx/x")->prefix, "docker.io");
	assert_string_equal(config_registry_for(c, "a.corp.example", "x")->prefix,
			    "*.corp.example");
	assert_null(config_registry_for(c, "corp.example", "x"));
	assert_null(config_registry_for(c, "q.io", "x"));
	assert_true(config_host_insecure(c, "H:5000"));
	assert_false(config_host_insecure(c, "h"));
	assert_string_equal(varve_config_lower(c)[0], "/l");
	assert_string_equal(c->platform.arch, "arm64");
	assert_int_equal(c->connect_ms, 5000);
	assert_int_equal(c->header_ms, 60000);
	assert_int_equal(c->stall_ms, 20000);
	assert_int_equal(r->mirrors[0].connect_ms, 3000); /* a mirror may be down */
	assert_int_equal(r->mirrors[0].header_ms, 10000);
	assert_true(c->max_blob == 1u << 30);
	varve_config_free(c);
}

static void test_config_bad(void **state)
{
	static const char *const bad[][2] = {
		{"{\"jobs\":0}", "jobs: must be a number"},
		{"{\"jobs\":\"3\"}", "jobs"},
		{"{\"insecure\":\"h\"}", "insecure: must be a list"},
		{"{\"insecure\":[\"http://h\"]}", "insecure"},
		{"{\"lower\":[\"rel\"]}", "lower: 'rel' is not an absolute path"},
		{"{\"platform\":\"\"}", "platform"},
		{"{\"connect_timeout\":5}", "connect_timeout: must be a duration"},
		{"{\"max_blob_size\":\"big\"}", "max_blob_size"},
		{"{\"registries\":[]}", "registries"},
		{"{\"registries\":{\"h\":1}}", "registries.h"},
		{"{\"registries\":{\"http://h\":{}}}", "registries.http://h"},
		{"{\"registries\":{\"*.h/x\":{}}}", "wildcard"},
		{"{\"registries\":{\"index.docker.io\":{}}}", "docker.io"},
		{"{\"registries\":{\"h\":{\"fallback\":false}}}", "no mirror"},
		{"{\"registries\":{\"h\":{\"mirrors\":[{}]}}}", "registries.h.mirrors[0]: has no"},
		{"{\"registries\":{\"h\":{\"mirrors\":[{\"url\":\"m\"}]}}}", "mirrors[0].url"},
		{"{\"registries\":{\"h\":{\"mirrors\":[{\"url\":\"https://u:p@m\"}]}}}",
		 "mirrors[0].url"},
		{"{\"registries\":{\"h\":{\"mirrors\":[{\"url\":\"https://m\",\"headers\":"
		 "{\"Authorization\":\"x\"}}]}}}",
		 "headers.Authorization"},
		{"{\"registries\":{\"h\":{\"mirrors\":[{\"url\":\"https://m\",\"headers\":"
		 "{\"X\":\"a\\r\\nb\"}}]}}}",
		 "headers.X"},
		{"{\"registries\":{\"h\":{\"mirrors\":[{\"url\":\"https://m\",\"capabilities\":"
		 "[\"push\"]}]}}}",
		 "capabilities"},
	};
	struct found f;

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(bad); i++) {
		varve_config_free(read_config(bad[i][0], &f));
		if (!f.errors || !strstr(f.last, bad[i][1]))
			fail_msg("'%s': %u errors, '%s'", bad[i][0], f.errors, f.last);
	}
	varve_config_free(read_config("{\"registires\":{}}", &f));
	assert_int_equal(f.errors, 0);
	assert_int_equal(f.warnings, 1);
	assert_int_equal(config_read(&(struct varve_config){0}, "[]", 2, on_finding, &f, NULL),
			 -VARVE_E_CONFIG);
	assert_int_equal(config_read(&(struct varve_config){0}, "{", 1, on_finding, &f, NULL),
			 -VARVE_E_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_authfile),        cmocka_unit_test(test_authfile_bad),
		cmocka_unit_test(test_authfile_legacy), cmocka_unit_test(test_helper_answer),
		cmocka_unit_test(test_netrc),           cmocka_unit_test(test_config),
		cmocka_unit_test(test_config_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
