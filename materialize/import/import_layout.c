/* SPDX-License-Identifier: Apache-2.0 */
/* Import from an OCI image layout: whole, or a bundle whose other blobs are in the store. */
#include "materialize/import/import_members.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"

#define NESTING_MAX 4u
#define NAMES_MAX   64u

struct layout {
	struct import *im;
	struct members *m;
	struct oci_index *index;
	json *raw;    /* index.json: annotations that the parser does not keep */
	json *docker; /* manifest.json beside it (docker save); NULL: none */
	struct import_blobs blobs;
	struct varve_digest parents[NESTING_MAX];
	size_t n_parents;
	unsigned unnamed;      /* images without a name so far */
	struct entry *entries; /* one for each of index */
};
/* Of index.json. Those with the same digest are one image of several names. */
struct entry {
	const json *raw;
	bool wanted;
	size_t next; /* the next one with its digest, 0: none */
	bool later;  /* not the first one of its digest */
};

static void digest_name(const struct varve_digest *d, char out[256])
{
	(void)snprintf(out, 256, "blobs/%s/%s", d->algo == VARVE_SHA512 ? "sha512" : "sha256",
		       DIGEST_HEX(d));
}

static int fail_incomplete(const struct layout *l, const struct varve_digest *d,
			   struct varve_err *e)
{
	return varve_fail(e, VARVE_E_INCOMPLETE,
			  "%s: blob %s is neither in it nor in the store; it was perhaps exported "
			  "with --have for another machine",
			  TEXT_SAFE(l->im->path), DIGEST_STR(d));
}

/* A manifest, index or config: from the layout, or from the store if the layout leaves it out. */
static int get_document(struct layout *l, enum varve_blob_kind kind, const struct varve_digest *d,
			struct buf *b, struct varve_err *e)
{
	struct varve_digest got;
	char name[256];
	int r;

	digest_name(d, name);
	r = members_read(l->m, name, b, e);
	if (r == 1) {
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
	return r == 0 ? import_charge(l->im, b->n, e) : r;
}

static int get_layer(struct layout *l, const struct oci_descriptor *d,
		     struct varve_layer_facts *ret, struct varve_err *e)
{
	struct import_range range;
	struct varve_blob_info info;
	struct varve_digest got;
	char name[256];
	int r;

	digest_name(&d->digest, name);
	r = members_find(l->m, name, &range, e);
	if (r < 0)
		return r;
	if (r == 1) {
		if (d->size != VARVE_SIZE_UNKNOWN && d->size != range.size)
			return varve_fail(e, VARVE_E_SIZE, "%s: blob %s has %llu bytes, not %llu",
					  TEXT_SAFE(l->im->path), DIGEST_STR(&d->digest),
					  (unsigned long long)range.size,
					  (unsigned long long)d->size);
		return import_blob(l->im, &l->blobs, VARVE_BLOB_LAYER, &range, &d->digest, &got,
				   ret, e);
	}
	r = lease_add(l->im->lease, &d->digest, e);
	if (r == 0)
		r = blob_stat(l->im->s, &d->digest, &info, e);
	if (r == 0)
		return fail_incomplete(l, &d->digest, e);
	if (r < 0)
		return r;
	l->blobs.n_all++;
	if (!info.has_facts)
		return varve_layer_ops()->read(l->im->s, &d->digest, ret, e);
	*ret = info.facts;
	return 0;
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

		r = get_layer(l, &m->layers[i], &facts, e);
		if (r == 0 && !varve_digest_equal(&facts.diff_id, &c->diff_ids[i]))
			r = varve_fail(e, VARVE_E_DIGEST, "unpacks to %s, the config says %s",
				       DIGEST_STR(&facts.diff_id), DIGEST_STR(&c->diff_ids[i]));
		if (r < 0)
			return varve_wrap(e, r, "layer %zu of %zu", i + 1, m->n_layers);
	}
	return 0;
}

/* 1: no image (an artifact), passed over. */
static int get_image(struct layout *l, const struct buf *doc, struct varve_digest *ret_config,
		     struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_manifest *m = NULL;
	struct oci_config *c = NULL;
	int r = oci_manifest_parse(&m, doc->p, doc->n, e);

	if (r < 0)
		return r;
	if (!m->is_image) {
		oci_manifest_free(m);
		return 1;
	}
	buf_init(&b, OCI_CONFIG_MAX);
	*ret_config = m->config.digest;
	r = get_document(l, VARVE_BLOB_CONFIG, &m->config.digest, &b, e);
	if (r == 0)
		r = oci_config_parse(&c, b.p, b.n, e);
	if (r == 0)
		r = get_layers(l, m, c, e);
	oci_config_free(c);
	oci_manifest_free(m);
	return r;
}

/* From a descriptor of index.json down to the manifest for the platform. */
static int get_manifest(struct layout *l, const struct oci_descriptor *d, struct buf *doc,
			struct varve_digest *ret, struct varve_err *e)
{
	const struct varve_platform *want = &l->im->platform;
	struct varve_digest at = d->digest;
	VARVE_FREE char *type = d->media_type ? strdup(d->media_type) : NULL;

