/* SPDX-License-Identifier: Apache-2.0 */
/* Build the config and the manifest of images that came without (schema 1, tarballs, squashfs). */
#include "store/oci/oci_internal.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"

/* Members of the base are kept, but for those that we write ourselves. */
static int copy_base(struct jsonw *w, const char *base, const struct varve_platform *platform,
		     struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	const json *m;
	int r;

	if (base) {
		r = json_parse(&j, base, strlen(base), OCI_CONFIG_MAX, e);
		if (r < 0)
			return varve_wrap(e, r, "start of the image config");
	}
	for (m = json_first(j); m; m = json_next(m)) {
		const char *key = json_key(m);

		if (strcmp(key, "rootfs") == 0 || strcmp(key, "history") == 0 ||
		    strcmp(key, "os") == 0 || strcmp(key, "architecture") == 0 ||
		    strcmp(key, "variant") == 0)
			continue;
		jsonw_node(w, key, m);
	}
	jsonw_str(w, "architecture", platform->arch);
	jsonw_str(w, "os", platform->os);
	if (platform->variant[0])
		jsonw_str(w, "variant", platform->variant);
	return 0;
}

static int write_history(struct jsonw *w, char *const *history, size_t n, struct varve_err *e)
{
	size_t i;
	int r;

	jsonw_array(w, "history");
	for (i = 0; history && history[i]; i++) {
		JSON_FREE json *j = NULL;

		r = json_parse(&j, history[i], strlen(history[i]), OCI_DOC_MAX, e);
		if (r < 0)
			return varve_wrap(e, r, "history entry %zu", i);
		jsonw_node(w, NULL, j);
	}
	for (i = 0; !history && i < n; i++) {
		jsonw_object(w, NULL);
		jsonw_str(w, "created_by", "varve import");
		jsonw_end_object(w);
	}
	jsonw_end_array(w);
	return 0;
}

static int check_built(const struct buf *out, struct varve_err *e)
{
	int r = buf_error(out);

	if (r == -VARVE_E_LIMIT)
		return varve_fail(e, VARVE_E_LIMIT, "document grows over %zu bytes", out->max);
	return r < 0 ? varve_fail_oom(e) : 0;
}

int oci_build_config(struct buf *out, const struct varve_platform *platform,
		     const char *base_config, char *const *history, const struct oci_layer_desc *l,
		     size_t n, struct varve_err *e)
{
	struct jsonw w;
	size_t i;
	int r;

	jsonw_init(&w, out, false);
	jsonw_object(&w, NULL);
	r = copy_base(&w, base_config, platform, e);
	if (r < 0)
		return r;
	jsonw_object(&w, "rootfs");
	jsonw_str(&w, "type", "layers");
	jsonw_array(&w, "diff_ids");
	for (i = 0; i < n; i++)
		jsonw_digest(&w, NULL, &l[i].diff_id);
	jsonw_end_array(&w);
	jsonw_end_object(&w);
	r = write_history(&w, history, n, e);
	if (r < 0)
		return r;
	jsonw_end_object(&w);
	return check_built(out, e);
}

static void write_descriptor(struct jsonw *w, const char *key, const char *type,
			     const struct varve_digest *d, uint64_t size)
{
	jsonw_object(w, key);
	jsonw_str(w, "mediaType", type);
	jsonw_digest(w, "digest", d);
	jsonw_u64(w, "size", size);
	jsonw_end_object(w);
}

int oci_build_manifest(struct buf *out, const struct varve_digest *config, uint64_t config_size,
		       const struct oci_layer_desc *l, size_t n, const char *const *annotations,
		       struct varve_err *e)
{
	struct jsonw w;
	size_t i;

	jsonw_init(&w, out, false);
	jsonw_object(&w, NULL);
	jsonw_u64(&w, "schemaVersion", 2);
	jsonw_str(&w, "mediaType", OCI_MT_MANIFEST);
	write_descriptor(&w, "config", OCI_MT_CONFIG, config, config_size);
	jsonw_array(&w, "layers");
	for (i = 0; i < n; i++)
		write_descriptor(&w, NULL, l[i].media_type, &l[i].digest, l[i].size);
	jsonw_end_array(&w);
	if (annotations && annotations[0]) {
		jsonw_object(&w, "annotations");
		for (i = 0; annotations[i] && annotations[i + 1]; i += 2)
			jsonw_str(&w, annotations[i], annotations[i + 1]);
		jsonw_end_object(&w);
	}
	jsonw_end_object(&w);
	return check_built(out, e);
}
