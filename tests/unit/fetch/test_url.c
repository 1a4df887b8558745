/* SPDX-License-Identifier: Apache-2.0 */
/* URLs, address classes, owners of hosts, proxies. */
#include "fetch/http/site.h"
#include "unit.h"

#include <string.h>

#include "fetch/http/proxy.h"
#include "fetch/http/url.h"
#include "store/base/compiler.h"
#include "varve-text.h"

static const struct good {
	const char *text, *origin, *target;
} good[] = {
	{"https://q.io/v2/", "https://q.io", "/v2/"},
	{"HTTPS://Q.io:443/v2/?a=b", "https://q.io", "/v2/?a=b"},
	{"http://127.0.0.1:5000", "http://127.0.0.1:5000", ""},
	{"http://h:80/x", "http://h", "/x"},
	{"https://[::1]:5000/x", "https://[::1]:5000", "/x"},
	{"https://user:pw@h/x", "https://h", "/x"},
	{"https://h?x", "https://h", "?x"},
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(good); i++) {
		struct varve_err e = VARVE_ERR_INIT;
		struct buf b;
		struct url u;

		buf_init(&b, 1000);
		assert_ok(url_parse(&u, good[i].text, &e), &e);
		url_origin(&u, &b);
		assert_string_equal(b.p, good[i].origin);
		assert_string_equal(u.target, good[i].target);
		assert_int_equal(u.has_userinfo, strchr(good[i].text, '@') != NULL);
		buf_done(&b);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"q.io/x",
		"file:///etc/passwd",
		"ftp://h/",
		"https://",
		"https:///x",
		"https://h:0/",
		"https://h:99999/",
		"https://h:x/",
		"https://h h/",
		"https://h\n/",
		"https://[::1/",
		"https://[zz]/",
		"https://[::1]x/",
		"https://h\\@evil/",
		"javascript:alert(1)",
		"https://h%00.x/",
		"https://a/\x7f",
	};
	struct url u;

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(bad); i++)
		if (url_parse(&u, bad[i], NULL) == 0)
			fail_msg("'%s' was accepted", bad[i]);
}

static void test_masked(void **state)
{
	static const char *const cases[][2] = {
		{"https://q.io/x?X-Amz-Signature=abc", "https://q.io/x?..."},
		{"https://user:secret@q.io/x", "https://***@q.io/x"},
		{"https://q.io/x#secret", "https://q.io/x?..."},
		{"https://q.io/x", "https://q.io/x"},
		{"plain", "plain"},
		{"https://q.io/\x1b[2J", "https://q.io/\\x1b[2J"},
		{"https://q.io/a@b", "https://q.io/a@b"},
		{"https://q.io/a?b@c", "https://q.io/a?..."},
		/* What is not a URL that varve takes may hold a password all the same. */
		{"htp://user:secret@q.io:1", "htp://***@q.io:1"},
		{"socks5h://user:secret@q.io:1", "socks5h://***@q.io:1"},
		{"user:secret@q.io:1", "***@q.io:1"},
		{"http://user:sec/ret@q.io/x", "http://***@q.io/x"},
		{"http://user:sec ret@q.io/x", "http://***@q.io/x"},
		{"http://user:sec@ret@q.io/x", "http://***@q.io/x"},
		{"http://user:sec\\ret@q.io/x", "http://***@q.io/x"},
		{"http://user:sec?ret@q.io/x", "http://***?..."},
		{"http://user:sec#ret@q.io/x", "http://***?..."},
		{"http://secret@q.io:99999", "http://***@q.io:99999"},
	};
	char out[300];

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++)
		assert_string_equal(url_masked(cases[i][0], out, sizeof(out)), cases[i][1]);
}

/* What a message shows of an argument, which may be a file or a reference too. */
static void test_shown(void **state)
{
	static const char *const cases[][2] = {
		{"https://u:secret@q.io/x", "https://***@q.io/x"},
		{"https://q.io/x?sig=secret", "https://q.io/x?..."},
		{"u:secret@q.io/x:1", "***@q.io/x:1"},
		{"u:sec/ret@q.io/x", "***@q.io/x"},
		{"u:secret@q.io/x@sha256:0123", "***@q.io/x@sha256:0123"},
		{"debian:sid@sha256:0123", "debian:sid@sha256:0123"},
		{"q.io:5000/x@sha256:0123", "q.io:5000/x@sha256:0123"},
		{"./a:b@c", "./a:b@c"},
		{"usr/lib/a:b@c?d", "usr/lib/a:b@c?d"},
		{"root@2024.tar", "root@2024.tar"},
		{"a\x1b[2J", "a\\x1b[2J"},
	};
	char out[300];

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++)
		assert_string_equal(varve_text_show(cases[i][0], out, sizeof(out)), cases[i][1]);
}

