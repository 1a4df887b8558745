/* SPDX-License-Identifier: Apache-2.0 */
/* Names: tag, untag, pin, unpin. */
#include "store/tags.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/text.h"
#include "store/catalog.h"
#include "store/graph.h"
#include "store/handle.h"
#include "store/images.h"
#include "store/lease.h"
#include "store/mirror.h"

#include <ctype.h>
#include <string.h>

/* --- names --- */

int tags_both_forms(const char *text, char canonical[800], char familiar[800], struct varve_err *e)
{
	const char *slash = strchr(text, '/'), *rest = text, *tag;
	char domain[256] = "docker.io", path[512];
	bool hub;

	if (!*text || strlen(text) > 700 || strchr(text, '@') || strpbrk(text, " \t\n\\"))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "\"%s\" is no name for an image; write for example debian:mine",
				  TEXT_SAFE(text));
	if (slash &&
	    (memchr(text, '.', (size_t)(slash - text)) ||
	     memchr(text, ':', (size_t)(slash - text)) || strncmp(text, "localhost/", 10) == 0)) {
		(void)snprintf(domain, sizeof(domain), "%.*s", (int)(slash - text), text);
		rest = slash + 1;
	}
	hub = strcmp(domain, "docker.io") == 0 || strcmp(domain, "index.docker.io") == 0;
	(void)snprintf(path, sizeof(path), "%s%s", hub && !strchr(rest, '/') ? "library/" : "",
		       rest);
	tag = strrchr(path, '/');
	tag = strchr(tag ? tag : path, ':') ? "" : ":latest";
	(void)snprintf(canonical, 800, "%s/%s%s", hub ? "docker.io" : domain, path, tag);
	(void)snprintf(familiar, 800, "%s%s%s%s", hub ? "" : domain, hub ? "" : "/",
		       hub && strncmp(path, "library/", 8) == 0 ? path + 8 : path, tag);
	return 0;
}

/* The record of an image that a lower store holds, here as well; its blobs stay where they are. */
static int copy_record(struct varve_store *s, const struct varve_image *m, struct varve_err *e)
{
	struct catalog_tag t = {
		.name = m->name,
		.reference = m->reference,
		.source = m->source,
		.origin = m->origin,
		.target = m->target,
		.manifest = m->manifest,
		.platform = m->platform,
	};
	struct catalog_commit c = {
		.manifest = m->manifest, .tags = &t, .n_tags = m->reference ? 1 : 0};

	return catalog_commit(s, &c, e);
}

/* For who changes names; g is loaded, and anew when the image was in a lower store only. */
static int find_to_change(struct varve_store *s, struct graph *g, const char *what, uint32_t *ret,
			  const struct graph_tag **ret_tag, struct varve_err *e)
{
	struct varve_image_list below = {0};
	int r = images_find(g, what, NULL, ret, ret_tag, e);

	if (r != -VARVE_E_NOTFOUND || varve_store_find(s, what, NULL, &below, NULL) < 0)
		return r;
	r = copy_record(s, &below.items[0], e);
	varve_image_list_free(&below);
	graph_done(g);
	if (r == 0)
		r = graph_load(g, s, e);
	return r == 0 ? images_find(g, what, NULL, ret, ret_tag, e) : r;
}

int varve_store_tag(struct varve_store *s, const char *what, const char *new_reference,
		    struct varve_err *e)
{
	VARVE_CLEANUP(lease_cleanup) struct lease *lease = NULL;
	struct catalog_commit c = {0};
	struct catalog_tag t = {0};
	char canonical[800], familiar[800];
	const struct graph_tag *from;
	struct graph g = {0};
	uint32_t image;
	int r = store_need_write(s, e);

