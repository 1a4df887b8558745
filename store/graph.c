/* SPDX-License-Identifier: Apache-2.0 */
/* All blobs, images, tags and pins of a store in memory, joined. */
#include "store/graph.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/blob.h"

#include <string.h>

/* --- growing --- */

static int room(void *array_ptr, size_t n, size_t *cap, size_t item, struct varve_err *e)
{
	void *more;
	void *old;

	if (n < *cap)
		return 0;
	if (n >= GRAPH_NONE - 1)
		return varve_fail(e, VARVE_E_LIMIT, "store has too many records");
	memcpy(&old, array_ptr, sizeof(old));
	more = realloc(old, (*cap ? *cap * 2 : 64) * item);
	if (!more)
		return varve_fail_oom(e);
	*cap = *cap ? *cap * 2 : 64;
	memcpy(array_ptr, &more, sizeof(more));
	return 0;
}

/* Digests are random already. */
static size_t slot_of(const struct graph *g, const struct varve_digest *d, uint32_t *ret_tag)
{
	uint64_t h;

	memcpy(&h, d->bytes, sizeof(h));
	*ret_tag = (uint32_t)(h >> 32);
	return (size_t)(h & (g->n_slots - 1));
}

static void fill_slot(struct graph *g, uint32_t i)
{
	uint32_t tag;
	size_t at = slot_of(g, &g->blobs[i].digest, &tag);

	while (g->slots[at].blob != GRAPH_NONE)
		at = (at + 1) & (g->n_slots - 1);
	g->slots[at] = (struct graph_slot){i, tag};
}

static int make_slots(struct graph *g, size_t n_blobs, struct varve_err *e)
{
	struct graph_slot *slots;
	size_t n = 256;
	uint32_t i;

	while (n < 2 * n_blobs)
		n *= 2;
	slots = malloc(n * sizeof(*slots));
	if (!slots)
		return varve_fail_oom(e);
	memset(slots, 0xff, n * sizeof(*slots));
	free(g->slots);
	g->slots = slots;
	g->n_slots = n;
	for (i = 0; i < g->n_blobs; i++)
		fill_slot(g, i);
	return 0;
}

uint32_t graph_find_blob(const struct graph *g, const struct varve_digest *d)
{
	size_t n = record_digest_len(d), at;
	uint32_t tag;

	if (g->n_slots == 0)
		return GRAPH_NONE;
	for (at = slot_of(g, d, &tag); g->slots[at].blob != GRAPH_NONE;
	     at = (at + 1) & (g->n_slots - 1)) {
		if (g->slots[at].tag == tag &&
		    memcmp(&g->blobs[g->slots[at].blob].digest, d, n) == 0)
			return g->slots[at].blob;
	}
	return GRAPH_NONE;
}

/* d is new. */
static int add_blob(struct graph *g, const struct varve_digest *d, uint32_t *ret,
		    struct varve_err *e)
{
	int r = room(&g->blobs, g->n_blobs, &g->cap_blobs, sizeof(*g->blobs), e);

	if (r == 0 && 2 * (g->n_blobs + 1) > g->n_slots)
		r = make_slots(g, 2 * (g->n_blobs + 1), e);
	if (r < 0)
		return r;
	g->blobs[g->n_blobs] = (struct graph_blob){
		.digest = *d, .stamp = GRAPH_NONE, .unpacked = VARVE_SIZE_UNKNOWN};
	fill_slot(g, (uint32_t)g->n_blobs);
	*ret = (uint32_t)g->n_blobs++;
	return 0;
}

int graph_intern(struct graph *g, const struct varve_digest *d, uint32_t *ret, struct varve_err *e)
{
	*ret = graph_find_blob(g, d);
	return *ret == GRAPH_NONE ? add_blob(g, d, ret, e) : 0;
}

/* --- loading --- */

static int bad_record(struct varve_err *e)
{
	return varve_fail(e, VARVE_E_CORRUPT,
			  "a record of the database is damaged; make it again with: varve check "
			  "--rebuild");
}

static int load_blob(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct graph *g = user;
	struct varve_digest d;
	struct blob_record rec;
	struct graph_blob *b;
	uint32_t i;
	int r;

	if (!record_digest_of(key, &d) || !blob_brief_get(value, &rec))
		return bad_record(e);
	r = add_blob(g, &d, &i, e); /* keys are distinct */
	if (r < 0)
		return r;
	b = &g->blobs[i];
	b->recorded = true;
	b->present = rec.state == BLOB_PRESENT;
	b->kind = (uint8_t)rec.kind;
	b->size = rec.size;
	if (rec.has_facts) {
		b->unpacked = rec.facts.size;
		b->compression = (uint8_t)rec.facts.compression;
	}
	return 0;
}

