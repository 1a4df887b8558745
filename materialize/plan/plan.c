/* SPDX-License-Identifier: Apache-2.0 */
/* Make the plan of a stored image: manifest and
 * config, then the tocs of its layers, then the tree. */
#include <stdlib.h>
#include <string.h>

#include "materialize/codec/inflate.h"
#include "materialize/layer/toc.h"
#include "materialize/plan/plan.h"
#include "materialize/plan/tree.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/blob.h"
#include "store/catalog.h"
#include "store/handle.h"
#include "store/lease.h"
#include "store/manifest.h"
#include "store/oci/oci.h"
#include "store/store.h"

#define TOC_TRIES 4u

struct plan_priv {
	struct tree_keep keep;
	struct varve_plan_layer *layers;
	struct toc **tocs;
	bool *squashfs; /* of each layer */
	size_t n;
	struct lease *lease;
};

static int missing(struct varve_err *e, const struct varve_digest *d)
{
	return varve_fail(e, VARVE_E_INCOMPLETE, "layer %s is not stored: pull the image again",
			  DIGEST_STR(d));
}

static int wrong_diff_id(struct varve_err *e, const struct varve_digest *blob,
			 const struct varve_digest *found, const struct varve_digest *want)
{
	return varve_fail(e, VARVE_E_DIGEST,
			  "layer %s unpacks to %s, but the image's config says %s: the image is "
			  "damaged where it was made",
			  DIGEST_STR(blob), DIGEST_STR(found), DIGEST_STR(want));
}

static int read_toc(struct varve_store *s, const struct varve_plan_layer *l, struct toc **ret,
		    bool *ret_squashfs, struct varve_err *e)
{
	struct varve_layer_facts facts;
	int r = 0;

	/* A gc with a budget may take a toc the moment after it was made (I6). */
	for (unsigned tries = 0; tries < TOC_TRIES; tries++) {
		r = varve_layer_ops()->read(s, &l->digest, &facts, e);
		if (r < 0)
			return r;
		if (!varve_digest_equal(&facts.diff_id, &l->diff_id))
			return wrong_diff_id(e, &l->digest, &facts.diff_id, &l->diff_id);
		*ret_squashfs = facts.compression == VARVE_COMP_SQUASHFS;
		r = toc_open(ret, s, &l->diff_id, e);
		if (r != -VARVE_E_NOTFOUND)
			break;
	}
	return r;
}

/* The stored toc if the blob is known to be of that diffID, else the layer is read. */
static int load_toc(struct varve_store *s, struct varve_plan_layer *l, struct toc **ret,
		    bool *ret_squashfs, struct varve_err *e)
{
	struct varve_blob_info info;
	int r = blob_stat(s, &l->digest, &info, e);

	if (r == 0)
		return missing(e, &l->digest);
	if (r > 0)
		r = blob_check_stored(s, &l->digest, l->size, e);
	if (r < 0)
		return r;
	l->size = info.size;
	if (info.has_facts) {
		if (!varve_digest_equal(&info.facts.diff_id, &l->diff_id))
			return wrong_diff_id(e, &l->digest, &info.facts.diff_id, &l->diff_id);
		*ret_squashfs = info.facts.compression == VARVE_COMP_SQUASHFS;
		r = toc_open(ret, s, &l->diff_id, NULL);
		if (r == 0)
			return 0;
	}
	return read_toc(s, l, ret, ret_squashfs, e);
}

static int check_layer(const struct varve_plan_layer *l, const struct varve_limits *limits,
		       struct varve_err *e)
{
	uint64_t max = limits->max_layer_bytes, ratio = limits->max_ratio;

	if (l->unpacked > max)
		return varve_fail(e, VARVE_E_LIMIT,
				  "layer %s unpacks to %llu bytes (limits.max_layer_size %llu)",
				  DIGEST_STR(&l->digest), (unsigned long long)l->unpacked,
				  (unsigned long long)max);
	if (l->unpacked > INFLATE_RATIO_FREE &&
	    (l->unpacked - INFLATE_RATIO_FREE) / ratio > l->size)
		return varve_fail(e, VARVE_E_LIMIT,
				  "layer %s unpacks to more than %llu times its size (limit "
				  "limits.max_ratio)",
				  DIGEST_STR(&l->digest), (unsigned long long)ratio);
	if (l->entries > limits->max_layer_entries)
		return varve_fail(e, VARVE_E_LIMIT,
				  "layer %s has %llu entries (limits.max_layer_entries %llu)",
				  DIGEST_STR(&l->digest), (unsigned long long)l->entries,
				  (unsigned long long)limits->max_layer_entries);
	return 0;
}

static int load_tocs(struct varve_plan *p, const struct varve_plan_options *opt,
		     struct varve_err *e)
{
	struct plan_priv *v = p->priv;

