/* SPDX-License-Identifier: Apache-2.0 */
/* Pull official images from their source: library file, then the Dockerfile's tarball or an OCI
 * layout. */
#include "fetch/official/official.h"
#include "fetch/blobs/blobs.h"
#include "fetch/official/official_arch.h"
#include "fetch/official/official_made.h"
#include "store/state.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/config/official_path.h"
#include "fetch/official/dockerfile.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/ingest.h"

#define LIBRARY_URL                                                                                \
	"https://raw.githubusercontent.com/docker-library/official-images/master/library/{image}"
#define BLOBS_MAX 1010u

static void official_done(struct official *o)
{
	size_t i;

	for (i = 0; i < o->n_repos; i++) {
		if (o->repos[i]->targets)
			free(o->repos[i]->targets[0].url);
		free(o->repos[i]->targets);
		free(o->repos[i]->domain);
		free(o->repos[i]);
	}
	free(o->repos);
	free(o->p->needs);
	o->p->needs = NULL;
	o->p->n_needs = 0;
}

/* --- where it is --- */

static int find_place(struct official *o, struct varve_err *e)
{
	const struct varve_config *c = o->p->client->config;
	const char *image = strrchr(o->ref->path, '/') + 1;
	VARVE_CLEANUP(official_library_cleanup) struct official_library *l = NULL;
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	VARVE_CLEANUP(buf_done) struct buf text = {0};
	int r;

	buf_init(&url, URL_MAX);
	buf_init(&text, OFFICIAL_LIBRARY_MAX);
	r = official_library_url(&url, c->official_library ? c->official_library : LIBRARY_URL,
				 image, e);
	if (r == 0)
		r = official_get(o->p, url.p, OFFICIAL_LIBRARY_MAX, &text, e);
	if (r == -VARVE_E_NOTFOUND)
		return varve_wrap(e, r, "there is no official image \"%s\"", TEXT_SAFE(image));
	if (r == 0)
		r = official_library_parse(&l, text.p, text.n, e);
	if (r == 0)
		r = official_library_find(l, o->ref->tag, o->arch, &o->place, e);
	return r < 0 ? varve_wrap(e, r, "%s", URL_SAFE(url.p)) : 0;
}

/* --- a Dockerfile with "ADD FILE /" --- */

static const char *short_name(const struct official *o)
{
	return strrchr(o->ref->path, '/') + 1;
}

/* The digest that a URL of a commit gave before: the same bytes for ever. */
static void recall(struct official *o, const char *url, struct need *n)
{
	VARVE_CLEANUP(buf_done) struct buf key = {0};
	VARVE_CLEANUP(buf_done) struct buf value = {0};
	struct varve_digest d;

	buf_init(&key, URL_MAX + 16);
	buf_init(&value, VARVE_DIGEST_STR_MAX);
	buf_printf(&key, "official:%s", url);
	if (buf_error(&key) || catalog_get_state(o->p->store, key.p, &value, NULL) != 1 ||
	    value.n < 3 || digest_parse_span(&d, span_of(value.p + 1, value.n - 2)) < 0)
		return;
	/* Another file with the same bytes is on its way under this digest. */
	if (pull_need(o->p, &d))
		return;
	n->digest = d;
	n->key = NULL;
}

static int remember(struct official *o, const char *url, const struct varve_digest *d,
		    struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf key = {0};
	VARVE_CLEANUP(buf_done) struct buf value = {0};

	buf_init(&key, URL_MAX + 16);
	buf_init(&value, VARVE_DIGEST_STR_MAX + 2);
	buf_printf(&key, "official:%s", url);
	buf_printf(&value, "\"%s\"", DIGEST_STR(d));
	if (buf_error(&key))
		return 0; /* only a convenience */
	return catalog_put_state(o->p->store, key.p, value.p, value.n, e);
}

static int read_dockerfile(struct official *o, struct dockerfile_add *add, struct buf *path,
			   struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	VARVE_CLEANUP(buf_done) struct buf text = {0};
	int r;

	buf_init(&url, URL_MAX);
	buf_init(&text, DOCKERFILE_MAX);
	r = official_path_join(path, ".", o->place.directory, span_str(o->place.file), e);
	if (r == 0)
		r = official_file_url(o, path->p, &url, e);
	if (r == 0)
		r = official_get(o->p, url.p, DOCKERFILE_MAX, &text, e);
	if (r == 0)
		r = dockerfile_parse(add, text.p, text.n, e);
	if (r == 0 && add->n_lost)
		log_warn(o->p->ctx, "official",
			 "%s: the Dockerfile does more than add archives, which is lost here "
			 "(%u lines, first: %s); varve pull %s:%s without --source has it",
			 o->ref->path, add->n_lost, add->first_lost, short_name(o), o->ref->tag);
	return r;
}

