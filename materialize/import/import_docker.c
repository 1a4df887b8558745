/* SPDX-License-Identifier: Apache-2.0 */
/* Import from a docker-archive (docker save): manifest.json, configs and layers by file name. */
#include "materialize/import/import_members.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/text.h"

#define LAYERS_MAX 1000u
#define NAMES_MAX  64u

struct archive {
	struct import *im;
	struct members *m;
	struct import_blobs blobs;
	void *known; /* of tsearch: layers by where they lie; one may serve many images */
};
struct known_layer {
	uint64_t file, off;
	struct varve_digest digest;
	struct varve_layer_facts facts;
	uint64_t size;
};

static int by_place(const void *a, const void *b)
{
	const struct known_layer *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return (x->off > y->off) - (x->off < y->off);
}

/* The layer of a range, read when it is met first. */
static int read_layer(struct archive *a, const struct import_range *range,
		      const struct known_layer **ret, struct varve_err *e)
{
	struct known_layer key = {.file = range->file, .off = range->off, .size = range->size};
	struct known_layer *k, **node = tfind(&key, &a->known, by_place);
	int r;

	if (node) {
		a->blobs.n_all++;
		*ret = *node;
		return 0;
	}
	r = import_blob(a->im, &a->blobs, VARVE_BLOB_LAYER, range, NULL, &key.digest, &key.facts,
			e);
	if (r < 0)
		return r;
	k = malloc(sizeof(*k));
	if (!k)
		return varve_fail_oom(e);
	*k = key;
	if (!tsearch(k, &a->known, by_place)) {
		free(k);
		return varve_fail_oom(e);
	}
	*ret = k;
	return 0;
}

static int get_layer(struct archive *a, const char *name, const struct varve_digest *diff_id,
		     struct oci_layer_desc *ret, struct varve_err *e)
{
	const struct known_layer *k = NULL;
	struct import_range range;
	int r = members_find(a->m, name, &range, e);

	if (r == 0)
		return varve_fail(e, VARVE_E_INCOMPLETE, "the archive has no file \"%s\"",
				  TEXT_SAFE(name));
	if (r == 1)
		r = read_layer(a, &range, &k, e);
	if (r < 0)
		return r;
	if (!varve_digest_equal(&k->facts.diff_id, diff_id))
		return varve_fail(e, VARVE_E_DIGEST, "\"%s\" unpacks to %s, the config says %s",
				  TEXT_SAFE(name), DIGEST_STR(&k->facts.diff_id),
				  DIGEST_STR(diff_id));
	ret->digest = k->digest;
	ret->diff_id = k->facts.diff_id;
	ret->size = k->size;
	ret->media_type = oci_layer_media_type(k->facts.compression);
	return 0;
}

static int get_layers(struct archive *a, const json *list, const struct oci_config *c,
		      struct oci_layer_desc *layers, struct varve_err *e)
{
	const json *it;
	size_t n = 0;

	if (!json_is_array(list) || json_len(list) != c->n_diff_ids || c->n_diff_ids > LAYERS_MAX)
		return varve_fail(e, VARVE_E_FORMAT,
				  "manifest.json lists %zu layers, the config %zu diffIDs",
				  json_len(list), c->n_diff_ids);
	for (it = json_first(list); it; it = json_next(it), n++) {
		const char *name = json_str(it);
		int r = name ? get_layer(a, name, &c->diff_ids[n], &layers[n], e)
			     : varve_fail(e, VARVE_E_FORMAT, "manifest.json: a layer is no text");

		if (r < 0)
			return varve_wrap(e, r, "layer %zu of %zu", n + 1, c->n_diff_ids);
	}
	return 0;
}

