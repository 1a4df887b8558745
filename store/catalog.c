/* SPDX-License-Identifier: Apache-2.0 */
/* Record a finished pull or import: blobs, image, tag, last use; each commit is one transaction. */
#include "store/catalog.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/blob_record.h"
#include "store/image_doc.h"
#include "store/images.h"
#include "store/layout.h"
#include "store/mirror.h"
#include "store/oci/oci.h"
#include "store/oci/platform.h"
#include "store/record.h"
#include "store/store.h"

#include "store/base/arena.h"
#include "store/base/text.h"
#include <fcntl.h>
#include <string.h>

#define ID_MAX 64 /* characters of the id of an install */

struct install_change {
	const struct varve_install_record *put;
	size_t n_put;
	const char *const *del;
};

static int change_installs(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct install_change *c = user;
	const char *const *id;
	size_t i;
	int r = 0;

	for (id = c->del; r == 0 && id && *id; id++)
		r = index_del(t, INDEX_INSTALL, *id, strlen(*id), e);
	for (i = 0; r == 0 && i < c->n_put; i++) {
		struct buf b;

		buf_init(&b, RECORD_MAX);
		install_record_put(&b, &c->put[i]);
		r = buf_error(&b) < 0 ? varve_fail_oom(e)
				      : index_put(t, INDEX_INSTALL, c->put[i].id,
						  strlen(c->put[i].id), b.p, b.n, e);
		buf_done(&b);
	}
	return r == 0 ? index_bump(t, e) : r;
}

int catalog_update_installs(struct varve_store *s, const struct varve_install_record *put,
			    size_t n_put, const char *const *del, struct varve_err *e)
{
	struct install_change c = {put, n_put, del};
	size_t i;
	int r = 0;

	if (s->read_only) /* the sidecar beside the tree is the record, then */
		return 0;
	for (i = 0; r == 0 && i < n_put; i++) {
		const struct varve_install_record *in = &put[i];

		if (!in->id || !*in->id || strlen(in->id) > ID_MAX || !in->roots || !in->label ||
		    !in->directory || strlen(in->roots) > 4096)
			r = varve_fail(e, EINVAL, "record of an installed tree lacks a member");
	}
	if (r == 0)
		r = index_update(s->index, change_installs, &c, e);
	return r < 0 ? r : mirror_update(s, MIRROR_IF_BEHIND, e);
}

int catalog_put_install(struct varve_store *s, const struct varve_install_record *in,
			struct varve_err *e)
{
	return catalog_update_installs(s, in, 1, NULL, e);
}

/* A use is written at most this often per image. */
#define TOUCH_STEP 3600
/* A blob that only a lower store has: it gets no record here. */
#define ELSEWHERE INT64_MIN

static struct span opt_span(const char *s)
{
	return s ? span_str(s) : (struct span){NULL, 0};
}

static int put_record(struct index_txn *t, enum index_table table, const void *key, size_t n,
		      struct buf *b, struct varve_err *e)
{
	int r = buf_error(b) < 0 ? varve_fail_oom(e) : index_put(t, table, key, n, b->p, b->n, e);

	buf_done(b);
	return r;
}

/* --- blobs --- */

static int put_blob(struct index_txn *t, const struct catalog_blob *c, int64_t mtime_ns,
		    struct varve_err *e)
{
	struct blob_record rec = {0};
	int r = blob_record_load(t, &c->digest, &rec, e);

	if (r < 0)
		return r;
	if (r == 0)
		rec.added_at = store_now();
	rec.size = c->size;
	rec.state = BLOB_PRESENT;
	if (c->kind != VARVE_BLOB_OTHER)
		rec.kind = c->kind;
	rec.mtime_ns = mtime_ns;
	rec.verified_at = store_now();
	if (c->has_facts) {
		rec.has_facts = true;
		rec.facts = c->facts;
	}
	if (c->origin)
		(void)blob_record_add_origin(&rec, span_str(c->origin));
	return blob_record_store(t, &c->digest, &rec, e);
}

