/* SPDX-License-Identifier: Apache-2.0 */
/* check --rebuild: hash every blob, read every document, and put a new database in the place of the
 * old one. */
#include "store/care/rebuild_all.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/blob_record.h"
#include "store/care/check.h"
#include "store/care/scan.h"
#include "store/handle.h"
#include "store/image_doc.h"
#include "store/layout.h"
#include "store/lock.h"
#include "store/mirror.h"
#include "store/oci/oci.h"
#include "store/rebuild.h"

#include <fcntl.h>
#include <string.h>

#define MAX_NESTING 5

/* A blob file with the content that its name says. */
struct found {
	struct varve_digest digest;
	uint64_t size;
	int64_t mtime_ns, added_at;
	uint8_t kind;
	uint8_t shape;      /* enum oci_doc_kind, from its own text */
	bool seen;          /* in the listing under the lock */
	const char *origin; /* borrowed; may be NULL */
};
/* An index names a manifest or another index. */
struct link {
	struct varve_digest child, parent;
};
/* One of our entries in index.json. */
struct entry {
	struct varve_digest manifest, target;
	const char *origin; /* may be NULL */
};
struct rebuild {
	struct check *check;
	struct varve_store *store;
	struct found *items;
	size_t n, cap, n_sorted;
	struct link *links;
	size_t n_links, cap_links;
	struct entry *entries;
	size_t n_entries;
	json *index, *installs;
	uint64_t done, total;
};

static void rebuild_done(struct rebuild *r)
{
	free(r->items);
	free(r->links);
	free(r->entries);
	json_free(r->index);
	json_free(r->installs);
}

/* --- finding blobs --- */

static int by_digest(const void *a, const void *b)
{
	return digest_cmp(&((const struct found *)a)->digest, &((const struct found *)b)->digest);
}

static struct found *find(struct rebuild *r, const struct varve_digest *d)
{
	struct found key = {.digest = *d};

	return r->n_sorted ? bsearch(&key, r->items, r->n_sorted, sizeof(*r->items), by_digest)
			   : NULL;
}

static void sort(struct rebuild *r)
{
	if (r->n)
		qsort(r->items, r->n, sizeof(*r->items), by_digest);
	r->n_sorted = r->n;
}

/* Documents are small and begin with a brace; what they say of themselves is parsed strictly. */
static int shape_of(int fd, uint64_t size, uint8_t *ret, struct varve_err *e)
{
	enum oci_doc_kind kind = OCI_DOC_UNKNOWN;
	char first = 0;
	struct buf b;
	int x;

	*ret = OCI_DOC_UNKNOWN;
	if (size == 0 || size > OCI_DOC_MAX || fsx_pread_full(fd, &first, 1, 0) != 1 ||
	    first != '{')
		return 0;
	buf_init(&b, OCI_DOC_MAX);
	x = fsx_read_file(fd, NULL, &b, e);
	if (x == 0)
		x = oci_classify(b.p, b.n, NULL, NULL, &kind, e);
	buf_done(&b);
	if (x == 0)
		*ret = (uint8_t)kind;
	return err_is_passing(x) ? x : 0;
}

static int add(struct rebuild *r, const struct varve_digest *d, int fd, const struct stat *st,
	       struct varve_err *e)
{
	struct found *more;
	uint8_t shape;
	int x = shape_of(fd, (uint64_t)st->st_size, &shape, e);

	if (x < 0)
		return x;
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 256;
		more = realloc(r->items, r->cap * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		r->items = more;
	}
	r->items[r->n++] = (struct found){
		.digest = *d,
		.size = (uint64_t)st->st_size,
		.mtime_ns = stat_mtime_ns(st),
		.added_at = st->st_mtim.tv_sec,
		.shape = shape,
		.seen = true,
	};
	return 0;
}

static int see_blob(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct rebuild *r = user;
	struct varve_digest d, got;
	struct stat st;
	struct found *known;
	VARVE_CLOSE int fd = -1;
	int x;

	if (!layout_digest_of(entry->name, &d))
		return 0;
	known = find(r, &d);
	if (known && known->mtime_ns == stat_mtime_ns(&entry->st) &&
	    known->size == (uint64_t)entry->st.st_size) {
		known->seen = true;
		return 0;
	}
	fd = fsx_open_plain(r->store->root, entry->path, O_RDONLY, 0, &st);
	if (fd < 0)
		return 0;
	x = hash_fd(d.algo, fd, r->store->ctx, &got, NULL, e);
	if (err_is_passing(x))
		return x;
	r->done += (uint64_t)st.st_size;
	progress_emit(r->store->ctx, &(struct varve_progress){.stage = VARVE_STAGE_CHECK,
							      .object = entry->name,
							      .done = r->done,
							      .total = r->total});
	if (x < 0 || !varve_digest_equal(&got, &d)) {
		check_report(r->check, CHECK_ERROR, "blob", DIGEST_STR(&d),
			     "is damaged and not taken into the new database; varve check --repair "
			     "or a pull brings it again");
		return 0;
	}
	return add(r, &d, fd, &st, e);
}

