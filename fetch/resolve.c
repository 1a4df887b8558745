/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference to the manifest of the platform (docs/requirements.md 3); documents are stored
 * on the way. */
#include <stdlib.h>
#include <string.h>

#include "fetch/blobs/pull.h"
#include "fetch/http/encoding.h"
#include "fetch/registry/exchange.h"
#include "fetch/resolve.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/ingest.h"

/* One header with all of them: some servers read only the first, and a partial list makes
 * docker-registry convert to schema1 silently (docs/requirements.md 3.1, 3.2). */
#define ACCEPT                                                                                     \
	OCI_MT_INDEX ", " OCI_MT_MANIFEST ", " DOCKER_MT_LIST ", " DOCKER_MT_MANIFEST              \
		     ", " DOCKER_MT_SCHEMA1_SIGNED ", " DOCKER_MT_SCHEMA1
#define DEPTH_MAX 5u

/* What is asked for, and what came. */
struct document {
	struct varve_digest expect; /* not set: by tag */
	uint64_t expect_size;       /* VARVE_SIZE_UNKNOWN: nobody said */
	const char *expect_type;    /* of the descriptor; may be NULL */
	struct buf bytes;           /* as they are stored: of schema1 the payload */
	struct varve_digest digest; /* sha256 of bytes */
	char content_type[128];
	enum oci_doc_kind kind;
	/* Parsed: by kind one of them. Nothing that cannot be parsed is stored. */
	struct oci_schema1 *schema1;
	struct oci_manifest *manifest;
	struct oci_index *index;
	char place[256];
};

static void forget_parsed(struct document *d)
{
	oci_schema1_free(VARVE_TAKE(d->schema1));
	oci_manifest_free(VARVE_TAKE(d->manifest));
	oci_index_free(VARVE_TAKE(d->index));
}

static void document_done(struct document *d)
{
	buf_done(&d->bytes);
	forget_parsed(d);
}

/* Of a schema1 manifest the payload is what counts: its envelope differs with every answer
 * (3.20, 3.21b). */
static int take_schema1(struct document *d, struct varve_err *e)
{
	int r = oci_schema1_parse(&d->schema1, d->bytes.p, d->bytes.n, e);

	if (r < 0)
		return r;
	buf_reset(&d->bytes);
	buf_add(&d->bytes, d->schema1->payload, d->schema1->payload_size);
	d->digest = d->schema1->digest;
	return buf_error(&d->bytes) < 0 ? varve_fail_oom(e) : 0;
}

static int check_digest(const struct document *d, struct varve_err *e)
{
	struct varve_digest got = d->digest;
	int r = 0;

	if (!varve_digest_is_set(&d->expect))
		return 0;
	if (d->expect.algo != got.algo)
		r = hash_bytes(d->expect.algo, d->bytes.p, d->bytes.n, &got, e);
	if (r < 0)
		return r;
	if (!varve_digest_equal(&got, &d->expect))
		return varve_fail(e, VARVE_E_DIGEST,
				  "the manifest has the digest %s, wanted was %s", DIGEST_STR(&got),
				  DIGEST_STR(&d->expect));
	if (d->expect_size != VARVE_SIZE_UNKNOWN && d->bytes.n != d->expect_size)
		return varve_fail(e, VARVE_E_SIZE,
				  "the manifest has %zu bytes, its descriptor says %llu",
				  d->bytes.n, (unsigned long long)d->expect_size);
	return 0;
}

/* bytes and content_type are set: find out what it is and whether it is what was wanted. */
static int examine(struct document *d, struct varve_err *e)
{
	int r = hash_bytes(VARVE_SHA256, d->bytes.p, d->bytes.n, &d->digest, e);

	forget_parsed(d);
	if (r == 0)
		r = oci_classify(d->bytes.p, d->bytes.n, d->content_type, d->expect_type, &d->kind,
				 e);
	if (r == 0 && d->kind == OCI_DOC_SCHEMA1)
		r = take_schema1(d, e);
	if (r == 0)
		r = check_digest(d, e);
	if (r == 0 && d->kind == OCI_DOC_INDEX)
		r = oci_index_parse(&d->index, d->bytes.p, d->bytes.n, e);
	else if (r == 0 && d->kind == OCI_DOC_MANIFEST)
		r = oci_manifest_parse(&d->manifest, d->bytes.p, d->bytes.n, e);
	else if (r == 0 && d->kind == OCI_DOC_UNKNOWN)
		r = varve_fail(e, VARVE_E_FORMAT, "neither a manifest nor an image index");
	return r;
}

static enum call_verdict on_complete(struct call *c, bool whole)
{
	struct document *d = c->user;
	struct varve_digest said;
	int r = 0;

