/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of files become blobs, blobs become images. */
#include "materialize/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "materialize/codec/inflate.h"
#include "materialize/confine/cage.h"
#include "materialize/import/import_members.h"
#include "materialize/layer/squashfs.h"
#include "materialize/layer/toc.h"
#include "materialize/tar/tar.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/care/discard.h"
#include "store/handle.h"
#include "store/ingest.h"
#include "store/manifest.h"
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

int import_scratch(struct import *im, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	int fd;

	buf_init(&b, 8192);
	buf_printf(&b, "%s/tmp", varve_store_path(im->s));
	fd = buf_error(&b) ? -1 : fsx_open_unnamed(b.p);
	return fd < 0 ? varve_fail_errno(e, "%s: temporary file", b.p) : fd;
}

#define CHUNK     (1u << 20)
#define BLOBS_MAX 100000u

void import_blobs_done(struct import_blobs *b)
{
	free(b->items);
	*b = (struct import_blobs){0};
}

static int add_blob(struct import *im, struct import_blobs *b, const struct catalog_blob *item,
		    struct varve_err *e)
{
	if (b->n == BLOBS_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "more than %u blobs", BLOBS_MAX);
	if ((b->n & (b->n - 1)) == 0) {
		struct catalog_blob *more =
			reallocarray(b->items, b->n ? 2 * b->n : 1, sizeof(*more));

		if (!more)
			return varve_fail_oom(e);
		b->items = more;
	}
	b->items[b->n] = *item;
	b->items[b->n].origin = im->origin;
	b->n++;
	b->bytes_new += item->size;
	return 0;
}

/* Read a range in pieces; fn sees each. */
static int each_piece(struct import *im, const struct import_range *range,
		      int (*fn)(void *user, const void *p, size_t n, struct varve_err *e),
		      void *user, struct varve_err *e)
{
	VARVE_FREE char *piece = malloc(CHUNK);
	uint64_t done = 0;

	if (!piece)
		return varve_fail_oom(e);
	while (done < range->size) {
		size_t want = (size_t)VARVE_MIN(range->size - done, (uint64_t)CHUNK);
		ssize_t n = fsx_pread_full(range->fd, piece, want, range->off + done);
		int r = ctx_check(im->ctx, e);

		if (r == 0 && n < 0) {
			im->source_failed = true;
			r = varve_fail_errno(e, "%s", TEXT_SAFE(im->path));
		}
		if (r == 0 && (size_t)n < want)
			r = varve_fail(e, VARVE_E_SIZE, "%s: became shorter while it was read",
				       TEXT_SAFE(im->path));
		if (r == 0)
			r = fn(user, piece, want, e);
		if (r < 0)
			return r;
		done += want;
	}
	return 0;
}

static int hash_piece(void *user, const void *p, size_t n, struct varve_err *e)
{
	(void)e;
	hash_update(user, p, n);
	return 0;
}

static int hash_range(struct import *im, const struct import_range *range, struct varve_digest *ret,
		      struct varve_err *e)
{
	VARVE_CLEANUP(hash_cleanup) struct hash *h = NULL;
	int r = hash_new(&h, VARVE_SHA256, e);

	if (r == 0)
		r = each_piece(im, range, hash_piece, h, e);
	return r == 0 ? hash_final(h, ret, e) : r;
}

struct copying {
	struct import *im;
	struct ingest *in;
	void *job; /* reads the layer behind us; NULL: no layer */
	uint64_t total;
	char object[VARVE_DIGEST_STR_MAX];
};

static int copy_piece(void *user, const void *p, size_t n, struct varve_err *e)
{
	struct copying *c = user;
	int r = ingest_write(c->in, p, n, e);
	uint64_t at = ingest_offset(c->in);

	if (r == 0 && c->job)
		varve_layer_ops()->advance(c->job, at, at == c->total);
	progress_emit(c->im->ctx, &(struct varve_progress){.stage = VARVE_STAGE_READ,
							   .object = c->object,
							   .done = at,
							   .total = c->total,
							   .finished = at == c->total});
	return r;
}

/* The layer is read while it is copied; a layer that cannot be read leaves nothing behind. */
static int copy_blob(struct import *im, struct ingest *in, const struct import_range *range,
		     const struct varve_digest *d, bool layer, struct varve_layer_facts *ret_facts,
		     struct varve_err *e)
{
	const struct varve_layer_ops *ops = varve_layer_ops();
	struct copying c = {.im = im, .in = in, .total = range->size};
	int r = ingest_restart(in,
			       e); /* a partial of a download is not trusted to be this file's */