static void test_told_by(void **state)
{
	static const struct {
		const char *url, *text;
		bool told;
	} cases[] = {
		{"http://bob:S3CRET@h:1", "Could not resolve proxy: h", false},
		{"http://bob:S3CRET@h:1", "Unsupported scheme for 'bob:S3CRET@h'", true},
		{"http://bob:S3CRET@h:1", "bad S3CRET", true},
		{"http://bob:S3%20RET@h:1", "bad S3 RET", true},
		{"http://bob:S3/RET@h:1", "Port number 'S3' is no number", true},
		{"http://TOKEN@h:1", "no host TOKEN", true},
		{"http://h:1", "Could not resolve proxy: h", false},
		{"", "anything @", false},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++)
		if (url_told_by(cases[i].url, cases[i].text) != cases[i].told)
			fail_msg("%s: '%s'", cases[i].url, cases[i].text);
}

static void test_proxy_check(void **state)
{
	static const char *const valid[] = {
		"h",
		"h:3128",
		"http://h",
		"http://h:3128/",
		"HTTPS://h:3128",
		"socks5h://h",
		"http://u:p@h:1",
		"u:p@h:1",
		"http://u@h",
		"http://u:p%2f%20@h:1/",
		"http://[::1]:3128",
		"http://[fe80::1%25eth0]:1",
	};
	static const char *const invalid[] = {
		"htp://bob:S3CRET@h:1",     "http://bob:S3CRET@h:99999", "http://bob:S3CRET/x@h:1",
		"http://bob:S3CRET x@h:1",  "http://bob:S3CRET#x@h:1",   "http://bob:S3CRET?x@h:1",
		"http://bob:S3CRET@",       "http://bob:S3CRET@:1",      "http://bob:S3CRET@[::1:1",
		"http://bob:S3CRET\n@h",    "://bob:S3CRET@h",           "http://bob:S3CRET@h:0",
		"http://bob:S3CRET@h:port", "bob:S3CRET/x@h:1",          "http:/bob:S3CRET@h",
		"S3CRET://bob:S3CRET@h",    "http://bob:S3CRET\\x@h:1",
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(valid); i++) {
		struct varve_err e = VARVE_ERR_INIT;

		assert_ok(proxy_check(valid[i], &e), &e);
	}
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(invalid); i++) {
		struct varve_err e = VARVE_ERR_INIT;
		char text[1024];

		if (proxy_check(invalid[i], &e) != -VARVE_E_NETWORK)
			fail_msg("'%s' was accepted", invalid[i]);
		(void)varve_err_text(&e, text, sizeof(text));
		if (strstr(strstr(text, "://***") ? strstr(text, "://***") : text, "S3C"))
			fail_msg("'%s': %s", invalid[i], text);
	}
}

