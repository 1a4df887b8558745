/* SPDX-License-Identifier: Apache-2.0 */
/* Check images (with the data of their layers), tags, installed trees and index.json against the
 * records. */
#include "store/care/check.h"
#include "store/derived.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/blob.h"
#include "store/images.h"
#include "store/layout.h"
#include "store/mirror.h"
#include "store/oci/oci.h"
#include "store/rebuild.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

/* --- images --- */

static const char *name_of(const struct graph *g, uint32_t image, char buf[VARVE_DIGEST_STR_MAX])
{
	size_t i;

	for (i = 0; i < g->n_tags; i++) {
		if (g->tags[i].image == image)
			return g->tags[i].name;
	}
	return varve_digest_str(&g->blobs[g->images[image].blob].digest, buf);
}

/* A layer that was read in this run: images share them. */
struct layer_read {
	bool done, ok;
	struct varve_digest diff_id;
};

static int read_config(struct check *c, const struct graph_image *im, struct oci_config **ret,
		       struct varve_err *e)
{
	struct buf b;
	uint32_t k;
	int r = -VARVE_E_NOTFOUND;

	buf_init(&b, OCI_CONFIG_MAX);
	for (k = 0; k < im->n_edges; k++) {
		const struct graph_edge *edge = &c->g.edges[im->first_edge + k];

		if (edge->role != ROLE_CONFIG)
			continue;
		r = blob_read(c->store, &c->g.blobs[edge->blob].digest, &b, e);
		if (r == 0)
			r = oci_config_parse(ret, b.p, b.n, e);
	}
	buf_done(&b);
	return r;
}

/* Of the toc that is there for a layer; false: there is none. */
static bool toc_digest(struct check *c, const struct varve_digest *diff_id,
		       struct varve_digest *ret)
{
	VARVE_CLOSE int fd = -1;

	return aux_open(c->store, "toc", diff_id, &fd, NULL) == 0 &&
	       hash_fd(VARVE_SHA256, fd, NULL, ret, NULL, NULL) == 0;
}

/* A toc is derived: reading its layer makes it anew. One that was another is worth knowing of. */
static void check_toc(struct check *c, const struct varve_digest *diff_id,
		      const struct varve_digest *before)
{
	struct varve_digest after;

	if (toc_digest(c, diff_id, &after) && !varve_digest_equal(&after, before))
		check_report(c, CHECK_NOTE, "toc", DIGEST_STR(diff_id),
			     "was not that of its layer; it was made again");
}

/* Inflate a layer once: its stream must be whole, its diffID what the config says; makes its toc
 * anew. */
static int check_layer(struct check *c, uint32_t blob, const struct varve_digest *want,
		       const char *image, struct layer_read *l, struct varve_err *e)
{
	const struct varve_digest *d = &c->g.blobs[blob].digest;
	struct varve_err why = VARVE_ERR_INIT;
	struct varve_digest toc;
	struct varve_layer_facts facts;
	char text[512];
	bool had_toc;
	int r;

	if (!l->done) {
		had_toc = toc_digest(c, want, &toc);
		r = c->opt->layers->read(c->store, d, &facts, &why);
		if (check_must_end(-r)) {
			if (e)
				*e = why;
			return r;
		}
		l->done = true;
		l->ok = r == 0;
		if (r < 0)
			check_report(c, CHECK_ERROR, "layer", DIGEST_STR(d),
				     "its stream cannot be read: %s",
				     varve_err_text(&why, text, sizeof(text)));
		else
			l->diff_id = facts.diff_id;
		if (l->ok && had_toc)
			check_toc(c, want, &toc);
	}
	if (l->ok && !varve_digest_equal(&l->diff_id, want))
		check_report(c, CHECK_ERROR, "layer", DIGEST_STR(d),
			     "unpacks to %s, but the config of image %s says %s",
			     DIGEST_STR(&l->diff_id), image, DIGEST_STR(want));
	return 0;
}

