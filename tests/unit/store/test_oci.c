/* SPDX-License-Identifier: Apache-2.0 */
/* Documents: what they are, what is in them, what is refused; platforms. */
#include "unit.h"

#include "store/base/buf.h"
#include "store/base/hash.h"
#include "store/oci/oci.h"
#include "store/oci/platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"

#define CONFIG_OF(type) "\"config\":{\"mediaType\":\"" type "\",\"digest\":\"" D1 "\",\"size\":2}"
#define LAYER_OF(type)  "{\"mediaType\":\"" type "\",\"digest\":\"" D2 "\",\"size\":3}"
#define MANIFEST(type, layers)                                                                     \
	"{\"schemaVersion\":2,\"mediaType\":\"" type                                               \
	"\"," CONFIG_OF(OCI_MT_CONFIG) ",\"layers\":[" layers "]}"

/* --- what a document is --- */

static const struct {
	const char *name, *doc, *content_type, *expected;
	int code; /* 0: kind */
	enum oci_doc_kind kind;
} classes[] = {
	{"oci manifest", MANIFEST(OCI_MT_MANIFEST, ""), OCI_MT_MANIFEST, NULL, 0, OCI_DOC_MANIFEST},
	{"parameters and case", MANIFEST(OCI_MT_MANIFEST, ""),
	 "Application/vnd.OCI.image.manifest.v1+json; charset=utf-8", NULL, 0, OCI_DOC_MANIFEST},
	{"config of an image",
	 "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},"
	 "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
	 NULL, NULL, VARVE_E_FORMAT, 0},
	{"cdn says text", MANIFEST(OCI_MT_MANIFEST, ""), "text/plain", NULL, 0, OCI_DOC_MANIFEST},
	{"no type at all", "{\"schemaVersion\":2," CONFIG_OF("x/y") ",\"layers\":[]}", NULL, NULL,
	 0, OCI_DOC_MANIFEST},
	{"index by shape", "{\"schemaVersion\":2,\"manifests\":[]}", "", NULL, 0, OCI_DOC_INDEX},
	{"schema 1 by shape", "{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, NULL, 0,
	 OCI_DOC_SCHEMA1},
	{"schema 1 signed", "{\"schemaVersion\":1,\"fsLayers\":[],\"signatures\":[]}",
	 DOCKER_MT_SCHEMA1_SIGNED, NULL, 0, OCI_DOC_SCHEMA1},
	{"descriptor wins over header", MANIFEST(OCI_MT_MANIFEST, ""), OCI_MT_INDEX,
	 OCI_MT_MANIFEST, 0, OCI_DOC_MANIFEST},
	{"header contradicts", MANIFEST(OCI_MT_MANIFEST, ""), OCI_MT_INDEX, NULL, VARVE_E_FORMAT,
	 0},
	{"docker is not oci", MANIFEST(OCI_MT_MANIFEST, ""), DOCKER_MT_MANIFEST, NULL,
	 VARVE_E_FORMAT, 0},
	{"both shapes", "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", NULL, NULL,
	 VARVE_E_FORMAT, 0},
	{"both shapes in another case", "{\"schemaVersion\":2,\"manifests\":[],\"Layers\":[]}",
	 OCI_MT_INDEX, NULL, VARVE_E_FORMAT, 0},
	{"type does not fit shape", "{\"schemaVersion\":2,\"manifests\":[]}", OCI_MT_MANIFEST, NULL,
	 VARVE_E_FORMAT, 0},
	{"an error page", "{\"errors\":[]}", "application/json", NULL, VARVE_E_FORMAT, 0},
	{"html", "<html>", "text/html", NULL, VARVE_E_FORMAT, 0},
	{"a list", "[]", NULL, NULL, VARVE_E_FORMAT, 0},
	{"trailing bytes", "{\"schemaVersion\":2,\"manifests\":[]}x", NULL, NULL, VARVE_E_FORMAT,
	 0},
	{"empty", "", NULL, NULL, VARVE_E_FORMAT, 0},
};

