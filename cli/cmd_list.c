/* SPDX-License-Identifier: Apache-2.0 */
/* list: images, blobs or installed trees. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/cmd_switch.h"
#include "cli/commands.h"
#include "cli/image_json.h"
#include "cli/table.h"

struct list_options {
	bool installed, blobs;
};
static const struct opt_row list_rows[] = {
	{"installed", 'i', NULL, "the rootfs trees in the roots directory", OPT_FLAG,
	 offsetof(struct list_options, installed)},
	{"blobs", 'b', NULL, "the blobs in the store", OPT_FLAG,
	 offsetof(struct list_options, blobs)},
};

static const char *const blob_kinds[] = {
	[VARVE_BLOB_OTHER] = "other",       [VARVE_BLOB_INDEX] = "index",
	[VARVE_BLOB_MANIFEST] = "manifest", [VARVE_BLOB_CONFIG] = "config",
	[VARVE_BLOB_LAYER] = "layer",
};

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (name && fnmatch(argv[i], name, 0) == 0)
			return true;
	return argc == 0;
}

static int images_json(struct cli *c, const struct varve_image_list *images, int argc, char **argv,
		       struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.list/1");
	int r = 0;

	varve_json_array(j, "images");
	for (size_t i = 0; i < images->n && r == 0; i++) {
		if (!wanted(images->items[i].name, argc, argv))
			continue;
		varve_json_object(j, NULL);
		image_json(j, &images->items[i]);
		varve_json_end_object(j);
		r = cli_json_flush(c, e);
	}
	varve_json_end_array(j);
	return r < 0 ? r : cli_json_end(c, e);
}

static void images_table(const struct cli *c, const struct varve_image_list *images, int argc,
			 char **argv)
{
	static const char *const columns[] = {"NAME",    "DIGEST", "PLATFORM", ">SIZE", ">OWN",
					      ">SHARED", "USED",   "STATE",    NULL};
	struct table *t = table_new(columns);
	char platform[84];
	bool any = false;

	for (size_t i = 0; i < images->n; i++) {
		const struct varve_image *m = &images->items[i];

		if (!wanted(m->name, argc, argv))
			continue;
		any = true;
		table_add(t, m->name);
		table_digest(t, &m->manifest, c->g.verbose > 0);
		table_add(t, varve_platform_str(&m->platform, platform));
		table_size(t, m->size);
		table_size(t, m->own_size);
		table_size(t, m->shared_size);
		table_age(t, m->last_used > 0 ? m->last_used : m->fetched_at);
		table_addf(t, "%s%s%s", m->complete ? "" : "partial",
			   !m->complete && (m->pinned || m->lower) ? ", " : "",
			   m->lower    ? "lower"
			   : m->pinned ? "pinned"
				       : "");
	}
	table_print(t);
	if (!any)
		message_note(c, "no stored image has such a name");
}

static int list_images(struct cli *c, int argc, char **argv, struct varve_err *e)
{
	struct varve_image_list images = {0};
	int r = c->store ? varve_store_images(c->store, &images, e) : 0;

	if (r < 0)
		return r;
	if (c->g.json)
		r = images_json(c, &images, argc, argv, e);
	else if (images.n)
		images_table(c, &images, argc, argv);
	else if (c->store)
		message_note(c, "the store is empty; to begin: varve pull debian:sid");
	varve_image_list_free(&images);
	return r;
}

static int blobs_json(struct cli *c, const struct varve_blob_list *blobs, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.blobs/1");
	int r = 0;

	varve_json_array(j, "blobs");
	for (size_t i = 0; i < blobs->n && r == 0; i++) {
		varve_json_object(j, NULL);
		varve_json_str(j, "kind", blob_kinds[blobs->items[i].kind]);
		blob_json(j, &blobs->items[i]);
		varve_json_end_object(j);
		r = cli_json_flush(c, e);
	}
	varve_json_end_array(j);
	return r < 0 ? r : cli_json_end(c, e);
}

static void blobs_table(const struct cli *c, const struct varve_blob_list *blobs)
{
	static const char *const columns[] = {"DIGEST",   "KIND",    ">SIZE", ">UNPACKED",
					      ">ENTRIES", ">IMAGES", "STATE", NULL};
	struct table *t = table_new(columns);

	for (size_t i = 0; i < blobs->n; i++) {
		const struct varve_blob_info *b = &blobs->items[i];

		table_digest(t, &b->digest, c->g.verbose > 0);
		table_add(t, blob_kinds[b->kind]);
		table_size(t, b->size);
		if (b->has_facts) {
			table_size(t, b->facts.size);
			table_addf(t, "%" PRIu64, b->facts.entries);
		} else {
			table_add(t, NULL);
			table_add(t, NULL);
		}
		table_addf(t, "%" PRIu64, b->references);
		table_addf(t, "%s", b->present ? "" : "missing");
	}
	table_print(t);
}

static int list_blobs(struct cli *c, struct varve_err *e)
{
	struct varve_blob_list blobs = {0};
	int r = c->store ? varve_store_blobs(c->store, &blobs, e) : 0;

	if (r < 0)
		return r;
	if (c->g.json)
		r = blobs_json(c, &blobs, e);
	else if (blobs.n)
		blobs_table(c, &blobs);
	varve_blob_list_free(&blobs);
	return r;
}

static int run_list(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct list_options *o = options;
	int r;

	if (o->installed && o->blobs)
		return varve_fail(e, VARVE_E_USAGE,
				  "list: --installed and --blobs exclude each other");
	if (argc && (o->installed || o->blobs))
		return varve_fail(e, VARVE_E_USAGE,
				  "list: %s selects images; --%s takes no pattern",
				  VARVE_TEXT_SAFE(argv[0]), o->blobs ? "blobs" : "installed");
	r = o->installed ? cli_store_for_trees(c, e) : cli_store_to_list(c, e);
	if (r >= 0)
		r = o->installed ? trees_list(c, e)
		    : o->blobs   ? list_blobs(c, e)
				 : list_images(c, argc, argv, e);
	return r < 0 ? varve_wrap(e, r, "list") : 0;
}

const struct cli_command cmd_list = {
	.name = "list",
	.args = "[PATTERN...]",
	.summary = "List the stored images, the blobs or the installed trees",
	.run = run_list,
	.max_args = -1,
	.rows = list_rows,
	.n_rows = ARRAY_SIZE(list_rows),
	.options_size = sizeof(struct list_options),
};
