/* SPDX-License-Identifier: Apache-2.0 */
/* Import from an OCI image layout: whole, or a bundle whose other blobs are in the store. */
#include "materialize/import/import_layout.h"
#include "materialize/import/import_choose.h"
#include "materialize/import/import_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/layout.h"

static int fail_incomplete(const struct layout *l, const struct varve_digest *d,
			   struct varve_err *e)
{
	return varve_fail(e, VARVE_E_INCOMPLETE,
			  "%s: blob %s is neither in it nor in the store; it was perhaps exported "
			  "with --have for another machine",
			  TEXT_SAFE(l->im->path), DIGEST_STR(d));
}

/* Other tools refuse what has another size than its descriptor says. */
static int check_size(const struct layout *l, const struct oci_descriptor *d, uint64_t has,
		      struct varve_err *e)
{
	if (d->size == VARVE_SIZE_UNKNOWN || d->size == has)
		return 0;
	return varve_fail(e, VARVE_E_SIZE, "%s: blob %s has %llu bytes, not %llu",
			  TEXT_SAFE(l->im->path), DIGEST_STR(&d->digest), (unsigned long long)has,
			  (unsigned long long)d->size);
}

/* A manifest, index or config: from the layout, or from the store if the layout leaves it out. */
static int get_document(struct layout *l, enum varve_blob_kind kind,
			const struct oci_descriptor *desc, struct buf *b, struct varve_err *e)
{
	const struct varve_digest *d = &desc->digest;
	struct varve_digest got;
	char name[LAYOUT_PATH_MAX];
	int r;

	(void)layout_blob(d, name);
	r = members_read(l->m, name, b, e);
	if (r == 1) {
		r = check_size(l, desc, b->n, e);
		if (r == 0)
			r = import_charge(l->im, b->n, e);
		return r == 0 ? import_document(l->im, &l->blobs, kind, b, d, &got, e) : r;
	}
	if (r == 0)
		r = lease_add(l->im->lease, d, e);
	if (r == 0)
		r = blob_stat(l->im->s, d, NULL, e);
	if (r == 0)
		return fail_incomplete(l, d, e);
	if (r < 0)
		return r;
	l->blobs.n_all++;
	buf_reset(b);
	r = blob_read(l->im->s, d, b, e);
	if (r == 0)
		r = check_size(l, desc, b->n, e);
	return r == 0 ? import_charge(l->im, b->n, e) : r;
}

/* kind: what is no layer that we know is stored as it is. */
static int get_layer(struct layout *l, const struct oci_descriptor *d, enum varve_blob_kind kind,
		     struct varve_layer_facts *ret, struct varve_err *e)
{
	struct import_range range;
	struct varve_blob_info info;
	struct varve_digest got;
	char name[LAYOUT_PATH_MAX];
	int r;

	(void)layout_blob(&d->digest, name);
	r = members_find(l->m, name, &range, e);
	if (r == 1) {
		r = check_size(l, d, range.size, e);
		return r < 0 ? r
			     : import_blob(l->im, &l->blobs, kind, &range, &d->digest, &got,
					   kind == VARVE_BLOB_LAYER ? ret : NULL, e);
	}
	if (r == 0)
		r = lease_add(l->im->lease, &d->digest, e);
	if (r == 0)
		r = blob_stat(l->im->s, &d->digest, &info, e);
	if (r == 0)
		return fail_incomplete(l, &d->digest, e);
	if (r == 1)
		r = check_size(l, d, info.size, e);
	if (r < 0)
		return r;
	l->blobs.n_all++;
	if (kind != VARVE_BLOB_LAYER)
		return 0;
	if (!info.has_facts)
		return varve_layer_ops()->read(l->im->s, &d->digest, ret, e);
	*ret = info.facts;
	return 0;
}

/* What no tree can be made of is stored and handed on all the same (image-spec, manifest.md). */
static int get_opaque(struct layout *l, const struct oci_manifest *m, struct varve_err *e)
{
	size_t i;
	int r = get_layer(l, &m->config, VARVE_BLOB_OTHER, NULL, e);

	for (i = 0; r == 0 && i < m->n_layers; i++)
		r = get_layer(l, &m->layers[i], VARVE_BLOB_OTHER, NULL, e);
	return r;
}

static int get_layers(struct layout *l, const struct oci_manifest *m, const struct oci_config *c,
		      struct varve_err *e)
{
	size_t i;
	int r;

