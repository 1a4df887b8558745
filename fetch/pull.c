/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of a pull: resolve, documents, what is missing, transfers, one commit per image. */
#include "fetch/blobs/pull.h"
#include "fetch/blobs/blobs.h"
#include "fetch/blobs/finish.h"
#include "fetch/resolve.h"
#include "fetch/schema1.h"

#include "fetch/official/official.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/registry/exchange_auth.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/care/discard.h"
#include "store/handle.h"
#include "store/ingest.h"

#define JOBS_DEFAULT 6u
#define JOBS_MAX     16u

static void pull_done(struct pull *p)
{
	for (size_t i = 0; i < p->n_images; i++) {
		oci_manifest_free(p->images[i].doc);
		oci_schema1_free(p->images[i].schema1);
	}
	free(p->images);
	free(p->needs);
	client_free(p->client);
	lease_end(p->lease);
}

static int pull_init(struct pull *p, struct varve_store *s, const struct varve_pull_options *opt,
		     struct varve_err *e)
{
	const struct varve_config *config = opt->config;
	int r;

	*p = (struct pull){.store = s, .ctx = store_ctx(s), .layers = opt->layers};
	p->jobs = opt->jobs ? opt->jobs : config && config->jobs ? config->jobs : JOBS_DEFAULT;
	p->jobs = VARVE_MIN(p->jobs, JOBS_MAX);
	p->explicit_platform = opt->platform != NULL;
	if (opt->platform)
		p->platform = *opt->platform;
	else if (config && config->has_platform)
		p->platform = config->platform;
	else
		varve_platform_host(&p->platform);
	r = client_new(&p->client, p->ctx, config, &registry_exchange, p->jobs, e);
	if (r < 0)
		return r;
	p->client->store = s;
	p->client->wait = opt->wait;
	p->client->offer_wait = true;
	return lease_begin(&p->lease, s, "pull", e);
}

static void tell_resolve(const struct pull *p, const char *name, bool finished)
{
	const struct varve_progress ev = {
		.stage = VARVE_STAGE_RESOLVE,
		.object = name,
		.finished = finished,
	};

	progress_emit(p->ctx, &ev);
}

/* The name under which the store knows a reference: its digest if it has one. */
static const char *stored_name(const struct varve_reference *ref, char buf[800])
{
	struct varve_reference r = *ref;

	if (varve_digest_is_set(&r.digest))
		r.tag[0] = 0;
	return varve_reference_canonical(&r, buf);
}

static int offline(struct pull *p, const struct varve_reference *ref, struct varve_pull_result *ret,
		   struct varve_err *e)
{
	char name[800];
	int r = finish_stored(p, stored_name(ref, name), NULL, ret, e);

	if (r < 0)
		return r;
	if (r == 0)
		return varve_fail(
			e, VARVE_E_OFFLINE,
			"it is not in the store as a whole, and the network may not be used; "
			"pull it without --offline");
	return 0;
}

/* 1: nothing has to be done: the digest is stored, or the tag still means what is stored. */
static int unchanged(struct pull *p, struct image_job *im, struct varve_err *e)
{
	struct catalog_tag tag;
	struct varve_digest now;
	void *priv = NULL;
	char name[800];
	int r;

	if (varve_digest_is_set(&im->ref->digest))
		return finish_stored(p, stored_name(im->ref, name), NULL, im->result, e);
	(void)stored_name(im->ref, name);
	r = catalog_get_tag(p->store, name, &p->platform, &tag, &priv, e);
	if (r == 0 && !p->explicit_platform)
		r = catalog_get_tag(p->store, name, NULL, &tag, &priv, e);
	if (r <= 0)
		return r;
	r = pull_head(p->client, im->repo, im->ref, &now, im->result->resolved_at, e);
	if (r == 0 && varve_digest_equal(&now, &tag.target)) {
		/* If blobs are missing, the manifest of the store is good for the way there. */
		im->target = now;
		r = finish_stored(p, name, NULL, im->result, e);
	}
	free(priv);
	return r;
}

/* --- needs --- */

