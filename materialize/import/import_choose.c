/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of an OCI layout is imported. Layouts list more than images: the children of an index that
 * is listed, too (oras), signatures, SBOMs, attestations and other referrers, one name for several
 * platforms. The documents are looked into; nothing is stored here.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "materialize/import/import_choose.h"
#include "materialize/import/import_names.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/layout.h"
#include "store/oci/platform.h"

#define PLATFORMS_MAX 256u

/* --- what the entries are --- */

/* 1: the document was read, of the layout or of the store; 0: it is in neither, or too large. */
static int peek(struct layout *l, const struct varve_digest *d, struct buf *b, struct varve_err *e)
{
	char name[LAYOUT_PATH_MAX];
	int r;

	buf_reset(b);
	r = members_read(l->m, layout_blob(d, name), b, NULL);
	if (r == 0 && blob_stat(l->im->s, d, NULL, NULL) == 1)
		r = blob_read(l->im->s, d, b, NULL) == 0;
	if (r <= 0)
		return r == -ENOMEM ? varve_fail_oom(e) : 0; /* said by who needs it */
	r = import_charge(l->im, b->n, e);
	return r < 0 ? r : 1;
}

/* What the document of a digest says; several entries may have it, under other names. */
struct seen {
	struct varve_digest config; /* unset: of no image */
	char *what;                 /* why no tree can be made of it; NULL: an image */
	bool artifact, has_subject;
	bool config_read, has_platform;
	struct varve_platform platform; /* of the config, once it is read */
};

static int set_what(char **what, const char *text, struct varve_err *e)
{
	free(*what);
	*what = strdup(text ? text : "an artifact");
	return *what ? 0 : varve_fail_oom(e);
}

static int see_config(struct layout *l, struct seen *s, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_config *c = NULL;
	int r;

	if (s->config_read || !varve_digest_is_set(&s->config))
		return 0;
	s->config_read = true;
	buf_init(&b, OCI_CONFIG_MAX);
	r = peek(l, &s->config, &b, e);
	if (r == 1 && oci_config_parse(&c, b.p, b.n, NULL) == 0) {
		s->platform = c->platform;
		s->has_platform = c->platform.os[0];
	}
	oci_config_free(c);
	return r < 0 ? r : 0;
}

static int see_manifest(const struct buf *doc, struct seen *ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	struct oci_manifest *m = NULL;
	enum oci_what what;
	int r = 0;

	if (oci_manifest_parse(&m, doc->p, doc->n, NULL) < 0)
		return 0; /* said by who imports it */
	buf_init(&why, 1024);
	what = oci_manifest_what(m, &why);
	ret->artifact = what == OCI_WHAT_ARTIFACT;
	ret->has_subject = m->has_subject;
	if (m->is_image)
		ret->config = m->config.digest;
	if (what != OCI_WHAT_IMAGE)
		r = set_what(&ret->what, why.p, e);
	oci_manifest_free(m);
	return r;
}

static int by_digest(const void *a, const void *b, void *user)
{
	const struct oci_index *index = user;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int r = memcmp(&index->manifests[x].digest, &index->manifests[y].digest,
		       sizeof(index->manifests[x].digest));

	return r ? r : (x > y) - (x < y);
}