static void documents_are_classified(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		enum oci_doc_kind kind = OCI_DOC_UNKNOWN;
		int r = oci_classify(classes[i].doc, strlen(classes[i].doc),
				     classes[i].content_type, classes[i].expected, &kind, NULL);

		if (r != -classes[i].code || (r == 0 && kind != classes[i].kind))
			fail_msg("%s: %d, kind %d", classes[i].name, r, (int)kind);
	}
}

/* --- manifests --- */

static const struct {
	const char *name, *doc;
	int code;
} bad_manifests[] = {
	{"no config", "{\"schemaVersion\":2,\"layers\":[]}", VARVE_E_FORMAT},
	{"no layers", "{\"schemaVersion\":2," CONFIG_OF("x/y") "}", VARVE_E_FORMAT},
	{"layers no list", "{\"schemaVersion\":2," CONFIG_OF("x/y") ",\"layers\":{}}",
	 VARVE_E_FORMAT},
	{"version 1", "{\"schemaVersion\":1," CONFIG_OF("x/y") ",\"layers\":[]}", VARVE_E_FORMAT},
	{"has manifests",
	 "{\"schemaVersion\":2," CONFIG_OF("x/y") ",\"layers\":[],\"Manifests\":[]}",
	 VARVE_E_FORMAT},
	{"says index", MANIFEST(OCI_MT_INDEX, ""), VARVE_E_FORMAT},
	{"bad digest", MANIFEST(OCI_MT_MANIFEST, "{\"digest\":\"sha256:12\",\"size\":1}"),
	 VARVE_E_FORMAT},
	{"upper case digest",
	 MANIFEST(OCI_MT_MANIFEST,
		  "{\"digest\":\"sha256:AA11111111111111111111111111111111111111111111111111111111"
		  "111111\",\"size\":1}"),
	 VARVE_E_FORMAT},
	{"negative size", MANIFEST(OCI_MT_MANIFEST, "{\"digest\":\"" D1 "\",\"size\":-1}"),
	 VARVE_E_FORMAT},
	{"no size", MANIFEST(OCI_MT_MANIFEST, "{\"digest\":\"" D1 "\"}"), VARVE_E_FORMAT},
	{"duplicate key",
	 "{\"schemaVersion\":2,\"schemaVersion\":2," CONFIG_OF("x/y") ",\"layers\":[]}",
	 VARVE_E_FORMAT},
};

static void manifests_are_refused(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad_manifests) / sizeof(bad_manifests[0]); i++) {
		struct oci_manifest *m = NULL;
		int r = oci_manifest_parse(&m, bad_manifests[i].doc, strlen(bad_manifests[i].doc),
					   NULL);

		if (r != -bad_manifests[i].code)
			fail_msg("%s: %d", bad_manifests[i].name, r);
	}
}

static struct oci_manifest *parse_manifest(const char *doc)
{
	struct oci_manifest *m = NULL;
	struct varve_err e;

	assert_ok(oci_manifest_parse(&m, doc, strlen(doc), &e), &e);
	return m;
}

static void manifests_are_read(void **state)
{
	struct oci_manifest *m = parse_manifest(
		MANIFEST(OCI_MT_MANIFEST,
			 LAYER_OF(OCI_MT_LAYER "+gzip") "," LAYER_OF(OCI_MT_LAYER "+gzip")));

	(void)state;
	assert_int_equal(m->n_layers, 2); /* repeats count */
	assert_true(m->is_image);
	assert_int_equal(m->config.size, 2);
	assert_string_equal(m->layers[1].media_type, OCI_MT_LAYER "+gzip");
	oci_manifest_free(m);
	m = parse_manifest(MANIFEST(OCI_MT_MANIFEST, LAYER_OF("application/vnd.helm.chart")));
	assert_false(m->is_image);
	oci_manifest_free(m);
	m = parse_manifest("{\"schemaVersion\":2,\"artifactType\":\"a/b\"," CONFIG_OF(
		"application/vnd.oci.empty.v1+json") ",\"layers\":[]}");
	assert_false(m->is_image);
	assert_string_equal(m->artifact_type, "a/b");
	oci_manifest_free(m);
	m = parse_manifest("{\"schemaVersion\":2," CONFIG_OF(
		"application/octet-stream") ",\"layers\":["
					    "{\"mediaType\":\"application/"
					    "vnd.docker.image.rootfs.foreign.diff.tar.gzip\","
					    "\"digest\":\"" D1
					    "\",\"size\":1,\"urls\":[\"https://a/b\"]}]}");
	assert_true(m->is_image);
	assert_string_equal(m->layers[0].urls[0], "https://a/b");
	oci_manifest_free(m);
}