	for (size_t i = 0; i < v->n; i++) {
		struct varve_plan_layer *l = &v->layers[i];
		int r = ctx_check(store_ctx(p->store), e);

		if (r == 0)
			r = load_toc(p->store, l, &v->tocs[i], &v->squashfs[i], e);
		if (r < 0)
			return r;
		l->unpacked = toc_stream_size(v->tocs[i]);
		l->entries = toc_entries(v->tocs[i]);
		r = check_layer(l, &opt->limits, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int build(struct varve_plan *p, const struct varve_plan_options *opt, struct varve_err *e)
{
	struct plan_priv *v = p->priv;
	struct tree *t;
	int r = tree_new(&t, opt, store_ctx(p->store), e);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < v->n; i++) {
		r = ctx_check(store_ctx(p->store), e);
		tree_read_overlay(t, v->squashfs[i] && v->n > 1);
		if (r == 0)
			r = tree_apply(t, v->tocs[i], (uint32_t)i, e);
		if (r < 0)
			r = varve_wrap(e, r, "layer %s", DIGEST_STR(&v->layers[i].digest));
	}
	if (r == 0)
		r = tree_freeze(t, p, v->layers, v->n, &v->keep, e);
	tree_free(t);
	return r;
}

/* Copy what the documents say of the layers. */
static int take_layers(struct plan_priv *v, const struct oci_manifest *m,
		       const struct oci_config *c, struct varve_err *e)
{
	size_t n = m->n_layers;

	if (n != c->n_diff_ids)
		return varve_fail(e, VARVE_E_FORMAT,
				  "the manifest names %zu layers, the config %zu", n,
				  c->n_diff_ids);
	v->layers = calloc(n + 1, sizeof(*v->layers));
	v->tocs = calloc(n + 1, sizeof(struct toc *));
	v->squashfs = calloc(n + 1, sizeof(*v->squashfs));
	if (!v->layers || !v->tocs || !v->squashfs)
		return varve_fail_oom(e);
	v->n = n;
	for (size_t i = 0; i < n; i++) {
		v->layers[i].digest = m->layers[i].digest;
		v->layers[i].diff_id = c->diff_ids[i];
		v->layers[i].size = m->layers[i].size;
	}
	return 0;
}

static int read_config(struct varve_plan *p, const struct oci_manifest *m, struct varve_err *e)
{
	struct plan_priv *v = p->priv;
	struct oci_config *c = NULL;
	struct buf doc;
	int r;

	buf_init(&doc, OCI_CONFIG_MAX);
	r = lease_add(v->lease, &m->config.digest, e);
	if (r == 0)
		r = blob_read(p->store, &m->config.digest, &doc, e);
	if (r == 0)
		r = oci_config_parse(&c, doc.p, doc.n, e);
	if (r == 0)
		r = take_layers(v, m, c, e);
	oci_config_free(c);
	buf_done(&doc);
	return r;
}

static int check_image(const struct oci_manifest *m, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	enum oci_what what;

	buf_init(&why, 1024);
	what = oci_manifest_what(m, &why);
	if (what == OCI_WHAT_IMAGE)
		return 0;
	return varve_fail(
		e, VARVE_E_UNSUPPORTED,
		what == OCI_WHAT_UNREADABLE ? "%s" : "it is %s, not the image of a root filesystem",
		buf_error(&why) ? "an artifact" : why.p);
}

static int read_documents(struct varve_plan *p, struct varve_err *e)
{
	struct plan_priv *v = p->priv;
	struct oci_manifest *m = NULL;
	int r = lease_add(v->lease, &p->manifest, e);

	if (r == 0)
		r = manifest_read(&m, p->store, &p->manifest, NULL, e);
	if (r == 0)
		r = check_image(m, e);
	for (size_t i = 0; r == 0 && i < m->n_layers; i++)
		r = lease_add(v->lease, &m->layers[i].digest, e);
	if (r == 0)
		r = read_config(p, m, e);
	oci_manifest_free(m);
	return r;
}

int varve_plan_new(struct varve_plan **ret, struct varve_store *s, const struct varve_image *image,
		   const struct varve_plan_options *opt, struct varve_err *e)
{
	struct varve_plan_options o = VARVE_PLAN_OPTIONS_INIT;
	int r = opt ? OPTIONS_COPY(&o, opt, limits.max_link_work, e) : 0;
	struct varve_plan *p;
	struct plan_priv *v;

	if (r < 0)
		return r;
	p = calloc(1, sizeof(*p));
	v = calloc(1, sizeof(*v));
	if (!p || !v) {
		free(p);
		free(v);
		return varve_fail_oom(e);
	}
	o.limits = limits_or(&o.limits, store_limits(s));
	p->store = s;
	p->keep_dirlinks = o.keep_dirlinks;
	p->manifest = image->manifest;
	p->priv = v;
	r = lease_begin(&v->lease, s, "plan", e);
	if (r == 0)
		r = read_documents(p, e);
	if (r == 0)
		r = load_tocs(p, &o, e);
	if (r == 0)
		r = build(p, &o, e);
	if (r < 0) {
		varve_plan_free(p);
		return varve_wrap(e, r, "image %s",
				  image->name ? image->name : DIGEST_STR(&image->manifest));
	}
	catalog_touch(s, &p->manifest); /* whoever looks into an image uses it */
	*ret = p;
	return 0;
}

void varve_plan_free(struct varve_plan *p)
{
	struct plan_priv *v;

	if (!p)
		return;
	v = p->priv;
	tree_thaw(p, &v->keep);
	for (size_t i = 0; i < v->n; i++)
		toc_free(v->tocs[i]);
	free(v->tocs);
	free(v->squashfs);
	free(v->layers);
	lease_end(v->lease);
	free(v);
	free(p);
}

void varve_plan_summary(const struct varve_plan *p, struct varve_plan_summary *ret)
{
	*ret = p->summary;
}

const char *varve_plan_warning(const struct varve_plan *p, uint64_t i)
{
	const struct plan_priv *v = p->priv;

	return i < v->keep.n_warnings ? v->keep.warnings[i] : NULL;
}
