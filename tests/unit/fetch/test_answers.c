/* SPDX-License-Identifier: Apache-2.0 */
/* What servers answer: challenges, header blocks, ranges, waits, errors, tokens. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/auth/challenge.h"
#include "fetch/http/encoding.h"
#include "fetch/http/headers.h"
#include "fetch/http/retry.h"
#include "fetch/registry/regerror.h"
#include "fetch/registry/token.h"
#include "store/base/compiler.h"

/* "S realm|service|scope|error;" per challenge */
static void show(const struct challenge_list *l, struct buf *b)
{
	buf_reset(b);
	for (size_t i = 0; i < l->n; i++) {
		const struct challenge *c = &l->items[i];

		buf_printf(b, "%s %s|%s|%s|%s;", c->scheme == CHALLENGE_BASIC ? "basic" : "bearer",
			   c->realm ? c->realm : "-", c->service ? c->service : "-",
			   c->scope ? c->scope : "-", c->error ? c->error : "-");
	}
}

static void test_challenge(void **state)
{
	static const char *const cases[][2] = {
		{"Basic realm=\"x\"", "basic x|-|-|-;"},
		{"BASIC REALM=x", "basic x|-|-|-;"},
		{"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a/b:pull,push\"",
		 "bearer https://a/t|s|repository:a/b:pull,push|-;"},
		/* several in one line (docs/requirements.md 2.3) */
		{"Basic realm=\"a\", Bearer realm=\"b\",scope=\"x:pull,push\"",
		 "basic a|-|-|-;bearer b|-|x:pull,push|-;"},
		{"Bearer scope=\"x\", realm=\"b\" , Basic realm=\"a\"",
		 "bearer b|-|x|-;basic a|-|-|-;"},
		{"Negotiate, Basic realm=\"a\"", "basic a|-|-|-;"},
		{"Negotiate YII==, NTLM TlRMTVNTUAAB, Basic realm=\"a\"", "basic a|-|-|-;"},
		{"Digest realm=\"d\", nonce=\"n,m\", Bearer realm=\"b\"", "bearer b|-|-|-;"},
		{"Bearer realm=\"a\\\"b\\\\c\"", "bearer a\"b\\c|-|-|-;"},
		{"Bearer realm = \"a\" , service= \"s\"", "bearer a|s|-|-;"},
		{"Bearer realm=https://a/t?x=1,service=s", "bearer https://a/t?x=1|s|-|-;"},
		{"Bearer error=\"invalid_token\",realm=\"a\"", "bearer a|-|-|invalid_token;"},
		{", ,Basic realm=\"a\",,", "basic a|-|-|-;"},
		{"Bearer realm=\"first\",realm=\"second\"", "bearer first|-|-|-;"},
		{"Bearer realm=\"never ends", ""},
		{"Bearer", "bearer -|-|-|-;"},
		{"", ""},
		{"=\"", ""},
		{"Basic realm=\"a\tb\", Bearer realm=\"c\"", "basic -|-|-|-;bearer c|-|-|-;"},
	};
	struct buf b;

	(void)state;
	buf_init(&b, 10000);
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct challenge_list l = {0};

		assert_int_equal(challenge_parse(&l, span_str(cases[i][0])), 0);
		show(&l, &b);
		if (strcmp(b.p, cases[i][1]) != 0)
			fail_msg("'%s': '%s'", cases[i][0], b.p);
		challenge_done(&l);
	}
	buf_done(&b);
}

static void test_challenge_many(void **state)
{
	struct challenge_list l = {0};

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_int_equal(challenge_parse(&l, span_str("Basic realm=\"a\"")), 0);
	assert_int_equal(l.n, CHALLENGE_MAX);
	challenge_done(&l);
}

static void add(struct headers *h, const char *line)
{
	assert_int_equal(headers_line(h, line, strlen(line)), 0);
}