static int add_size(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct rebuild *r = user;

	(void)e;
	r->total += (uint64_t)entry->st.st_size;
	return 0;
}

static int list_blobs(struct rebuild *r,
		      int (*fn)(void *user, const struct scan_entry *entry, struct varve_err *e),
		      struct varve_err *e)
{
	int x = scan_dir(r->store, LAYOUT_BLOBS "/sha256", fn, r, e);

	return x == 0 ? scan_dir(r->store, LAYOUT_BLOBS "/sha512", fn, r, e) : x;
}

/* --- the new one --- */

/* Copying from an undamaged old database. */
struct copy {
	struct rebuild *r;
	struct index_txn *t, *old;
	enum index_table table;
};

static int copy_record(void *user, struct span key, struct span value, struct varve_err *e)
{
	const struct copy *c = user;

	return index_put(c->t, c->table, key.p, key.n, value.p, value.n, e);
}

/* Facts, origins and dates stay; whether it is there, and how its file looks, was found out. */
static int merge_blob(void *user, struct span key, struct span value, struct varve_err *e)
{
	const struct copy *c = user;
	struct blob_record rec;
	struct varve_digest d;
	const struct found *f;
	int x;

	(void)value;
	if (!record_digest_of(key, &d))
		return 0;
	x = blob_record_load(c->old, &d, &rec, e);
	if (x <= 0)
		return x;
	f = find(c->r, &d);
	rec.state = f ? BLOB_PRESENT : BLOB_MISSING;
	if (f) {
		rec.size = f->size;
		rec.mtime_ns = f->mtime_ns;
		rec.verified_at = store_now();
	}
	return blob_record_store(c->t, &d, &rec, e);
}

static int copy_old(struct rebuild *r, struct index_txn *t, struct index_txn *old,
		    struct varve_err *e)
{
	static const enum index_table whole[] = {INDEX_META, INDEX_IMAGE, INDEX_TAG,  INDEX_INSTALL,
						 INDEX_PIN,  INDEX_USED,  INDEX_STATE};
	struct copy c = {r, t, old, INDEX_BLOB};
	size_t i;
	int x = index_each(old, INDEX_BLOB, NULL, 0, merge_blob, &c, e);

	for (i = 0; x == 0 && i < VARVE_ARRAY_SIZE(whole); i++) {
		c.table = whole[i];
		x = index_each(old, c.table, NULL, 0, copy_record, &c, e);
	}
	return x;
}

/* What the old database knew of it was copied before. */
static int put_found(struct index_txn *t, const struct found *f, const struct index_txn *old,
		     struct varve_err *e)
{
	struct blob_record rec = {
		.size = f->size,
		.state = BLOB_PRESENT,
		.kind = (enum varve_blob_kind)f->kind,
		.added_at = f->added_at,
		.verified_at = store_now(),
		.mtime_ns = f->mtime_ns,
	};
	struct blob_record known;
	int x = old ? blob_record_load(t, &f->digest, &known, e) : 0;

	if (x != 0)
		return x < 0 ? x : 0;
	if (f->origin)
		(void)blob_record_add_origin(&rec, span_str(f->origin));
	return blob_record_store(t, &f->digest, &rec, e);
}

static enum varve_blob_kind kind_of(enum image_role role)
{
	switch (role) {
	case ROLE_MANIFEST:
		return VARVE_BLOB_MANIFEST;
	case ROLE_CONFIG:
		return VARVE_BLOB_CONFIG;
	case ROLE_LAYER:
		return VARVE_BLOB_LAYER;
	case ROLE_PARENT:
		return VARVE_BLOB_INDEX;
	case ROLE_EXTRA:
		break;
	}
	return VARVE_BLOB_OTHER;
}

