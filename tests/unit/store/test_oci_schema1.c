/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's schema 1: its digest, what it becomes, and what is refused. */
#include "unit.h"

#include "store/base/buf.h"
#include "store/base/hash.h"
#include "store/base/text.h"
#include "store/oci/oci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D1   "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2   "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define HEX1 "1111111111111111111111111111111111111111111111111111111111111111"
#define HEX2 "2222222222222222222222222222222222222222222222222222222222222222"

#define V1(id, parent, more) "{\"v1Compatibility\":\"{\\\"id\\\":\\\"" id "\\\"" parent more "}\"}"
#define PARENT(id)           ",\\\"parent\\\":\\\"" id "\\\""
#define FS(d)                "{\"blobSum\":\"" d "\"}"
#define TOP                                                                                        \
	",\\\"architecture\\\":\\\"amd64\\\",\\\"os\\\":\\\"linux\\\",\\\"config\\\":{"            \
	"\\\"Env\\\":[\\\"A=b\\\"]}"
#define CMD                                                                                        \
	",\\\"container_config\\\":{\\\"Cmd\\\":[\\\"/bin/"                                        \
	"sh\\\",\\\"-c\\\",\\\"x\\\"]},\\\"created\\\":\\\"2016-01-01T00:00:00Z\\\""

static const char plain_v1[] =
	"{\"schemaVersion\":1,\"name\":\"a/b\",\"tag\":\"c\",\"architecture\":\"amd64\","
	"\"fsLayers\":[" FS(D1) "," FS(D2) "],\"history\":[" V1(
		HEX1, PARENT(HEX2), TOP ",\\\"throwaway\\\":true") "," V1(HEX2, "", CMD) "]}";

static void schema1_is_read(void **state)
{
	struct oci_schema1 *m = NULL;
	struct varve_digest whole, d1, d2;
	struct varve_err e;

	(void)state;
	assert_ok(oci_schema1_parse(&m, plain_v1, strlen(plain_v1), &e), &e);
	assert_int_equal(hash_bytes(VARVE_SHA256, plain_v1, strlen(plain_v1), &whole, NULL), 0);
	assert_int_equal(varve_digest_parse(&d1, D1), 0);
	assert_int_equal(varve_digest_parse(&d2, D2), 0);
	assert_true(varve_digest_equal(&m->digest, &whole)); /* unsigned: the whole body */
	assert_int_equal(m->n_layers, 2);
	assert_true(varve_digest_equal(&m->layers[0].blob, &d2)); /* the base comes first */
	assert_false(m->layers[0].throwaway);
	assert_true(m->layers[1].throwaway);
	assert_string_equal(m->platform.arch, "amd64");
	assert_null(strstr(m->config, "throwaway"));
	assert_null(strstr(m->config, "parent"));
	assert_non_null(strstr(m->config, "\"A=b\""));
	assert_string_equal(m->history[0], "{\"created\":\"2016-01-01T00:00:00Z\",\"created_by\":"
					   "\"/bin/sh -c x\"}");
	assert_non_null(strstr(m->history[1], "\"empty_layer\":true"));
	assert_null(m->history[2]);
	oci_schema1_free(m);
}

/* As docker-registry signs: the payload without its last bytes, then the signatures, then those
 * bytes. */
static char *sign(const char *payload, const char *tail, const char *time)
{
	size_t n = strlen(payload) - strlen(tail);
	struct buf head, protected, b;
	char *p;

	buf_init(&head, 4096);
	buf_init(&protected, 4096);
	buf_init(&b, 1 << 16);
	buf_printf(&head, "{\"formatLength\":%zu,\"formatTail\":\"", n);
	text_base64_encode(tail, strlen(tail), &head);
	while (head.p[head.n - 1] == '=')
		head.p[--head.n] = '\0';
	buf_printf(&head, "\",\"time\":\"%s\"}", time);
	text_base64_encode(head.p, head.n, &protected);
	while (protected.p[protected.n - 1] == '=')
	protected.p[--protected.n] = '\0';
	buf_add(&b, payload, n);
	buf_printf(&b,
		   ",\"signatures\":[{\"header\":{},\"signature\":\"x\",\"protected\":\"%s\"}]%s",
		   protected.p, tail);
	buf_done(&head);
	buf_done(&protected);
	p = buf_take(&b);
	assert_non_null(p);
	return p;
}