static void test_headers(void **state)
{
	struct headers h;
	struct span v;
	struct varve_digest d;
	char type[64];
	uint64_t n;

	(void)state;
	headers_init(&h);
	add(&h, "HTTP/1.1 100 Continue\r\n");
	add(&h, "Content-Length: 1\r\n");
	add(&h, "HTTP/1.1 200 OK\r\n");
	add(&h, "content-TYPE:  Text/Plain; charset=utf-8 \r\n");
	add(&h, "X: a\r\n");
	add(&h, "X: b\r\n");
	assert_false(headers_get(&h, "Content-Length", 0, &v));
	assert_string_equal(headers_media_type(&h, type, sizeof(type)), "text/plain");
	assert_true(headers_get(&h, "x", 1, &v) && span_eq(v, "b"));
	assert_false(headers_get(&h, "x", 2, &v));
	add(&h, "Content-Length: 12\r\n");
	assert_true(headers_u64(&h, "content-length", &n));
	assert_int_equal(n, 12);
	add(&h, "Content-Length: 13\r\n");
	assert_false(headers_u64(&h, "content-length", &n));
	add(&h, "Docker-Content-Digest: "
		"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\r\n");
	assert_false(headers_digest(&h, &d));
	headers_done(&h);
}

static void test_headers_limit(void **state)
{
	static char line[70000];
	struct headers h;

	(void)state;
	headers_init(&h);
	memset(line, 'a', sizeof(line));
	assert_int_equal(headers_line(&h, line, sizeof(line)), 0);
	assert_true(headers_line(&h, line, sizeof(line)) < 0);
	headers_done(&h);
}

static void test_content_range(void **state)
{
	static const struct {
		const char *text;
		bool ok, unsatisfied;
		uint64_t first, last, complete;
	} cases[] = {
		{"bytes 0-9/10", true, false, 0, 9, 10},
		{"BYTES 5-9/*", true, false, 5, 9, UINT64_MAX},
		{" bytes  5-9/10 ", true, false, 5, 9, 10},
		{"bytes */10", true, true, 0, 0, 10},
		{"bytes */*", false, false, 0, 0, 0},
		{"bytes 9-5/10", false, false, 0, 0, 0},
		{"bytes 0-10/10", false, false, 0, 0, 0},
		{"bytes 0-9", false, false, 0, 0, 0},
		{"bytes -9/10", false, false, 0, 0, 0},
		{"bytes 0-/10", false, false, 0, 0, 0},
		{"items 0-9/10", false, false, 0, 0, 0},
		{"bytes=0-9/10", false, false, 0, 0, 0},
		{"bytes 0-9/99999999999999999999", false, false, 0, 0, 0},
		{"bytes 0-9/10, bytes 0-9/10", false, false, 0, 0, 0},
		{"", false, false, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct content_range cr = {0};

		if (content_range_parse(span_str(cases[i].text), &cr) != cases[i].ok)
			fail_msg("'%s'", cases[i].text);
		if (!cases[i].ok)
			continue;
		assert_int_equal(cr.unsatisfied, cases[i].unsatisfied);
		assert_true(cr.complete == cases[i].complete);
		assert_true(cr.first == cases[i].first && cr.last == cases[i].last);
	}
}

static void test_retry_after(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t seconds;
	} cases[] = {
		{"0", true, 0},
		{"120", true, 120},
		{" 7 ", true, 7},
		{"985.86\xc2\xb5s", false, 0},
		{"-1", false, 0},
		{"1s", false, 0},
		{"", false, 0},
		{"99999999999999999999999", false, 0},
		{"Sun, 06 Nov 1994 08:49:37 GMT", true, 37},
		{"Sunday, 06-Nov-94 08:49:37 GMT", true, 37},
		{"Sun Nov  6 08:49:37 1994", true, 37},
		{"Sun, 06 Nov 1994 08:49:37 CET", false, 0},
		{"Sun, 06 Nov 1993 08:49:37 GMT", true, 0},
		{"Sun, 06 Foo 1994 08:49:37 GMT", false, 0},
		{"Sun, 06 Nov 1994 25:49:37 GMT", false, 0},
		{"Sun, 06 Nov 1994 08:49:37 GMT x", false, 0},
	};
	const int64_t now = 784111740; /* 08:49:00 of that day */

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		uint64_t s = 0;

		if (retry_after_parse(span_str(cases[i].text), now, &s) != cases[i].ok ||
		    (cases[i].ok && s != cases[i].seconds))
			fail_msg("'%s': %d", cases[i].text, (int)s);
	}
}