static void inline_data_is_verified(void **state)
{
	struct varve_digest d;
	struct oci_manifest *m;
	char doc[600];

	(void)state;
	assert_int_equal(hash_bytes(VARVE_SHA256, "{}", 2, &d, NULL), 0);
	snprintf(doc, sizeof(doc),
		 "{\"schemaVersion\":2,\"config\":{\"digest\":\"%s\",\"size\":2,\"data\":\"e30=\"},"
		 "\"layers\":[]}",
		 DIGEST_STR(&d));
	m = parse_manifest(doc);
	assert_int_equal(m->config.data_size, 2);
	assert_string_equal(m->config.data, "{}");
	oci_manifest_free(m);
	memcpy(strstr(doc, "e30="), "fX0=", 4); /* wrong: it will be fetched */
	m = parse_manifest(doc);
	assert_null(m->config.data);
	oci_manifest_free(m);
}

/* --- indexes and platforms --- */

#define ENTRY(n, more)                                                                             \
	"{\"mediaType\":\"" OCI_MT_MANIFEST "\",\"digest\":\"" D1 "\",\"size\":" n more "}"
#define FOR(n, os, arch, variant)                                                                  \
	ENTRY(n, ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch                       \
		 "\",\"variant\":\"" variant "\"}")

static const struct {
	const char *name, *entries, *want;
	int size; /* of the chosen entry; -1: none */
} choices[] = {
	{"plain", FOR("1", "linux", "amd64", "") "," FOR("2", "linux", "arm64", ""), "arm64", 2},
	{"alias in the document", FOR("1", "linux", "x86_64", ""), "amd64", 1},
	{"v8 is arm64", FOR("1", "linux", "arm64", "v8"), "arm64", 1},
	{"arm64 wanted as v8", FOR("1", "linux", "arm64", ""), "arm64/v8", 1},
	{"best variant below", FOR("1", "linux", "arm", "v5") "," FOR("2", "linux", "arm", "v6"),
	 "arm/v7", 2},
	{"never up (moby#37647)", FOR("1", "linux", "arm", "v7"), "arm/v6", -1},
	{"arm without variant comes last",
	 FOR("1", "linux", "arm", "") "," FOR("2", "linux", "arm", "v5"), "arm/v6", 2},
	{"arm without variant serves", FOR("1", "linux", "arm", ""), "arm/v6", 1},
	{"amd64 levels",
	 FOR("1", "linux", "amd64", "") "," FOR("2", "linux", "amd64", "v2") "," FOR("3", "linux",
										     "amd64", "v4"),
	 "amd64/v3", 2},
	{"first among equals", FOR("1", "linux", "amd64", "") "," FOR("2", "linux", "amd64", ""),
	 "amd64", 1},
	{"other os", FOR("1", "windows", "amd64", ""), "amd64", -1},
	{"attestation by platform", FOR("1", "unknown", "unknown", ""), "amd64", -1},
	{"attestation by annotation",
	 ENTRY("1", ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"annotations\":{"
		    "\"vnd.docker.reference.type\":\"attestation-manifest\"}"),
	 "amd64", -1},
	{"single without platform", ENTRY("1", ""), "amd64", 1},
	{"two without platform", ENTRY("1", "") "," ENTRY("2", ""), "amd64", -1},
	{"unknown type is skipped",
	 "{\"mediaType\":\"a/b\",\"digest\":\"" D1 "\",\"size\":1}," FOR("2", "linux", "amd64", ""),
	 "amd64", 2},
	{"unknown digest algorithm is skipped",
	 "{\"mediaType\":\"" OCI_MT_MANIFEST
	 "\",\"digest\":\"blake3:abcdef\",\"size\":1}," FOR("2", "linux", "amd64", ""),
	 "amd64", 2},
	{"artifact is skipped",
	 ENTRY("1", ",\"artifactType\":\"a/b\",\"platform\":{\"os\":\"linux\",\"architecture\":"
		    "\"amd64\"}"),
	 "amd64", -1},
	{"nested index without platform",
	 "{\"mediaType\":\"" OCI_MT_INDEX "\",\"digest\":\"" D1
	 "\",\"size\":1}," FOR("2", "linux", "arm64", ""),
	 "amd64", 1},
	{"empty", "", "amd64", -1},
};

