/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a document of a registry, of each kind: refused, or its digests can be put into a
 * URL. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/oci/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct varve_digest *d)
{
	char text[VARVE_DIGEST_STR_MAX];

	(void)varve_digest_str(d, text);
	if (strncmp(text, "sha", 3) != 0 || strchr(text, '/'))
		abort();
}

static void as_index(const uint8_t *data, size_t n)
{
	struct varve_platform want;
	struct oci_index *i = NULL;
	struct buf b;
	int k;

	if (oci_index_parse(&i, data, n, NULL) < 0)
		return;
	buf_init(&b, 1000);
	varve_platform_host(&want);
	k = oci_index_choose(i, &want);
	if (k >= (int)i->n)
		abort();
	if (k >= 0)
		check(&i->manifests[k].digest);
	oci_index_platforms(i, &b);
	buf_done(&b);
	oci_index_free(i);
}

static void as_manifest(const uint8_t *data, size_t n)
{
	struct oci_manifest *m = NULL;

	if (oci_manifest_parse(&m, data, n, NULL) < 0)
		return;
	check(&m->config.digest);
	for (size_t k = 0; k < m->n_layers; k++)
		check(&m->layers[k].digest);
	oci_manifest_free(m);
}

static void as_schema1(const uint8_t *data, size_t n)
{
	struct oci_schema1 *m = NULL;

	if (oci_schema1_parse(&m, data, n, NULL) < 0)
		return;
	check(&m->digest);
	for (size_t k = 0; k < m->n_layers; k++)
		check(&m->layers[k].blob);
	oci_schema1_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct oci_config *c = NULL;
	enum oci_doc_kind kind;

	(void)oci_classify(data, n, "application/json", NULL, &kind, NULL);
	as_index(data, n);
	as_manifest(data, n);
	as_schema1(data, n);
	if (oci_config_parse(&c, data, n, NULL) == 0)
		oci_config_free(c);
	return 0;
}
