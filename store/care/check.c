/* SPDX-License-Identifier: Apache-2.0 */
/* Verify the store, part by part; repair on request. */
#include "store/care/check.h"
#include "store/blob.h"
#include "store/care/rebuild_all.h"
#include "store/handle.h"
#include "store/index/index.h"

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/layout.h"

#include <stdarg.h>
#include <string.h>

static int check_layout(struct check *c, struct varve_err *e)
{
	struct buf b;
	int r;

	buf_init(&b, 1 << 16);
	r = fsx_read_plain(c->store->root, LAYOUT_OCI, &b, e);
	if (r == 0 && !strstr(b.p, "\"imageLayoutVersion\""))
		r = -VARVE_E_FORMAT;
	buf_done(&b);
	if (r == 0 || err_is_passing(r))
		return r;
	if (!check_repairs(c)) {
		check_report(c, CHECK_ERROR, LAYOUT_OCI, LAYOUT_OCI,
			     "is missing or damaged, so that other tools do not see an OCI layout; "
			     "varve check --repair writes it");
		return 0;
	}
	r = layout_write_oci(c->store->root, e);
	if (r == 0)
		check_report(c, CHECK_REPAIRED, LAYOUT_OCI, LAYOUT_OCI, "was missing or damaged");
	return r;
}

/* 1: the database can be used. 0: it cannot, and that is reported. */
static int check_database(struct check *c, struct varve_err *e)
{
	struct varve_err why = VARVE_ERR_INIT;
	char text[512];
	int r;

	if (c->store->no_index)
		return 1;
	r = index_check(c->store->index, &why);
	if (r == 0)
		return 1;
	if (r != -VARVE_E_CORRUPT) {
		if (e)
			*e = why;
		return r;
	}
	(void)varve_err_text(&why, text, sizeof(text));
	if (!check_repairs(c)) {
		check_report(c, CHECK_ERROR, "database", INDEX_DIR, "%s", text);
		return 0;
	}
	r = rebuild_all(c, e);
	if (r < 0)
		return r;
	check_report(c, CHECK_REPAIRED, "database", INDEX_DIR,
		     "was damaged; it was made again from the blobs and index.json");
	return 1;
}

/* Clean is what was looked at: what is below, or was left out, is said. */
static void note_unchecked(struct check *c)
{
	const struct varve_store *s = c->store;
	size_t i;

	if (s->foreign)
		check_report(
			c, CHECK_NOTE, "store", s->path,
			"its database and what it derived from layers are not believed, because "
			"%s; what was checked are its documents and blobs",
			s->foreign);
	for (i = 0; i < s->n_lower; i++) {
		const struct varve_store *l = s->lower[i];

		if (l->foreign)
			check_report(c, CHECK_NOTE, "lower store", l->path,
				     "is not checked. Of it only bytes are used that their digest "
				     "proves while they are read, because %s",
				     l->foreign);
		else
			check_report(
				c, CHECK_NOTE, "lower store", l->path,
				"is not checked, and is believed as this one is; its owner checks "
				"it with varve check --store");
	}
}

static int count_tables(struct index_txn *t, void *user, struct varve_err *e)
{
	struct varve_check_result *ret = user;

	(void)e;
	ret->blobs = index_count(t, INDEX_BLOB);
	ret->images = index_count(t, INDEX_IMAGE);
	ret->tags = index_count(t, INDEX_TAG);
	ret->installs = index_count(t, INDEX_INSTALL);
	return 0;
}

static int put_verified(struct index_txn *t, void *user, struct varve_err *e)
{
	struct check *c = user;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < c->n_verified; i++)
		r = blob_put_verified(t, &c->verified[i].digest, c->verified[i].mtime_ns, e);
	return r;
}

static int check_parts(struct check *c, struct varve_err *e)
{
	int r = graph_load(&c->g, c->store, e);

	if (r == 0)
		r = check_blobs(c, e);
	if (r == 0)
		r = check_orphans(c, e);
	if (r == 0 && check_repairs(c)) { /* what was healed above counts */
		graph_done(&c->g);
		r = graph_load(&c->g, c->store, e);
	}
	if (r == 0)
		r = check_images(c, e);
	if (r == 0)
		r = check_tags(c, e);
	if (r == 0)
		r = check_installs(c, e);
	if (r == 0)
		r = check_mirror(c, e);
	if (r == 0 && c->n_verified && !c->store->read_only)
		r = index_update(c->store->index, put_verified, c, e);
	return r;
}

int varve_store_check(struct varve_store *s, const struct varve_check_options *opt,
		      struct varve_check_result *ret, struct varve_err *e)
{
	struct varve_check_options own;
	struct check c = {.store = s, .opt = &own, .result = ret};
	int r = OPTIONS_COPY(&own, opt, user, e);

	*ret = (struct varve_check_result){0};
	if (r < 0)
		return r;
	opt = &own;
	r = opt->repair || opt->rebuild ? store_need_write(s, e) : 0;
	if (r == 0)
		r = check_layout(&c, e);
	note_unchecked(&c);
	if (r == 0 && opt->rebuild)
		r = rebuild_all(&c, e);
	if (r == 0)
		r = check_database(&c, e);
	if (r == 1) {
		r = check_parts(&c, e);
		if (r == 0)
			r = index_view(s->index, count_tables, ret, e);
	}
	graph_done(&c.g);
	free(c.verified);
	return r < 0 ? varve_wrap(e, r, "check the store %s", s->path) : 0;
}
