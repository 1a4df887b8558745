/* SPDX-License-Identifier: Apache-2.0 */
/* Push a stored image: blobs first, then manifests,
 * the one with the tag last (docs/protocol.md). */
#include "fetch/push.h"

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
#include "store/handle.h"
#include "store/lease.h"

#define JOBS_DEFAULT 3u
#define JOBS_MAX     16u
#define DOCS_MAX     1000u
#define NESTING_MAX  4u

static void push_done(struct push *p)
{
	size_t i;

	for (i = 0; i < p->n_docs; i++)
		free(p->docs[i].bytes);
	free(p->docs);
	free(p->uploads);
	client_free(p->client);
	lease_end(p->lease);
}

/* --- what is sent --- */

/* What others would refuse is not published. */
static int check_size(const struct varve_digest *d, uint64_t has, uint64_t said,
		      struct varve_err *e)
{
	if (said == VARVE_SIZE_UNKNOWN || said == has)
		return 0;
	return varve_fail(e, VARVE_E_SIZE,
			  "blob %s has %llu bytes, but the image says that it has %llu: nobody "
			  "could pull it; make the image anew where it was made",
			  DIGEST_STR(d), (unsigned long long)has, (unsigned long long)said);
}

static int add_blob(struct push *p, const struct oci_descriptor *desc, struct varve_err *e)
{
	const struct varve_digest *d = &desc->digest;
	struct varve_blob_info info;
	struct upload *more;
	size_t i;
	int r;

	for (i = 0; i < p->n_uploads; i++)
		if (varve_digest_equal(&p->uploads[i].digest, d))
			return check_size(d, p->uploads[i].size, desc->size, e);
	r = lease_add(p->lease, d, e);
	if (r == 0)
		r = blob_stat(p->store, d, &info, e);
	if (r < 1)
		return r < 0 ? r
			     : varve_fail(e, VARVE_E_INCOMPLETE,
					  "blob %s is missing in the store; pull the image again",
					  DIGEST_STR(d));
	r = check_size(d, info.size, desc->size, e);
	if (r < 0)
		return r;
	more = reallocarray(p->uploads, p->n_uploads + 1, sizeof(*more));
	if (!more)
		return varve_fail_oom(e);
	p->uploads = more;
	more[p->n_uploads++] =
		(struct upload){.push = p, .digest = *d, .size = info.size, .fd = -1};
	return 0;
}

static int add_doc(struct push *p, const struct varve_digest *d, struct buf *b, const char *type,
		   struct varve_err *e)
{
	struct push_doc *more;

	if (p->n_docs == DOCS_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "more than %u manifests", DOCS_MAX);
	more = reallocarray(p->docs, p->n_docs + 1, sizeof(*more));
	if (!more)
		return varve_fail_oom(e);
	p->docs = more;
	more[p->n_docs] = (struct push_doc){.digest = *d, .n = b->n};
	(void)snprintf(more[p->n_docs].type, sizeof(more->type), "%s", type);
	more[p->n_docs].bytes = buf_take(b);
	return more[p->n_docs++].bytes ? 0 : varve_fail_oom(e);
}

static int collect_manifest(struct push *p, const struct varve_digest *d, struct buf *b,
			    const char *type, struct varve_err *e)
{
	struct oci_manifest *m = NULL;
	size_t i;
	int r = oci_manifest_parse(&m, b->p, b->n, e);

	if (r < 0)
		return r;
	r = add_blob(p, &m->config, e);
	for (i = 0; r == 0 && i < m->n_layers; i++)
		r = add_blob(p, &m->layers[i], e);
	if (r == 0)
		r = add_doc(p, d, b,
			    m->media_type && *m->media_type ? m->media_type
			    : type                          ? type
							    : OCI_MT_MANIFEST,
			    e);
	oci_manifest_free(m);
	return r;
}

static int collect(struct push *p, const struct oci_descriptor *desc, unsigned depth,
		   struct varve_err *e);

static int collect_index(struct push *p, const struct varve_digest *d, struct buf *b,
			 const char *type, unsigned depth, struct varve_err *e)
{
	struct oci_index *index = NULL;
	size_t i;
	int r = oci_index_parse(&index, b->p, b->n, e);

	for (i = 0; r == 0 && i < index->n; i++) {
		const struct oci_descriptor *child = &index->manifests[i];

		r = varve_digest_is_set(&child->digest)
			    ? collect(p, child, depth + 1, e)
			    : oci_fail_algorithm("an entry of the image index", e);
	}
	oci_index_free(index);
	return r == 0 ? add_doc(p, d, b, type, e) : r;
}

/* Children before their parents. */
static int collect(struct push *p, const struct oci_descriptor *desc, unsigned depth,
		   struct varve_err *e)
{
	const struct varve_digest *d = &desc->digest;
	const char *type = desc->media_type;
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	JSON_FREE json *j = NULL;
	enum oci_doc_kind kind;
	const char *own = NULL;
	size_t i;
	int r;