/* --- tags --- */

/* Does another platform of this reference hold the plain name? Take it away if take. */
struct default_scan {
	struct index_txn *txn;
	const struct varve_platform *platform;
	bool found;
	char key[RECORD_KEY_MAX];
	size_t key_n;
};

static int see_default(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct default_scan *d = user;
	struct tag_record rec;

	(void)e;
	if (!tag_record_get(value, &rec) || !rec.is_default ||
	    platform_equal(&rec.platform, d->platform))
		return 0;
	d->found = true;
	d->key_n = key.n;
	memcpy(d->key, key.p, key.n);
	return 1;
}

static int clear_default(struct index_txn *t, const struct default_scan *d, struct varve_err *e)
{
	struct tag_record rec;
	struct span v;
	struct buf b;
	int r = index_get(t, INDEX_TAG, d->key, d->key_n, &v, e);

	if (r <= 0 || !tag_record_get(v, &rec))
		return r;
	rec.is_default = false;
	buf_init(&b, RECORD_MAX);
	tag_record_put(&b, &rec);
	return put_record(t, INDEX_TAG, d->key, d->key_n, &b, e);
}

static int put_tag(struct index_txn *t, const struct catalog_tag *tag, struct varve_err *e)
{
	struct default_scan d = {.txn = t, .platform = &tag->platform};
	struct tag_record rec = {
		.name = span_str(tag->name),
		.reference = span_str(tag->reference),
		.source = opt_span(tag->source),
		.origin = opt_span(tag->origin),
		.place = opt_span(tag->place),
		.target = tag->target,
		.manifest = tag->manifest,
		.platform = tag->platform,
		.fetched_at = store_now(),
	};
	char key[RECORD_KEY_MAX];
	size_t n = tag_key_prefix(key, rec.reference);
	struct buf b;
	int r = index_each(t, INDEX_TAG, key, n, see_default, &d, e);

	if (r < 0)
		return r;
	rec.is_default = !d.found || !tag->explicit_platform;
	if (d.found && rec.is_default) {
		r = clear_default(t, &d, e);
		if (r < 0)
			return r;
	}
	n = tag_key(key, rec.reference, &rec.platform);
	buf_init(&b, RECORD_MAX);
	tag_record_put(&b, &rec);
	return put_record(t, INDEX_TAG, key, n, &b, e);
}

/* --- last use --- */

static int put_used(struct index_txn *t, const struct varve_digest *manifest, int64_t step,
		    struct varve_err *e)
{
	const void *key = record_digest_key(manifest);
	size_t n = record_digest_len(manifest);
	int64_t before, now = store_now();
	struct span v;
	struct buf b;
	int r = index_get(t, INDEX_USED, key, n, &v, e);

	if (r < 0)
		return r;
	if (r == 1 && used_record_get(v, &before) && before <= now && now - before < step)
		return 0;
	buf_init(&b, RECORD_MAX);
	used_record_put(&b, now);
	return put_record(t, INDEX_USED, key, n, &b, e);
}

struct touch {
	const struct varve_digest *manifest;
};

static int do_touch(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct touch *c = user;

	return put_used(t, c->manifest, TOUCH_STEP, e);
}

/* An image of a lower store has no record here; its use would stay behind for ever. */
static int touch_due(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct touch *c = user;
	const void *key = record_digest_key(c->manifest);
	size_t n = record_digest_len(c->manifest);
	int64_t before;
	struct span v;
	int r = index_get(t, INDEX_IMAGE, key, n, &v, e);

	if (r <= 0)
		return r;
	r = index_get(t, INDEX_USED, key, n, &v, e);
	if (r < 0)
		return r;
	return r == 0 || !used_record_get(v, &before) || before > store_now() ||
	       store_now() - before >= TOUCH_STEP;
}