	if (!varve_digest_is_set(&at))
		return oci_fail_algorithm("the entry of index.json", e);
	for (;;) {
		struct oci_index *index = NULL;
		enum oci_doc_kind kind;
		int r = get_document(l, VARVE_BLOB_MANIFEST, &at, doc, e), i;

		if (r == 0)
			r = oci_classify(doc->p, doc->n, NULL, type, &kind, e);
		if (r < 0)
			return r;
		*ret = at;
		if (kind == OCI_DOC_MANIFEST)
			return 0;
		if (kind != OCI_DOC_INDEX || l->n_parents == NESTING_MAX)
			return varve_fail(e, VARVE_E_UNSUPPORTED,
					  "%s: neither an image manifest nor an image index",
					  DIGEST_STR(&at));
		l->parents[l->n_parents++] = at;
		r = oci_index_parse(&index, doc->p, doc->n, e);
		if (r < 0)
			return r;
		i = oci_index_choose(index, want);
		if (i < 0) {
			VARVE_CLEANUP(buf_done) struct buf have = {0};

			buf_init(&have, 4096);
			oci_index_platforms(index, &have);
			oci_index_free(index);
			return varve_fail(e, VARVE_E_NOPLATFORM,
					  "%s: no image for %s; it has %s (--platform)",
					  TEXT_SAFE(l->im->path),
					  varve_platform_str(want, (char[84]){0}), have.p);
		}
		at = index->manifests[i].digest;
		free(type);
		type = index->manifests[i].media_type ? strdup(index->manifests[i].media_type)
						      : NULL;
		oci_index_free(index);
	}
}

/* --- names --- */

/* docker save writes both forms; the names in its own are the better ones. */
static size_t docker_names(const struct layout *l, const struct varve_digest *config,
			   const char **names, size_t max)
{
	const json *image, *tag;
	size_t n = 0;

	for (image = json_first(l->docker); image; image = json_next(image)) {
		const char *path = json_str(json_get_nocase(image, "Config"));

		if (!path || !strstr(path, DIGEST_HEX(config)))
			continue;
		tag = json_first(json_get_nocase(image, "RepoTags"));
		for (; tag && n < max; tag = json_next(tag))
			if (json_str(tag))
				names[n++] = json_str(tag);
	}
	return n;
}

static const char *annotation(const struct layout *l, size_t i, const char *key)
{
	return json_str(json_get(json_get(l->entries[i].raw, "annotations"), key));
}

/* The whole name of an image, or only its tag, or NULL. */
static const char *own_name(const struct layout *l, size_t i)
{
	const char *name = annotation(l, i, "io.containerd.image.name");

	return name ? name : annotation(l, i, "org.opencontainers.image.ref.name");
}

/* A name for what brings none, or only a tag; *made is ours to free. */
static int name_image(struct layout *l, size_t i, const struct varve_digest *manifest, char **made,
		      struct varve_err *e)
{
	const char *name = own_name(l, i);
	struct varve_import_label label;
	int r;