/* Entries without a name that are in an index which is listed beside them belong to it. */
static void mark_children(struct layout *l, const size_t *order, const struct oci_index *index)
{
	for (size_t k = 0; k < index->n; k++) {
		const struct varve_digest *d = &index->manifests[k].digest;
		size_t lo = 0, hi = l->index->n;

		while (lo < hi) {
			size_t mid = lo + (hi - lo) / 2;

			if (memcmp(&l->index->manifests[order[mid]].digest, d, sizeof(*d)) < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo == l->index->n || l->entries[order[lo]].marked)
			continue; /* an index may name it many times */
		l->entries[order[lo]].marked = true;
		for (; lo < l->index->n &&
		       varve_digest_equal(&l->index->manifests[order[lo]].digest, d);
		     lo++)
			l->entries[order[lo]].child = !layout_own_name(l, order[lo]);
	}
}

static int see_index(struct layout *l, const size_t *order, const struct buf *doc, struct seen *ret,
		     struct varve_err *e)
{
	struct oci_index *index = NULL;
	int r = 0;

	if (oci_index_parse(&index, doc->p, doc->n, NULL) < 0)
		return 0;
	mark_children(l, order, index);
	if (!oci_index_has_images(index)) {
		ret->artifact = true;
		r = set_what(&ret->what, "a list without an image", e);
	}
	oci_index_free(index);
	return r;
}

/* The document of an entry. */
static int see_document(struct layout *l, const struct oci_descriptor *d, const size_t *order,
			struct seen *ret, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf doc = {0};
	enum oci_doc_kind kind;
	int r;

	free(ret->what);
	*ret = (struct seen){0};
	buf_init(&doc, OCI_DOC_MAX);
	r = peek(l, &d->digest, &doc, e);
	if (r <= 0 || oci_classify(doc.p, doc.n, NULL, d->media_type, &kind, NULL) < 0)
		return VARVE_MIN(r, 0);
	if (kind == OCI_DOC_MANIFEST)
		return see_manifest(&doc, ret, e);
	return kind == OCI_DOC_INDEX ? see_index(l, order, &doc, ret, e) : 0;
}

/* What the entry says itself; 1: its document has to be looked into. */
static int see_descriptor(struct layout *l, size_t i, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	const struct oci_descriptor *d = &l->index->manifests[i];
	const char *name = layout_own_name(l, i);
	struct entry *x = &l->entries[i];

	buf_init(&why, 1024);
	x->has_platform = d->has_platform;
	x->platform = d->platform;
	x->artifact = oci_descriptor_what(d, &why) != OCI_WHAT_IMAGE;
	if (x->artifact)
		return set_what(&x->what, why.p, e);
	x->artifact = name && oci_is_referrer_name(name);
	if (x->artifact)
		return set_what(&x->what, "a signature, SBOM or other referrer", e);
	return 1;
}

static int apply_seen(struct layout *l, size_t i, struct seen *s, struct varve_err *e)
{
	struct entry *x = &l->entries[i];
	int r;

	x->artifact = s->artifact;
	if (s->what)
		return set_what(&x->what, s->what, e);
	x->artifact = s->has_subject && !layout_own_name(l, i);
	if (x->artifact)
		return set_what(&x->what, "something that belongs to another image (a referrer)",
				e);
	if (x->has_platform)
		return 0;
	r = see_config(l, s, e);
	x->has_platform = s->has_platform;
	x->platform = s->platform;
	return r;
}

/* All entries in the order of their digests, so that each document is read and parsed once. */
static int see_all(struct layout *l, const size_t *order, struct varve_err *e)
{
	struct seen s = {0};
	const struct varve_digest *of = NULL;
	int r = 0;

	for (size_t k = 0; r == 0 && k < l->index->n; k++) {
		const struct oci_descriptor *d = &l->index->manifests[order[k]];

		r = ctx_check(l->im->ctx, e);
		if (r == 0)
			r = see_descriptor(l, order[k], e);
		if (r != 1)
			continue;
		r = of && varve_digest_equal(of, &d->digest) ? 0 : see_document(l, d, order, &s, e);
		of = &d->digest;
		if (r == 0)
			r = apply_seen(l, order[k], &s, e);
	}
	free(s.what);
	return r;
}

static size_t *make_order(struct layout *l, struct varve_err *e)
{
	size_t *order = calloc(l->index->n + 1, sizeof(*order)), i;

	if (!order) {
		(void)varve_fail_oom(e);
		return NULL;
	}
	for (i = 0; i < l->index->n; i++)
		order[i] = i;
	qsort_r(order, l->index->n, sizeof(*order), by_digest, l->index);
	return order;
}

/* --- which are wanted --- */

static int fail_choice(const struct layout *l, int code, const char *what, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	size_t i;

	buf_init(&b, 4096);
	for (i = 0; i < l->index->n; i++) {
		const struct entry *x = &l->entries[i];
		const char *name = layout_own_name(l, i);

		if (x->child)
			continue;
		buf_printf(&b, "%s%s", b.n ? ", " : "",
			   name ? TEXT_SAFE(name) : DIGEST_STR(&l->index->manifests[i].digest));
		if (x->what)
			buf_printf(&b, " (%s)", x->what);
		else if (x->has_platform)
			buf_printf(&b, " (%s)", varve_platform_str(&x->platform, (char[84]){0}));
	}
	return varve_fail(e, code, "%s: %s%s%s", TEXT_SAFE(l->im->path), what,
			  b.n ? "; it has: " : "", b.n ? b.p : "");
}

static void pass_over(const struct layout *l, size_t i, const char *why)
{
	const char *name = layout_own_name(l, i);

	log_info(l->im->ctx, "import", "%s: %s is passed over: %s", TEXT_SAFE(l->im->path),
		 name ? TEXT_SAFE(name) : DIGEST_STR(&l->index->manifests[i].digest), why);
}

/* Whoever names a thing gets it, whatever it is. */
static size_t want_images(struct layout *l)
{
	const char *select = l->im->opt->select;
	size_t i, n = 0;

	for (i = 0; i < l->index->n; i++) {
		struct entry *x = &l->entries[i];

		x->wanted = select ? layout_is_selected(l, i, select) : !x->artifact && !x->child;
		n += x->wanted;
		if (!select && x->artifact)
			pass_over(l, i, x->what);
		else if (!select && x->child)
			pass_over(l, i, "it is in an index that is listed, too");
	}
	return n;
}

/* --- one of each name --- */

static int by_name(const void *a, const void *b, void *user)
{
	const struct layout *l = user;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const char *s = layout_own_name(l, x), *t = layout_own_name(l, y);
	int r = strcmp(s ? s : "", t ? t : "");

	return r ? r : (x > y) - (x < y);
}

struct group {
	size_t *items, n; /* of one name, or all without one */
};

static bool same_digest(const struct layout *l, size_t a, size_t b)
{
	return varve_digest_equal(&l->index->manifests[a].digest, &l->index->manifests[b].digest);
}

/*
 * Each is of another platform, as far as is known: one image, written without an index. Each is
 * compared with each, so that more than an image can have are none.
 */
static bool are_platforms(const struct layout *l, const struct group *g)
{
	if (g->n > PLATFORMS_MAX)
		return false;
	for (size_t i = 0; i < g->n; i++) {
		const struct entry *x = &l->entries[g->items[i]];

		if (!x->has_platform)
			return false;
		for (size_t k = 0; k < i; k++)
			if (platform_equal(&x->platform, &l->entries[g->items[k]].platform))
				return false;
	}
	return true;
}

static bool one_platform(const struct layout *l, const struct group *g)
{
	const struct entry *first = &l->entries[g->items[0]];

	for (size_t i = 1; i < g->n; i++) {
		const struct entry *x = &l->entries[g->items[i]];

		if (x->has_platform && first->has_platform &&
		    !platform_equal(&x->platform, &first->platform))
			return false;
	}
	return true;
}

/* Of several with one name that of the platform is taken; of equal ones the last. */
static int decide(struct layout *l, const struct group *g, struct varve_err *e)
{
	const char *name = layout_own_name(l, g->items[0]);
	int best = INT_MAX, rank;
	size_t i, k = SIZE_MAX;

	for (i = 1; i < g->n && same_digest(l, g->items[0], g->items[i]); i++)
		;
	if (i >= g->n || (!name && !are_platforms(l, g)))
		return 0; /* one image; or several that only have no names */
	for (i = 0; i < g->n; i++) {
		const struct entry *x = &l->entries[g->items[i]];

		rank = x->has_platform ? platform_rank(&l->im->platform, &x->platform)
				       : INT_MAX - 1;
		if (rank >= 0 && rank <= best) {
			best = rank;
			k = g->items[i];
		}
	}
	if (k == SIZE_MAX && one_platform(l, g))
		k = g->items[g->n - 1];
	if (k == SIZE_MAX)
		return fail_choice(l, VARVE_E_NOPLATFORM,
				   "no image for the platform (--platform names another)", e);
	if (one_platform(l, g))
		log_warn(l->im->ctx, "import", "%s: lists %s %zu times; the last one is taken",
			 TEXT_SAFE(l->im->path), TEXT_SAFE(name ? name : "what has no name"), g->n);
	for (i = 0; i < g->n; i++) {
		struct entry *x = &l->entries[g->items[i]];

		x->wanted = same_digest(l, g->items[i], k);
		if (!x->wanted)
			pass_over(l, g->items[i],
				  x->has_platform ? varve_platform_str(&x->platform, (char[84]){0})
						  : "another one of the name is taken");
	}
	return 0;
}

static int decide_all(struct layout *l, size_t *order, struct varve_err *e)
{
	size_t i, n = 0, end;
	int r = 0;

	for (i = 0; i < l->index->n; i++)
		if (l->entries[i].wanted)
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), by_name, l);
	for (i = 0; r == 0 && i < n; i = end) {
		const char *name = layout_own_name(l, order[i]), *other;

		for (end = i + 1; end < n; end++) {
			other = layout_own_name(l, order[end]);
			if (!name != !other || (name && strcmp(name, other) != 0))
				break;
		}
		r = decide(l, &(struct group){order + i, end - i}, e);
	}
	return r;
}