static struct need *need_of(struct official *o, const char *url)
{
	for (size_t i = 0; i < o->p->n_needs; i++)
		if (!strcmp(o->p->needs[i].repo->targets[0].url, url))
			return &o->p->needs[i];
	return NULL;
}

/* Where the archives are; one that is added twice is fetched once. */
static int need_sources(struct official *o, const struct dockerfile_add *add,
			const char *dockerfile, char **urls, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf path = {0};
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	const char *slash = strrchr(dockerfile, '/');
	char dir[1300];
	int r = 0;

	buf_init(&path, 4096);
	buf_init(&url, URL_MAX);
	/* "path relative to the Dockerfile's directory", which File may move. */
	(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - dockerfile) : 0, dockerfile);
	for (size_t i = 0; r == 0 && i < add->n_sources; i++) {
		struct need n = {
			.size = VARVE_SIZE_UNKNOWN, .kind = VARVE_BLOB_LAYER, .follow = true};

		r = official_path_join(&path, ".", *dir ? dir : ".", span_str(add->sources[i]), e);
		if (r == 0)
			r = official_file_url(o, path.p, &url, e);
		if (r < 0)
			break;
		urls[i] = strdup(url.p);
		if (!urls[i])
			return varve_fail_oom(e);
		if (need_of(o, url.p))
			continue;
		n.key = url.p;
		recall(o, url.p, &n);
		r = official_add_need(o, url.p, &n, e);
	}
	return r;
}

/* The layer of one archive. */
static int make_layer(struct official *o, struct made *m, const char *url,
		      struct oci_layer_desc *ret, struct varve_err *e)
{
	struct need *n = need_of(o, url);
	struct oci_layer_desc layer = {0};
	struct varve_layer_facts facts;
	struct varve_blob_info info;
	int r = n ? made_facts(o, n, e) : varve_fail_oom(e);

	if (r < 0)
		return r;
	layer.digest = n->digest;
	facts = n->facts;
	if (r == 0)
		r = official_join(o, &layer.digest, &facts, e);
	if (r == 0)
		r = blob_stat(o->p->store, &layer.digest, &info, e);
	if (r < 0)
		return r;
	layer.size = info.size;
	layer.diff_id = facts.diff_id;
	layer.media_type = oci_layer_media_type(facts.compression);
	*ret = layer;
	if (varve_digest_equal(&layer.digest, &n->digest))
		return 0;
	return made_blob(m,
			 &(struct catalog_blob){.digest = layer.digest,
						.size = layer.size,
						.kind = VARVE_BLOB_LAYER,
						.has_facts = true,
						.facts = facts},
			 e);
}

static int build_image(struct official *o, struct made *m, char *const *urls, size_t n,
		       struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf config = {0};
	VARVE_CLEANUP(buf_done) struct buf manifest = {0};
	VARVE_FREE struct oci_layer_desc *layers = calloc(n, sizeof(*layers));
	struct varve_digest d;
	int r = layers ? 0 : varve_fail_oom(e);

	buf_init(&config, OCI_CONFIG_MAX);
	buf_init(&manifest, OCI_DOC_MAX);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = make_layer(o, m, urls[i], &layers[i], e);
	if (r == 0)
		r = oci_build_config(&config, &o->p->platform, NULL, NULL, layers, n, e);
	if (r == 0)
		r = made_document(o, m, VARVE_BLOB_CONFIG, &config, NULL, &d, e);
	if (r == 0)
		r = oci_build_manifest(&manifest, &d, config.n, layers, n, NULL, e);
	return r == 0 ? made_document(o, m, VARVE_BLOB_MANIFEST, &manifest, NULL, &m->manifest, e)
		      : r;
}

static int with_sources(struct official *o, struct made *m, const struct dockerfile_add *add,
			const char *dockerfile, char **urls, struct varve_err *e)
{
	int r = need_sources(o, add, dockerfile, urls, e);

	if (r < 0)
		return varve_wrap(e, r,
				  "its source gives no root file system; use 'varve pull %s:%s' "
				  "without --source official",
				  short_name(o), o->ref->tag);
	r = pull_blobs(o->p, e);
	if (r == 0)
		r = build_image(o, m, urls, add->n_sources, e);
	if (r == 0)
		r = made_needs(o, m, e);
	for (size_t i = 0; r == 0 && i < o->p->n_needs; i++) {
		const struct need *n = &o->p->needs[i];

		r = remember(o, n->repo->targets[0].url, &n->digest, e);
	}
	return r;
}

