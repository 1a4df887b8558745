/* SPDX-License-Identifier: Apache-2.0 */
/* Make the database again from what the files say. */
#include "store/rebuild.h"
#include "store/handle.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob_record.h"
#include "store/image_doc.h"
#include "store/layout.h"
#include "store/mirror.h"
#include "store/oci/platform.h"
#include "store/tags.h"

#include <fcntl.h>
#include <string.h>

/* --- tags and pins of index.json --- */

static const char *annotation(const json *entry, const char *key)
{
	return json_str(json_get(json_get(entry, "annotations"), key));
}

static struct span opt_span(const char *s)
{
	return s ? span_str(s) : (struct span){NULL, 0};
}

static int put(struct index_txn *t, enum index_table table, const void *key, size_t n,
	       struct buf *b, struct varve_err *e)
{
	int r = buf_error(b) < 0 ? varve_fail_oom(e) : index_put(t, table, key, n, b->p, b->n, e);

	buf_done(b);
	return r;
}

static bool entry_platform(const json *entry, struct varve_platform *ret)
{
	const json *p = json_get(entry, "platform");

	*ret = (struct varve_platform){0};
	return platform_set(ret, json_str(json_get(p, "os")), json_str(json_get(p, "architecture")),
			    json_str(json_get(p, "variant")));
}

static int put_tag(struct index_txn *t, const json *entry, const struct varve_digest *manifest,
		   struct varve_err *e)
{
	const char *plain = annotation(entry, "org.opencontainers.image.ref.name");
	const char *name = plain ? plain : annotation(entry, MIRROR_NAME);
	const char *text = annotation(entry, MIRROR_TARGET);
	struct tag_record rec = {
		.name = opt_span(name),
		.reference = opt_span(annotation(entry, MIRROR_REFERENCE)),
		.source = opt_span(annotation(entry, MIRROR_SOURCE)),
		.origin = opt_span(annotation(entry, MIRROR_ORIGIN)),
		.manifest = *manifest,
		.target = *manifest,
		.is_default = plain != NULL,
	};
	char key[RECORD_KEY_MAX];
	struct buf b;
	size_t n;

	if (!name || !rec.reference.p || !entry_platform(entry, &rec.platform))
		return 0;
	if (text && varve_digest_parse(&rec.target, text) < 0)
		rec.target = *manifest;
	text = annotation(entry, MIRROR_FETCHED);
	if (!text || !text_parse_time(span_str(text), &rec.fetched_at))
		rec.fetched_at = store_now();
	n = tag_key(key, rec.reference, &rec.platform);
	buf_init(&b, RECORD_MAX);
	tag_record_put(&b, &rec);
	return put(t, INDEX_TAG, key, n, &b, e);
}

static int put_pin(struct index_txn *t, const char *reference, const struct varve_digest *manifest,
		   struct varve_err *e)
{
	struct pin_record rec = {.since = store_now()};
	struct buf b;

	rec.reference = *reference ? span_str(reference) : (struct span){NULL, 0};
	buf_init(&b, RECORD_MAX);
	pin_record_put(&b, &rec);
	return put(t, INDEX_PIN, record_digest_key(manifest), record_digest_len(manifest), &b, e);
}

int rebuild_tags(struct index_txn *t, const json *index, struct varve_err *e)
{
	const json *entry;
	int r = 0;

	for (entry = json_first(json_get(index, "manifests")); entry && r == 0;
	     entry = json_next(entry)) {
		const char *text = json_str(json_get(entry, "digest"));
		const char *pinned = annotation(entry, MIRROR_PINNED);
		struct varve_digest d;

		if (!mirror_entry_is_ours(entry) || !text || varve_digest_parse(&d, text) < 0)
			continue;
		r = put_tag(t, entry, &d, e);
		if (r == 0 && pinned)
			r = put_pin(t, pinned, &d, e);
	}
	return r;
}

static int any_record(void *user, struct span key, struct span value, struct varve_err *e)
{
	(void)user;
	(void)key;
	(void)value;
	(void)e;
	return 1;
}

/* Names that other tools use for images; only those with a tag or a path, as "latest" alone says
 * nothing. */