static int add_need(struct pull *p, const struct need *n, struct varve_err *e)
{
	struct need *old = pull_need(p, &n->digest), *grown;

	if (old) {
		if (old->size != n->size && old->size != VARVE_SIZE_UNKNOWN &&
		    n->size != VARVE_SIZE_UNKNOWN)
			return varve_fail(e, VARVE_E_FORMAT,
					  "two descriptors of %s disagree about its size",
					  DIGEST_STR(&n->digest));
		if (old->size == VARVE_SIZE_UNKNOWN)
			old->size = n->size;
		old->follow |= n->follow;
		return 0;
	}
	grown = realloc(p->needs, (p->n_needs + 1) * sizeof(*grown));
	if (!grown)
		return varve_fail_oom(e);
	p->needs = grown;
	p->needs[p->n_needs++] = *n;
	return 0;
}

static int check_algorithm(const struct varve_digest *d, struct varve_err *e)
{
	if (d->algo == VARVE_SHA256)
		return 0;
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "the image names blobs by %.7s...; the store keeps only sha256",
			  DIGEST_STR(d));
}

static int need_manifest(struct pull *p, const struct image_job *im, struct varve_err *e)
{
	const struct oci_manifest *m = im->doc;
	struct need n = {.repo = im->repo, .kind = VARVE_BLOB_CONFIG};
	int r = check_algorithm(&m->config.digest, e);

	n.digest = m->config.digest;
	n.size = m->config.size;
	if (r == 0 && n.size > OCI_CONFIG_MAX)
		r = varve_fail(e, VARVE_E_LIMIT, "a config of %s, at most %s are taken",
			       TEXT_SIZE(n.size), TEXT_SIZE(OCI_CONFIG_MAX));
	if (r == 0)
		r = add_need(p, &n, e);
	for (size_t i = 0; r == 0 && i < m->n_layers; i++) {
		const struct oci_descriptor *d = &m->layers[i];

		n = (struct need){.digest = d->digest,
				  .size = d->size,
				  .kind = VARVE_BLOB_LAYER,
				  .repo = im->repo,
				  .urls = d->urls,
				  .follow = true};
		r = check_algorithm(&d->digest, e);
		if (r == 0)
			r = add_need(p, &n, e);
	}
	return r;
}

static int need_schema1(struct pull *p, const struct image_job *im, struct varve_err *e)
{
	const struct oci_schema1 *m = im->schema1;
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_layers; i++) {
		struct need n = {.digest = m->layers[i].blob,
				 .size = VARVE_SIZE_UNKNOWN,
				 .kind = VARVE_BLOB_LAYER,
				 .repo = im->repo,
				 .follow = true};

		if (m->layers[i].throwaway)
			continue;
		r = check_algorithm(&n.digest, e);
		if (r == 0)
			r = add_need(p, &n, e);
	}
	return r;
}

/* Inline data of descriptors goes straight into the store (3.11). */
static int store_inline(struct pull *p, const struct oci_manifest *m, struct varve_err *e)
{
	for (size_t i = 0; i <= m->n_layers; i++) {
		const struct oci_descriptor *d = i ? &m->layers[i - 1] : &m->config;
		int r;

		if (!d->data || d->digest.algo != VARVE_SHA256)
			continue;
		r = ingest_bytes(p->store, p->lease, i ? VARVE_BLOB_LAYER : VARVE_BLOB_CONFIG,
				 d->data, d->data_size, &d->digest, NULL, e);
		if (r < 0)
			return varve_wrap(e, r, "inline data of %s", DIGEST_STR(&d->digest));
	}
	return 0;
}

/* --- one image --- */

static int prepare(struct pull *p, struct image_job *im, struct varve_err *e)
{
	char name[800];
	int r;

	(void)varve_reference_familiar(im->ref, name);
	tell_resolve(p, name, false);
	r = client_repo(p->client, im->ref->domain, im->ref->path, &im->repo, e);
	if (r == 0)
		r = unchanged(p, im, e);
	if (r > 0)
		im->unchanged = true;
	else if (r == 0)
		r = pull_resolve(p, im, e);
	tell_resolve(p, name, true);
	if (r == -VARVE_E_NOTFOUND && !strncmp(im->ref->path, "library/", 8) &&
	    !strcmp(im->ref->domain, "docker.io"))
		(void)varve_wrap(e, r,
				 "not in the registry; perhaps from its source: --source "
				 "official");
	if (r == 0 && im->doc)
		r = store_inline(p, im->doc, e);
	if (r == 0)
		r = im->schema1 ? need_schema1(p, im, e) : im->doc ? need_manifest(p, im, e) : 0;
	return r < 0 ? varve_wrap(e, r, "%s", name) : 0;
}