static void test_backoff(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 100; n++) {
		assert_int_equal(retry_backoff_ms(n, 0), 10);
		assert_true(retry_backoff_ms(n, UINT32_MAX) <= 30000);
	}
	assert_int_equal(retry_backoff_ms(0, UINT32_MAX), 249);
	assert_int_equal(retry_backoff_ms(3, UINT32_MAX), 1999);
	assert_int_equal(retry_backoff_ms(3, 1u << 31), 1000);
}

static void test_budget(void **state)
{
	struct retry_budget b = {0};

	(void)state;
	/* As long as a MiB comes in between, for ever. */
	for (unsigned i = 1; i < 100; i++)
		assert_true(retry_allowed(&b, i * (uint64_t)RETRY_PROGRESS_BYTES, i, 5));
	/* Else so many times. */
	for (unsigned i = 0; i < 4; i++)
		assert_true(retry_allowed(&b, b.bytes + 10, 200 + i, 5));
	assert_false(retry_allowed(&b, b.bytes, 300, 5));
	/* A trickle counts after a minute. */
	assert_true(retry_allowed(&b, b.bytes + 1, 300 + RETRY_PROGRESS_MS, 5));
	assert_false(retry_allowed(&(struct retry_budget){0}, 0, 0, 0));
}

static void test_status(void **state)
{
	static const long yes[] = {408, 425, 429, 499, 500, 502, 503, 504, 520, 524};
	static const long no[] = {200, 301, 400, 401, 403, 404, 501, 505};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(yes); i++)
		assert_true(retry_status(yes[i]));
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(no); i++)
		assert_false(retry_status(no[i]));
	assert_int_equal(retry_error_code("TOOMANYREQUESTS"), 1);
	assert_int_equal(retry_error_code("DENIED"), 0);
	assert_int_equal(retry_error_code("?"), -1);
}

static void test_registry_error(void **state)
{
	static const char *const cases[][3] = {
		{"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no \\u001b[2J\"}]}", "DENIED",
		 "no \\x1b[2J"},
		{"{\"error\":\"invalid_grant\",\"error_description\":\"x\"}", "invalid_grant", "x"},
		{"{\"details\":\"incorrect username or password\"}", "",
		 "incorrect username or password"},
		{"<html>", "", ""},
		{"{\"errors\":{}}", "", ""},
		{"{\"errors\":[1]}", "", ""},
		{"", "", ""},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct registry_error re;

		registry_error_parse(&re, cases[i][0], strlen(cases[i][0]));
		assert_string_equal(re.code, cases[i][1]);
		assert_string_equal(re.message, cases[i][2]);
	}
}