static int from_dockerfile(struct official *o, struct made *m, struct varve_err *e)
{
	VARVE_CLEANUP(dockerfile_add_done) struct dockerfile_add add = {0};
	VARVE_CLEANUP(buf_done) struct buf path = {0};
	char **urls;
	int r;

	buf_init(&path, 4096);
	r = read_dockerfile(o, &add, &path, e);
	if (r < 0)
		return varve_wrap(e, r,
				  "its source gives no root file system; use 'varve pull %s:%s' "
				  "without --source official",
				  short_name(o), o->ref->tag);
	urls = calloc(add.n_sources, sizeof(*urls));
	r = urls ? with_sources(o, m, &add, path.p, urls, e) : varve_fail_oom(e);
	for (size_t i = 0; urls && i < add.n_sources; i++)
		free(urls[i]);
	free(urls);
	return r;
}

/* --- an OCI layout in the tree --- */

static int check_layout(struct official *o, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf path = {0};
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	VARVE_CLEANUP(buf_done) struct buf text = {0};
	JSON_FREE json *j = NULL;
	const char *version;
	int r;

	buf_init(&path, 4096);
	buf_init(&url, URL_MAX);
	buf_init(&text, 4096);
	r = official_path_join(&path, o->place.directory, o->place.directory,
			       span_str("oci-layout"), e);
	if (r == 0)
		r = official_file_url(o, path.p, &url, e);
	if (r == 0)
		r = official_get(o->p, url.p, 4096, &text, e);
	if (r == 0)
		r = json_parse(&j, text.p, text.n, 4096, e);
	if (r == 0)
		r = json_need_str(j, "oci-layout", "imageLayoutVersion", &version, e);
	if (r == 0 && strcmp(version, "1.0.0") != 0)
		r = varve_fail(e, VARVE_E_UNSUPPORTED, "OCI layout version \"%s\"",
			       TEXT_SAFE(version));
	return r < 0 ? varve_wrap(e, r, "%s", url.p ? URL_SAFE(url.p) : "oci-layout") : 0;
}

/* The one manifest that the index may name (bashbrew: oci-builder.go). */
static int get_descriptor(struct official *o, struct oci_index **ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf path = {0};
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	VARVE_CLEANUP(buf_done) struct buf text = {0};
	struct oci_index *index = NULL;
	int r;

	buf_init(&path, 4096);
	buf_init(&url, URL_MAX);
	buf_init(&text, OCI_DOC_MAX);
	r = official_path_join(&path, o->place.directory, o->place.directory,
			       span_str(o->place.file), e);
	if (r == 0)
		r = official_file_url(o, path.p, &url, e);
	if (r == 0)
		r = official_get(o->p, url.p, OCI_DOC_MAX, &text, e);
	if (r == 0)
		r = oci_index_parse(&index, text.p, text.n, e);
	if (r == 0 &&
	    (index->n != 1 || strcmp(index->manifests[0].media_type, OCI_MT_MANIFEST) != 0 ||
	     !varve_digest_is_set(&index->manifests[0].digest)))
		r = varve_fail(e, VARVE_E_FORMAT,
			       "must name exactly one image manifest, it names %zu entries",
			       index->n);
	if (r < 0) {
		oci_index_free(index);
		return varve_wrap(e, r, "%s", url.p ? URL_SAFE(url.p) : "index");
	}
	*ret = index;
	return 0;
}

static int get_manifest(struct official *o, struct made *m, struct oci_manifest **ret,
			struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf text = {0};
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	struct oci_index *index = NULL;
	const struct oci_descriptor *d;
	int r = get_descriptor(o, &index, e);

	if (r < 0 || !index)
		return r;
	buf_init(&text, OCI_DOC_MAX);
	buf_init(&url, URL_MAX);
	d = &index->manifests[0];
	if (d->data)
		buf_add(&text, d->data, d->data_size);
	else if (d->size > OCI_DOC_MAX)
		r = varve_fail(e, VARVE_E_LIMIT, "a manifest of %s", TEXT_SIZE(d->size));
	else
		r = official_find_blob(o, &d->digest, d->size, &text, &url, e);
	if (r == 0)
		r = made_document(o, m, VARVE_BLOB_MANIFEST, &text, &d->digest, &m->manifest, e);
	if (r == 0)
		r = oci_manifest_parse(ret, text.p, text.n, e);
	oci_index_free(index);
	return r;
}

