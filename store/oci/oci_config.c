/* SPDX-License-Identifier: Apache-2.0 */
/* Parse what the store needs of an image configuration: the platform and the diffIDs. */
#include "store/oci/oci_internal.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"
#include "store/oci/platform.h"

void oci_config_free(struct oci_config *c)
{
	if (!c)
		return;
	free(c->diff_ids);
	free(c);
}

static void config_cleanup(struct oci_config **c)
{
	oci_config_free(*c);
}

static int take_diff_ids(const json *j, struct oci_config *c, struct varve_err *e)
{
	const json *rootfs = json_get(j, "rootfs"), *list, *item;
	const char *type = NULL;
	int r;

	if (!json_is_object(rootfs))
		return varve_fail(e, VARVE_E_FORMAT, "image config has no \"rootfs\"");
	r = json_opt_str(rootfs, "\"rootfs\" of the image config", "type", &type, e);
	if (r < 0)
		return r;
	if (type && strcmp(type, "layers") != 0)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "image config has a rootfs of type \"%s\"; only \"layers\" is "
				  "known",
				  TEXT_SAFE(type));
	list = json_get(rootfs, "diff_ids");
	if (!list)
		return 0;
	if (!json_is_array(list))
		return varve_fail(e, VARVE_E_FORMAT, "\"diff_ids\" of the image config is no list");
	if (json_len(list) > OCI_MAX_LAYERS)
		return varve_fail(e, VARVE_E_LIMIT, "image config has %zu diffIDs, more than %d",
				  json_len(list), OCI_MAX_LAYERS);
	c->diff_ids = calloc(json_len(list) + 1, sizeof(*c->diff_ids));
	if (!c->diff_ids)
		return varve_fail_oom(e);
	for (item = json_first(list); item; item = json_next(item)) {
		const char *text = json_str(item);

		if (!text || varve_digest_parse(&c->diff_ids[c->n_diff_ids], text) < 0)
			return varve_fail(e, VARVE_E_FORMAT,
					  "diffID %zu of the image config is "
					  "not a valid digest",
					  c->n_diff_ids);
		c->n_diff_ids++;
	}
	return 0;
}

int oci_config_parse(struct oci_config **ret, const void *p, size_t n, struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	VARVE_CLEANUP(config_cleanup) struct oci_config *c = NULL;
	const char *os = NULL, *arch = NULL, *variant = NULL;
	int r;

	r = json_parse(&j, p, n, OCI_CONFIG_MAX, e);
	if (r < 0)
		return varve_wrap(e, r, "image config");
	if (!json_is_object(j))
		return varve_fail(e, VARVE_E_FORMAT, "image config is not a JSON object");
	r = json_opt_str(j, "image config", "os", &os, e);
	if (r == 0)
		r = json_opt_str(j, "image config", "architecture", &arch, e);
	if (r == 0)
		r = json_opt_str(j, "image config", "variant", &variant, e);
	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return varve_fail_oom(e);
	/* Required by the specification, but images of 2014 and hand-made ones lack them. */
	if (!platform_set(&c->platform, os && *os ? os : "linux", arch ? arch : "", variant))
		return varve_fail(e, VARVE_E_FORMAT,
				  "image config has an \"os\" or \"architecture\" that is no name");
	r = take_diff_ids(j, c, e);
	if (r < 0)
		return r;
	*ret = VARVE_TAKE(c);
	return 0;
}
