/* SPDX-License-Identifier: Apache-2.0 */
/* List images and find one by what a user types. */
#include "store/images.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/text.h"
#include "store/graph.h"
#include "store/oci/platform.h"

#include <ctype.h>
#include <string.h>

#define MIN_PREFIX 12

static const char *keep(struct arena **p, const char *s)
{
	return s ? arena_strn(p, s, strlen(s)) : NULL;
}

/* One item; without a tag the image is known by its digest only. lower: path of the lower store
 * that g is of, or NULL. */
static int add_item(struct varve_image_list *l, const struct graph *g, const struct graph_tag *t,
		    uint32_t image, const char *lower, struct varve_err *e)
{
	const struct graph_image *im = &g->images[image];
	struct varve_image *out = &l->items[l->n];
	uint32_t k;

	*out = (struct varve_image){
		.manifest = g->blobs[im->blob].digest,
		.platform = t ? t->platform : im->platform,
		.n_layers = im->n_layers,
		.size = im->size,
		.own_size = lower ? 0 : im->own_size,
		.shared_size = lower ? 0 : im->shared_size,
		.unpacked_size = im->unpacked,
		.fetched_at = t ? t->fetched_at : im->fetched_at,
		.last_used = im->last_used,
		.pinned = im->pinned,
		.complete = im->complete,
		.is_default = !t || t->is_default,
	};
	out->target = t && t->target != GRAPH_NONE ? g->blobs[t->target].digest : out->manifest;
	for (k = 0; k < im->n_edges; k++) {
		const struct graph_edge *edge = &g->edges[im->first_edge + k];

		if (edge->role == ROLE_CONFIG)
			out->config = g->blobs[edge->blob].digest;
	}
	out->lower = keep(l->priv, lower);
	l->n++;
	if (lower && !out->lower)
		return varve_fail_oom(e);
	if (!t)
		return 0;
	out->name = keep(l->priv, t->name);
	out->reference = keep(l->priv, t->reference);
	out->source = keep(l->priv, t->source);
	out->origin = keep(l->priv, t->origin);
	out->place = keep(l->priv, t->place);
	return out->name && out->reference ? 0 : varve_fail_oom(e);
}

static int new_list(struct varve_image_list *l, size_t n, struct varve_err *e)
{
	*l = (struct varve_image_list){0};
	l->items = calloc(n + 1, sizeof(*l->items));
	l->priv = calloc(1, sizeof(struct arena *));
	if (l->items && l->priv)
		return 0;
	varve_image_list_free(l);
	return varve_fail_oom(e);
}

void varve_image_list_free(struct varve_image_list *l)
{
	if (!l)
		return;
	free(l->items);
	if (l->priv)
		arena_free(*(struct arena **)l->priv);
	free(l->priv);
	*l = (struct varve_image_list){0};
}

/* Named before unnamed, by name, then the default platform first. */
static int by_name(const void *a, const void *b)
{
	const struct varve_image *x = a, *y = b;
	char p[84], q[84];
	int c;

	if (!x->name || !y->name)
		return x->name ? -1 : y->name ? 1 : digest_cmp(&x->manifest, &y->manifest);
	c = strcmp(x->name, y->name);
	if (c == 0)
		c = (int)y->is_default - (int)x->is_default;
	return c ? c
		 : strcmp(varve_platform_str(&x->platform, p), varve_platform_str(&y->platform, q));
}

/* Is it in the list by this name and for this platform, of this store or one asked before? */
static bool listed(const struct varve_image_list *l, const char *reference,
		   const struct varve_digest *manifest, const struct varve_platform *platform)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		const struct varve_image *m = &l->items[i];

		if (reference ? m->reference && strcmp(m->reference, reference) == 0 &&
					platform_equal(&m->platform, platform)
			      : varve_digest_equal(&m->manifest, manifest))
			return true;
	}
	return false;
}

/* All of g. What a lower store has beside the upper ones is what an install would take from it. */
static int add_all(struct varve_image_list *l, const struct graph *g, const char *lower,
		   struct varve_err *e)
{
	VARVE_FREE unsigned char *tagged = calloc(g->n_images + 1, 1);
	struct varve_image *more =
		realloc(l->items, (l->n + g->n_tags + g->n_images + 1) * sizeof(*more));
	uint32_t i;
	int r = 0;

	if (more)
		l->items = more;
	if (!more || !tagged)
		return varve_fail_oom(e);
	for (i = 0; r == 0 && i < g->n_tags; i++) {
		const struct graph_tag *t = &g->tags[i];

		if (t->image == GRAPH_NONE)
			continue;
		tagged[t->image] = 1;
		if (!lower || !listed(l, t->reference, &t->manifest, &t->platform))
			r = add_item(l, g, t, t->image, lower, e);
	}
	for (i = 0; r == 0 && i < g->n_images; i++) {
		if (!tagged[i] &&
		    (!lower || !listed(l, NULL, &g->blobs[g->images[i].blob].digest, NULL)))
			r = add_item(l, g, NULL, i, lower, e);
	}
	return r;
}