	varve_digest_str(d, c.object);
	if (r == 0 && layer)
		r = ops->follow(ops, &c.job, im->s, d, ingest_fd(in), e);
	if (r == 0)
		r = each_piece(im, range, copy_piece, &c, e);
	if (c.job && r == 0) {
		ops->advance(c.job, range->size, true);
		r = ops->finish(c.job, false, ret_facts, e);
	} else if (c.job) {
		(void)ops->finish(c.job, true, NULL, NULL);
	}
	return r;
}

static int present_blob(struct import *im, const struct varve_digest *d, bool layer,
			struct varve_layer_facts *ret_facts, struct varve_err *e)
{
	struct varve_blob_info info;
	int r = layer ? blob_stat(im->s, d, &info, e) : 0;

	if (r <= 0)
		return r;
	if (info.has_facts) {
		*ret_facts = info.facts;
		return 0;
	}
	return varve_layer_ops()->read(im->s, d, ret_facts, e);
}

static int check_archives(const struct varve_layer_facts *f, struct varve_err *e)
{
	if (f->mixed)
		return varve_fail(e, VARVE_E_FORMAT,
				  "behind its end follows another archive in another compression, "
				  "which would be lost; compress all parts in the same way");
	return f->concatenated;
}

int import_blob(struct import *im, struct import_blobs *blobs, enum varve_blob_kind kind,
		const struct import_range *range, const struct varve_digest *want,
		struct varve_digest *ret, struct varve_layer_facts *ret_facts, struct varve_err *e)
{
	struct ingest_want w = {.size = range->size, .kind = kind, .once = true};
	struct varve_layer_facts facts = {0};
	bool layer = kind == VARVE_BLOB_LAYER;
	struct ingest *in = NULL;
	int r = 0;

	if (want)
		w.digest = *want;
	else
		r = hash_range(im, range, &w.digest, e);
	if (r == 0)
		r = ingest_open_wait(&in, im->s, im->lease, &w, e);
	if (r < 0)
		return r;
	blobs->n_all++;
	if (r == 1) {
		r = present_blob(im, &w.digest, layer, &facts, e);
	} else {
		r = copy_blob(im, in, range, &w.digest, layer, &facts, e);
		if (r == 0 && im->rootfs)
			r = check_archives(&facts, e);
		if (r != 0) {
			ingest_close(in, false);
			return r;
		}
		r = ingest_commit(&in, NULL, e);
		ingest_close(in, false); /* what changed while it was read */
		if (r == 0)
			r = add_blob(im, blobs,
				     &(struct catalog_blob){.digest = w.digest,
							    .size = range->size,
							    .kind = kind,
							    .has_facts = layer,
							    .facts = facts},
				     e);
	}
	if (r < 0)
		return r;
	*ret = w.digest;
	if (ret_facts)
		*ret_facts = facts;
	return 0;
}

int import_document(struct import *im, struct import_blobs *blobs, enum varve_blob_kind kind,
		    const struct buf *doc, const struct varve_digest *want,
		    struct varve_digest *ret, struct varve_err *e)
{
	struct varve_digest d;
	int r, there;

	if (buf_error(doc))
		return varve_fail_oom(e);
	r = hash_bytes(want ? (enum varve_algo)want->algo : VARVE_SHA256, doc->p, doc->n, &d, e);
	if (r == 0)
		r = lease_add(im->lease, &d, e);
	there = r == 0 ? blob_stat(im->s, &d, NULL, e) : r;
	if (there < 0)
		return there;
	r = ingest_bytes(im->s, im->lease, kind, doc->p, doc->n, want, ret, e);
	blobs->n_all++;
	if (r == 0 && !there)
		r = add_blob(im, blobs,
			     &(struct catalog_blob){.digest = *ret, .size = doc->n, .kind = kind},
			     e);
	return r;
}

int import_build(struct import *im, struct import_blobs *blobs, const struct oci_layer_desc *layers,
		 size_t n, struct varve_digest *ret_manifest, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf config = {0};
	VARVE_CLEANUP(buf_done) struct buf manifest = {0};
	struct varve_digest d;
	int r;

	buf_init(&config, OCI_CONFIG_MAX);
	buf_init(&manifest, OCI_DOC_MAX);
	r = oci_build_config(&config, &im->platform, NULL, NULL, layers, n, e);
	if (r == 0)
		r = import_document(im, blobs, VARVE_BLOB_CONFIG, &config, NULL, &d, e);
	if (r == 0)
		r = oci_build_manifest(&manifest, &d, config.n, layers, n, NULL, e);
	if (r == 0)
		r = import_document(im, blobs, VARVE_BLOB_MANIFEST, &manifest, NULL, ret_manifest,
				    e);
	return r;
}