	if (m->n_layers != c->n_diff_ids)
		return varve_fail(e, VARVE_E_FORMAT, "%zu layers, but the config has %zu diffIDs",
				  m->n_layers, c->n_diff_ids);
	for (i = 0; i < m->n_layers; i++) {
		struct varve_layer_facts facts;

		r = get_layer(l, &m->layers[i], VARVE_BLOB_LAYER, &facts, e);
		if (r == 0 && !varve_digest_equal(&facts.diff_id, &c->diff_ids[i]))
			r = varve_fail(e, VARVE_E_DIGEST, "unpacks to %s, the config says %s",
				       DIGEST_STR(&facts.diff_id), DIGEST_STR(&c->diff_ids[i]));
		if (r < 0)
			return varve_wrap(e, r, "layer %zu of %zu", i + 1, m->n_layers);
	}
	return 0;
}

static int get_readable(struct layout *l, const struct oci_manifest *m, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_config *c = NULL;
	int r;

	buf_init(&b, OCI_CONFIG_MAX);
	r = get_document(l, VARVE_BLOB_CONFIG, &m->config, &b, e);
	if (r == 0)
		r = oci_config_parse(&c, b.p, b.n, e);
	if (r == 0)
		r = get_layers(l, m, c, e);
	oci_config_free(c);
	return r;
}

/* 1: no image (an artifact that nobody named), passed over. */
static int get_image(struct layout *l, const struct buf *doc, const struct varve_digest *at,
		     struct varve_digest *ret_config, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	struct oci_manifest *m = NULL;
	enum oci_what what;
	int r = oci_manifest_parse(&m, doc->p, doc->n, e);

	if (r < 0)
		return r;
	buf_init(&why, 1024);
	what = oci_manifest_what(m, &why);
	*ret_config = m->config.digest;
	if (what == OCI_WHAT_ARTIFACT && !l->im->opt->select) {
		log_info(l->im->ctx, "import", "%s: %s is passed over: %s", TEXT_SAFE(l->im->path),
			 DIGEST_STR(at), why.n ? why.p : "an artifact");
		r = 1;
	} else if (what == OCI_WHAT_IMAGE) {
		r = get_readable(l, m, e);
	} else {
		log_warn(l->im->ctx, "import", "%s: is stored, but cannot be installed: %s",
			 TEXT_SAFE(l->im->path), why.n ? why.p : "an artifact");
		r = get_opaque(l, m, e);
	}
	oci_manifest_free(m);
	return r;
}

/* The entry of an index for the platform. */
static int choose_child(struct layout *l, const struct oci_index *index, int *ret,
			struct varve_err *e)
{
	const struct varve_platform *want = &l->im->platform;
	VARVE_CLEANUP(buf_done) struct buf have = {0};

	*ret = oci_index_choose(index, want);
	if (*ret >= 0)
		return 0;
	buf_init(&have, 4096);
	oci_index_platforms(index, &have);
	return varve_fail(e, VARVE_E_NOPLATFORM, "%s: no image for %s; it has %s (--platform)",
			  TEXT_SAFE(l->im->path), varve_platform_str(want, (char[84]){0}), have.p);
}

/* From a descriptor of index.json down to the manifest for the platform. */
static int get_manifest(struct layout *l, const struct oci_descriptor *d, struct buf *doc,
			struct varve_digest *ret, struct varve_err *e)
{
	struct oci_index *index = NULL, *inner;
	enum oci_doc_kind kind;
	int r, i;

	if (!varve_digest_is_set(&d->digest))
		return oci_fail_algorithm("the entry of index.json", e);
	for (;;) {
		r = get_document(l, VARVE_BLOB_MANIFEST, d, doc, e);
		if (r == 0)
			r = oci_classify(doc->p, doc->n, NULL, d->media_type, &kind, e);
		if (r < 0)
			break;
		*ret = d->digest;
		if (kind == OCI_DOC_MANIFEST)
			break;
		if (kind != OCI_DOC_INDEX || l->n_parents == LAYOUT_NESTING_MAX) {
			r = varve_fail(e, VARVE_E_UNSUPPORTED,
				       "%s: neither an image manifest nor an image index",
				       DIGEST_STR(&d->digest));
			break;
		}
		l->parents[l->n_parents++] = d->digest;
		r = oci_index_parse(&inner, doc->p, doc->n, e);
		if (r < 0)
			break;
		r = choose_child(l, inner, &i, e);
		oci_index_free(index); /* that held d */
		index = inner;
		if (r < 0)
			break;
		d = &index->manifests[i];
	}
	oci_index_free(index);
	return r;
}