static int add_store(struct varve_image_list *l, struct varve_store *s, bool lower,
		     struct varve_err *e)
{
	struct graph g = {0};
	int r = graph_load(&g, s, e);

	if (r == 0)
		r = add_all(l, &g, lower ? s->path : NULL, e);
	graph_done(&g);
	return r;
}

int varve_store_images(struct varve_store *s, struct varve_image_list *ret, struct varve_err *e)
{
	struct varve_image_list l = {0};
	size_t i;
	int r = new_list(&l, 0, e);

	if (r == 0)
		r = add_store(&l, s, false, e);
	for (i = 0; r == 0 && i < s->n_lower; i++)
		r = add_store(&l, s->lower[i], true, e);
	if (r < 0) {
		varve_image_list_free(&l);
		return r;
	}
	qsort(l.items, l.n, sizeof(*l.items), by_name);
	*ret = l;
	return 0;
}

/* --- find --- */

/* What was typed, cut into its parts. */
struct wanted {
	const char *text;
	char name[1024];            /* before "@" */
	char latest[1024];          /* with ":latest" where there is no tag; else empty */
	struct varve_digest digest; /* behind "@", or all of it */
	char prefix[130];           /* hex characters of a digest; else empty */
	const struct varve_platform *platform;
};

static bool is_hex_prefix(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return s[n] == '\0' && n >= MIN_PREFIX && n <= 128;
}

static void cut(struct wanted *w, const char *text, const struct varve_platform *platform)
{
	const char *at = strrchr(text, '@'), *hex = text, *slash, *colon;

	*w = (struct wanted){.text = text, .platform = platform};
	if (varve_digest_parse(&w->digest, text) == 0)
		return;
	if (at && varve_digest_parse(&w->digest, at + 1) == 0)
		(void)snprintf(w->name, sizeof(w->name), "%.*s", (int)(at - text), text);
	else
		(void)snprintf(w->name, sizeof(w->name), "%s", text);
	if (strncmp(hex, "sha256:", 7) == 0 || strncmp(hex, "sha512:", 7) == 0)
		hex += 7;
	if (is_hex_prefix(hex))
		(void)snprintf(w->prefix, sizeof(w->prefix), "%s", hex);
	slash = strrchr(w->name, '/');
	colon = strrchr(w->name, ':');
	if (!colon || (slash && colon < slash))
		(void)snprintf(w->latest, sizeof(w->latest), "%.1000s:latest", w->name);
}

/* "debian:sid" and "debian:sid@sha256:…" are one name. */
static bool same_name(const char *have, const char *want)
{
	const char *at = strrchr(have, '@');
	size_t n = at ? (size_t)(at - have) : strlen(have);

	return *want && strlen(want) == n && strncmp(have, want, n) == 0;
}

static bool tag_matches(const struct graph *g, const struct graph_tag *t, const struct wanted *w,
			bool latest)
{
	const char *name = latest ? w->latest : w->name;
	bool digest_fits;

	if (strcmp(t->name, w->text) == 0 || strcmp(t->reference, w->text) == 0)
		return true;
	if (!same_name(t->name, name) && !same_name(t->reference, name))
		return false;
	if (!varve_digest_is_set(&w->digest))
		return !strchr(t->reference, '@'); /* pulled by digest: has no plain name */
	digest_fits = varve_digest_equal(&g->blobs[g->images[t->image].blob].digest, &w->digest) ||
		      (t->target != GRAPH_NONE &&
		       varve_digest_equal(&g->blobs[t->target].digest, &w->digest));
	return digest_fits;
}

/* Lower is better; -1: does not serve. */
static int platform_fit(const struct wanted *w, const struct varve_platform *have, bool is_default)
{
	if (w->platform)
		return platform_rank(w->platform, have);
	return is_default ? 0 : 1;
}

struct match {
	const struct graph_tag *tag;
	uint32_t image;
	int rank;
	bool ambiguous;
};

static void match_tags(const struct graph *g, const struct wanted *w, bool latest, struct match *m)
{
	size_t i;

	for (i = 0; i < g->n_tags; i++) {
		const struct graph_tag *t = &g->tags[i];
		int rank;

		if (t->image == GRAPH_NONE || !tag_matches(g, t, w, latest))
			continue;
		rank = platform_fit(w, &t->platform, t->is_default);
		if (rank >= 0 && (m->rank < 0 || rank < m->rank))
			*m = (struct match){t, t->image, rank, false};
	}
}

static const struct graph_tag *tag_of(const struct graph *g, uint32_t image)
{
	const struct graph_tag *found = NULL;
	size_t i;

	for (i = 0; i < g->n_tags; i++) {
		if (g->tags[i].image == image && (!found || g->tags[i].is_default))
			found = &g->tags[i];
	}
	return found;
}

static bool digest_matches(const struct varve_digest *d, const struct wanted *w)
{
	if (varve_digest_is_set(&w->digest))
		return !w->name[0] && varve_digest_equal(d, &w->digest);
	return w->prefix[0] && strncmp(DIGEST_HEX(d), w->prefix, strlen(w->prefix)) == 0;
}