static void platforms_are_chosen(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
		struct varve_platform want;
		struct oci_index *index = NULL;
		struct varve_err e;
		char doc[4096];
		int at;

		snprintf(doc, sizeof(doc), "{\"schemaVersion\":2,\"manifests\":[%s]}",
			 choices[i].entries);
		assert_ok(oci_index_parse(&index, doc, strlen(doc), &e), &e);
		assert_ok(varve_platform_parse(&want, choices[i].want, &e), &e);
		at = oci_index_choose(index, &want);
		if ((at < 0 ? -1 : (int)index->manifests[at].size) != choices[i].size)
			fail_msg("%s: %d", choices[i].name, at);
		oci_index_free(index);
	}
}

static void entries_are_counted(void **state)
{
	struct oci_index *index = NULL;
	struct varve_err e;
	struct buf b;

	(void)state;
	for (int n = 10000; n <= 10001; n++) {
		buf_init(&b, OCI_DOC_MAX);
		buf_adds(&b, "{\"schemaVersion\":2,\"manifests\":[" ENTRY("1", ""));
		for (int i = 1; i < n; i++)
			buf_adds(&b, "," ENTRY("1", ""));
		buf_adds(&b, "]}");
		assert_int_equal(buf_error(&b), 0);
		assert_int_equal(oci_index_parse(&index, b.p, b.n, &e),
				 n > 10000 ? -VARVE_E_LIMIT : 0);
		buf_done(&b);
	}
	oci_index_free(index);
}

static void platforms_are_listed(void **state)
{
	static const char doc[] =
		"{\"schemaVersion\":2,\"manifests\":[" FOR("1", "linux", "amd64", "") "," FOR(
			"2", "linux", "arm", "v7") "," FOR("3", "unknown", "unknown",
							   "") "," FOR("4", "linux", "amd64",
								       "") "]}";
	struct oci_index *index = NULL;
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	assert_int_equal(oci_index_parse(&index, doc, strlen(doc), NULL), 0);
	oci_index_platforms(index, &b);
	assert_string_equal(b.p, "linux/amd64, linux/arm/v7");
	oci_index_free(index);
	buf_done(&b);
}

static const struct {
	const char *text, *want; /* NULL: refused */
} platform_texts[] = {
	{"linux/amd64", "linux/amd64"},
	{"amd64", "linux/amd64"},
	{"x86_64", "linux/amd64"},
	{"aarch64", "linux/arm64"},
	{"linux/arm64/v8", "linux/arm64"},
	{"arm", "linux/arm/v7"},
	{"armhf", "linux/arm/v7"},
	{"armel", "linux/arm/v6"},
	{"arm/v6", "linux/arm/v6"},
	{"linux/arm/6", "linux/arm/v6"},
	{"i386", "linux/386"},
	{"LINUX/AMD64", "linux/amd64"},
	{"amd64/v1", "linux/amd64"},
	{"amd64/v3", "linux/amd64/v3"},
	{"windows/amd64", "windows/amd64"},
	{"", NULL},
	{"/", NULL},
	{"linux//amd64", NULL},
	{"a/b/c/d", NULL},
	{"linux/amd64/", NULL},
	{"linux/am d64", NULL},
	{"\x1b[31m", NULL},
};