static int read_layers(struct check *c, uint32_t image, struct layer_read *layers,
		       struct varve_err *e)
{
	const struct graph_image *im = &c->g.images[image];
	struct varve_err why = VARVE_ERR_INIT;
	struct oci_config *config = NULL;
	char buf[VARVE_DIGEST_STR_MAX], text[512];
	const char *name = name_of(&c->g, image, buf);
	size_t n = 0;
	uint32_t k;
	int r = read_config(c, im, &config, &why);

	if (r < 0 && check_must_end(-r)) {
		if (e)
			*e = why;
		return r;
	}
	if (r < 0) {
		check_report(c, CHECK_ERROR, "image", name, "%s",
			     varve_err_text(&why, text, sizeof(text)));
		return 0;
	}
	if (config->n_diff_ids != im->n_layers)
		check_report(c, CHECK_ERROR, "image", name, "has %u layers but %zu diffIDs",
			     im->n_layers, config->n_diff_ids);
	for (k = 0; r == 0 && k < im->n_edges && n < config->n_diff_ids; k++) {
		const struct graph_edge *edge = &c->g.edges[im->first_edge + k];

		if (edge->role == ROLE_LAYER)
			r = check_layer(c, edge->blob, &config->diff_ids[n++], name,
					&layers[edge->blob], e);
	}
	oci_config_free(config);
	return r;
}

/* Other tools refuse such an image, and so do pull and push. */
static void check_sizes(struct check *c, uint32_t image)
{
	const struct graph_image *im = &c->g.images[image];
	char buf[VARVE_DIGEST_STR_MAX];

	if (im->misfit == GRAPH_NONE)
		return;
	check_report(c, CHECK_ERROR, "image", name_of(&c->g, image, buf),
		     "its manifest gives its blob %s %llu bytes, and it has %llu: the image is "
		     "wrong where it was made; make it anew there, or remove it here",
		     DIGEST_STR(&c->g.blobs[im->misfit].digest),
		     (unsigned long long)im->misfit_said,
		     (unsigned long long)c->g.blobs[im->misfit].size);
}

/* An index that its images came from: what it says of those that are here. */
static void check_index(struct check *c, uint32_t image, uint32_t blob)
{
	struct oci_index *index = NULL;
	char buf[VARVE_DIGEST_STR_MAX];
	struct buf b;
	uint32_t k;

	buf_init(&b, OCI_DOC_MAX);
	if (c->g.blobs[blob].present &&
	    blob_read(c->store, &c->g.blobs[blob].digest, &b, NULL) == 0 &&
	    oci_index_parse(&index, b.p, b.n, NULL) == 0) {
		for (size_t i = 0; i < index->n; i++) {
			const struct oci_descriptor *d = &index->manifests[i];

			k = graph_find_blob(&c->g, &d->digest);
			if (k == GRAPH_NONE || !c->g.blobs[k].present ||
			    c->g.blobs[k].size == d->size)
				continue;
			check_report(c, CHECK_ERROR, "image", name_of(&c->g, image, buf),
				     "its index %s gives %s %llu bytes, and it has %llu: the index "
				     "is wrong where it was made",
				     DIGEST_STR(&c->g.blobs[blob].digest), DIGEST_STR(&d->digest),
				     (unsigned long long)d->size,
				     (unsigned long long)c->g.blobs[k].size);
		}
	}
	oci_index_free(index);
	buf_done(&b);
}

/* seen: a flag for each blob. Each index is looked at once, however many of its images are here. */
static void check_indexes(struct check *c, uint32_t image, bool *seen)
{
	const struct graph_image *im = &c->g.images[image];

	for (uint32_t k = 0; k < im->n_edges; k++) {
		const struct graph_edge *x = &c->g.edges[im->first_edge + k];

		if (x->role == ROLE_PARENT && !seen[x->blob])
			check_index(c, image, x->blob);
		seen[x->blob] = seen[x->blob] || x->role == ROLE_PARENT;
	}
}