static int need_blob(struct official *o, struct made *m, const struct oci_descriptor *d,
		     enum varve_blob_kind kind, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf small = {0};
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	struct need n = {.digest = d->digest,
			 .size = d->size,
			 .kind = kind,
			 .follow = kind == VARVE_BLOB_LAYER};
	struct varve_digest got;
	int r = lease_add(o->p->lease, &d->digest, e);

	if (r < 0 || pull_need(o->p, &d->digest))
		return r;
	if (d->digest.algo != VARVE_SHA256)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "blob %s: the store keeps only sha256",
				  DIGEST_STR(&d->digest));
	buf_init(&small, kind == VARVE_BLOB_LAYER ? 0 : OCI_CONFIG_MAX);
	buf_init(&url, URL_MAX);
	if (d->data)
		buf_add(&small, d->data, d->data_size);
	r = blob_stat(o->p->store, &d->digest, NULL, e);
	/* What is stored needs no look at the tree: but it is recorded with the image. */
	if (r == 0 && !d->data)
		r = official_find_blob(o, &d->digest, d->size, &small, &url, e);
	else if (r == 1)
		r = 0;
	if (r == 0 && small.n)
		return made_document(o, m, kind, &small, &d->digest, &got, e);
	return r == 0 ? official_add_need(o, url.p, &n, e) : r;
}

static int check_diff_ids(struct official *o, const struct oci_manifest *doc, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_config *c = NULL;
	size_t i;
	int r;

	buf_init(&b, OCI_CONFIG_MAX);
	r = blob_read(o->p->store, &doc->config.digest, &b, e);
	if (r == 0)
		r = oci_config_parse(&c, b.p, b.n, e);
	if (r == 0 && c->n_diff_ids != doc->n_layers)
		r = varve_fail(e, VARVE_E_FORMAT, "%zu layers, but the config has %zu diffIDs",
			       doc->n_layers, c->n_diff_ids);
	for (i = 0; r == 0 && i < doc->n_layers; i++) {
		struct need *n = pull_need(o->p, &doc->layers[i].digest);

		if (n)
			r = made_facts(o, n, e);
		if (r == 0 && n && !varve_digest_equal(&n->facts.diff_id, &c->diff_ids[i]))
			r = varve_fail(e, VARVE_E_DIGEST,
				       "layer %zu unpacks to %s, the config "
				       "says %s",
				       i + 1, DIGEST_STR(&n->facts.diff_id),
				       DIGEST_STR(&c->diff_ids[i]));
	}
	oci_config_free(c);
	return r;
}

static int from_layout(struct official *o, struct made *m, struct varve_err *e)
{
	struct oci_manifest *doc = NULL;
	size_t i;
	int r = check_layout(o, e);

	if (r == 0)
		r = get_manifest(o, m, &doc, e);
	if (r == 0 && (!doc->is_image || doc->n_layers > BLOBS_MAX))
		r = varve_fail(e, VARVE_E_UNSUPPORTED, "its manifest is none of an image");
	if (r == 0)
		r = need_blob(o, m, &doc->config, VARVE_BLOB_CONFIG, e);
	for (i = 0; r == 0 && i < doc->n_layers; i++)
		r = need_blob(o, m, &doc->layers[i], VARVE_BLOB_LAYER, e);
	if (r == 0)
		r = pull_blobs(o->p, e);
	if (r == 0)
		r = check_diff_ids(o, doc, e);
	if (r == 0)
		r = made_needs(o, m, e);
	oci_manifest_free(doc);
	return r;
}

/* --- one image --- */

/* 1: the tag came from this very place before, and all of it is stored. */
static int is_stored(struct official *o, const char *reference, const char *origin,
		     struct varve_pull_result *ret, struct varve_err *e)
{
	struct varve_image_list list = {0};
	int r = varve_store_find(o->p->store, reference, &o->p->platform, &list, NULL);

	(void)e;
	if (r < 0)
		return 0;
	r = list.n == 1 && list.items[0].complete && list.items[0].source &&
	    !strcmp(list.items[0].source, "official") && list.items[0].origin &&
	    !strcmp(list.items[0].origin, origin);
	if (r) {
		ret->target = list.items[0].target;
		ret->manifest = list.items[0].manifest;
		ret->n_layers = list.items[0].n_layers;
		ret->bytes_reused = list.items[0].size;
		ret->unchanged = true;
		catalog_touch(o->p->store, &ret->manifest);
	}
	varve_image_list_free(&list);
	return r;
}

