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

static int set_what(struct entry *x, const struct buf *why, bool artifact, struct varve_err *e)
{
	x->artifact = artifact;
	free(x->what);
	x->what = strdup(why->n ? why->p : "an artifact");
	return x->what ? 0 : varve_fail_oom(e);
}

static int see_config(struct layout *l, struct entry *x, const struct oci_manifest *m,
		      struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct oci_config *c = NULL;
	int r;

	if (x->has_platform || !m->is_image)
		return 0;
	buf_init(&b, OCI_CONFIG_MAX);
	r = peek(l, &m->config.digest, &b, e);
	if (r == 1 && oci_config_parse(&c, b.p, b.n, NULL) == 0) {
		x->platform = c->platform;
		x->has_platform = c->platform.os[0];
	}
	oci_config_free(c);
	return r < 0 ? r : 0;
}

static int see_manifest(struct layout *l, size_t i, const struct buf *doc, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	struct entry *x = &l->entries[i];
	struct oci_manifest *m = NULL;
	enum oci_what what;
	int r = 0;

	if (oci_manifest_parse(&m, doc->p, doc->n, NULL) < 0)
		return 0; /* said by who imports it */
	buf_init(&why, 1024);
	what = oci_manifest_what(m, &why);
	if (what == OCI_WHAT_IMAGE && m->has_subject && !layout_own_name(l, i)) {
		buf_adds(&why, "something that belongs to another image (a referrer)");
		what = OCI_WHAT_ARTIFACT;
	}
	if (what != OCI_WHAT_IMAGE)
		r = set_what(x, &why, what == OCI_WHAT_ARTIFACT, e);
	if (r == 0)
		r = see_config(l, x, m, e);
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
		for (; lo < l->index->n &&
		       varve_digest_equal(&l->index->manifests[order[lo]].digest, d);
		     lo++)
			l->entries[order[lo]].child = !layout_own_name(l, order[lo]);
	}
}

static int see_index(struct layout *l, size_t i, const size_t *order, const struct buf *doc,
		     struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	struct oci_index *index = NULL;
	int r = 0;

	if (oci_index_parse(&index, doc->p, doc->n, NULL) < 0)
		return 0;
	mark_children(l, order, index);
	buf_init(&why, 1024);
	if (!oci_index_has_images(index)) {
		buf_adds(&why, "a list without an image");
		r = set_what(&l->entries[i], &why, true, e);
	}
	oci_index_free(index);
	return r;
}

static int see_entry(struct layout *l, size_t i, const size_t *order, struct buf *doc,
		     struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf why = {0};
	const struct oci_descriptor *d = &l->index->manifests[i];
	const char *name = layout_own_name(l, i);
	struct entry *x = &l->entries[i];
	enum oci_doc_kind kind;
	int r;

	buf_init(&why, 1024);
	x->has_platform = d->has_platform;
	x->platform = d->platform;
	if (oci_descriptor_what(d, &why) != OCI_WHAT_IMAGE)
		return set_what(x, &why, true, e);
	if (name && oci_is_referrer_name(name)) {
		buf_adds(&why, "a signature, SBOM or other referrer");
		return set_what(x, &why, true, e);
	}
	r = peek(l, &d->digest, doc, e);
	if (r <= 0)
		return r;
	if (oci_classify(doc->p, doc->n, NULL, d->media_type, &kind, NULL) < 0)
		return 0;
	if (kind == OCI_DOC_MANIFEST)
		return see_manifest(l, i, doc, e);
	return kind == OCI_DOC_INDEX ? see_index(l, i, order, doc, e) : 0;
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

/* Each is of another platform, as far as is known: one image, written without an index. */
static bool are_platforms(const struct layout *l, const struct group *g)
{
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
	VARVE_CLEANUP(buf_done) struct buf doc = {0};
	VARVE_FREE size_t *order = make_order(l, e);
	size_t i;
	int r = 0;

	if (!order)
		return -ENOMEM;
	buf_init(&doc, OCI_DOC_MAX);
	for (i = 0; r == 0 && i < l->index->n; i++) {
		r = ctx_check(l->im->ctx, e);
		if (r == 0)
			r = see_entry(l, i, order, &doc, e);
	}
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