static int load_image(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct graph *g = user;
	struct image_record rec;
	struct image_ref ref;
	struct graph_image *im;
	struct varve_digest d;
	uint32_t i;
	int r = room(&g->images, g->n_images, &g->cap_images, sizeof(*g->images), e);

	if (r < 0)
		return r;
	if (!record_digest_of(key, &d) || !image_record_get(value, &rec))
		return bad_record(e);
	r = graph_intern(g, &d, &i, e);
	if (r < 0)
		return r;
	im = &g->images[g->n_images];
	*im = (struct graph_image){
		.blob = i,
		.first_edge = (uint32_t)g->n_edges,
		.n_layers = rec.n_layers,
		.platform = rec.platform,
		.docker = rec.docker,
		.fetched_at = rec.fetched_at,
		.last_used = rec.fetched_at,
		.misfit = GRAPH_NONE,
	};
	while (image_next_ref(&rec.refs, &ref)) {
		r = graph_intern(g, &ref.digest, &i, e);
		if (r == 0)
			r = room(&g->edges, g->n_edges, &g->cap_edges, sizeof(*g->edges), e);
		if (r < 0)
			return r;
		if (!g->blobs[i].recorded && ref.size != VARVE_SIZE_UNKNOWN)
			g->blobs[i].size = ref.size;
		if (g->blobs[i].present && ref.size != VARVE_SIZE_UNKNOWN &&
		    g->blobs[i].size != ref.size) {
			im->misfit = i;
			im->misfit_said = ref.size;
		}
		g->edges[g->n_edges++] = (struct graph_edge){i, ref.role};
		im->n_edges++;
	}
	if (im->n_edges != rec.n_refs)
		return bad_record(e);
	g->n_images++;
	return 0;
}

/* Images come in the order of their digests. */
uint32_t graph_find_image(const struct graph *g, const struct varve_digest *manifest)
{
	size_t lo = 0, hi = g->n_images;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = digest_cmp(&g->blobs[g->images[mid].blob].digest, manifest);

		if (c == 0)
			return (uint32_t)mid;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return GRAPH_NONE;
}

static int copy_str(struct graph *g, struct span s, const char **ret, struct varve_err *e)
{
	*ret = s.p ? arena_strn(&g->strings, s.p, s.n) : NULL;
	return s.p && !*ret ? varve_fail_oom(e) : 0;
}

static int load_tag(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct graph *g = user;
	struct tag_record rec;
	struct graph_tag *t;
	int r = room(&g->tags, g->n_tags, &g->cap_tags, sizeof(*g->tags), e);

	(void)key;
	if (r < 0)
		return r;
	if (!tag_record_get(value, &rec))
		return bad_record(e);
	t = &g->tags[g->n_tags];
	*t = (struct graph_tag){
		.image = graph_find_image(g, &rec.manifest),
		.target = GRAPH_NONE,
		.manifest = rec.manifest,
		.platform = rec.platform,
		.is_default = rec.is_default,
		.fetched_at = rec.fetched_at,
	};
	if (varve_digest_is_set(&rec.target))
		r = graph_intern(g, &rec.target, &t->target, e);
	if (r == 0)
		r = copy_str(g, rec.name, &t->name, e);
	if (r == 0)
		r = copy_str(g, rec.reference, &t->reference, e);
	if (r == 0)
		r = copy_str(g, rec.source, &t->source, e);
	if (r == 0)
		r = copy_str(g, rec.origin, &t->origin, e);
	if (r == 0)
		r = copy_str(g, rec.place, &t->place, e);
	if (r == 0)
		g->n_tags++;
	return r;
}

static int load_pin(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct graph *g = user;
	struct pin_record rec;
	struct varve_digest d;
	uint32_t i;

	if (!record_digest_of(key, &d) || !pin_record_get(value, &rec))
		return bad_record(e);
	i = graph_find_image(g, &d);
	if (i == GRAPH_NONE)
		return 0;
	g->images[i].pinned = true;
	return copy_str(g, rec.reference, &g->images[i].pin_reference, e);
}

static int load_used(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct graph *g = user;
	struct varve_digest d;
	int64_t when;
	uint32_t i;

	if (!record_digest_of(key, &d) || !used_record_get(value, &when))
		return bad_record(e);
	i = graph_find_image(g, &d);
	if (i != GRAPH_NONE && when > g->images[i].last_used)
		g->images[i].last_used = when;
	return 0;
}