static bool all_there(struct pull *p, const struct image_job *im)
{
	if (im->schema1) {
		for (size_t i = 0; i < im->schema1->n_layers; i++)
			if (!im->schema1->layers[i].throwaway &&
			    !pull_need(p, &im->schema1->layers[i].blob)->there)
				return false;
		return true;
	}
	for (size_t i = 0; i < im->doc->n_layers; i++)
		if (!pull_need(p, &im->doc->layers[i].digest)->there)
			return false;
	return pull_need(p, &im->doc->config.digest)->there;
}

static size_t list_blobs(struct pull *p, const struct image_job *im, const char *origin,
			 struct catalog_blob *out)
{
	size_t n = 0;

	for (size_t i = 0; i < im->n_docs; i++)
		out[n++] = (struct catalog_blob){.digest = im->docs[i].digest,
						 .size = im->docs[i].size,
						 .kind = im->docs[i].kind,
						 .origin = origin};
	for (size_t i = 0; i < p->n_needs; i++) {
		const struct need *d = &p->needs[i];
		struct varve_blob_info info;

		if (!d->there || d->repo != im->repo ||
		    blob_stat(p->store, &d->digest, &info, NULL) <= 0)
			continue;
		out[n++] = (struct catalog_blob){.digest = d->digest,
						 .size = info.size,
						 .kind = d->kind,
						 .origin = origin,
						 .has_facts = d->has_facts,
						 .facts = d->facts};
	}
	return n;
}

/* commit_image false: only what is complete of it is recorded, for the next attempt. */
static int record(struct pull *p, struct image_job *im, bool commit_image, struct varve_err *e)
{
	VARVE_FREE struct catalog_blob *blobs = calloc(im->n_docs + p->n_needs + 1, sizeof(*blobs));
	char origin[600];
	struct catalog_tag tag = {.source = "registry", .origin = origin};
	struct catalog_commit c = {0};

	if (!blobs)
		return varve_fail_oom(e);
	(void)snprintf(origin, sizeof(origin), "registry:%s/%s", im->ref->domain, im->ref->path);
	c.blobs = blobs;
	c.n_blobs = list_blobs(p, im, origin, blobs);
	if (!commit_image)
		return catalog_commit(p->store, &c, e);
	c.manifest = im->manifest;
	c.parents = im->parents;
	c.n_parents = im->n_parents;
	c.extra = im->schema1 ? &im->target : NULL;
	c.n_extra = im->schema1 ? 1 : 0;
	tag.place = *im->result->resolved_at ? im->result->resolved_at : NULL;
	tag.target = im->target;
	return finish_commit(p, im->ref, &c, &tag, e);
}

static void fill_result(struct pull *p, const struct image_job *im)
{
	struct varve_pull_result *res = im->result;

	res->target = im->target;
	res->manifest = im->manifest;
	res->n_layers = im->doc ? im->doc->n_layers : im->schema1->n_layers;
	finish_result(p, im->repo, res);
}

static int finish_image(struct pull *p, struct image_job *im, struct varve_err *e)
{
	char name[800];
	int r = im->schema1 ? pull_convert_schema1(p, im, e)
			    : finish_check_config(p, im->doc, im->n_parents > 0, e);

	if (r < 0)
		(void)record(p, im, false, NULL);
	else
		r = record(p, im, true, e);
	if (r == 0)
		fill_result(p, im);
	return r < 0 ? varve_wrap(e, r, "%s", varve_reference_familiar(im->ref, name)) : 0;
}

/* After a failure: complete images are recorded as such, of the others what is complete. */
static void keep_what_is_there(struct pull *p)
{
	for (size_t i = 0; i < p->n_images; i++) {
		struct image_job *im = &p->images[i];

		if (im->unchanged || (!im->doc && !im->schema1))
			continue;
		if (!all_there(p, im))
			(void)record(p, im, false, NULL);
		else
			(void)finish_image(p, im, NULL);
	}
}

static int run(struct pull *p, const struct varve_reference *refs, size_t n,
	       struct varve_pull_result *results, struct varve_err *e)
{
	int r = 0;

	p->images = calloc(n, sizeof(*p->images));
	if (!p->images)
		return varve_fail_oom(e);
	p->n_images = n;
	for (size_t i = 0; r == 0 && i < n; i++) {
		p->images[i].ref = &refs[i];
		p->images[i].result = &results[i];
		r = prepare(p, &p->images[i], e);
	}
	if (r < 0)
		return r;
	r = pull_blobs(p, e);
	if (r < 0) {
		keep_what_is_there(p);
		return r;
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!p->images[i].unchanged)
			r = finish_image(p, &p->images[i], e);
	return r;
}