static void schema1_digest_is_of_the_payload(void **state)
{
	static const char *const times[] = {"2016-01-01T00:00:00Z", "2026-11-22T14:33:59Z"};
	static const char *const tails[] = {"}", "\n}"}; /* compact and pretty */
	struct varve_digest digest;
	char payload[2000];
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) { /* signed anew by each GET: other bytes, the same digest */
		struct oci_schema1 *m = NULL;
		struct varve_err e;
		char *body;

		snprintf(payload, sizeof(payload), "%.*s%s", (int)strlen(plain_v1) - 1, plain_v1,
			 tails[i / 2]);
		assert_int_equal(hash_bytes(VARVE_SHA256, payload, strlen(payload), &digest, NULL),
				 0);
		body = sign(payload, tails[i / 2], times[i % 2]);
		assert_ok(oci_schema1_parse(&m, body, strlen(body), &e), &e);
		assert_true(varve_digest_equal(&m->digest, &digest));
		assert_string_equal(m->payload, payload);
		oci_schema1_free(m);
		free(body);
	}
}

static void schema1_signatures_must_agree(void **state)
{
	/* {"formatLength":1,"formatTail":"fQ"} */
	static const char other[] =
		"{\"protected\":\"eyJmb3JtYXRMZW5ndGgiOjEsImZvcm1hdFRhaWwiOiJmUSJ9\"},";
	char *body = sign(plain_v1, "}", "2016-01-01T00:00:00Z");
	char *at = strstr(body, "[{\"header\"") + 1;
	struct oci_schema1 *m = NULL;
	struct varve_err e;
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	buf_printf(&b, "%.*s%s%s", (int)(at - body), body, other, at);
	assert_int_equal(oci_schema1_parse(&m, b.p, b.n, &e), -VARVE_E_FORMAT);
	assert_int_equal(oci_schema1_parse(&m, body, strlen(body), &e), 0);
	oci_schema1_free(m);
	buf_done(&b);
	free(body);
}

/* The envelope names other layers than what the digest covers. */
static void schema1_layers_are_of_the_payload(void **state)
{
	static const char covered[] = "{\"schemaVersion\":1";
	static const char tail[] = ",\"fsLayers\":[" FS(D2) "],\"history\":[" V1(HEX2, "", "") "]}";
	static const char around[] =
		",\"fsLayers\":[" FS(D1) "],\"history\":[" V1(HEX1, "", "") "],\"signatures\":";
	struct oci_schema1 *m = NULL;
	struct varve_digest d2;
	struct varve_err e;
	char payload[1000], *body, *at;
	struct buf b;

	(void)state;
	snprintf(payload, sizeof(payload), "%s%s", covered, tail);
	body = sign(payload, tail, "2016-01-01T00:00:00Z");
	at = strstr(body, ",\"signatures\":") + strlen(",\"signatures\":");
	buf_init(&b, 1 << 16);
	buf_printf(&b, "%s%s%.*s}", covered, around,
		   (int)(strlen(body) - strlen(tail) - (size_t)(at - body)), at);
	assert_ok(oci_schema1_parse(&m, b.p, b.n, &e), &e);
	assert_int_equal(varve_digest_parse(&d2, D2), 0);
	assert_int_equal(m->n_layers, 1);
	assert_true(varve_digest_equal(&m->layers[0].blob, &d2));
	oci_schema1_free(m);
	buf_done(&b);
	free(body);
}

#define BAD(layers, history)                                                                       \
	"{\"schemaVersion\":1,\"fsLayers\":[" layers "],\"history\":[" history "]}"