static bool is_takeable(const char *name)
{
	return name && strlen(name) < 700 && strpbrk(name, ":/") && !strchr(name, '@') &&
	       name[strspn(
		       name,
		       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/")] ==
		       '\0';
}

static int take_over(struct index_txn *t, const char *name, const struct varve_digest *manifest,
		     struct varve_err *e)
{
	char canonical[800], familiar[800], key[RECORD_KEY_MAX];
	struct tag_record rec = {.manifest = *manifest, .target = *manifest, .is_default = true};
	struct image_record image;
	struct span v;
	struct buf b;
	size_t n;
	int r = index_get(t, INDEX_IMAGE, record_digest_key(manifest), record_digest_len(manifest),
			  &v, e);

	if (r <= 0 || !image_record_get(v, &image) ||
	    tags_both_forms(name, canonical, familiar, NULL) < 0)
		return r < 0 ? r : 0;
	rec.name = span_str(familiar);
	rec.reference = span_str(canonical);
	rec.source = span_str("import");
	rec.platform = image.platform;
	rec.fetched_at = store_now();
	n = tag_key_prefix(key, rec.reference);
	r = index_each(t, INDEX_TAG, key, n, any_record, NULL, e);
	if (r != 0) /* a name of ours already */
		return r < 0 ? r : 0;
	n = tag_key(key, rec.reference, &rec.platform);
	buf_init(&b, RECORD_MAX);
	tag_record_put(&b, &rec);
	return put(t, INDEX_TAG, key, n, &b, e);
}

int rebuild_take_over(struct index_txn *t, const json *index, struct varve_err *e)
{
	const json *entry;
	int r = 0;

	for (entry = json_first(json_get(index, "manifests")); entry && r == 0;
	     entry = json_next(entry)) {
		const char *text = json_str(json_get(entry, "digest"));
		const char *name = annotation(entry, "org.opencontainers.image.ref.name");
		struct varve_digest d;

		if (!mirror_entry_is_ours(entry) && is_takeable(name) && text &&
		    varve_digest_parse(&d, text) == 0)
			r = take_over(t, name, &d, e);
	}
	return r;
}

/* --- installs.json --- */

static int put_install(struct index_txn *t, const json *j, struct varve_err *e)
{
	const char *ino = json_str(json_get(j, "ino")), *text;
	uint64_t made = 0;
	struct varve_install_record in = {
		.id = json_str(json_get(j, "id")),
		.roots = json_str(json_get(j, "roots")),
		.label = json_str(json_get(j, "label")),
		.directory = json_str(json_get(j, "directory")),
		.reference = json_str(json_get(j, "reference")),
		.source = json_str(json_get(j, "source")),
		.origin = json_str(json_get(j, "origin")),
		.settings = json_str(json_get(j, "settings")),
	};
	struct buf b;

	if (!in.id || !*in.id || strlen(in.id) > 64 || !in.roots || !in.label || !in.directory ||
	    !mirror_install_state(json_str(json_get(j, "state")), &in.state))
		return 0;
	text = json_str(json_get(j, "manifest"));
	if (text)
		(void)varve_digest_parse(&in.manifest, text);
	text = json_str(json_get(j, "target"));
	if (text)
		(void)varve_digest_parse(&in.target, text);
	text = json_str(json_get(j, "platform"));
	if (text)
		(void)varve_platform_parse(&in.platform, text, NULL);
	text = json_str(json_get(j, "installed_at"));
	if (text)
		(void)text_parse_time(span_str(text), &in.installed_at);
	(void)json_u64(json_get(j, "dev"), &in.dev);
	if (ino)
		(void)span_u64(span_str(ino), UINT64_MAX, &in.ino);
	(void)json_u64(json_get(j, "generation"), &in.generation);
	(void)json_u64(json_get(j, "made"), &made);
	in.made = (uint32_t)made;
	buf_init(&b, RECORD_MAX);
	install_record_put(&b, &in);
	return put(t, INDEX_INSTALL, in.id, strlen(in.id), &b, e);
}

int rebuild_installs(struct index_txn *t, const json *installs, struct varve_err *e)
{
	const json *j;
	int r = 0;

	for (j = json_first(json_get(installs, "installs")); j && r == 0; j = json_next(j))
		r = put_install(t, j, e);
	return r;
}

int rebuild_read_installs(struct varve_store *s, json **ret, struct varve_err *e)
{
	struct buf b;
	int r;

	*ret = NULL;
	buf_init(&b, MIRROR_MAX);
	r = fsx_read_plain(s->root, LAYOUT_INSTALLS, &b, e);
	if (r == 0)
		r = json_parse(ret, b.p, b.n, MIRROR_MAX, e);
	buf_done(&b);
	if (r == -ENOENT) /* nothing was ever installed */
		return 0;
	return r < 0 ? varve_wrap(e, r, "%s/" LAYOUT_INSTALLS, s->path) : 0;
}

/* --- images --- */

/* A manifest that cannot be read leaves its tag without an image: check tells of it. */
int rebuild_image(struct index_txn *t, struct varve_store *s, const struct varve_digest *manifest,
		  const struct varve_digest *target, struct varve_err *e)
{
	VARVE_CLEANUP(image_doc_done) struct image_doc doc = IMAGE_DOC_INIT;
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];
	int r = image_doc_read(&doc, s, manifest, &why);

	if (r < 0) {
		log_warn(s->ctx, "rebuild", "%s", varve_err_text(&why, text, sizeof(text)));
		return 0;
	}
	if (target && varve_digest_is_set(target) && !varve_digest_equal(target, manifest))
		r = image_doc_add(&doc, ROLE_PARENT, target, VARVE_SIZE_UNKNOWN, e);
	return r < 0 ? r : image_doc_put(&doc, t, e);
}

/* What a document says of blobs that exist: in a store without a database names are trusted
 * (invariant I2). */
static int put_found(struct index_txn *t, struct varve_store *s, const struct varve_digest *d,
		     enum varve_blob_kind kind, struct varve_err *e)
{
	struct blob_record rec = {.state = BLOB_PRESENT, .kind = kind};
	char path[LAYOUT_PATH_MAX];
	struct stat st;

	if (fstatat(s->root, layout_blob(d, path), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	rec.size = (uint64_t)st.st_size;
	rec.added_at = st.st_mtim.tv_sec;
	rec.mtime_ns = stat_mtime_ns(&st);
	return blob_record_store(t, d, &rec, e);
}

static int put_refs(struct index_txn *t, struct varve_store *s, const struct varve_digest *manifest,
		    struct varve_err *e)
{
	static const enum varve_blob_kind kinds[] = {
		[ROLE_MANIFEST] = VARVE_BLOB_MANIFEST, [ROLE_CONFIG] = VARVE_BLOB_CONFIG,
		[ROLE_LAYER] = VARVE_BLOB_LAYER,       [ROLE_EXTRA] = VARVE_BLOB_OTHER,
		[ROLE_PARENT] = VARVE_BLOB_INDEX,
	};
	VARVE_FREE char *copy = NULL;
	struct image_record rec;
	struct image_ref ref;
	struct span v;
	int r = index_get(t, INDEX_IMAGE, record_digest_key(manifest), record_digest_len(manifest),
			  &v, e);

	if (r <= 0)
		return r;
	copy = span_dup(v); /* puts move what get borrowed */
	if (!copy)
		return varve_fail_oom(e);
	if (!image_record_get(span_of(copy, v.n), &rec))
		return varve_fail(e, VARVE_E_CORRUPT, "record of an image");
	for (r = 0; r == 0 && image_next_ref(&rec.refs, &ref);)
		r = put_found(t, s, &ref.digest, kinds[ref.role], e);
	return r;
}

struct documents {
	struct varve_store *store;
	const json *index, *installs;
};

static int from_documents(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct documents *c = user;
	const json *entry;
	int r = rebuild_tags(t, c->index, e);

	for (entry = json_first(json_get(c->index, "manifests")); entry && r == 0;
	     entry = json_next(entry)) {
		const char *text = json_str(json_get(entry, "digest"));
		const char *to = annotation(entry, MIRROR_TARGET);
		struct varve_digest d, target = {0};

		if (!mirror_entry_is_ours(entry) || !text || varve_digest_parse(&d, text) < 0)
			continue;
		if (to)
			(void)varve_digest_parse(&target, to);
		r = rebuild_image(t, c->store, &d, &target, e);
		if (r == 0)
			r = put_refs(t, c->store, &d, e);
	}
	return r == 0 ? rebuild_installs(t, c->installs, e) : r;
}

int rebuild_from_documents(struct varve_store *s, struct varve_err *e)
{
	JSON_FREE json *index = NULL, *installs = NULL;
	struct documents c = {.store = s};
	int r = mirror_read_index(s, &index, e);

	if (r == 0)
		r = rebuild_read_installs(s, &installs, e);
	if (r < 0)
		return r;
	c.index = index;
	c.installs = installs;
	return index_update(s->index, from_documents, &c, e);
}