static void platform_texts_are_normalised(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(platform_texts) / sizeof(platform_texts[0]); i++) {
		struct varve_platform p;
		char text[84];
		int r = varve_platform_parse(&p, platform_texts[i].text, NULL);

		if (!platform_texts[i].want ? r != -VARVE_E_USAGE
					    : r < 0 || strcmp(varve_platform_str(&p, text),
							      platform_texts[i].want) != 0)
			fail_msg("%s: %d", platform_texts[i].text, r);
	}
}

/* --- configs --- */

static void configs_are_read(void **state)
{
	static const char good[] =
		"{\"os\":\"linux\",\"architecture\":\"aarch64\",\"rootfs\":{\"type\":"
		"\"layers\",\"diff_ids\":[\"" D1 "\",\"" D1 "\"]}}";
	static const char *const bad[] = {
		"{}",
		"{\"rootfs\":[]}",
		"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"nope\"]}}",
		"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":{}}}",
		"{\"os\":\"a b\",\"rootfs\":{\"type\":\"layers\"}}",
		"[]",
	};
	struct oci_config *c = NULL;
	struct varve_err e;
	size_t i;

	(void)state;
	assert_ok(oci_config_parse(&c, good, strlen(good), &e), &e);
	assert_int_equal(c->n_diff_ids, 2);
	assert_string_equal(c->platform.arch, "arm64");
	oci_config_free(c);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (oci_config_parse(&c, bad[i], strlen(bad[i]), &e) != -VARVE_E_FORMAT)
			fail_msg("%s", bad[i]);
	}
}

/* --- building --- */

static void built_documents_are_read_back(void **state)
{
	char *const history[] = {(char[]){"{\"created_by\":\"x\"}"}, NULL};
	const char *const annotations[] = {"k", "v \"quoted\"", NULL};
	struct oci_layer_desc l = {.media_type = OCI_MT_LAYER, .size = 3};
	struct varve_platform p;
	struct oci_manifest *m;
	struct oci_config *c = NULL;
	struct varve_err e;
	struct buf b;

	(void)state;
	assert_int_equal(varve_digest_parse(&l.digest, D1), 0);
	assert_int_equal(varve_digest_parse(&l.diff_id, D2), 0);
	assert_ok(varve_platform_parse(&p, "arm/v6", &e), &e);
	buf_init(&b, OCI_CONFIG_MAX);
	assert_ok(oci_build_config(&b, &p,
				   "{\"config\":{\"Env\":[]},\"os\":\"plan9\",\"rootfs\":1}",
				   history, &l, 1, &e),
		  &e);
	assert_ok(oci_config_parse(&c, b.p, b.n, &e), &e);
	assert_true(platform_equal(&c->platform, &p));
	assert_true(varve_digest_equal(&c->diff_ids[0], &l.diff_id));
	assert_non_null(strstr(b.p, "\"Env\":[]"));
	assert_non_null(strstr(b.p, "\"created_by\":\"x\""));
	oci_config_free(c);
	buf_reset(&b);
	assert_ok(oci_build_manifest(&b, &l.diff_id, 7, &l, 1, annotations, &e), &e);
	m = parse_manifest(b.p);
	assert_true(m->is_image);
	assert_int_equal(m->config.size, 7);
	oci_manifest_free(m);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_are_classified),
		cmocka_unit_test(manifests_are_refused),
		cmocka_unit_test(manifests_are_read),
		cmocka_unit_test(inline_data_is_verified),
		cmocka_unit_test(platforms_are_chosen),
		cmocka_unit_test(entries_are_counted),
		cmocka_unit_test(platforms_are_listed),
		cmocka_unit_test(platform_texts_are_normalised),
		cmocka_unit_test(configs_are_read),
		cmocka_unit_test(built_documents_are_read_back),
	};

	return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