static int run_offline(struct pull *p, const struct varve_reference *refs, size_t n,
		       struct varve_pull_result *results, struct varve_err *e)
{
	char name[800];
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = offline(p, &refs[i], &results[i], e);
		if (r < 0)
			(void)varve_wrap(e, r, "%s", varve_reference_familiar(&refs[i], name));
	}
	return r;
}

/* "registry:host/repo" as record() wrote it. */
static int parse_origin(const char *origin, struct varve_reference *ret, struct varve_err *e)
{
	if (!origin || strncmp(origin, "registry:", 9) != 0)
		return varve_fail(e, VARVE_E_NOTFOUND, "it did not come from a registry; %s%s",
				  origin ? "bring it in again from " : "its origin is not known",
				  origin ? TEXT_SAFE(origin) : "");
	return varve_reference_parse(ret, origin + 9, e);
}

int varve_refetch_blob(void *user, const struct varve_digest *d, uint64_t size, const char *origin,
		       struct varve_err *e)
{
	const struct varve_refetch *refetch = user;
	VARVE_CLEANUP(pull_done) struct pull p = {0};
	struct need n = {.digest = *d, .size = size, .kind = VARVE_BLOB_OTHER};
	struct varve_reference ref;
	bool url = origin && (!strncmp(origin, "https://", 8) || !strncmp(origin, "http://", 7));
	struct varve_pull_options own;
	int r = OPTIONS_COPY(&own, refetch->options, source, e);

	if (r == 0 && !url)
		r = parse_origin(origin, &ref, e);
	if (r < 0)
		return r;
	if (own.offline)
		return varve_fail(e, VARVE_E_OFFLINE, "it has to be fetched again from %s",
				  url ? URL_SAFE(origin) : ref.domain);
	r = pull_init(&p, refetch->store, &own, e);
	if (r == 0)
		p.client->offer_wait = false;
	if (r == 0 && url)
		return official_refetch(&p, &n, origin, e);
	if (r == 0)
		r = client_repo(p.client, ref.domain, ref.path, &n.repo, e);
	if (r == 0)
		r = add_need(&p, &n, e);
	if (r < 0)
		return r;
	r = pull_blobs(&p, e);
	/* Manifests are no blobs to a registry, and what it was is not always known any more. */
	if (r == -VARVE_E_NOTFOUND && size <= OCI_DOC_MAX) {
		struct varve_err second = VARVE_ERR_INIT;

		int doc = pull_document(&p, n.repo, d, size, &second);

		if (doc == 0)
			return 0;
		if (doc != -VARVE_E_NOTFOUND) {
			if (e)
				*e = second;
			return doc;
		}
	}
	return r;
}

static int pull_all(struct varve_store *s, const struct varve_reference *refs, size_t n,
		    const struct varve_pull_options *opt, struct varve_pull_result *results,
		    struct varve_err *e)
{
	VARVE_CLEANUP(pull_done) struct pull p = {0};
	bool official = opt->source && !strcmp(opt->source, "official");
	int r = pull_init(&p, s, opt, e);

	if (r < 0)
		return r;
	if (opt->offline)
		return run_offline(&p, refs, n, results, e);
	return official ? official_pull(&p, refs, n, results, e) : run(&p, refs, n, results, e);
}

int varve_pull(struct varve_store *s, const struct varve_reference *refs, size_t n,
	       const struct varve_pull_options *opt, struct varve_pull_result *results,
	       struct varve_err *e)
{
	struct varve_pull_options own;
	int r = OPTIONS_COPY(&own, opt, source, e);

	memset(results, 0, n * sizeof(*results));
	if (r < 0)
		return r;
	opt = &own;
	if (opt->source && strcmp(opt->source, "official") != 0 &&
	    strcmp(opt->source, "registry") != 0)
		return varve_fail(e, VARVE_E_USAGE,
				  "'%s' is no source of images; there are: registry, official",
				  TEXT_SAFE(opt->source));
	r = pull_all(s, refs, n, opt, results, e);
	/* Who interrupts it may want to go on from here. */
	if (r < 0 && r != -VARVE_E_INTERRUPTED)
		store_discard_published(s);
	return r;
}