static void test_classes(void **state)
{
	static const struct {
		const char *host;
		enum addr_class class;
	} cases[] = {
		{"q.io", ADDR_NAME},
		{"127.0.0.1", ADDR_LOOPBACK},
		{"127.1", ADDR_LOOPBACK},
		{"2130706433", ADDR_LOOPBACK},
		{"0x7f000001", ADDR_LOOPBACK},
		{"[::1]", ADDR_LOOPBACK},
		{"[::ffff:127.0.0.1]", ADDR_LOOPBACK},
		{"169.254.169.254", ADDR_LINK_LOCAL},
		{"[fe80::1]", ADDR_LINK_LOCAL},
		{"[fd00:ec2::254]", ADDR_LINK_LOCAL},
		{"[::ffff:169.254.169.254]", ADDR_LINK_LOCAL},
		{"10.1.2.3", ADDR_PRIVATE},
		{"172.16.0.1", ADDR_PRIVATE},
		{"172.31.255.255", ADDR_PRIVATE},
		{"172.32.0.1", ADDR_PUBLIC},
		{"192.168.1.1", ADDR_PRIVATE},
		{"[fd12::1]", ADDR_PRIVATE},
		{"0.0.0.0", ADDR_UNSPECIFIED},
		{"[::]", ADDR_UNSPECIFIED},
		{"100.64.0.1", ADDR_PRIVATE},
		{"100.127.255.255", ADDR_PRIVATE},
		{"100.128.0.1", ADDR_PUBLIC},
		{"[64:ff9b::7f00:1]", ADDR_LOOPBACK},
		{"[64:ff9b::a9fe:a9fe]", ADDR_LINK_LOCAL},
		{"[64:ff9b::808:808]", ADDR_PUBLIC},
		{"[::127.0.0.1]", ADDR_LOOPBACK},
		{"[::7f00:1]", ADDR_LOOPBACK},
		{"[::169.254.169.254]", ADDR_LINK_LOCAL},
		{"[::10.0.0.1]", ADDR_PRIVATE},
		{"[::8.8.8.8]", ADDR_PUBLIC},
		{"[::ffff:0:127.0.0.1]", ADDR_LOOPBACK},
		{"[64:ff9b:1::127.0.0.1]", ADDR_LOOPBACK},
		{"[64:ff9b:1::169.254.169.254]", ADDR_LINK_LOCAL},
		{"[64:ff9b:1:a9fe:a9:fe00::]", ADDR_UNSPECIFIED},
		{"[64:ff9b:1::808:808]", ADDR_PRIVATE},
		{"[64:ff9b:1:ffff:ffff:ffff:808:808]", ADDR_PRIVATE},
		{"[64:ff9b:2::1]", ADDR_PUBLIC},
		{"168.63.129.16", ADDR_LINK_LOCAL},
		{"168.63.129.17", ADDR_PUBLIC},
		{"[::ffff:168.63.129.16]", ADDR_LINK_LOCAL},
		{"[2002:7f00:1::]", ADDR_LOOPBACK},
		{"[2002:808:808::]", ADDR_PUBLIC},
		{"[fec0::1]", ADDR_PRIVATE},
		{"[ff02::1]", ADDR_UNSPECIFIED},
		{"224.0.0.1", ADDR_UNSPECIFIED},
		{"255.255.255.255", ADDR_UNSPECIFIED},
		{"8.8.8.8", ADDR_PUBLIC},
		{"[2001:db8::1]", ADDR_PUBLIC},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++)
		if (url_host_class(cases[i].host) != cases[i].class)
			fail_msg("%s: %d", cases[i].host, url_host_class(cases[i].host));
	assert_true(url_domain_is_loopback("localhost"));
	assert_true(url_domain_is_loopback("localhost:5000"));
	assert_true(url_domain_is_loopback("x.localhost"));
	assert_true(url_domain_is_loopback("127.0.0.2:5000"));
	assert_true(url_domain_is_loopback("[::1]:5000"));
	assert_false(url_domain_is_loopback("notlocalhost"));
	assert_false(url_domain_is_loopback("10.0.0.1:5000"));
	assert_string_equal(url_api_host("docker.io"), "registry-1.docker.io");
	assert_string_equal(url_api_host("quay.io"), "quay.io");
}

static void test_may_lead(void **state)
{
	(void)state;
	/* From outside nothing inside, from inside what is not further inside. */
	for (enum addr_class there = ADDR_PRIVATE; there <= ADDR_UNSPECIFIED; there++) {
		assert_false(url_may_lead(ADDR_NAME, there));
		assert_false(url_may_lead(ADDR_PUBLIC, there));
	}
	assert_true(url_may_lead(ADDR_PUBLIC, ADDR_NAME));
	assert_true(url_may_lead(ADDR_LOOPBACK, ADDR_PUBLIC));
	assert_true(url_may_lead(ADDR_PRIVATE, ADDR_PRIVATE));
	assert_false(url_may_lead(ADDR_PRIVATE, ADDR_LOOPBACK));
	assert_true(url_may_lead(ADDR_LOOPBACK, ADDR_LOOPBACK));
	assert_false(url_may_lead(ADDR_LOOPBACK, ADDR_LINK_LOCAL));
	assert_int_equal(url_name_class("x.LocalHost"), ADDR_LOOPBACK);
	assert_int_equal(url_name_class("[::1]"), ADDR_LOOPBACK);
	assert_int_equal(url_name_class("localhost.example"), ADDR_NAME);
}