/* The sizes are known: no doubling, which would take twice the memory. */
static int reserve(struct graph *g, struct index_txn *t, struct varve_err *e)
{
	g->cap_blobs = index_count(t, INDEX_BLOB) + 64;
	g->cap_images = index_count(t, INDEX_IMAGE) + 1;
	g->cap_tags = index_count(t, INDEX_TAG) + 1;
	g->blobs = malloc(g->cap_blobs * sizeof(*g->blobs));
	g->images = malloc(g->cap_images * sizeof(*g->images));
	g->tags = malloc(g->cap_tags * sizeof(*g->tags));
	if (!g->blobs || !g->images || !g->tags)
		return varve_fail_oom(e);
	return make_slots(g, g->cap_blobs, e);
}

static int load(struct index_txn *t, void *user, struct varve_err *e)
{
	struct graph *g = user;
	int r = reserve(g, t, e);

	if (r == 0)
		r = index_each(t, INDEX_BLOB, NULL, 0, load_blob, g, e);

	if (r == 0)
		r = index_each(t, INDEX_IMAGE, NULL, 0, load_image, g, e);
	if (r == 0)
		r = index_each(t, INDEX_TAG, NULL, 0, load_tag, g, e);
	if (r == 0)
		r = index_each(t, INDEX_PIN, NULL, 0, load_pin, g, e);
	if (r == 0)
		r = index_each(t, INDEX_USED, NULL, 0, load_used, g, e);
	if (r == 0)
		r = index_generation(t, &g->generation, e);
	g->txn_id = index_txn_id(t);
	return r;
}

/* --- joining --- */

static bool in_lower(struct varve_store *s, const struct varve_digest *d)
{
	size_t i;

	for (i = 0; i < s->n_lower; i++) {
		if (blob_stat(s->lower[i], d, NULL, NULL) == 1)
			return true;
	}
	return false;
}

/* Sizes of one image; counts it at each of its blobs once. */
static void count_image(struct graph *g, uint32_t i, struct varve_store *s)
{
	struct graph_image *im = &g->images[i];
	uint32_t k;

	im->complete = true;
	for (k = 0; k < im->n_edges; k++) {
		const struct graph_edge *edge = &g->edges[im->first_edge + k];
		struct graph_blob *b = &g->blobs[edge->blob];

		if (edge->role == ROLE_LAYER) {
			if (b->unpacked == VARVE_SIZE_UNKNOWN)
				im->unpacked = VARVE_SIZE_UNKNOWN;
			else if (im->unpacked != VARVE_SIZE_UNKNOWN)
				im->unpacked += b->unpacked;
		}
		if (edge->role == ROLE_PARENT || b->stamp == i)
			continue;
		b->stamp = i;
		b->images++;
		im->size += b->size;
		if (edge->role != ROLE_EXTRA && !b->present && !in_lower(s, &b->digest))
			im->complete = false;
	}
	if (im->unpacked == VARVE_SIZE_UNKNOWN)
		im->unpacked = 0;
}

static void own_sizes(struct graph *g)
{
	uint32_t i, k;

	for (i = 0; i < g->n_blobs; i++)
		g->blobs[i].stamp = GRAPH_NONE;
	for (i = 0; i < g->n_images; i++) {
		struct graph_image *im = &g->images[i];

		for (k = 0; k < im->n_edges; k++) {
			const struct graph_edge *edge = &g->edges[im->first_edge + k];
			struct graph_blob *b = &g->blobs[edge->blob];

			if (edge->role == ROLE_PARENT || b->stamp == i)
				continue;
			b->stamp = i;
			if (b->present && b->images == 1)
				im->own_size += b->size;
			else if (b->present)
				im->shared_size += b->size;
		}
	}
}

void graph_done(struct graph *g)
{
	free(g->blobs);
	free(g->slots);
	free(g->edges);
	free(g->images);
	free(g->tags);
	arena_free(VARVE_TAKE(g->strings));
	*g = (struct graph){0};
}

int graph_load(struct graph *ret, struct varve_store *s, struct varve_err *e)
{
	struct graph g = {0};
	uint32_t i;
	int r = index_view(s->index, load, &g, e);

	if (r < 0) {
		graph_done(&g);
		return r;
	}
	for (i = 0; i < g.n_images; i++)
		count_image(&g, i, s);
	own_sizes(&g);
	*ret = g;
	return 0;
}