/* Of those that are wanted, note which have the same digest. */
static size_t join(struct layout *l, size_t *order)
{
	size_t i, n = 0, distinct;

	for (i = 0; i < l->index->n; i++)
		if (l->entries[i].wanted)
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), by_digest, l->index);
	distinct = n > 0;
	for (i = 1; i < n; i++) {
		size_t before = order[i - 1], at = order[i];

		l->entries[at].later = same_digest(l, before, at);
		if (l->entries[at].later)
			l->entries[before].next = at;
		else
			distinct++;
	}
	return distinct;
}

int layout_choose(struct layout *l, struct varve_err *e)
{
	VARVE_FREE size_t *order = make_order(l, e);
	int r;

	if (!order)
		return -ENOMEM;
	r = see_all(l, order, e);
	if (r < 0)
		return r;
	if (!want_images(l))
		return l->im->opt->select
			       ? fail_choice(l, VARVE_E_NOTFOUND, "no image of that name", e)
		       : l->index->n
			       ? fail_choice(l, VARVE_E_UNSUPPORTED,
					     "an OCI layout without an image of a root filesystem "
					     "(--path NAME stores another thing as it is)",
					     e)
			       : fail_choice(l, VARVE_E_FORMAT, "an OCI layout without an image",
					     e);
	r = decide_all(l, order, e);
	if (r == 0 && join(l, order) > 1 && l->im->opt->name)
		r = fail_choice(l, VARVE_E_USAGE, "has several images, and one name was given", e);
	return r;
}