static const struct {
	const char *name, *doc;
} bad_v1[] = {
	{"no layers", BAD("", "")},
	{"do not pair", BAD(FS(D1) "," FS(D2), V1(HEX1, "", ""))},
	{"bad id", BAD(FS(D1), V1("12", "", ""))},
	{"base has a parent", BAD(FS(D1), V1(HEX1, PARENT(HEX2), ""))},
	{"wrong parent", BAD(FS(D1) "," FS(D2), V1(HEX1, PARENT(HEX1), "") "," V1(HEX2, "", ""))},
	{"id comes again",
	 BAD(FS(D1) "," FS(D2) "," FS(D1),
	     V1(HEX1, PARENT(HEX2), "") "," V1(HEX2, PARENT(HEX1), "") "," V1(HEX1, "", ""))},
	{"schema 2", "{\"schemaVersion\":2,\"fsLayers\":[],\"history\":[]}"},
	{"also a manifest", "{\"schemaVersion\":1,\"layers\":[],\"fsLayers\":[" FS(
				    D1) "],\"history\":[" V1(HEX1, "", "") "]}"},
	{"signature beyond the end", "{\"schemaVersion\":1,\"signatures\":[{\"protected\":"
				     "\"eyJmb3JtYXRMZW5ndGgiOjk5OTk5LCJmb3JtYXRUYWlsIjoifSJ9\"}]}"},
	{"signature is no base64",
	 "{\"schemaVersion\":1,\"signatures\":[{\"protected\":\"***\"}]}"},
};

static void schema1_is_refused(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad_v1) / sizeof(bad_v1[0]); i++) {
		struct oci_schema1 *m = NULL;
		int r = oci_schema1_parse(&m, bad_v1[i].doc, strlen(bad_v1[i].doc), NULL);

		if (r != -VARVE_E_FORMAT)
			fail_msg("%s: %d", bad_v1[i].name, r);
	}
}

static void schema1_repeats_are_one_layer(void **state)
{
	static const char doc[] = BAD(
		FS(D1) "," FS(D1) "," FS(D2),
		V1(HEX1, PARENT(HEX2), TOP) "," V1(HEX1, PARENT(HEX2), "") "," V1(HEX2, "", ""));
	struct oci_schema1 *m = NULL;
	struct varve_err e;

	(void)state;
	assert_ok(oci_schema1_parse(&m, doc, strlen(doc), &e), &e);
	assert_int_equal(m->n_layers, 2);
	oci_schema1_free(m);
}

/* What a layer adds is told by two members; neither: nobody knows, so it is fetched. */
static void schema1_empty_layers(void **state)
{
	static const struct {
		const char *members;
		bool throwaway;
	} cases[] = {
		{"", false},
		{",\"throwaway\":true", true},
		{",\"throwaway\":true,\"Size\":5", true},
		{",\"Size\":0", true},
		{",\"Size\":5", false},
		{",\"throwaway\":false,\"Size\":0", false},
	};
	struct varve_err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct oci_schema1 *m = NULL;
		struct buf b, v1, quoted;

		buf_init(&b, 4096);
		buf_init(&v1, 4096);
		buf_init(&quoted, 4096);
		buf_printf(&v1, "{\"id\":\"" HEX1 "\"%s}", cases[i].members);
		for (const char *p = v1.p; *p; p++)
			buf_printf(&quoted, "%s%c", *p == '"' ? "\\" : "", *p);
		buf_printf(&b, BAD(FS(D1), "{\"v1Compatibility\":\"%s\"}"), quoted.p);
		assert_ok(oci_schema1_parse(&m, b.p, b.n, &e), &e);
		if (m->layers[0].throwaway != cases[i].throwaway)
			fail_msg("%s", cases[i].members);
		assert_string_equal(m->platform.os, "linux"); /* by default */
		oci_schema1_free(m);
		buf_done(&b);
		buf_done(&v1);
		buf_done(&quoted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schema1_is_read),
		cmocka_unit_test(schema1_digest_is_of_the_payload),
		cmocka_unit_test(schema1_signatures_must_agree),
		cmocka_unit_test(schema1_layers_are_of_the_payload),
		cmocka_unit_test(schema1_is_refused),
		cmocka_unit_test(schema1_repeats_are_one_layer),
		cmocka_unit_test(schema1_empty_layers),
	};

	return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