static int build(struct archive *a, const json *image, struct varve_digest *ret,
		 struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf config = {0};
	VARVE_CLEANUP(buf_done) struct buf manifest = {0};
	VARVE_FREE struct oci_layer_desc *layers = NULL;
	struct oci_config *c = NULL;
	struct varve_digest d;
	const char *name;
	int r = 0;

	name = json_str(json_get_nocase(image, "Config"));
	if (!name)
		r = varve_fail(e, VARVE_E_FORMAT, "manifest.json: an image without \"Config\"");
	buf_init(&config, OCI_CONFIG_MAX);
	buf_init(&manifest, OCI_DOC_MAX);
	if (r == 0)
		r = members_read(a->m, name, &config, e);
	if (r == 0)
		r = varve_fail(e, VARVE_E_INCOMPLETE, "the archive has no file \"%s\"",
			       TEXT_SAFE(name));
	if (r == 1)
		r = import_charge(a->im, config.n, e);
	if (r == 0)
		r = oci_config_parse(&c, config.p, config.n, e);
	if (r < 0)
		return r;
	layers = calloc(c->n_diff_ids + 1, sizeof(*layers));
	r = layers ? get_layers(a, json_get_nocase(image, "Layers"), c, layers, e)
		   : varve_fail_oom(e);
	if (r == 0)
		r = import_document(a->im, &a->blobs, VARVE_BLOB_CONFIG, &config, NULL, &d, e);
	if (r == 0)
		r = oci_build_manifest(&manifest, &d, config.n, layers, c->n_diff_ids, NULL, e);
	if (r == 0)
		r = import_document(a->im, &a->blobs, VARVE_BLOB_MANIFEST, &manifest, NULL, ret, e);
	oci_config_free(c);
	return r;
}

static bool is_selected(const json *image, const char *select)
{
	const json *tag = json_first(json_get_nocase(image, "RepoTags"));

	for (; tag; tag = json_next(tag))
		if (json_str(tag) && !strcmp(json_str(tag), select))
			return true;
	return false;
}

static int import_one(struct archive *a, const json *image, bool alone, struct varve_err *e)
{
	const json *tag = json_first(json_get_nocase(image, "RepoTags"));
	const char *names[NAMES_MAX + 1];
	struct import_image out = {.kind = "docker-archive", .names = names};
	char made[800];
	size_t n = 0;
	int r;

	import_blobs_done(&a->blobs);
	r = build(a, image, &out.manifest, e);
	if (r < 0)
		return r;
	for (; tag && n < NAMES_MAX; tag = json_next(tag))
		if (json_str(tag))
			names[n++] = json_str(tag);
	out.member = n ? names[0] : NULL;
	/* Several without names could not be told apart: they stay untagged. */
	if (!n && alone && !a->im->opt->name) {
		r = import_file_name(a->im, made, e);
		if (r < 0)
			return r;
		names[n++] = made;
	}
	names[n] = NULL;
	return import_commit(a->im, &a->blobs, &out, e);
}

static int fail_choice(const struct archive *a, const json *list, int code, const char *what,
		       struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	const json *image, *tag;

	buf_init(&b, 1024);
	for (image = json_first(list); image; image = json_next(image))
		for (tag = json_first(json_get_nocase(image, "RepoTags")); tag;
		     tag = json_next(tag))
			if (json_str(tag))
				buf_printf(&b, "%s%s", b.n ? ", " : "", TEXT_SAFE(json_str(tag)));
	return varve_fail(e, code, "%s: %s; it has: %s", TEXT_SAFE(a->im->path), what,
			  b.n ? b.p : "images without names");
}

static int import_all(struct archive *a, const json *list, struct varve_err *e)
{
	const char *select = a->im->opt->select;
	const json *image;
	size_t n = 0;
	int r;

	if (!json_is_array(list) || !json_len(list))
		return varve_fail(e, VARVE_E_FORMAT, "%s: manifest.json lists no image",
				  TEXT_SAFE(a->im->path));
	for (image = json_first(list); image; image = json_next(image))
		n += !select || is_selected(image, select);
	if (!n)
		return fail_choice(a, list, VARVE_E_NOTFOUND, "no image of that name", e);
	if (a->im->opt->name && n > 1)
		return fail_choice(a, list, VARVE_E_USAGE,
				   "has several images, and one name was given", e);
	for (image = json_first(list); image; image = json_next(image)) {
		if (select && !is_selected(image, select))
			continue;
		r = import_one(a, image, n == 1, e);
		if (r < 0)
			return varve_wrap(e, r, "%s", TEXT_SAFE(a->im->path));
	}
	return 0;
}

int import_docker(struct import *im, struct members *m, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	JSON_FREE json *list = NULL;
	struct archive a = {.im = im, .m = m};
	int r;

	buf_init(&b, OCI_DOC_MAX);
	r = members_read(m, "manifest.json", &b, e);
	if (r == 0)
		return varve_fail(e, VARVE_E_FORMAT, "%s: has no manifest.json",
				  TEXT_SAFE(im->path));
	if (r == 1)
		r = json_parse(&list, b.p, b.n, OCI_DOC_MAX, e);
	if (r < 0)
		return varve_wrap(e, r, "%s: manifest.json", TEXT_SAFE(im->path));
	r = import_all(&a, list, e);
	import_blobs_done(&a.blobs);
	tdestroy(a.known, free);
	return r;
}