/* By digest: the manifest's own, or that of an index that led to it. */
static void match_digest(const struct graph *g, const struct wanted *w, struct match *m)
{
	uint32_t i, k;

	for (i = 0; i < g->n_images; i++) {
		const struct graph_image *im = &g->images[i];
		bool own = digest_matches(&g->blobs[im->blob].digest, w), parent = false;
		const struct graph_tag *t;
		int rank;

		for (k = 0; k < im->n_edges && !own && !parent; k++) {
			const struct graph_edge *edge = &g->edges[im->first_edge + k];

			parent = (edge->role == ROLE_PARENT || edge->role == ROLE_EXTRA) &&
				 digest_matches(&g->blobs[edge->blob].digest, w);
		}
		if (!own && !parent)
			continue;
		t = tag_of(g, i);
		/* A manifest says itself for which platform
		 * it is; an index has to be chosen from. */
		rank = own && !w->platform ? 0 : platform_fit(w, &im->platform, t && t->is_default);
		if (rank < 0)
			continue;
		if (m->rank < 0 || rank < m->rank)
			*m = (struct match){t, i, rank, false};
		else if (rank == m->rank && own)
			m->ambiguous = true;
	}
}

static int fail_not_found(const struct graph *g, const struct wanted *w, struct varve_err *e)
{
	const char *best = NULL;
	unsigned distance, least = 4;
	bool other_platform = false;
	char text[84];
	size_t i;

	for (i = 0; i < g->n_tags; i++) {
		const struct graph_tag *t = &g->tags[i];

		if (t->image != GRAPH_NONE &&
		    (tag_matches(g, t, w, false) || (w->latest[0] && tag_matches(g, t, w, true))))
			other_platform = true;
		distance = text_distance(w->name, t->name);
		if (distance < least) {
			least = distance;
			best = t->name;
		}
	}
	if (w->platform && other_platform)
		return varve_fail(e, VARVE_E_NOPLATFORM, "%s is not stored for %s",
				  TEXT_SAFE(w->text), varve_platform_str(w->platform, text));
	if (best)
		return varve_fail(e, VARVE_E_NOTFOUND, "%s is not in the store; did you mean %s?",
				  TEXT_SAFE(w->text), best);
	return varve_fail(e, VARVE_E_NOTFOUND,
			  "%s is not in the store; see what is with: varve list",
			  TEXT_SAFE(w->text));
}

int images_find(const struct graph *g, const char *what, const struct varve_platform *platform,
		uint32_t *ret_image, const struct graph_tag **ret_tag, struct varve_err *e)
{
	struct match m = {.rank = -1};
	struct wanted w;

	cut(&w, what, platform);
	match_tags(g, &w, false, &m);
	if (m.rank < 0 && w.latest[0])
		match_tags(g, &w, true, &m);
	if (m.rank < 0)
		match_digest(g, &w, &m);
	if (m.rank < 0)
		return fail_not_found(g, &w, e);
	if (m.ambiguous)
		return varve_fail(e, VARVE_E_NOTFOUND, "%s: more than one digest begins so",
				  TEXT_SAFE(what));
	*ret_image = m.image;
	*ret_tag = m.tag;
	return 0;
}

static int find_in(struct varve_store *s, bool lower, const char *what,
		   const struct varve_platform *platform, struct varve_image_list *ret,
		   struct varve_err *e)
{
	const struct graph_tag *tag;
	struct varve_image_list l = {0};
	struct graph g = {0};
	uint32_t image;
	int r = graph_load(&g, s, e);

	if (r == 0)
		r = images_find(&g, what, platform, &image, &tag, e);
	if (r == 0)
		r = new_list(&l, 1, e);
	if (r == 0)
		r = add_item(&l, &g, tag, image, lower ? s->path : NULL, e);
	graph_done(&g);
	if (r < 0)
		varve_image_list_free(&l);
	else
		*ret = l;
	return r;
}

int varve_store_find(struct varve_store *s, const char *what, const struct varve_platform *platform,
		     struct varve_image_list *ret, struct varve_err *e)
{
	size_t i;
	int r = find_in(s, false, what, platform, ret, e);

	for (i = 0; r < 0 && (r == -VARVE_E_NOTFOUND || r == -VARVE_E_NOPLATFORM) && i < s->n_lower;
	     i++) {
		if (find_in(s->lower[i], true, what, platform, ret, NULL) == 0)
			return 0;
	}
	return r;
}

int images_need(struct index_txn *t, const struct varve_digest *manifest, struct varve_err *e)
{
	struct span v;
	int r = index_get(t, INDEX_IMAGE, record_digest_key(manifest), record_digest_len(manifest),
			  &v, e);

	if (r == 0)
		return varve_fail(e, VARVE_E_NOTFOUND, "image %s was removed meanwhile",
				  DIGEST_STR(manifest));
	return r < 0 ? r : 0;
}

static int look_up(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct varve_digest *d = user;
	struct span v;

	return index_get(t, INDEX_IMAGE, record_digest_key(d), record_digest_len(d), &v, e);
}

bool images_recorded(struct varve_store *s, const struct varve_digest *manifest)
{
	struct varve_digest d = *manifest;

	return index_view(s->index, look_up, &d, NULL) == 1;
}
