/* SPDX-License-Identifier: Apache-2.0 */
/* An image's record from its manifest and config in the store. */
#include "store/image_doc.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store/manifest.h"
#include "store/oci/oci.h"

#include <string.h>

void image_doc_done(struct image_doc *d)
{
	free(d->refs);
	*d = (struct image_doc)IMAGE_DOC_INIT;
}

int image_doc_add(struct image_doc *d, enum image_role role, const struct varve_digest *digest,
		  uint64_t size, struct varve_err *e)
{
	struct image_ref *more;

	if (d->n == d->cap) {
		d->cap = d->cap ? d->cap * 2 : 32;
		more = realloc(d->refs, d->cap * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		d->refs = more;
	}
	d->refs[d->n++] = (struct image_ref){role, *digest, size};
	d->record.n_refs = (uint32_t)d->n;
	return 0;
}

static void manifest_cleanup(struct oci_manifest **m)
{
	oci_manifest_free(*m);
}

static void config_cleanup(struct oci_config **c)
{
	oci_config_free(*c);
}

/* Artifacts that are no images have no platform and any number of layers. */
static int check_config(struct image_doc *d, struct varve_store *s, const struct oci_manifest *m,
			struct varve_err *e)
{
	VARVE_CLEANUP(config_cleanup) struct oci_config *c = NULL;
	struct buf b;
	int r;

	if (!m->is_image)
		return 0;
	buf_init(&b, OCI_CONFIG_MAX);
	r = blob_read(s, &m->config.digest, &b, e);
	if (r == 0)
		r = oci_config_parse(&c, b.p, b.n, e);
	buf_done(&b);
	if (r < 0)
		return r;
	if (c->n_diff_ids != m->n_layers)
		return varve_fail(e, VARVE_E_FORMAT,
				  "the manifest names %zu layers but its config %zu diffIDs",
				  m->n_layers, c->n_diff_ids);
	d->record.platform = c->platform;
	return 0;
}

int image_doc_read(struct image_doc *ret, struct varve_store *s,
		   const struct varve_digest *manifest, struct varve_err *e)
{
	VARVE_CLEANUP(manifest_cleanup) struct oci_manifest *m = NULL;
	VARVE_CLEANUP(image_doc_done) struct image_doc d = IMAGE_DOC_INIT;
	uint64_t size;
	size_t i;
	int r = manifest_read(&m, s, manifest, &size, e);

	if (r == 0)
		r = image_doc_add(&d, ROLE_MANIFEST, manifest, size, e);
	if (r == 0)
		r = check_config(&d, s, m, e);
	if (r == 0)
		r = image_doc_add(&d, ROLE_CONFIG, &m->config.digest, m->config.size, e);
	for (i = 0; r == 0 && i < m->n_layers; i++)
		r = image_doc_add(&d, ROLE_LAYER, &m->layers[i].digest, m->layers[i].size, e);
	if (r < 0)
		return varve_wrap(e, r, "image %s", DIGEST_STR(manifest));
	d.record.n_layers = (uint32_t)m->n_layers;
	d.record.docker = strcmp(m->media_type, DOCKER_MT_MANIFEST) == 0;
	d.record.fetched_at = store_now();
	*ret = d;
	d = (struct image_doc)IMAGE_DOC_INIT;
	return 0;
}

static bool has_ref(const struct image_doc *d, const struct image_ref *ref)
{
	size_t i;

	for (i = 0; i < d->n; i++) {
		if (d->refs[i].role == ref->role &&
		    varve_digest_equal(&d->refs[i].digest, &ref->digest))
			return true;
	}
	return false;
}

static int keep_old(struct image_doc *d, struct index_txn *t, const struct varve_digest *key,
		    struct varve_err *e)
{
	struct image_record old;
	struct image_ref ref;
	struct span v, rest;
	int r = index_get(t, INDEX_IMAGE, record_digest_key(key), record_digest_len(key), &v, e);

	if (r <= 0)
		return r;
	if (!image_record_get(v, &old))
		return varve_fail(e, VARVE_E_CORRUPT,
				  "record of image %s: run varve check --rebuild", DIGEST_STR(key));
	for (rest = old.refs; r >= 0 && image_next_ref(&rest, &ref);) {
		if ((ref.role == ROLE_EXTRA || ref.role == ROLE_PARENT) && !has_ref(d, &ref))
			r = image_doc_add(d, ref.role, &ref.digest, ref.size, e);
	}
	return r < 0 ? r : 0;
}

int image_doc_put(struct image_doc *d, struct index_txn *t, struct varve_err *e)
{
	const struct varve_digest *key = &d->refs[0].digest;
	struct varve_digest copy = *key;
	struct buf b;
	int r = keep_old(d, t, &copy, e);

	if (r < 0)
		return r;
	buf_init(&b, RECORD_MAX);
	image_record_put(&b, &d->record, d->refs);
	r = buf_error(&b) < 0 ? varve_fail_oom(e)
			      : index_put(t, INDEX_IMAGE, record_digest_key(&copy),
					  record_digest_len(&copy), b.p, b.n, e);
	buf_done(&b);
	return r;
}