static int import_one(struct layout *l, size_t i, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf doc = {0};
	VARVE_CLEANUP(layout_names_done) struct layout_names names = {0};
	struct varve_digest config;
	struct import_image image = {.kind = "oci-layout", .member = layout_own_name(l, i)};
	int r;

	buf_init(&doc, OCI_DOC_MAX);
	import_blobs_done(&l->blobs);
	l->n_parents = 0;
	r = get_manifest(l, &l->index->manifests[i], &doc, &image.manifest, e);
	if (r == 0)
		r = get_image(l, &doc, &image.manifest, &config, e);
	if (r == 0)
		r = layout_names(l, i, &config, &image.manifest, &names, e);
	if (r != 0)
		return r;
	image.target = l->index->manifests[i].digest;
	image.parents = l->parents;
	image.n_parents = l->n_parents;
	image.names = names.items;
	return import_commit(l->im, &l->blobs, &image, e);
}

static int import_all(struct layout *l, struct varve_err *e)
{
	size_t i, done = 0;
	int r = layout_choose(l, e);

	/* The look at all entries and the import of some have the limit each for itself. */
	l->im->documents = 0;
	for (i = 0; r >= 0 && i < l->index->n; i++) {
		if (!l->entries[i].wanted || l->entries[i].later)
			continue;
		r = import_one(l, i, e);
		done += r == 0;
	}
	if (r < 0 || done)
		return r < 0 ? r : 0;
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "%s: an OCI layout without an image of a root filesystem",
			  TEXT_SAFE(l->im->path));
}

static int list_entries(struct layout *l, struct varve_err *e)
{
	const json *raw = json_first(json_get(l->raw, "manifests"));

	l->entries = calloc(l->index->n + 1, sizeof(*l->entries));
	if (!l->entries)
		return varve_fail_oom(e);
	for (size_t i = 0; i < l->index->n && raw; i++, raw = json_next(raw))
		l->entries[i].raw = raw;
	return 0;
}

static int check_version(struct layout *l, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	JSON_FREE json *j = NULL;
	const char *version;
	int r;

	buf_init(&b, 4096);
	r = members_read(l->m, "oci-layout", &b, e);
	if (r == 0)
		return varve_fail(
			e, VARVE_E_FORMAT,
			"%s: has no file oci-layout; without --type its content decides what it is",
			TEXT_SAFE(l->im->path));
	if (r == 1)
		r = json_parse(&j, b.p, b.n, 4096, e);
	if (r == 0)
		r = json_need_str(j, "oci-layout", "imageLayoutVersion", &version, e);
	if (r < 0)
		return varve_wrap(e, r, "%s", TEXT_SAFE(l->im->path));
	if (strcmp(version, "1.0.0") != 0)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "%s: OCI layout version \"%s\"",
				  TEXT_SAFE(l->im->path), TEXT_SAFE(version));
	return 0;
}

int import_layout(struct import *im, struct members *m, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct layout l = {.im = im, .m = m};
	int r = check_version(&l, e);

	buf_init(&b, OCI_DOC_MAX);
	if (r == 0)
		r = members_read(m, "manifest.json", &b, e);
	/* What is no list of docker's is somebody else's file. */
	if (r == 1)
		(void)json_parse(&l.docker, b.p, b.n, OCI_DOC_MAX, NULL);
	if (r >= 0)
		r = members_read(m, "index.json", &b, e);
	if (r == 0)
		r = varve_fail(e, VARVE_E_FORMAT, "%s: has no file index.json",
			       TEXT_SAFE(im->path));
	if (r == 1)
		r = oci_index_parse(&l.index, b.p, b.n, e);
	if (r == 0)
		r = json_parse(&l.raw, b.p, b.n, OCI_DOC_MAX, e);
	if (r == 0)
		r = list_entries(&l, e);
	if (r == 0)
		r = import_all(&l, e);
	import_blobs_done(&l.blobs);
	for (size_t i = 0; l.entries && i < l.index->n; i++)
		free(l.entries[i].what);
	free(l.entries);
	oci_index_free(l.index);
	json_free(l.raw);
	json_free(l.docker);
	return r;
}