	if (r == 0)
		r = tags_both_forms(new_reference, canonical, familiar, e);
	if (r == 0)
		r = lease_begin(&lease, s, "tag", e);
	if (r == 0)
		r = graph_load(&g, s, e);
	if (r == 0)
		r = find_to_change(s, &g, what, &image, &from, e);
	if (r == 0) /* gc may be about to take an image that has no name yet */
		r = lease_add(lease, &g.blobs[g.images[image].blob].digest, e);
	if (r == 0) {
		t.name = familiar;
		t.reference = canonical;
		t.source = from && from->source ? from->source : "tag";
		t.origin = from ? from->origin : NULL;
		t.manifest = g.blobs[g.images[image].blob].digest;
		t.target = from && from->target != GRAPH_NONE ? g.blobs[from->target].digest
							      : t.manifest;
		t.platform = from ? from->platform : g.images[image].platform;
		c.tags = &t;
		c.n_tags = 1;
		r = catalog_commit(s, &c, e);
	}
	graph_done(&g);
	return r;
}

/* --- removing --- */

/* Another platform of the name takes the plain name over, so that it never means nothing. */
struct heir {
	char key[RECORD_KEY_MAX];
	size_t n;
	struct buf value;
	bool has_default;
};

static int see_heir(void *user, struct span key, struct span value, struct varve_err *e)
{
	struct heir *h = user;
	struct tag_record rec;

	(void)e;
	if (!tag_record_get(value, &rec))
		return 0;
	if (rec.is_default)
		h->has_default = true;
	if (h->n == 0) {
		memcpy(h->key, key.p, key.n);
		h->n = key.n;
		rec.is_default = true;
		tag_record_put(&h->value, &rec);
	}
	return 0;
}

static int promote(struct index_txn *t, struct span reference, struct varve_err *e)
{
	char prefix[RECORD_KEY_MAX];
	size_t n = tag_key_prefix(prefix, reference);
	struct heir h = {.n = 0};
	int r;

	buf_init(&h.value, RECORD_MAX);
	r = index_each(t, INDEX_TAG, prefix, n, see_heir, &h, e);
	if (r == 0 && h.n && !h.has_default)
		r = buf_error(&h.value) < 0
			    ? varve_fail_oom(e)
			    : index_put(t, INDEX_TAG, h.key, h.n, h.value.p, h.value.n, e);
	buf_done(&h.value);
	return r;
}

int tags_remove(struct index_txn *t, const char *reference, const struct varve_platform *platform,
		struct varve_err *e)
{
	char key[RECORD_KEY_MAX];
	size_t n = tag_key(key, span_str(reference), platform);
	int r = index_del(t, INDEX_TAG, key, n, e);

	return r == 0 ? promote(t, span_str(reference), e) : r;
}

static int fail_pinned(const char *what, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_CONFLICT, "%s is pinned; first: varve unpin %s",
			  TEXT_SAFE(what), TEXT_SAFE(what));
}

struct untag {
	const char *what;
	const char *reference;
	const struct varve_platform *platform;
	struct varve_digest manifest; /* without a name: the image itself */
};

/* An installed tree keeps its image (invariant I5). */
static int refuse_installed(void *user, struct span key, struct span value, struct varve_err *e)
{
	const struct untag *u = user;
	struct varve_install_record in;
	struct span s[INSTALL_STRINGS];
	char label[512];

	(void)key;
	if (!install_record_get(value, &in, s) || !varve_digest_equal(&in.manifest, &u->manifest))
		return 0;
	(void)snprintf(label, sizeof(label), "%.*s", (int)VARVE_MIN(s[1].n, (size_t)400), s[1].p);
	return varve_fail(e, VARVE_E_CONFLICT,
			  "%s is installed as %s in %.*s; first: varve remove --installed %s",
			  TEXT_SAFE(u->what), TEXT_SAFE(label),
			  (int)VARVE_MIN(s[0].n, (size_t)1000), s[0].p, TEXT_SAFE(label));
}

static int remove_image(struct index_txn *t, struct untag *u, struct varve_err *e)
{
	const void *key = record_digest_key(&u->manifest);
	size_t n = record_digest_len(&u->manifest);
	struct span v;
	int r = index_get(t, INDEX_PIN, key, n, &v, e);

	if (r > 0)
		return fail_pinned(u->what, e);
	if (r == 0)
		r = index_each(t, INDEX_INSTALL, NULL, 0, refuse_installed, u, e);
	return r == 0 ? index_del(t, INDEX_IMAGE, key, n, e) : r;
}

