/* SPDX-License-Identifier: Apache-2.0 */
/* Parse an image manifest: OCI or Docker schema 2. */
#include "store/oci/oci_internal.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"

void oci_manifest_free(struct oci_manifest *m)
{
	size_t k;

	if (!m)
		return;
	oci_descriptor_done(&m->config);
	for (k = 0; k < m->n_layers; k++)
		oci_descriptor_done(&m->layers[k]);
	free(m->layers);
	free(m->media_type);
	free(m->artifact_type);
	free(m);
}

static void manifest_cleanup(struct oci_manifest **m)
{
	oci_manifest_free(*m);
}

static int take_layers(const json *j, struct oci_manifest *m, struct varve_err *e)
{
	const json *list = json_get(j, "layers"), *item;
	int r;

	if (!json_is_array(list))
		return varve_fail(e, VARVE_E_FORMAT, "image manifest has no list \"layers\"");
	if (json_len(list) > OCI_MAX_LAYERS)
		return varve_fail(e, VARVE_E_LIMIT, "image manifest has %zu layers, more than %d",
				  json_len(list), OCI_MAX_LAYERS);
	m->layers = calloc(json_len(list) + 1, sizeof(*m->layers));
	if (!m->layers)
		return varve_fail_oom(e);
	for (item = json_first(list); item; item = json_next(item)) {
		char what[64];

		(void)snprintf(what, sizeof(what), "layer %zu of the image manifest", m->n_layers);
		r = oci_descriptor_parse(item, what, false, &m->layers[m->n_layers], e);
		if (r < 0)
			return r;
		m->n_layers++;
	}
	return 0;
}

int oci_manifest_parse(struct oci_manifest **ret, const void *p, size_t n, struct varve_err *e)
{
	static const char *const foreign[] = {"manifests", "fsLayers", "history", NULL};
	JSON_FREE json *j = NULL;
	VARVE_CLEANUP(manifest_cleanup) struct oci_manifest *m = NULL;
	const char *artifact = NULL;
	size_t k;
	int r;

	r = json_parse(&j, p, n, OCI_DOC_MAX, e);
	if (r < 0)
		return varve_wrap(e, r, "image manifest");
	m = calloc(1, sizeof(*m));
	if (!m)
		return varve_fail_oom(e);
	r = oci_need_schema(j, "image manifest", 2, e);
	if (r == 0)
		r = oci_refuse_members(j, "image manifest", foreign, e);
	if (r == 0)
		r = oci_take_media_type(j, "image manifest", OCI_DOC_MANIFEST, &m->media_type, e);
	if (r == 0)
		r = json_opt_str(j, "image manifest", "artifactType", &artifact, e);
	if (r == 0)
		r = oci_descriptor_parse(json_get(j, "config"), "\"config\" of the image manifest",
					 false, &m->config, e);
	if (r == 0)
		r = take_layers(j, m, e);
	if (r < 0)
		return r;
	if (artifact && *artifact && !oci_media_type_set(&m->artifact_type, artifact))
		return varve_fail_oom(e);
	m->has_subject = json_is_object(json_get(j, "subject"));
	m->is_image = oci_is_config_type(m->config.media_type);
	for (k = 0; k < m->n_layers; k++)
		m->is_image = m->is_image && oci_is_layer_type(m->layers[k].media_type);
	*ret = VARVE_TAKE(m);
	return 0;
}