static void test_same_site(void **state)
{
	(void)state;
	assert_true(url_same_site("q.io", "q.io"));
	assert_true(url_same_site("registry.gitlab.com", "gitlab.com"));
	assert_true(url_same_site("example.com", "auth.example.com"));
	assert_false(url_same_site("example.com", "com"));
	assert_false(url_same_site("example.com", "evilexample.com"));
	assert_false(url_same_site("example.com", "evil.com"));
	assert_false(url_same_site("a.co.uk", "b.co.uk"));
	assert_false(url_same_site("a.github.io", "b.github.io"));
	assert_false(url_same_site("10.0.0.1", "10.0.0.2"));
	assert_true(url_same_site("10.0.0.1", "10.0.0.1"));
#ifdef HAVE_LIBPSL
	assert_true(url_same_site("registry.example.co.uk", "auth.example.co.uk"));
#endif
}

static void test_origin(void **state)
{
	struct url a, b;

	(void)state;
	assert_int_equal(url_parse(&a, "https://h/x", NULL), 0);
	assert_int_equal(url_parse(&b, "https://H:443/y", NULL), 0);
	assert_true(url_same_origin(&a, &b));
	assert_int_equal(url_parse(&b, "http://h/x", NULL), 0);
	assert_false(url_same_origin(&a, &b));
	assert_int_equal(url_parse(&b, "http://h:443/x", NULL), 0);
	assert_false(url_same_origin(&a, &b));
	assert_int_equal(url_parse(&b, "https://h:444/x", NULL), 0);
	assert_false(url_same_origin(&a, &b));
	assert_int_equal(url_parse(&b, "https://x.h/x", NULL), 0);
	assert_false(url_same_origin(&a, &b));
}

static void test_encode(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	url_encode(&b, span_str("repository:a/b:pull,push x~_-.\xc3\xa4"));
	assert_string_equal(b.p, "repository%3Aa%2Fb%3Apull%2Cpush%20x~_-.%C3%A4");
	buf_done(&b);
}

static void test_proxy(void **state)
{
	static const struct {
		const char *url, *no, *want;
	} cases[] = {
		{"https://q.io/", NULL, "S"},
		{"http://q.io/", NULL, "H"},
		{"http://127.0.0.1:5000/", NULL, ""},
		{"http://localhost:5000/", NULL, ""},
		{"http://[::1]:5000/", NULL, ""},
		{"https://q.io/", "q.io", ""},
		{"https://sub.q.io/", "q.io", ""},
		{"https://notq.io/", "q.io", "S"},
		{"https://q.io/", ".q.io", "S"},
		{"https://sub.q.io/", ".q.io", ""},
		{"https://sub.q.io/", "*.q.io", ""},
		{"https://q.io/", " a , Q.IO ", ""},
		{"https://q.io/", "q.io:443", ""},
		{"https://q.io/", "q.io:444", "S"},
		{"https://q.io/", "*", ""},
		{"https://10.1.2.3/", "10.0.0.0/8", ""},
		{"https://11.1.2.3/", "10.0.0.0/8", "S"},
		{"https://10.1.2.3/", "10.1.2.3", ""},
		{"https://[fd00::1]/", "fd00::/8", ""},
		{"https://[fd00::1]/", "fd00::1", ""},
		{"https://[fd00::1]:5/", "[fd00::1]:5", ""},
		{"https://[fd00::1]:5/", "[fd00::1]:6", "S"},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct proxy_env env = {.http = "H", .https = "S", .no = cases[i].no};
		struct url u;

		assert_int_equal(url_parse(&u, cases[i].url, NULL), 0);
		if (strcmp(proxy_for(&env, &u), cases[i].want) != 0)
			fail_msg("%s with no_proxy '%s': '%s'", cases[i].url, cases[i].no,
				 proxy_for(&env, &u));
	}
	{
		struct proxy_env env = {.all = "A", .http = ""};
		struct url u;

		assert_int_equal(url_parse(&u, "https://q.io/", NULL), 0);
		assert_string_equal(proxy_for(&env, &u), "A");
		env.all = NULL;
		assert_string_equal(proxy_for(&env, &u), "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),     cmocka_unit_test(test_bad),
		cmocka_unit_test(test_masked),   cmocka_unit_test(test_classes),
		cmocka_unit_test(test_may_lead), cmocka_unit_test(test_same_site),
		cmocka_unit_test(test_origin),   cmocka_unit_test(test_encode),
		cmocka_unit_test(test_proxy),    cmocka_unit_test(test_shown),
		cmocka_unit_test(test_told_by),  cmocka_unit_test(test_proxy_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