/* What was found before may have changed: others tag and pin at the same time. */
static int do_untag(struct index_txn *t, void *user, struct varve_err *e)
{
	struct untag *u = user;
	int r = u->reference ? tags_remove(t, u->reference, u->platform, e) : remove_image(t, u, e);

	return r == 0 ? index_bump(t, e) : r;
}

static bool last_name(const struct graph *g, const struct graph_tag *t)
{
	size_t i, n = 0;

	for (i = 0; i < g->n_tags; i++)
		n += g->tags[i].image == t->image;
	return n == 1;
}

int varve_store_untag(struct varve_store *s, const char *what,
		      const struct varve_platform *platform, struct varve_err *e)
{
	const struct graph_tag *tag;
	struct untag u = {.what = what};
	struct graph g = {0};
	uint32_t image;
	int r = store_need_write(s, e);

	if (r == 0)
		r = graph_load(&g, s, e);
	if (r == 0)
		r = images_find(&g, what, platform, &image, &tag, e);
	if (r == 0 && g.images[image].pinned && (!tag || last_name(&g, tag)))
		r = fail_pinned(what, e);
	if (r == 0) {
		u.reference = tag ? tag->reference : NULL;
		u.platform = tag ? &tag->platform : NULL;
		u.manifest = g.blobs[g.images[image].blob].digest;
		r = index_update(s->index, do_untag, &u, e);
	}
	graph_done(&g);
	return r < 0 ? r : mirror_update(s, MIRROR_IF_BEHIND, e);
}

/* --- pins --- */

struct pin {
	const struct graph *g;
	uint32_t image;
	const char *reference;
	bool on;
};

static int put_pin(struct index_txn *t, const struct pin *p, const struct varve_digest *d,
		   struct varve_err *e)
{
	struct pin_record rec = {.since = store_now()};
	struct buf b;
	int r;

	rec.reference = p->reference ? span_str(p->reference) : (struct span){NULL, 0};
	buf_init(&b, RECORD_MAX);
	pin_record_put(&b, &rec);
	r = buf_error(&b) < 0 ? varve_fail_oom(e)
			      : index_put(t, INDEX_PIN, record_digest_key(d), record_digest_len(d),
					  b.p, b.n, e);
	buf_done(&b);
	return r;
}

/* Unpin by name also lets go of older images that were pinned under it before the name moved. */
static int do_pin(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct pin *p = user;
	const struct graph *g = p->g;
	uint32_t i;
	int r = p->on ? images_need(t, &g->blobs[g->images[p->image].blob].digest, e) : 0;

	if (r == 0 && p->on)
		r = put_pin(t, p, &g->blobs[g->images[p->image].blob].digest, e);
	for (i = 0; r == 0 && !p->on && i < g->n_images; i++) {
		const struct varve_digest *d = &g->blobs[g->images[i].blob].digest;

		if (g->images[i].pinned &&
		    (i == p->image || (p->reference && g->images[i].pin_reference &&
				       strcmp(p->reference, g->images[i].pin_reference) == 0)))
			r = index_del(t, INDEX_PIN, record_digest_key(d), record_digest_len(d), e);
	}
	return r == 0 ? index_bump(t, e) : r;
}

int varve_store_pin(struct varve_store *s, const char *what, bool pin, struct varve_err *e)
{
	VARVE_CLEANUP(lease_cleanup) struct lease *lease = NULL;
	const struct graph_tag *tag;
	struct graph g = {0};
	struct pin p = {.g = &g, .on = pin};
	int r = store_need_write(s, e);

	if (r == 0)
		r = lease_begin(&lease, s, "pin", e);
	if (r == 0)
		r = graph_load(&g, s, e);
	if (r == 0)
		r = find_to_change(s, &g, what, &p.image, &tag, e);
	if (r == 0)
		r = lease_add(lease, &g.blobs[g.images[p.image].blob].digest, e);
	if (r == 0) {
		p.reference = tag ? tag->reference : g.images[p.image].pin_reference;
		r = index_update(s->index, do_pin, &p, e);
	}
	graph_done(&g);
	return r < 0 ? r : mirror_update(s, MIRROR_IF_BEHIND, e);
}
