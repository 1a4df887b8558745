/* SPDX-License-Identifier: Apache-2.0 */
/* Images as a docker-archive: manifest.json, configs, and layers as plain tars, as docker save
 * writes them. */
#include "materialize/export/export.h"
#include "materialize/layer/layer_stream.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/manifest.h"

#define CHUNK (256u << 10)

static int get_facts(struct export *x, const struct varve_blob_info *layer,
		     struct varve_layer_facts *ret, struct varve_err *e)
{
	int r = 0;

	if (layer->has_facts)
		*ret = layer->facts;
	else
		r = varve_layer_ops()->read(x->s, &layer->digest, ret, e);
	if (r == 0 && ret->compression == VARVE_COMP_SQUASHFS)
		r = varve_fail(e, VARVE_E_UNSUPPORTED,
			       "layer %s is a squashfs, which a docker-archive cannot hold; export "
			       "the image as tar or oci-tar",
			       DIGEST_STR(&layer->digest));
	return r;
}

/* Before the first of them is read. */
static int check_sizes(struct export *x, const struct varve_image *image, struct varve_err *e)
{
	struct oci_manifest *m = NULL;
	int r = manifest_read(&m, x->s, &image->manifest, NULL, e);

	for (size_t i = 0; r == 0 && i < m->n_layers; i++)
		r = blob_check_stored(x->s, &m->layers[i].digest, m->layers[i].size, e);
	oci_manifest_free(m);
	return r;
}

static int describe(struct jsonw *w, struct export *x, const struct varve_image *image,
		    struct varve_err *e)
{
	struct varve_blob_list layers = {0};
	char name[VARVE_DIGEST_STR_MAX + 8];
	size_t i;
	int r = check_sizes(x, image, e);

	if (r == 0)
		r = varve_store_layers(x->s, &image->manifest, &layers, e);
	jsonw_object(w, NULL);
	(void)snprintf(name, sizeof(name), "%s.json", DIGEST_HEX(&image->config));
	jsonw_str(w, "Config", name);
	jsonw_array(w, "RepoTags");
	if (image->name)
		jsonw_str(w, NULL, image->name);
	jsonw_end_array(w);
	jsonw_array(w, "Layers");
	for (i = 0; r == 0 && i < layers.n; i++) {
		struct varve_layer_facts facts;

		r = get_facts(x, &layers.items[i], &facts, e);
		(void)snprintf(name, sizeof(name), "%s.tar", DIGEST_HEX(&facts.diff_id));
		if (r == 0)
			jsonw_str(w, NULL, name);
	}
	jsonw_end_array(w);
	jsonw_end_object(w);
	varve_blob_list_free(&layers);
	return r;
}

static int put_manifest(struct layout_out *o, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct jsonw w;
	size_t i;
	int r = 0;

	buf_init(&b, OCI_DOC_MAX);
	jsonw_init(&w, &b, false);
	jsonw_array(&w, NULL);
	for (i = 0; r == 0 && i < o->x->n; i++)
		r = describe(&w, o->x, &o->x->images[i], e);
	jsonw_end_array(&w);
	if (r == 0 && buf_error(&b))
		r = varve_fail_oom(e);
	return r == 0 ? layout_out_bytes(o, "manifest.json", b.p, b.n, e) : r;
}

/* 1: was put before (of another image, or of this one). */
static int is_done(struct layout_out *o, const struct varve_digest *d, struct varve_err *e)
{
	struct varve_digest *more;
	size_t i;

	for (i = 0; i < o->n_done; i++)
		if (varve_digest_equal(&o->done[i], d))
			return 1;
	more = reallocarray(o->done, o->n_done + 1, sizeof(*more));
	if (!more)
		return varve_fail_oom(e);
	o->done = more;
	more[o->n_done++] = *d;
	return 0;
}

static int put_layer(struct layout_out *o, const struct varve_blob_info *layer, struct varve_err *e)
{
	struct tar_out_entry en = {.mode = S_IFREG | 0644};
	struct layer_stream *ls = NULL;
	struct varve_layer_facts facts;
	char name[VARVE_DIGEST_STR_MAX + 8];
	int r = get_facts(o->x, layer, &facts, e);

	if (r == 0)
		r = is_done(o, &facts.diff_id, e);
	if (r != 0)
		return r < 0 ? r : 0;
	(void)snprintf(name, sizeof(name), "%s.tar", DIGEST_HEX(&facts.diff_id));
	en.path = name;
	en.size = en.body_len = facts.size;
	r = tar_out_entry(o->tar, &en, e);
	if (r == 0)
		r = layer_stream_open(&ls, o->x->s, &layer->digest, e);
	while (r == 0) {
		const void *p;
		size_t n;

		r = ctx_check(o->x->ctx, e);
		if (r == 0)
			r = layer_stream_next(ls, CHUNK, &p, &n, e);
		if (r < 0 || n == 0)
			break;
		r = tar_out_body(o->tar, p, n, e);
	}
	if (r == 0)
		r = layer_stream_end(ls, e);
	layer_stream_free(ls);
	o->x->ret->n_blobs++;
	return r;
}

static int put_image(struct layout_out *o, const struct varve_image *image, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct varve_blob_list layers = {0};
	char name[VARVE_DIGEST_STR_MAX + 8];
	size_t i;
	int r = varve_store_layers(o->x->s, &image->manifest, &layers, e);

	buf_init(&b, OCI_CONFIG_MAX);
	for (i = 0; r == 0 && i < layers.n; i++)
		r = put_layer(o, &layers.items[i], e);
	varve_blob_list_free(&layers);
	if (r == 0)
		r = is_done(o, &image->config, e);
	if (r != 0)
		return r < 0 ? r : 0;
	r = blob_read(o->x->s, &image->config, &b, e);
	(void)snprintf(name, sizeof(name), "%s.json", DIGEST_HEX(&image->config));
	o->x->ret->n_blobs++;
	return r == 0 ? layout_out_bytes(o, name, b.p, b.n, e) : r;
}

int export_docker(struct layout_out *o, struct varve_err *e)
{
	size_t i;
	int r = put_manifest(o, e);

	for (i = 0; r == 0 && i < o->x->n; i++)
		r = put_image(o, &o->x->images[i], e);
	return r;
}
