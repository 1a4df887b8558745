/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of blobs: all of a store, and the layers of an image. */
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store/blob_record.h"
#include "store/graph.h"

#include <string.h>

void varve_blob_list_free(struct varve_blob_list *l)
{
	if (!l)
		return;
	free(l->items);
	*l = (struct varve_blob_list){0};
}

static void fill(struct varve_blob_info *out, const struct blob_record *rec)
{
	out->size = rec->size;
	out->kind = rec->kind;
	out->present = rec->state == BLOB_PRESENT;
	out->has_facts = rec->has_facts;
	out->facts = rec->facts;
	out->verified_at = rec->verified_at;
}

struct all {
	struct index_txn *txn;
	const struct graph *g;
	struct varve_blob_list list;
};

static int add_blob(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct all *a = user;
	struct varve_blob_info *out;
	struct blob_record rec;
	struct varve_digest d;
	uint32_t i;
	int r;

	(void)value;
	if (!record_digest_of(key, &d))
		return varve_fail(e, VARVE_E_CORRUPT,
				  "record of a blob: run varve check --rebuild");
	r = blob_record_load(a->txn, &d, &rec, e);
	if (r <= 0)
		return r;
	i = graph_find_blob(a->g, &d);
	if (i == GRAPH_NONE) /* came after the graph was loaded */
		return 0;
	out = &a->list.items[a->list.n++];
	out->digest = d;
	out->references = a->g->blobs[i].images;
	fill(out, &rec);
	return 0;
}

static int each_blob(struct index_txn *t, void *user, struct varve_err *e)
{
	struct all *a = user;

	a->txn = t;
	return index_each(t, INDEX_BLOB, NULL, 0, add_blob, a, e);
}

int varve_store_blobs(struct varve_store *s, struct varve_blob_list *ret, struct varve_err *e)
{
	struct graph g = {0};
	struct all a = {.g = &g};
	uint32_t i;
	int r = graph_load(&g, s, e);

	if (r == 0) {
		a.list.items = calloc(g.n_blobs + 1, sizeof(*a.list.items));
		r = a.list.items ? index_view(s->index, each_blob, &a, e) : varve_fail_oom(e);
	}
	/* Named by an image, never here. */
	for (i = 0; r == 0 && i < g.n_blobs; i++) {
		if (!g.blobs[i].recorded && g.blobs[i].images)
			a.list.items[a.list.n++] = (struct varve_blob_info){
				.digest = g.blobs[i].digest,
				.size = g.blobs[i].size,
				.references = g.blobs[i].images,
			};
	}
	graph_done(&g);
	if (r < 0)
		varve_blob_list_free(&a.list);
	else
		*ret = a.list;
	return r;
}

/* --- layers of an image --- */

struct layers {
	const struct varve_digest *manifest;
	struct varve_blob_list list;
};

static int one_layer(struct index_txn *t, const struct image_ref *ref, struct varve_blob_info *out,
		     struct varve_err *e)
{
	struct blob_record rec;
	int r = blob_record_load(t, &ref->digest, &rec, e);

	*out = (struct varve_blob_info){
		.digest = ref->digest, .size = ref->size, .kind = VARVE_BLOB_LAYER};
	if (r == 1)
		fill(out, &rec);
	return r < 0 ? r : 0;
}

static int read_layers(struct index_txn *t, void *user, struct varve_err *e)
{
	struct layers *q = user;
	struct image_record rec;
	struct image_ref ref;
	struct span v;
	int r = index_get(t, INDEX_IMAGE, record_digest_key(q->manifest),
			  record_digest_len(q->manifest), &v, e);

	if (r <= 0)
		return r < 0 ? r
			     : varve_fail(e, VARVE_E_NOTFOUND, "image %s is not in the store",
					  DIGEST_STR(q->manifest));
	if (!image_record_get(v, &rec))
		return varve_fail(e, VARVE_E_CORRUPT,
				  "record of an image: run varve check --rebuild");
	q->list.items = calloc(rec.n_layers + 1, sizeof(*q->list.items));
	if (!q->list.items)
		return varve_fail_oom(e);
	while (image_next_ref(&rec.refs, &ref) && q->list.n < rec.n_layers) {
		if (ref.role != ROLE_LAYER)
			continue;
		r = one_layer(t, &ref, &q->list.items[q->list.n++], e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A layer that only a lower store has is present as well. */
static void look_below(struct varve_store *s, struct varve_blob_list *l)
{
	struct varve_blob_info info;
	size_t i, k;

	for (i = 0; i < l->n; i++) {
		for (k = 0; k < s->n_lower && !l->items[i].present; k++) {
			if (blob_stat(s->lower[k], &l->items[i].digest, &info, NULL) == 1)
				l->items[i] = info;
		}
	}
}

int varve_store_layers(struct varve_store *s, const struct varve_digest *manifest,
		       struct varve_blob_list *ret, struct varve_err *e)
{
	struct layers q = {.manifest = manifest};
	size_t i;
	int r = index_view(s->index, read_layers, &q, e);

	if (r < 0) {
		varve_blob_list_free(&q.list);
		for (i = 0; r == -VARVE_E_NOTFOUND && i < s->n_lower; i++) {
			if (varve_store_layers(s->lower[i], manifest, ret, NULL) == 0)
				return 0;
		}
		return r;
	}
	look_below(s, &q.list);
	*ret = q.list;
	return 0;
}