static int commit(struct official *o, const struct made *m, const char *reference,
		  struct varve_err *e)
{
	char familiar[800];
	struct catalog_tag tag = {
		.name = varve_reference_familiar(o->ref, familiar),
		.reference = reference,
		.source = "official",
		.origin = m->origin,
		.target = m->manifest,
		.manifest = m->manifest,
		.platform = o->p->platform,
		.explicit_platform = o->p->explicit_platform,
	};
	struct catalog_commit c = {.blobs = m->blobs,
				   .n_blobs = m->n,
				   .manifest = m->manifest,
				   .tags = &tag,
				   .n_tags = 1};

	return catalog_commit(o->p->store, &c, e);
}

static void fill_result(const struct official *o, const struct made *m,
			struct varve_pull_result *ret)
{
	size_t i;

	ret->target = ret->manifest = m->manifest;
	ret->unchanged = true;
	for (i = 0; i < o->p->n_needs; i++) {
		const struct need *n = &o->p->needs[i];

		ret->n_layers += n->kind == VARVE_BLOB_LAYER;
		if (n->fetched) {
			ret->n_fetched++;
			ret->bytes_fetched += n->wire_bytes;
			ret->unchanged = false;
		}
	}
	(void)snprintf(ret->resolved_at, sizeof(ret->resolved_at), "%.255s", o->place.repo);
}

static void write_origin(const struct official *o, char ret[VARVE_ORIGIN_MAX])
{
	(void)snprintf(ret, VARVE_ORIGIN_MAX, "%s@%s:%s/%s", o->place.repo, o->place.commit,
		       o->place.directory, o->place.file);
}

static int pull_one(struct official *o, struct varve_pull_result *ret, struct varve_err *e)
{
	struct made m = {0};
	char reference[800];
	int r = find_place(o, e);

	if (r < 0)
		return r;
	(void)varve_reference_canonical(o->ref, reference);
	write_origin(o, m.origin);
	r = is_stored(o, reference, m.origin, ret, e);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!strcmp(o->place.builder, "oci-import"))
		r = from_layout(o, &m, e);
	else
		r = from_dockerfile(o, &m, e);
	if (r < 0)
		r = varve_wrap(e, r, "%s at %.12s", URL_SAFE(o->place.repo), o->place.commit);
	if (r == 0)
		r = commit(o, &m, reference, e);
	if (r == 0)
		fill_result(o, &m, ret);
	free(m.blobs);
	return r;
}

static int check_reference(struct pull *p, const struct varve_reference *ref, const char **ret_arch,
			   struct varve_err *e)
{
	char platform[84];

	if (strcmp(ref->domain, "docker.io") != 0 || strncmp(ref->path, "library/", 8) != 0 ||
	    strchr(ref->path + 8, '/'))
		return varve_fail(e, VARVE_E_USAGE,
				  "is no official image; those have plain names, as debian:sid");
	if (varve_digest_is_set(&ref->digest))
		return varve_fail(e, VARVE_E_USAGE,
				  "official images are built from a tag; a digest cannot be asked "
				  "for");
	*ret_arch = official_arch(&p->platform);
	if (!*ret_arch)
		return varve_fail(e, VARVE_E_NOPLATFORM, "there are no official images for %s",
				  varve_platform_str(&p->platform, platform));
	return 0;
}

int official_origin(struct pull *p, const struct varve_reference *ref, char ret[VARVE_ORIGIN_MAX],
		    struct varve_err *e)
{
	struct official o = {.p = p, .ref = ref};
	int r = check_reference(p, ref, &o.arch, e);

	if (r == 0)
		r = find_place(&o, e);
	if (r == 0)
		write_origin(&o, ret);
	return r;
}

int official_pull(struct pull *p, const struct varve_reference *refs, size_t n,
		  struct varve_pull_result *results, struct varve_err *e)
{
	char name[800];
	size_t i;

	for (i = 0; i < n; i++) {
		struct official o = {.p = p, .ref = &refs[i]};
		int r = check_reference(p, o.ref, &o.arch, e);

		if (r == 0)
			r = pull_one(&o, &results[i], e);
		official_done(&o);
		if (r < 0)
			return varve_wrap(e, r, "%s", varve_reference_familiar(&refs[i], name));
	}
	return 0;
}

int official_refetch(struct pull *p, const struct need *n, const char *url, struct varve_err *e)
{
	struct official o = {.p = p};
	int r = official_add_need(&o, url, n, e);

	if (r == 0)
		r = pull_blobs(p, e);
	official_done(&o);
	return r;
}