int check_images(struct check *c, struct varve_err *e)
{
	VARVE_FREE struct layer_read *layers = calloc(c->g.n_blobs + 1, sizeof(*layers));
	VARVE_FREE bool *seen = calloc(c->g.n_blobs + 1, sizeof(*seen));
	char buf[VARVE_DIGEST_STR_MAX];
	uint32_t i;
	int r = layers && seen ? 0 : varve_fail_oom(e);

	for (i = 0; r == 0 && i < c->g.n_images; i++) {
		const struct graph_image *im = &c->g.images[i];

		r = ctx_check(c->store->ctx, e);
		if (r < 0)
			break;
		check_sizes(c, i);
		if (c->opt->read_data)
			check_indexes(c, i, seen);
		if (!im->complete) /* each missing blob was reported as the error that it is */
			check_report(c, CHECK_NOTE, "image", name_of(&c->g, i, buf),
				     "is partial: some of its blobs are missing; pull it again");
		else if (c->opt->read_data && c->opt->layers && im->platform.os[0])
			r = read_layers(c, i, layers, e);
	}
	return r;
}

/* --- tags --- */

struct image_again {
	struct varve_store *store;
	const struct varve_digest *manifest;
};

static int put_image_again(struct index_txn *t, void *user, struct varve_err *e)
{
	const struct image_again *a = user;

	return rebuild_image(t, a->store, a->manifest, NULL, e);
}

int check_tags(struct check *c, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < c->g.n_tags; i++) {
		const struct graph_tag *t = &c->g.tags[i];
		struct image_again a = {c->store, &t->manifest};

		if (t->image != GRAPH_NONE)
			continue;
		if (check_repairs(c)) {
			r = index_update(c->store->index, put_image_again, &a, e);
			if (r == 0 && images_recorded(c->store, &t->manifest)) {
				check_report(c, CHECK_REPAIRED, "tag", t->name,
					     "its image had no record");
				continue;
			}
		}
		if (r == 0)
			check_report(c, CHECK_ERROR, "tag", t->name,
				     "names the image %s, which has no record; pull it again, or "
				     "remove the name",
				     DIGEST_STR(&t->manifest));
	}
	return r;
}

/* --- installed trees --- */