/* Indexes that lead to a manifest, through others too. */
static int add_parents(struct rebuild *r, struct image_doc *doc, const struct varve_digest *child,
		       unsigned depth, struct varve_err *e)
{
	size_t lo = 0, hi = r->n_links;
	int x = 0;

	while (lo < hi) { /* the first link of the child */
		size_t mid = lo + (hi - lo) / 2;

		if (digest_cmp(&r->links[mid].child, child) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; x == 0 && depth < MAX_NESTING && lo < r->n_links; lo++) {
		const struct link *l = &r->links[lo];

		if (!varve_digest_equal(&l->child, child))
			break;
		x = image_doc_add(doc, ROLE_PARENT, &l->parent, VARVE_SIZE_UNKNOWN, e);
		if (x == 0)
			x = add_parents(r, doc, &l->parent, depth + 1, e);
	}
	return x;
}

static const struct entry *entry_of(const struct rebuild *r, const struct varve_digest *manifest)
{
	size_t lo = 0, hi = r->n_entries;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = digest_cmp(&r->entries[mid].manifest, manifest);

		if (c == 0)
			return &r->entries[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* One manifest: its image, and what it says of its blobs. */
static int put_image(struct rebuild *r, struct index_txn *t, const struct found *f,
		     struct varve_err *e)
{
	VARVE_CLEANUP(image_doc_done) struct image_doc doc = IMAGE_DOC_INIT;
	const struct entry *entry = entry_of(r, &f->digest);
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];
	size_t i;
	int x = image_doc_read(&doc, r->store, &f->digest, &why);

	if (x < 0) {
		log_warn(r->store->ctx, "rebuild", "%s", varve_err_text(&why, text, sizeof(text)));
		return 0;
	}
	x = add_parents(r, &doc, &f->digest, 0, e);
	if (x == 0 && entry && varve_digest_is_set(&entry->target))
		x = image_doc_add(&doc, ROLE_PARENT, &entry->target, VARVE_SIZE_UNKNOWN, e);
	for (i = 0; i < doc.n; i++) {
		struct found *blob = find(r, &doc.refs[i].digest);

		if (!blob)
			continue;
		blob->kind = (uint8_t)kind_of(doc.refs[i].role);
		if (entry && !blob->origin)
			blob->origin = entry->origin;
	}
	return x < 0 ? x : image_doc_put(&doc, t, e);
}

static int fill(struct index_txn *t, struct index_txn *old, void *user, struct varve_err *e)
{
	struct rebuild *r = user;
	size_t i;
	int x = old ? copy_old(r, t, old, e) : 0;

	for (i = 0; x == 0 && i < r->n; i++) {
		if (r->items[i].shape == OCI_DOC_MANIFEST)
			x = put_image(r, t, &r->items[i], e);
	}
	for (i = 0; x == 0 && i < r->n; i++)
		x = put_found(t, &r->items[i], old, e);
	if (x == 0 && !old)
		x = rebuild_tags(t, r->index, e);
	if (x == 0)
		x = rebuild_take_over(t, r->index, e);
	if (x == 0 && !old)
		x = rebuild_installs(t, r->installs, e);
	return x == 0 ? index_bump(t, e) : x;
}

/* --- reading documents --- */

static int by_child(const void *a, const void *b)
{
	return digest_cmp(&((const struct link *)a)->child, &((const struct link *)b)->child);
}

static int by_manifest(const void *a, const void *b)
{
	return digest_cmp(&((const struct entry *)a)->manifest,
			  &((const struct entry *)b)->manifest);
}

static int add_link(struct rebuild *r, const struct varve_digest *child,
		    const struct varve_digest *parent, struct varve_err *e)
{
	struct link *more;

	if (!varve_digest_is_set(child))
		return 0;
	if (r->n_links == r->cap_links) {
		r->cap_links = r->cap_links ? r->cap_links * 2 : 64;
		more = realloc(r->links, r->cap_links * sizeof(*more));
		if (!more)
			return varve_fail_oom(e);
		r->links = more;
	}
	r->links[r->n_links++] = (struct link){*child, *parent};
	return 0;
}

static int read_links(struct rebuild *r, struct varve_err *e)
{
	size_t i, k;
	int x = 0;

	for (i = 0; x == 0 && i < r->n; i++) {
		struct oci_index *index = NULL;
		struct buf b;

		if (r->items[i].shape != OCI_DOC_INDEX)
			continue;
		r->items[i].kind = VARVE_BLOB_INDEX;
		buf_init(&b, OCI_DOC_MAX);
		x = blob_read(r->store, &r->items[i].digest, &b, e);
		if (x == 0)
			x = oci_index_parse(&index, b.p, b.n, e);
		buf_done(&b);
		x = err_is_passing(x) ? x : 0;
		for (k = 0; x == 0 && index && k < index->n; k++)
			if (varve_digest_is_set(&index->manifests[k].digest))
				x = add_link(r, &index->manifests[k].digest, &r->items[i].digest,
					     e);
		oci_index_free(index);
	}
	if (r->n_links)
		qsort(r->links, r->n_links, sizeof(*r->links), by_child);
	return x;
}

static int pass_on(const struct varve_err *why, struct varve_err *e)
{
	if (e)
		*e = *why;
	return -why->code;
}

/* A mirror that cannot be read costs names, not images: the rest is rebuilt all the same. */
static int read_entries(struct rebuild *r, struct varve_err *e)
{
	struct varve_err why = VARVE_ERR_INIT;
	const json *j;
	char text[512];

	if (mirror_read_index(r->store, &r->index, &why) < 0) {
		if (err_is_passing(why.code))
			return pass_on(&why, e);
		check_report(r->check, CHECK_ERROR, LAYOUT_INDEX, LAYOUT_INDEX,
			     "%s: names cannot be found again",
			     varve_err_text(&why, text, sizeof(text)));
	}
	if (rebuild_read_installs(r->store, &r->installs, &why) < 0) {
		if (err_is_passing(why.code))
			return pass_on(&why, e);
		check_report(r->check, CHECK_ERROR, LAYOUT_INSTALLS, LAYOUT_INSTALLS,
			     "%s: installed trees cannot be found again",
			     varve_err_text(&why, text, sizeof(text)));
	}
	r->entries = calloc(json_len(json_get(r->index, "manifests")) + 1, sizeof(*r->entries));
	if (!r->entries)
		return varve_fail_oom(e);
	for (j = json_first(json_get(r->index, "manifests")); j; j = json_next(j)) {
		const json *a = json_get(j, "annotations");
		const char *digest = json_str(json_get(j, "digest"));
		const char *target = json_str(json_get(a, MIRROR_TARGET));
		struct entry *entry = &r->entries[r->n_entries];

		if (!digest || varve_digest_parse(&entry->manifest, digest) < 0)
			continue;
		if (target)
			(void)varve_digest_parse(&entry->target, target);
		entry->origin = json_str(json_get(a, MIRROR_ORIGIN));
		r->n_entries++;
	}
	if (r->n_entries)
		qsort(r->entries, r->n_entries, sizeof(*r->entries), by_manifest);
	return 0;
}

/* Blobs that went while we hashed the others. */
static void drop_unseen(struct rebuild *r)
{
	size_t i, n = 0;

	for (i = 0; i < r->n; i++) {
		if (r->items[i].seen)
			r->items[n++] = r->items[i];
	}
	r->n = n;
}

/* Under the lock nothing is published or swept;
 * what came or went since the first listing is few. */
static int replace(struct rebuild *r, struct varve_err *e)
{
	VARVE_CLEANUP(lock_release) struct store_lock lock = LOCK_INIT;
	char random[17], name[32];
	size_t i;
	int x = lock_acquire(&lock, r->store->root, LOCK_EX, r->store->ctx, e);

	for (i = 0; i < r->n; i++)
		r->items[i].seen = false;
	if (x == 0)
		x = list_blobs(r, see_blob, e);
	if (x < 0)
		return x;
	drop_unseen(r);
	sort(r);
	x = read_links(r, e);
	if (x == 0)
		x = read_entries(r, e);
	if (x < 0)
		return x;
	fsx_random_name(random);
	(void)snprintf(name, sizeof(name), "new-%s", random);
	return index_replace(r->store->index, name, fill, r, e);
}

int rebuild_all(struct check *c, struct varve_err *e)
{
	VARVE_CLEANUP(rebuild_done) struct rebuild r = {.check = c, .store = c->store};
	int x = store_need_write(c->store, e);

	if (x == 0)
		x = list_blobs(&r, add_size, e);
	if (x == 0)
		x = list_blobs(&r, see_blob, e);
	sort(&r);
	if (x == 0)
		x = replace(&r, e);
	if (x == 0)
		x = mirror_update(c->store, MIRROR_ALWAYS, e);
	return x < 0 ? varve_wrap(e, x, "rebuild the database") : 0;
}
