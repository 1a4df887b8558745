/* SPDX-License-Identifier: Apache-2.0 */
/* See finish.h. */
#include "fetch/blobs/finish.h"
#include "fetch/blobs/blobs.h"

#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/blob.h"

/* --- what is stored --- */

/* Its record says that it is complete: are the files still there? */
static int blobs_present(struct pull *p, const struct varve_image *im, struct varve_err *e)
{
	struct varve_blob_list layers = {0};
	int r = varve_store_layers(p->store, &im->manifest, &layers, e);

	if (r < 0)
		return r;
	r = blob_stat(p->store, &im->manifest, NULL, e);
	if (r > 0)
		r = blob_stat(p->store, &im->config, NULL, e);
	for (size_t i = 0; r > 0 && i < layers.n; i++)
		r = blob_stat(p->store, &layers.items[i].digest, NULL, e);
	varve_blob_list_free(&layers);
	return r;
}

int finish_stored(struct pull *p, const char *name, const char *origin,
		  struct varve_pull_result *ret, struct varve_err *e)
{
	struct varve_image_list list = {0};
	const struct varve_image *im;
	int r = varve_store_find(p->store, name, &p->platform, &list, NULL);

	if (r < 0 && !p->explicit_platform && !origin) /* one origin may have several platforms */
		r = varve_store_find(p->store, name, NULL, &list, NULL);
	if (r == -VARVE_E_NOTFOUND)
		return 0;
	if (r < 0)
		return varve_store_find(p->store, name, &p->platform, &list, e);
	im = list.n == 1 ? &list.items[0] : NULL;
	if (im && origin && (!im->origin || strcmp(im->origin, origin) != 0))
		im = NULL;
	r = im && im->complete ? blobs_present(p, im, e) : 0;
	if (r > 0) {
		ret->target = im->target;
		ret->manifest = im->manifest;
		ret->n_layers = im->n_layers;
		ret->bytes_reused = im->size;
		ret->unchanged = true;
		catalog_touch(p->store, &ret->manifest);
	}
	varve_image_list_free(&list);
	return r;
}

/* --- what came --- */

static int check_diff_ids(struct pull *p, const struct oci_manifest *doc,
			  const struct oci_config *c, struct varve_err *e)
{
	if (c->n_diff_ids != doc->n_layers)
		return varve_fail(e, VARVE_E_FORMAT,
				  "the manifest has %zu layers, its config names %zu",
				  doc->n_layers, c->n_diff_ids);
	for (size_t i = 0; i < c->n_diff_ids; i++) {
		const struct need *n = pull_need(p, &doc->layers[i].digest);

		/* The uncompressed form of a squashfs layer is not a tar. */
		if (n && n->has_facts && n->facts.compression != VARVE_COMP_SQUASHFS &&
		    !varve_digest_equal(&n->facts.diff_id, &c->diff_ids[i]))
			return varve_fail(e, VARVE_E_DIGEST,
					  "layer %zu of %zu has the diffID %s, the config says %s: "
					  "the image is broken at its source",
					  i + 1, c->n_diff_ids, DIGEST_STR(&n->facts.diff_id),
					  DIGEST_STR(&c->diff_ids[i]));
	}
	return 0;
}

static int check_platform(struct pull *p, const struct varve_platform *has, struct varve_err *e)
{
	char is[84], want[84];

	if (!*has->os || (!strcmp(has->os, p->platform.os) && !strcmp(has->arch, p->platform.arch)))
		return 0;
	(void)varve_platform_str(has, is);
	(void)varve_platform_str(&p->platform, want);
	if (p->explicit_platform)
		return varve_fail(e, VARVE_E_NOPLATFORM, "no image for %s; there are: %s", want,
				  is);
	log_warn(p->ctx, "fetch", "the image is for %s, this machine is %s", is, want);
	return 0;
}

int finish_check_config(struct pull *p, const struct oci_manifest *doc, bool of_index,
			struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_config *c = NULL;
	int r;

	buf_init(&b, OCI_CONFIG_MAX);
	r = blob_read(p->store, &doc->config.digest, &b, e);
	if (r == 0)
		r = oci_config_parse(&c, b.p, b.n, e);
	if (r < 0)
		return varve_wrap(e, r, "config %s", DIGEST_STR(&doc->config.digest));
	if (!of_index)
		r = check_platform(p, &c->platform, e);
	if (r == 0)
		r = check_diff_ids(p, doc, c, e);
	oci_config_free(c);
	return r;
}

int finish_commit(struct pull *p, const struct varve_reference *ref, struct catalog_commit *c,
		  struct catalog_tag *tag, struct varve_err *e)
{
	char familiar[800], canonical[800];
	struct varve_reference name = *ref;

	if (varve_digest_is_set(&name.digest))
		name.tag[0] = 0; /* what the tag means was not asked */
	tag->name = varve_reference_familiar(&name, familiar);
	tag->reference = varve_reference_canonical(&name, canonical);
	tag->manifest = c->manifest;
	tag->platform = p->platform;
	tag->explicit_platform = p->explicit_platform;
	c->tags = tag;
	c->n_tags = 1;
	return catalog_commit(p->store, c, e);
}

void finish_result(const struct pull *p, const struct repo *repo, struct varve_pull_result *ret)
{
	ret->unchanged = true;
	for (size_t i = 0; i < p->n_needs; i++) {
		const struct need *n = &p->needs[i];

		/* A blob that several references need counts for the first one. */
		if (repo && n->repo != repo)
			continue;
		if (n->fetched) {
			ret->n_fetched++;
			ret->bytes_fetched += n->wire_bytes;
			ret->unchanged = false;
		} else if (n->size != VARVE_SIZE_UNKNOWN) {
			ret->bytes_reused += n->size;
		}
	}
}