static void check_tree(struct check *c, const struct varve_install_record *in)
{
	VARVE_CLOSE int roots = open(in->roots, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (in->state == VARVE_INSTALL_STAGING || in->state == VARVE_INSTALL_SWITCHING) {
		check_report(c, CHECK_NOTE, "install", in->label,
			     "was cut; the next install or switch in %s finishes or undoes it",
			     in->roots);
		return;
	}
	if (roots < 0)
		check_report(c, CHECK_NOTE, "install", in->label,
			     "its directory %s cannot be opened: %s", in->roots, strerror(errno));
	else if (fstatat(roots, in->directory, &st, AT_SYMLINK_NOFOLLOW) < 0)
		check_report(c, CHECK_NOTE, "install", in->label,
			     "its tree %s/%s is gone; gc forgets it", in->roots, in->directory);
	else if (st.st_ino != in->ino || !S_ISDIR(st.st_mode))
		check_report(c, CHECK_NOTE, "install", in->label,
			     "%s/%s is not the tree that was installed", in->roots, in->directory);
}

/* The image of a tree is kept (invariant I5): recorded here, or in a lower store. */
static int check_tree_image(struct check *c, const struct varve_install_record *in,
			    struct varve_err *e)
{
	uint32_t image = graph_find_image(&c->g, &in->manifest);
	uint32_t blob = graph_find_blob(&c->g, &in->manifest);
	struct image_again a = {c->store, &in->manifest};
	size_t i;
	int r = 0;

	if (!varve_digest_is_set(&in->manifest) ||
	    (image != GRAPH_NONE && c->g.images[image].complete))
		return 0;
	for (i = 0; i < c->store->n_lower; i++) {
		if (images_recorded(c->store->lower[i], &in->manifest))
			return 0;
	}
	if (image == GRAPH_NONE && blob != GRAPH_NONE && c->g.blobs[blob].present) {
		if (check_repairs(c))
			r = index_update(c->store->index, put_image_again, &a, e);
		if (r < 0)
			return r;
		check_report(
			c, images_recorded(c->store, &in->manifest) ? CHECK_REPAIRED : CHECK_ERROR,
			"install", in->label, "its image %s had no record%s",
			DIGEST_STR(&in->manifest),
			check_repairs(c) ? "" : "; varve check --repair makes it again");
		return 0;
	}
	check_report(c, CHECK_NOTE, "install", in->label,
		     "its image %s is not in the store as a whole: it cannot be installed again "
		     "without the network",
		     DIGEST_STR(&in->manifest));
	return 0;
}

int check_installs(struct check *c, struct varve_err *e)
{
	struct varve_install_list list = {0};
	size_t i;
	int r = varve_store_installs(c->store, NULL, &list, e);

	for (i = 0; r == 0 && i < list.n; i++) {
		check_tree(c, &list.items[i]);
		r = check_tree_image(c, &list.items[i], e);
	}
	varve_install_list_free(&list);
	return r;
}

/* --- index.json --- */

static bool has_entry(const json *index, const struct graph *g, const struct graph_tag *t)
{
	const json *entry;
	char digest[VARVE_DIGEST_STR_MAX];

	(void)varve_digest_str(&g->blobs[g->images[t->image].blob].digest, digest);
	for (entry = json_first(json_get(index, "manifests")); entry; entry = json_next(entry)) {
		const char *d = json_str(json_get(entry, "digest"));
		const char *reference =
			json_str(json_get(json_get(entry, "annotations"), MIRROR_REFERENCE));

		if (d && reference && strcmp(d, digest) == 0 &&
		    strcmp(reference, t->reference) == 0)
			return true;
	}
	return false;
}

/*
 * NULL: it fits. Under the mirror's lock, so that nobody writes the file meanwhile.
 * ret_behind: the records are ahead of the file, because a writer is between the two or was cut.
 */
static const char *mirror_fault(struct check *c, char *buf, size_t size, bool *ret_behind,
				struct varve_err *e, int *ret)
{
	VARVE_CLOSE int lock =
		c->store->foreign
			? -1
			: fsx_open_plain(c->store->root, LAYOUT_MIRROR_LOCK, O_RDONLY, 0, NULL);
	JSON_FREE json *index = NULL;
	struct varve_err why = VARVE_ERR_INIT;
	struct index_mirror m;
	struct graph g = {0};
	const char *fault = NULL;
	size_t i;

	if (lock >= 0)
		(void)fsx_flock(lock, LOCK_SH);
	*ret = graph_load(&g, c->store, e);
	if (*ret < 0)
		return NULL;
	if (mirror_read_index(c->store, &index, &why) < 0) {
		if (err_is_passing(why.code)) {
			graph_done(&g);
			*ret = -why.code;
			if (e)
				*e = why;
			return NULL;
		}
		fault = varve_err_text(&why, buf, size);
	}
	for (i = 0; !fault && i < g.n_tags; i++) {
		if (g.tags[i].image != GRAPH_NONE && !has_entry(index, &g, &g.tags[i])) {
			(void)snprintf(buf, size, "lacks the tag %s", g.tags[i].name);
			fault = buf;
		}
	}
	*ret_behind = fault && !c->store->no_index &&
		      (!index_get_mirror(c->store->index, &m) || m.generation != g.generation);
	graph_done(&g);
	return fault;
}

int check_mirror(struct check *c, struct varve_err *e)
{
	char buf[512];
	int r;
	bool behind = false;
	const char *fault = mirror_fault(c, buf, sizeof(buf), &behind, e, &r);

	if (behind && !c->store->read_only) {
		/* What opening the store does about that is due again. */
		(void)mirror_update(c->store, MIRROR_IF_BEHIND, NULL);
		fault = mirror_fault(c, buf, sizeof(buf), &behind, e, &r);
		if (behind)
			return r; /* the next writer already, or no room: the next one does it */
	}
	if (r < 0 || !fault)
		return r;
	if (!check_repairs(c)) {
		/* A reader may meet the moment between a record and its mirror. */
		check_report(c, c->store->read_only ? CHECK_NOTE : CHECK_ERROR, LAYOUT_INDEX,
			     LAYOUT_INDEX, "%s; varve check --repair writes it again", fault);
		return 0;
	}
	r = mirror_update(c->store, MIRROR_ALWAYS, e);
	if (r == 0)
		check_report(c, CHECK_REPAIRED, LAYOUT_INDEX, LAYOUT_INDEX, "%s", fault);
	return r;
}