	if (!whole) {
		(void)varve_fail(&c->err, VARVE_E_NETWORK, "%s: the document ended early",
				 call_place(c));
		return CALL_RETRY;
	}
	if (encoding_declared(&c->rq.answer))
		r = encoding_undo(&c->rq.body, &c->err);
	buf_reset(&d->bytes);
	buf_add(&d->bytes, c->rq.body.p, c->rq.body.n);
	(void)headers_media_type(&c->rq.answer, d->content_type, sizeof(d->content_type));
	if (r == 0)
		r = buf_error(&d->bytes) < 0 ? varve_fail_oom(&c->err) : examine(d, &c->err);
	if (r < 0) {
		(void)varve_wrap(&c->err, r, "%s", call_place(c));
		return CALL_NEXT;
	}
	/* A hint only: real registries send it wrong (3.6). */
	if (headers_digest(&c->rq.answer, &said) && said.algo == VARVE_SHA256 &&
	    !varve_digest_equal(&said, &d->digest))
		log_warn(c->client->ctx, "fetch",
			 "%s says that the digest is %s; it is %s, and that counts", call_place(c),
			 DIGEST_STR(&said), DIGEST_STR(&d->digest));
	return CALL_OK;
}

static int manifest_call(struct call *c, struct client *client, struct repo *repo, const char *name,
			 bool by_tag, struct varve_err *e)
{
	call_init(c, client);
	c->repo = repo;
	c->targets = repo->targets;
	c->n_targets = repo->n_targets;
	c->by_tag = by_tag;
	c->accept = ACCEPT;
	c->body_max = OCI_DOC_MAX;
	if (asprintf(&c->resource, "manifests/%s", name) < 0) {
		c->resource = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

static int fetch_document(struct client *client, struct repo *repo, const char *name, bool by_tag,
			  struct document *d, struct varve_err *e)
{
	static const struct call_ops ops = {.complete = on_complete};
	VARVE_CLEANUP(call_done) struct call c = {0};
	int r = manifest_call(&c, client, repo, name, by_tag, e);

	if (r < 0)
		return r;
	c.ops = &ops;
	c.user = d;
	r = call_run(&c, e);
	(void)snprintf(d->place, sizeof(d->place), "%s", call_place(&c));
	return r;
}

static enum varve_blob_kind blob_kind(enum oci_doc_kind k)
{
	return k == OCI_DOC_INDEX      ? VARVE_BLOB_INDEX
	       : k == OCI_DOC_MANIFEST ? VARVE_BLOB_MANIFEST
				       : VARVE_BLOB_OTHER;
}

/* 1: the store has it. */
static int from_store(struct pull *p, struct document *d, struct varve_err *e)
{
	int r;

	if (d->expect.algo != VARVE_SHA256)
		return 0;
	r = lease_add(p->lease, &d->expect, e);
	if (r < 0)
		return r;
	r = blob_stat(p->store, &d->expect, NULL, e);
	if (r <= 0)
		return r;
	buf_reset(&d->bytes);
	if (blob_read(p->store, &d->expect, &d->bytes, NULL) < 0 || examine(d, NULL) < 0)
		return 0; /* damaged, or larger than a manifest may be: the registry's word counts
			   */
	return 1;
}

static int from_data(const struct oci_descriptor *desc, struct document *d)
{
	if (!desc || !desc->data)
		return 0;
	buf_reset(&d->bytes);
	buf_add(&d->bytes, desc->data, desc->data_size);
	return buf_error(&d->bytes) == 0 && examine(d, NULL) == 0;
}

int pull_note_doc(struct image_job *im, const struct varve_digest *d, uint64_t size,
		  enum varve_blob_kind kind, struct varve_err *e)
{
	if (im->n_docs == VARVE_ARRAY_SIZE(im->docs))
		return varve_fail(e, VARVE_E_LIMIT, "too many documents in one image");
	im->docs[im->n_docs++] = (struct stored_doc){*d, size, kind};
	return 0;
}

/* An artifact is told before anything of it is stored. */
static int check_image(const struct document *d, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	enum oci_what what;

	if (!d->manifest)
		return 0;
	buf_init(&why, 1024);
	what = oci_manifest_what(d->manifest, &why);
	if (what == OCI_WHAT_IMAGE)
		return 0;
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  what == OCI_WHAT_UNREADABLE
				  ? "%s"
				  : "%s, not a container image; varve pulls only images",
			  buf_error(&why) ? "an artifact" : why.p);
}

static int get_document(struct pull *p, struct image_job *im, const struct oci_descriptor *desc,
			struct document *d, struct varve_err *e)
{
	bool by_tag = !varve_digest_is_set(&d->expect);
	int r = by_tag ? 0 : from_store(p, d, e);

	if (r == 0 && !from_data(desc, d))
		r = fetch_document(p->client, im->repo,
				   by_tag ? im->ref->tag : DIGEST_STR(&d->expect), by_tag, d, e);
	if (r >= 0)
		r = check_image(d, e);
	if (r < 0)
		return r;
	r = ingest_bytes(p->store, p->lease, blob_kind(d->kind), d->bytes.p, d->bytes.n, &d->digest,
			 NULL, e);
	if (r < 0)
		return varve_wrap(e, r, "store the manifest %s", DIGEST_STR(&d->digest));
	return pull_note_doc(im, &d->digest, d->bytes.n, blob_kind(d->kind), e);
}

int pull_document(struct pull *p, struct repo *repo, const struct varve_digest *digest,
		  uint64_t size, struct varve_err *e)
{
	VARVE_CLEANUP(document_done)
	struct document d = {.expect = *digest, .expect_size = size};
	int r;

	buf_init(&d.bytes, OCI_DOC_MAX);
	r = fetch_document(p->client, repo, DIGEST_STR(digest), false, &d, e);
	return r < 0 ? r
		     : ingest_bytes(p->store, p->lease, blob_kind(d.kind), d.bytes.p, d.bytes.n,
				    &d.digest, NULL, e);
}

/* The manifest for our platform: what is wanted next. */
static int choose(struct pull *p, const struct oci_index *index, struct document *d,
		  const struct oci_descriptor **ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf has = {0};
	char want[84];
	int k = oci_index_choose(index, &p->platform);

	if (k < 0) {
		buf_init(&has, 2000);
		oci_index_platforms(index, &has);
		return varve_fail(e, VARVE_E_NOPLATFORM, "no image for %s; there are: %s",
				  varve_platform_str(&p->platform, want), has.n ? has.p : "none");
	}
	*ret = &index->manifests[k];
	d->expect = index->manifests[k].digest;
	d->expect_size = index->manifests[k].size;
	d->expect_type = index->manifests[k].media_type;
	return 0;
}

static bool seen(const struct image_job *im, const struct varve_digest *d)
{
	for (size_t i = 0; i < im->n_parents; i++)
		if (varve_digest_equal(&im->parents[i], d))
			return true;
	return false;
}

static void index_cleanup(struct oci_index **i)
{
	oci_index_free(*i);
}

/* One step down: *d becomes what its index chooses. */
static int descend(struct pull *p, struct image_job *im, struct document *d, struct varve_err *e)
{
	VARVE_CLEANUP(index_cleanup) struct oci_index *index = VARVE_TAKE(d->index);
	const struct oci_descriptor *desc = NULL;
	int r;

	if (im->n_parents >= DEPTH_MAX || seen(im, &d->digest))
		return varve_fail(e, VARVE_E_LIMIT, "image indexes nested more than %u deep",
				  DEPTH_MAX);
	im->parents[im->n_parents++] = d->digest;
	r = choose(p, index, d, &desc, e);
	if (r < 0)
		return r;
	r = get_document(p, im, desc, d, e);
	d->expect_type = NULL; /* it was the index's */
	return r < 0 ? varve_wrap(e, r, "manifest %s", DIGEST_STR(&d->expect)) : 0;
}

int pull_resolve(struct pull *p, struct image_job *im, struct varve_err *e)
{
	VARVE_CLEANUP(document_done) struct document d = {.expect_size = VARVE_SIZE_UNKNOWN};
	int r;

	buf_init(&d.bytes, OCI_DOC_MAX);
	d.expect = varve_digest_is_set(&im->ref->digest) ? im->ref->digest : im->target;
	r = get_document(p, im, NULL, &d, e);
	if (r < 0)
		return r;
	im->target = d.digest;
	if (*d.place)
		(void)snprintf(im->result->resolved_at, sizeof(im->result->resolved_at), "%s",
			       d.place);
	while (r == 0 && d.kind == OCI_DOC_INDEX)
		r = descend(p, im, &d, e);
	if (r < 0)
		return r;
	im->manifest = d.digest;
	im->schema1 = VARVE_TAKE(d.schema1);
	im->doc = VARVE_TAKE(d.manifest);
	return 0;
}

int pull_head(struct client *c, struct repo *repo, const struct varve_reference *ref,
	      struct varve_digest *ret, char place[256], struct varve_err *e)
{
	VARVE_CLEANUP(document_done) struct document d = {.expect_size = VARVE_SIZE_UNKNOWN};
	VARVE_CLEANUP(call_done) struct call head = {0};
	int r = manifest_call(&head, c, repo, ref->tag, true, e);

	if (r < 0)
		return r;
	head.method = HTTP_HEAD;
	r = call_run(&head, e);
	(void)snprintf(place, 256, "%s", call_place(&head));
	if (r == 0 && headers_digest(&head.rq.answer, ret) && ret->algo == VARVE_SHA256)
		return 0;
	if (r == -VARVE_E_INTERRUPTED || r == -VARVE_E_NETWORK || r == -VARVE_E_TLS ||
	    r == -VARVE_E_RATELIMIT)
		return r;
	/* HEAD refused, without a digest, or an error whose words only a GET has. */
	varve_err_reset(e);
	buf_init(&d.bytes, OCI_DOC_MAX);
	r = fetch_document(c, repo, ref->tag, true, &d, e);
	if (r == 0)
		*ret = d.digest;
	return r;
}
