/* SPDX-License-Identifier: Apache-2.0 */
/* Make an OCI manifest and config of a schema1 manifest, from the facts of its layers
 * (docs/requirements.md 3.20 to 3.28). */
#include <stdlib.h>
#include <string.h>

#include "fetch/blobs/blobs.h"
#include "fetch/blobs/pull.h"
#include "fetch/resolve.h"
#include "fetch/schema1.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store/ingest.h"

/* What the layer is, by reading it if nobody has yet. */
static int layer_facts(struct pull *p, struct need *need, struct varve_err *e)
{
	struct varve_blob_info info;
	int r;

	r = blob_stat(p->store, &need->digest, &info, e);
	if (r < 0)
		return r;
	if (r == 0)
		return varve_fail(e, VARVE_E_INCOMPLETE, "layer %s is missing",
				  DIGEST_STR(&need->digest));
	need->size = info.size;
	if (need->has_facts)
		return 0;
	if (info.has_facts) {
		need->facts = info.facts;
	} else {
		if (!p->layers || !p->layers->read)
			return varve_fail(e, VARVE_E_UNSUPPORTED,
					  "a schema1 manifest needs a reader of layers");
		r = p->layers->read(p->store, &need->digest, &need->facts, e);
	}
	need->has_facts = r >= 0;
	return r < 0 ? varve_wrap(e, r, "layer %s", DIGEST_STR(&need->digest)) : 0;
}

/*
 * The layers of the image without those that the manifest marks as adding nothing (3.24). One that
 * is not marked stays although its tar may be empty: the tree is the same.
 */
static int gather(struct pull *p, const struct oci_schema1 *m, struct oci_layer_desc *out,
		  size_t *ret_n, struct varve_err *e)
{
	*ret_n = 0;
	for (size_t i = 0; i < m->n_layers; i++) {
		struct need *need;
		int r;

		if (m->layers[i].throwaway)
			continue;
		need = pull_need(p, &m->layers[i].blob);
		r = layer_facts(p, need, e);
		if (r < 0)
			return r;
		out[(*ret_n)++] = (struct oci_layer_desc){
			.media_type = oci_layer_media_type(need->facts.compression),
			.digest = need->digest,
			.diff_id = need->facts.diff_id,
			.size = need->size,
		};
	}
	return 0;
}

static int store_doc(struct pull *p, struct image_job *im, enum varve_blob_kind kind,
		     const struct buf *b, struct varve_digest *ret, struct varve_err *e)
{
	int r = buf_error(b) < 0 ? varve_fail_oom(e)
				 : ingest_bytes(p->store, p->lease, kind, b->p, b->n, NULL, ret, e);

	return r < 0 ? r : pull_note_doc(im, ret, b->n, kind, e);
}

int pull_convert_schema1(struct pull *p, struct image_job *im, struct varve_err *e)
{
	const struct oci_schema1 *m = im->schema1;
	VARVE_CLEANUP(buf_done) struct buf config = {0}, manifest = {0};
	VARVE_FREE struct oci_layer_desc *layers = calloc(m->n_layers + 1, sizeof(*layers));
	struct varve_digest config_digest;
	size_t n;
	int r;

	if (!layers)
		return varve_fail_oom(e);
	buf_init(&config, OCI_CONFIG_MAX);
	buf_init(&manifest, OCI_DOC_MAX);
	r = gather(p, m, layers, &n, e);
	if (r == 0)
		r = oci_build_config(&config, &m->platform, m->config, m->history, layers, n, e);
	if (r == 0)
		r = store_doc(p, im, VARVE_BLOB_CONFIG, &config, &config_digest, e);
	if (r == 0)
		r = oci_build_manifest(&manifest, &config_digest, config.n, layers, n, NULL, e);
	if (r == 0)
		r = store_doc(p, im, VARVE_BLOB_MANIFEST, &manifest, &im->manifest, e);
	return r < 0 ? varve_wrap(e, r, "convert the schema1 manifest %s", DIGEST_STR(&im->target))
		     : 0;
}