static void test_token_answer(void **state)
{
	static const struct {
		const char *text, *value; /* NULL: refused */
		uint64_t lifetime;
	} cases[] = {
		{"{\"token\":\"a\"}", "a", 60},
		{"{\"access_token\":\"b\",\"expires_in\":300}", "b", 300},
		{"{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":0}", "a", 60},
		{"{\"token\":\"a\",\"expires_in\":5}", "a", 60},
		{"{\"token\":\"a\",\"expires_in\":99999999}", "a", 86400},
		{"{\"token\":\"a\",\"expires_in\":300,\"issued_at\":\"1970-01-01T00:16:00Z\"}", "a",
		 260},
		/* clocks that are hours apart are not believed */
		{"{\"token\":\"a\",\"expires_in\":300,\"issued_at\":\"2030-01-01T00:00:00Z\"}", "a",
		 300},
		{"{\"token\":\"\"}", NULL, 0},
		{"{\"token\":\"a\\r\\nX: y\"}", NULL, 0},
		{"{\"token\":\"a b\"}", NULL, 0},
		{"{\"token\":1}", NULL, 0},
		{"{}", NULL, 0},
		{"[]", NULL, 0},
		{"<html>", NULL, 0},
		{"", NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct token_answer a = {0};
		int r = token_answer_parse(&a, cases[i].text, strlen(cases[i].text), 1000, NULL);

		if (!cases[i].value) {
			assert_int_equal(r, -VARVE_E_FORMAT);
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(a.value, cases[i].value);
		assert_int_equal(a.lifetime_s, cases[i].lifetime);
		free(a.value);
	}
}

static void test_realm(void **state)
{
	static char host[] = "sso.corp.example";
	static char *allowed[] = {host, NULL};
	static const struct {
		const char *registry, *realm;
		int want; /* 1 with credentials, 0 without, -1 refused */
	} cases[] = {
		{"https://q.io/", "https://q.io/token", 1},
		{"https://registry-1.docker.io/", "https://auth.docker.io/token", 1},
		{"https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", 1},
		{"https://q.io/", "https://evil.example/token", 0},
		{"https://q.io/", "https://sso.corp.example/token", 1},
		{"https://q.io/", "http://q.io/token", -1},
		{"http://q.io/", "http://q.io/token", 1},
		{"https://q.io/", "https://127.0.0.1/token", -1},
		{"https://q.io/", "https://localhost/token", -1},
		{"https://q.io/", "https://169.254.169.254/latest", -1},
		{"https://q.io/", "https://[fd00:ec2::254]/", -1},
		{"https://q.io/", "https://2852039166/", -1},
		{"https://q.io/", "https://10.0.0.1/token", 0},
		{"https://10.0.0.1/", "https://10.0.0.1:8443/token", 1},
		{"http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", 1},
		{"http://localhost:5000/", "http://127.0.0.1:5001/token", 1},
		{"https://q.io/", "https://u:p@q.io/token", -1},
		{"https://q.io/", "https://q.io/token#x", -1},
	};

	(void)state;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(cases); i++) {
		struct url registry, realm;
		int r;

		assert_int_equal(url_parse(&registry, cases[i].registry, NULL), 0);
		assert_int_equal(url_parse(&realm, cases[i].realm, NULL), 0);
		r = token_realm_check(&realm, &registry, allowed, NULL);
		if ((r < 0 ? -1 : r) != cases[i].want)
			fail_msg("%s -> %s: %d", cases[i].registry, cases[i].realm, r);
	}
}

static void test_encoding(void **state)
{
	/* gzip of "{}" */
	static const unsigned char gz[] = {0x1f, 0x8b, 8, 0,    0,    0,    0,    0, 0, 3, 0xab,
					   0xae, 5,    0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0};
	struct headers h;
	struct buf b;

	(void)state;
	headers_init(&h);
	assert_false(encoding_declared(&h));
	add(&h, "Content-Encoding: X-GZIP\r\n");
	assert_true(encoding_declared(&h));
	headers_done(&h);
	buf_init(&b, 100);
	buf_add(&b, gz, sizeof(gz));
	assert_int_equal(encoding_undo(&b, NULL), 0);
	assert_string_equal(b.p, "{}");
	assert_int_equal(encoding_undo(&b, NULL), 0);
	assert_string_equal(b.p, "{}");
	buf_reset(&b);
	buf_add(&b, gz, 12);
	b.p[4] = (char)0xff;
	b.p[10] = (char)0xff;
	assert_true(encoding_undo(&b, NULL) < 0);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_challenge),     cmocka_unit_test(test_challenge_many),
		cmocka_unit_test(test_headers),       cmocka_unit_test(test_headers_limit),
		cmocka_unit_test(test_content_range), cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_backoff),       cmocka_unit_test(test_budget),
		cmocka_unit_test(test_status),        cmocka_unit_test(test_registry_error),
		cmocka_unit_test(test_token_answer),  cmocka_unit_test(test_realm),
		cmocka_unit_test(test_encoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