	/* A tag alone, or nothing: the file's name says whose. */
	if (l->im->opt->name)
		return 0;
	r = varve_import_label(l->im->path, &label, e);
	if (r < 0)
		return r;
	if (name)
		r = asprintf(made, "localhost/%s:%s", label.image, name);
	else if (l->unnamed++)
		r = asprintf(made, "localhost/%s:%.12s", label.image, DIGEST_HEX(manifest));
	else
		r = asprintf(made, "localhost/%s:%s", label.image, label.tag);
	if (r < 0) {
		*made = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

/* All names of an image: of docker's list, or of its entries in index.json. */
struct names {
	const char **items; /* NULL-terminated */
	char **made;        /* those that are ours to free */
	size_t n, n_made;
};

static void names_done(struct names *n)
{
	for (size_t i = 0; i < n->n_made; i++)
		free(n->made[i]);
	free(n->made);
	free(n->items);
}

static int name_all(struct layout *l, size_t first, const struct varve_digest *config,
		    const struct varve_digest *manifest, struct names *ret, struct varve_err *e)
{
	size_t i = first, max = NAMES_MAX + 1;
	int r = 0;

	do
		max++;
	while ((i = l->entries[i].next));
	ret->items = calloc(max, sizeof(*ret->items));
	ret->made = calloc(max, sizeof(*ret->made));
	if (!ret->items || !ret->made)
		return varve_fail_oom(e);
	ret->n = docker_names(l, config, ret->items, NAMES_MAX);
	if (ret->n)
		return 0;
	i = first;
	do {
		const char *name = own_name(l, i);

		if (name && strpbrk(name, ":/@")) {
			ret->items[ret->n++] = name;
			continue;
		}
		if (!name && ret->n)
			continue;
		r = name_image(l, i, manifest, &ret->made[ret->n_made], e);
		if (r == 0 && ret->made[ret->n_made])
			ret->items[ret->n++] = ret->made[ret->n_made++];
	} while (r == 0 && (i = l->entries[i].next));
	return r;
}

/* --- choosing --- */

static bool is_selected(const struct layout *l, size_t i, const char *select)
{
	const char *ref = annotation(l, i, "org.opencontainers.image.ref.name"),
		   *name = own_name(l, i);
	const struct varve_digest *d = &l->index->manifests[i].digest;

	return (ref && !strcmp(ref, select)) || (name && !strcmp(name, select)) ||
	       !strcmp(DIGEST_STR(d), select);
}

static int fail_choice(const struct layout *l, int code, const char *what, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	size_t i;

	buf_init(&b, 1024);
	for (i = 0; i < l->index->n; i++) {
		const char *name = own_name(l, i);

		buf_printf(&b, "%s%s", i ? ", " : "",
			   name ? TEXT_SAFE(name) : DIGEST_STR(&l->index->manifests[i].digest));
	}
	return varve_fail(e, code, "%s: %s; it has: %s", TEXT_SAFE(l->im->path), what, b.p);
}

static int by_digest(const void *a, const void *b, void *user)
{
	const struct oci_index *index = user;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int r = memcmp(&index->manifests[x].digest, &index->manifests[y].digest,
		       sizeof(index->manifests[x].digest));

	return r ? r : (x > y) - (x < y);
}

/* Of those that are wanted, note which have the same digest. */
static int join_entries(struct layout *l, struct varve_err *e)
{
	VARVE_FREE size_t *order = calloc(l->index->n + 1, sizeof(*order));
	size_t i, n = 0;

	if (!order)
		return varve_fail_oom(e);
	for (i = 0; i < l->index->n; i++)
		if (l->entries[i].wanted)
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), by_digest, l->index);
	for (i = 1; i < n; i++) {
		size_t before = order[i - 1], at = order[i];

		l->entries[at].later = varve_digest_equal(&l->index->manifests[before].digest,
							  &l->index->manifests[at].digest);
		if (l->entries[at].later)
			l->entries[before].next = at;
	}
	return 0;
}

static int import_one(struct layout *l, size_t i, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf doc = {0};
	VARVE_CLEANUP(names_done) struct names names = {0};
	struct varve_digest config;
	struct import_image image = {.kind = "oci-layout", .member = own_name(l, i)};
	int r;

	buf_init(&doc, OCI_DOC_MAX);
	import_blobs_done(&l->blobs);
	l->n_parents = 0;
	r = get_manifest(l, &l->index->manifests[i], &doc, &image.manifest, e);
	if (r == 0)
		r = get_image(l, &doc, &config, e);
	if (r == 1) {
		log_info(l->im->ctx, "import", "%s: %s is no image, passed over",
			 TEXT_SAFE(l->im->path), DIGEST_STR(&image.manifest));
		return 1;
	}
	if (r == 0)
		r = name_all(l, i, &config, &image.manifest, &names, e);
	if (r < 0)
		return r;
	image.target = l->index->manifests[i].digest;
	image.parents = l->parents;
	image.n_parents = l->n_parents;
	image.names = names.items;
	return import_commit(l->im, &l->blobs, &image, e);
}

static int import_all(struct layout *l, struct varve_err *e)
{
	const char *select = l->im->opt->select;
	size_t i, n = 0, done = 0, named = 0;
	int r;

	for (i = 0; i < l->index->n; i++) {
		named += own_name(l, i) != NULL;
		l->entries[i].wanted = !select || is_selected(l, i, select);
		n += l->entries[i].wanted;
	}
	if (!l->index->n)
		return varve_fail(e, VARVE_E_FORMAT, "%s: an OCI layout without an image",
				  TEXT_SAFE(l->im->path));
	if (select && !n)
		return fail_choice(l, VARVE_E_NOTFOUND, "no image of that name", e);
	if (!named && !select && n > 1) {
		/* One image for several platforms, written without an index of its own. */
		int k = oci_index_choose(l->index, &l->im->platform);

		return k < 0 ? fail_choice(l, VARVE_E_NOPLATFORM, "no image for the platform", e)
			     : import_one(l, (size_t)k, e);
	}
	if (l->im->opt->name && n > 1)
		return fail_choice(l, VARVE_E_USAGE, "has several images, and one name was given",
				   e);
	r = join_entries(l, e);
	if (r < 0)
		return r;
	for (i = 0; i < l->index->n; i++) {
		if (!l->entries[i].wanted || l->entries[i].later)
			continue;
		r = import_one(l, i, e);
		if (r < 0)
			return r;
		done += r == 0;
	}
	return done ? 0
		    : varve_fail(e, VARVE_E_FORMAT, "%s: an OCI layout without an image",
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
		return varve_fail(e, VARVE_E_FORMAT, "%s: has no file oci-layout",
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
	free(l.entries);
	oci_index_free(l.index);
	json_free(l.raw);
	json_free(l.docker);
	return r;
}
