/* SPDX-License-Identifier: Apache-2.0 */
/* Parse an image index and choose the manifest for a platform (docs/requirements.md 3.12-3.18). */
#include "store/oci/oci_internal.h"

#include <limits.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/oci/platform.h"

void oci_index_free(struct oci_index *i)
{
	size_t k;

	if (!i)
		return;
	for (k = 0; k < i->n; k++)
		oci_descriptor_done(&i->manifests[k]);
	free(i->manifests);
	free(i);
}

static void index_cleanup(struct oci_index **i)
{
	oci_index_free(*i);
}

int oci_index_parse(struct oci_index **ret, const void *p, size_t n, struct varve_err *e)
{
	static const char *const foreign[] = {"config", "layers", "fsLayers", "history", NULL};
	JSON_FREE json *j = NULL;
	VARVE_CLEANUP(index_cleanup) struct oci_index *index = NULL;
	VARVE_FREE char *type = NULL;
	const json *list, *item;
	int r;

	r = json_parse(&j, p, n, OCI_DOC_MAX, e);
	if (r < 0)
		return varve_wrap(e, r, "image index");
	r = oci_need_schema(j, "image index", 2, e);
	if (r == 0)
		r = oci_refuse_members(j, "image index", foreign, e);
	if (r == 0)
		r = oci_take_media_type(j, "image index", OCI_DOC_INDEX, &type, e);
	if (r < 0)
		return r;
	list = json_get(j, "manifests");
	if (!json_is_array(list))
		return varve_fail(e, VARVE_E_FORMAT, "image index has no list \"manifests\"");
	if (json_len(list) > OCI_MAX_DESCRIPTORS)
		return varve_fail(e, VARVE_E_LIMIT, "image index has %zu entries, more than %d",
				  json_len(list), OCI_MAX_DESCRIPTORS);
	index = calloc(1, sizeof(*index));
	if (!index)
		return varve_fail_oom(e);
	index->manifests = calloc(json_len(list) + 1, sizeof(*index->manifests));
	if (!index->manifests)
		return varve_fail_oom(e);
	for (item = json_first(list); item; item = json_next(item)) {
		char what[64];

		(void)snprintf(what, sizeof(what), "entry %zu of the image index", index->n);
		r = oci_descriptor_parse(item, what, true, &index->manifests[index->n], e);
		if (r < 0)
			return r;
		index->n++;
	}
	*ret = VARVE_TAKE(index);
	return 0;
}

/* Something that could be an image for some platform; an unknown type is skipped, not an error. */
static bool is_candidate(const struct oci_descriptor *d)
{
	enum oci_doc_kind kind = oci_doc_kind_of(d->media_type);

	if (d->is_attestation || !varve_digest_is_set(&d->digest))
		return false;
	/* An index may say what it is for: what it lists decides. */
	if (d->artifact_type && !oci_is_config_type(d->artifact_type) && kind != OCI_DOC_INDEX)
		return false;
	return kind == OCI_DOC_MANIFEST || kind == OCI_DOC_INDEX || kind == OCI_DOC_SCHEMA1;
}

bool oci_index_has_images(const struct oci_index *i)
{
	for (size_t k = 0; k < i->n; k++)
		if (is_candidate(&i->manifests[k]))
			return true;
	return false;
}

int oci_index_choose(const struct oci_index *i, const struct varve_platform *want)
{
	int best = -1, best_rank = INT_MAX;
	size_t k;

	for (k = 0; k < i->n; k++) {
		const struct oci_descriptor *d = &i->manifests[k];
		int rank;

		if (!is_candidate(d))
			continue;
		if (d->has_platform)
			rank = platform_rank(want, &d->platform);
		else if (i->n == 1 || oci_doc_kind_of(d->media_type) == OCI_DOC_INDEX)
			rank = INT_MAX - 1; /* its content will tell; anything named comes before */
		else
			rank = -1;
		if (rank >= 0 && rank < best_rank) {
			best = (int)k;
			best_rank = rank;
		}
	}
	return best;
}

void oci_index_platforms(const struct oci_index *i, struct buf *out)
{
	char text[84];
	size_t k, m;
	bool any = false;

	/* As many as there is room for: each is compared with those before it. */
	for (k = 0; k < i->n && !buf_error(out); k++) {
		const struct oci_descriptor *d = &i->manifests[k];

		if (!is_candidate(d) || !d->has_platform)
			continue;
		for (m = 0; m < k; m++) {
			if (is_candidate(&i->manifests[m]) && i->manifests[m].has_platform &&
			    platform_equal(&i->manifests[m].platform, &d->platform))
				break;
		}
		if (m < k)
			continue;
		if (any)
			buf_adds(out, ", ");
		buf_adds(out, varve_platform_str(&d->platform, text));
		any = true;
	}
	if (!any)
		buf_adds(out, "none");
}