void catalog_touch(struct varve_store *s, const struct varve_digest *manifest)
{
	struct touch c = {manifest};
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];
	int r;

	if (s->read_only)
		return;
	r = index_view(s->index, touch_due, &c, &why);
	if (r > 0)
		r = index_update(s->index, do_touch, &c, &why);
	if (r < 0)
		log_warn(s->ctx, "store", "the use of an image is not counted: %s",
			 varve_err_text(&why, text, sizeof(text)));
}

/* --- commit --- */

struct commit {
	const struct catalog_commit *c;
	const int64_t *mtimes;
	struct image_doc doc;
};

static int do_commit(struct index_txn *t, void *user, struct varve_err *e)
{
	struct commit *m = user;
	const struct catalog_commit *c = m->c;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < c->n_blobs; i++) {
		if (m->mtimes[i] != ELSEWHERE)
			r = put_blob(t, &c->blobs[i], m->mtimes[i], e);
	}
	if (r == 0 && m->doc.n) {
		r = image_doc_put(&m->doc, t, e);
		if (r == 0)
			r = put_used(t, &c->manifest, 0, e);
	}
	if (r == 0 && c->n_tags && !m->doc.n) /* others may have removed it since it was found */
		r = images_need(t, &c->tags->manifest, e);
	for (i = 0; r == 0 && i < c->n_tags; i++)
		r = put_tag(t, &c->tags[i], e);
	return r == 0 && c->n_tags ? index_bump(t, e) : r;
}

/* The files must be there, with their sizes: the
 * record must never claim more than the disk holds. */
static int look_at_blobs(struct varve_store *s, const struct catalog_commit *c, int64_t *mtimes,
			 struct varve_err *e)
{
	char path[LAYOUT_PATH_MAX];
	struct stat st;
	size_t i;