	for (i = 0; i < p->n_docs; i++)
		if (varve_digest_equal(&p->docs[i].digest, d))
			return check_size(d, p->docs[i].n, desc->size, e);
	if (depth > NESTING_MAX)
		return varve_fail(e, VARVE_E_FORMAT, "indexes are nested too deeply");
	buf_init(&b, OCI_DOC_MAX);
	r = lease_add(p->lease, d, e);
	if (r == 0)
		r = blob_stat(p->store, d, NULL, e);
	if (r == 0)
		return varve_fail(e, VARVE_E_INCOMPLETE,
				  "manifest %s is not in the store; pull that platform first",
				  DIGEST_STR(d));
	if (r == 1)
		r = blob_read(p->store, d, &b, e);
	if (r == 0)
		r = check_size(d, b.n, desc->size, e);
	if (r == 0)
		r = oci_classify(b.p, b.n, NULL, type, &kind, e);
	if (r < 0)
		return r;
	if (kind == OCI_DOC_MANIFEST)
		return collect_manifest(p, d, &b, type, e);
	if (kind != OCI_DOC_INDEX)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "%s: neither a manifest nor an index",
				  DIGEST_STR(d));
	if (json_parse(&j, b.p, b.n, OCI_DOC_MAX, NULL) == 0)
		own = json_str(json_get(j, "mediaType"));
	return collect_index(p, d, &b, own ? own : type ? type : OCI_MT_INDEX, depth, e);
}

/* --- manifests --- */

static int check_answer(const struct call *c, const struct push_doc *doc, struct varve_err *e)
{
	struct varve_digest got;

	if (headers_digest(&c->rq.answer, &got) && got.algo == doc->digest.algo &&
	    !varve_digest_equal(&got, &doc->digest))
		return varve_fail(e, VARVE_E_DIGEST,
				  "%s stored the manifest as %s: it has changed it", call_place(c),
				  DIGEST_STR(&got));
	return 0;
}

static int put_doc(struct push *p, const struct push_doc *doc, const char *name,
		   struct varve_err *e)
{
	struct target target = *p->place;
	const char *headers[2] = {NULL, NULL};
	char type[160];
	struct call c;
	int r;

	(void)snprintf(type, sizeof(type), "Content-Type: %s", doc->type);
	headers[0] = type;
	target.headers = headers;
	call_init(&c, p->client);
	c.repo = p->repo;
	c.targets = &target;
	c.n_targets = 1;
	c.method = HTTP_PUT;
	c.writes = true;
	c.upload = doc->bytes;
	c.upload_size = doc->n;
	if (asprintf(&c.resource, "manifests/%s", name) < 0) {
		c.resource = NULL;
		r = varve_fail_oom(e);
	} else {
		r = call_run(&c, e);
	}
	if (r == 0)
		r = check_answer(&c, doc, e);
	call_done(&c);
	return r < 0 ? varve_wrap(e, r, "manifest %s", DIGEST_STR(&doc->digest)) : 0;
}

static int put_docs(struct push *p, const struct varve_reference *dest, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < p->n_docs; i++) {
		const struct push_doc *doc = &p->docs[i];
		bool last = i + 1 == p->n_docs;

		r = put_doc(p, doc, last && dest->tag[0] ? dest->tag : DIGEST_STR(&doc->digest), e);
	}
	return r;
}

/* --- the run --- */

/* The repository that the image came from may lend its blobs, if it is on the same registry. */
static void find_mount(struct push *p, const struct varve_image *image,
		       const struct varve_reference *dest)
{
	struct varve_reference from;

	if (image->reference && varve_reference_parse(&from, image->reference, NULL) == 0 &&
	    !strcmp(from.domain, dest->domain) && strcmp(from.path, dest->path) != 0)
		memcpy(p->mount_from, from.path, sizeof(p->mount_from));
}

static int find_place(struct push *p, const struct varve_reference *dest, struct varve_err *e)
{
	size_t i;
	int r = client_repo(p->client, dest->domain, dest->path, &p->repo, e);

	for (i = 0; r == 0 && i < p->repo->n_targets; i++)
		if (!p->repo->targets[i].mirror)
			p->place = &p->repo->targets[i];
	if (r == 0 && !p->place)
		r = varve_fail(e, VARVE_E_CONFIG,
			       "%s: only mirrors may be used by the configuration; nothing is "
			       "pushed to a mirror",
			       dest->domain);
	return r;
}

int varve_push(struct varve_store *s, const struct varve_image *image,
	       const struct varve_reference *dest, const struct varve_push_options *opt,
	       struct varve_push_result *ret, struct varve_err *e)
{
	VARVE_CLEANUP(push_done) struct push p = {.store = s, .ctx = store_ctx(s), .ret = ret};
	const struct varve_digest *what;
	struct varve_push_options own;
	int r = OPTIONS_COPY(&own, opt, all, e);

	if (r < 0)
		return r;
	opt = &own;
	what = opt->all ? &image->target : &image->manifest;
	*ret = (struct varve_push_result){.digest = *what};
	if (varve_digest_is_set(&dest->digest) && !varve_digest_equal(&dest->digest, what))
		return varve_fail(e, VARVE_E_USAGE, "the image has the digest %s",
				  DIGEST_STR(what));
	p.jobs = VARVE_MIN(opt->jobs ? opt->jobs : JOBS_DEFAULT, JOBS_MAX);
	r = client_new(&p.client, p.ctx, opt->config, &registry_exchange, p.jobs, e);
	if (r < 0)
		return r;
	p.client->store = s;
	p.client->wait = opt->wait;
	p.client->offer_wait = true;
	r = lease_begin(&p.lease, s, "push", e);
	if (r == 0)
		r = collect(&p,
			    &(struct oci_descriptor){.digest = *what, .size = VARVE_SIZE_UNKNOWN},
			    0, e);
	if (r == 0)
		r = find_place(&p, dest, e);
	if (r < 0)
		return r;
	ret->n_blobs = p.n_uploads;
	find_mount(&p, image, dest);
	r = push_uploads(&p, e);
	return r == 0 ? put_docs(&p, dest, e) : r;
}