int import_file_name(const struct import *im, char out[800], struct varve_err *e)
{
	struct varve_import_label l;
	int r = varve_import_label(im->path, &l, e);

	if (r == 0)
		(void)snprintf(out, 800, "localhost/%s:%s", l.image, l.tag);
	return r;
}

static int get_platform(struct import *im, const struct varve_digest *manifest,
			struct varve_platform *ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_manifest *m = NULL;
	struct oci_config *c = NULL;
	int r;

	r = manifest_read(&m, im->s, manifest, NULL, e);
	if (r < 0)
		return r;
	if (!m->is_image) { /* it has none */
		oci_manifest_free(m);
		return 0;
	}
	buf_init(&b, OCI_CONFIG_MAX);
	r = blob_read(im->s, &m->config.digest, &b, e);
	oci_manifest_free(m);
	if (r == 0)
		r = oci_config_parse(&c, b.p, b.n, e);
	if (r < 0)
		return r;
	*ret = c->platform;
	oci_config_free(c);
	return 0;
}

/* The names that the image gets: of each the two forms. */
static int make_names(struct import *im, const struct import_image *image,
		      struct varve_import_name **ret, size_t *ret_n, struct varve_err *e)
{
	const char *const *p = image->names;
	size_t max = 1, n = 0;

	while (p && *p++)
		max++;
	*ret_n = 0;
	*ret = calloc(max, sizeof(**ret));
	if (!*ret)
		return varve_fail_oom(e);
	if (im->opt->name) {
		(*ret)[n++] = *im->opt->name;
	} else if (im->opt->normalise) {
		for (p = image->names; p && *p; p++) {
			struct varve_err why = VARVE_ERR_INIT;
			char text[512];

			if (im->opt->normalise(im->opt->user, *p, &(*ret)[n], &why) == 0)
				n++;
			else
				log_warn(im->ctx, "import", "%s: the image gets no name: %s",
					 TEXT_SAFE(im->path),
					 varve_err_text(&why, text, sizeof(text)));
		}
	}
	*ret_n = n;
	return 0;
}

static void tell(const struct import *im, const struct import_blobs *blobs,
		 const struct import_image *image, const char *reference)
{
	struct varve_imported told = {
		.kind = image->kind,
		.member = image->member,
		.reference = reference,
		.manifest = image->manifest,
		.n_blobs = blobs->n_all,
		.bytes_new = blobs->bytes_new,
	};

	if (im->opt->imported)
		im->opt->imported(im->opt->user, &told);
}

int import_commit(struct import *im, const struct import_blobs *blobs,
		  const struct import_image *image, struct varve_err *e)
{
	VARVE_FREE struct varve_import_name *names = NULL;
	VARVE_FREE struct catalog_tag *tags = NULL;
	struct catalog_tag tag = {
		.source = "import",
		.origin = im->origin,
		.target = varve_digest_is_set(&image->target) ? image->target : image->manifest,
		.manifest = image->manifest,
	};
	struct catalog_commit c = {
		.blobs = blobs->items,
		.n_blobs = blobs->n,
		.manifest = image->manifest,
		.parents = image->parents,
		.n_parents = image->n_parents,
		.more = true,
	};
	size_t n, i;
	int r = make_names(im, image, &names, &n, e);

	if (r == 0)
		r = get_platform(im, &image->manifest, &tag.platform, e);
	if (r == 0 && !(tags = calloc(n + 1, sizeof(*tags))))
		r = varve_fail_oom(e);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++) {
		tags[i] = tag;
		tags[i].name = names[i].name;
		tags[i].reference = names[i].reference;
	}
	c.tags = tags;
	c.n_tags = n;
	r = catalog_commit(im->s, &c, e);
	for (i = 0; r == 0 && i < n; i++)
		tell(im, blobs, image, names[i].reference);
	if (r == 0 && n == 0)
		tell(im, blobs, image, NULL);
	return r;
}

int import_charge(struct import *im, uint64_t n, struct varve_err *e)
{
	uint64_t max = limits_or(im->opt->limits, store_limits(im->s)).max_documents;

	im->documents += n;
	return im->documents <= max
		       ? 0
		       : varve_fail(e, VARVE_E_LIMIT,
				    "%s: its documents are more than %s together, as its images "
				    "name them (limits.max_documents)",
				    TEXT_SAFE(im->path), TEXT_SIZE(max));
}