	for (i = 0; i < c->n_blobs; i++) {
		(void)layout_blob(&c->blobs[i].digest, path);
		mtimes[i] = ELSEWHERE;
		if (faccessat(s->root, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
		    blob_stat(s, &c->blobs[i].digest, NULL, NULL) == 1)
			continue;
		if (fstatat(s->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return varve_fail_errno(e, "blob %s", DIGEST_STR(&c->blobs[i].digest));
		if ((uint64_t)st.st_size != c->blobs[i].size)
			return varve_fail(e, VARVE_E_SIZE, "blob %s: has %llu bytes, not %llu",
					  DIGEST_STR(&c->blobs[i].digest),
					  (unsigned long long)st.st_size,
					  (unsigned long long)c->blobs[i].size);
		mtimes[i] = stat_mtime_ns(&st);
	}
	return blob_sync_names(s, e);
}

static int read_image(struct commit *m, struct varve_store *s, struct varve_err *e)
{
	const struct catalog_commit *c = m->c;
	size_t i;
	int r;

	if (!varve_digest_is_set(&c->manifest))
		return 0;
	r = image_doc_read(&m->doc, s, &c->manifest, e);
	for (i = 0; r == 0 && i < c->n_extra; i++)
		r = image_doc_add(&m->doc, ROLE_EXTRA, &c->extra[i], VARVE_SIZE_UNKNOWN, e);
	for (i = 0; r == 0 && i < c->n_parents; i++)
		r = image_doc_add(&m->doc, ROLE_PARENT, &c->parents[i], VARVE_SIZE_UNKNOWN, e);
	/* What the registry called the name by is kept with the image, even if nobody listed it. */
	if (r == 0 && c->n_tags && varve_digest_is_set(&c->tags->target) && c->n_parents == 0 &&
	    c->n_extra == 0 && !varve_digest_equal(&c->tags->target, &c->manifest))
		r = image_doc_add(&m->doc, ROLE_PARENT, &c->tags->target, VARVE_SIZE_UNKNOWN, e);
	return r;
}

int catalog_commit(struct varve_store *s, const struct catalog_commit *c, struct varve_err *e)
{
	VARVE_FREE int64_t *mtimes = calloc(c->n_blobs + 1, sizeof(*mtimes));
	struct commit m = {.c = c, .mtimes = mtimes};
	int r = mtimes ? store_need_write(s, e) : varve_fail_oom(e);

	if (r == 0)
		r = look_at_blobs(s, c, mtimes, e);
	if (r == 0)
		r = read_image(&m, s, e);
	if (r == 0)
		r = index_update(s->index, do_commit, &m, e);
	image_doc_done(&m.doc);
	if (r < 0)
		return varve_wrap(e, r, "record in the store %s", s->path);
	blob_forget_published(s);
	return c->n_tags && !c->more ? mirror_update(s, MIRROR_IF_BEHIND, e) : 0;
}

/* --- look up a tag --- */

struct tag_lookup {
	const struct varve_platform *platform;
	int best; /* rank of what is in copy */
	struct buf copy;
};

static int see_tag(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct tag_lookup *l = user;
	struct tag_record rec;
	int rank;

	(void)key;
	if (!tag_record_get(value, &rec))
		return varve_fail(e, VARVE_E_CORRUPT, "record of a tag: run varve check --rebuild");
	if (l->platform)
		rank = platform_rank(l->platform, &rec.platform);
	else
		rank = rec.is_default ? 0 : 1;
	if (rank < 0 || (l->best >= 0 && rank >= l->best))
		return 0;
	l->best = rank;
	buf_reset(&l->copy);
	buf_add(&l->copy, value.p, value.n);
	return buf_error(&l->copy) < 0 ? varve_fail_oom(e) : 0;
}

struct tag_request {
	struct tag_lookup l;
	struct span reference;
};

static int find_tag(struct index_txn *t, void *user, struct varve_err *e)
{
	struct tag_request *q = user;
	char key[RECORD_KEY_MAX];
	size_t n = tag_key_prefix(key, q->reference);

	return index_each(t, INDEX_TAG, key, n, see_tag, &q->l, e);
}

/* The strings, terminated, in one allocation. */
static int copy_tag(const struct tag_record *rec, struct catalog_tag *ret, void **priv,
		    struct varve_err *e)
{
	const struct span in[5] = {rec->name, rec->reference, rec->source, rec->origin, rec->place};
	const char **out[5] = {&ret->name, &ret->reference, &ret->source, &ret->origin,
			       &ret->place};
	size_t i, total = 0;
	char *at;

	for (i = 0; i < 5; i++)
		total += in[i].n + 1;
	at = malloc(total);
	if (!at)
		return varve_fail_oom(e);
	*ret = (struct catalog_tag){.target = rec->target,
				    .manifest = rec->manifest,
				    .platform = rec->platform,
				    .explicit_platform = !rec->is_default};
	*priv = at;
	for (i = 0; i < 5; i++) {
		if (!in[i].p)
			continue;
		memcpy(at, in[i].p, in[i].n);
		at[in[i].n] = '\0';
		*out[i] = at;
		at += in[i].n + 1;
	}
	return 0;
}

int catalog_get_tag(struct varve_store *s, const char *reference,
		    const struct varve_platform *platform, struct catalog_tag *ret, void **priv,
		    struct varve_err *e)
{
	struct tag_request q = {{platform, -1, {0}}, span_str(reference)};
	struct tag_record rec;
	size_t i;
	int r;

	*priv = NULL;
	buf_init(&q.l.copy, RECORD_MAX);
	r = index_view(s->index, find_tag, &q, e);
	if (r == 0 && q.l.best >= 0) {
		r = tag_record_get(span_of(q.l.copy.p, q.l.copy.n), &rec)
			    ? copy_tag(&rec, ret, priv, e)
			    : -VARVE_E_CORRUPT;
		r = r < 0 ? r : 1;
	}
	buf_done(&q.l.copy);
	for (i = 0; r == 0 && i < s->n_lower; i++)
		r = catalog_get_tag(s->lower[i], reference, platform, ret, priv, NULL) == 1;
	return r;
}
