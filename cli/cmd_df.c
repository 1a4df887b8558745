/* SPDX-License-Identifier: Apache-2.0 */
/* df: where the bytes of the store are. */
#include <inttypes.h>

#include "cli/commands.h"
#include "cli/table.h"

static int df_json(struct cli *c, const struct varve_df *d, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.df/1");

	varve_json_str(j, "store", c->store_path);
	varve_json_u64(j, "images", d->images);
	varve_json_u64(j, "tags", d->tags);
	varve_json_u64(j, "installs", d->installs);
	varve_json_u64(j, "blobs", d->blobs);
	varve_json_u64(j, "blob_bytes", d->blob_bytes);
	varve_json_u64(j, "shared_bytes", d->shared_bytes);
	varve_json_u64(j, "own_bytes", d->own_bytes);
	varve_json_u64(j, "partials", d->partials);
	varve_json_u64(j, "partial_bytes", d->partial_bytes);
	varve_json_u64(j, "derived_bytes", d->derived_bytes);
	varve_json_u64(j, "index_bytes", d->index_bytes);
	varve_json_u64(j, "reclaimable_bytes", d->reclaimable_bytes);
	varve_json_u64(j, "unneeded_bytes", d->unneeded_bytes);
	varve_json_u64(j, "orphan_bytes", d->orphan_bytes);
	varve_json_u64(j, "trash_bytes", d->trash_bytes);
	varve_json_u64(j, "scratch_bytes", d->scratch_bytes);
	varve_json_u64(j, "fs_free", d->fs_free);
	varve_json_u64(j, "fs_size", d->fs_size);
	return cli_json_end(c, e);
}

static void row(struct table *t, const char *what, uint64_t bytes, uint64_t count, const char *unit)
{
	table_add(t, what);
	table_size(t, bytes);
	if (unit)
		table_addf(t, "%" PRIu64 " %s", count, unit);
	else
		table_addf(t, "%s", "");
}

static int run_df(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	static const char *const columns[] = {"WHAT", ">SIZE", "COUNT", NULL};
	struct varve_df d = {0};
	struct table *t;
	int r = cli_store_to_list(c, e);

	(void)options, (void)argc, (void)argv;
	if (r == 0)
		r = varve_store_df(c->store, &d, e);
	if (r < 0)
		return varve_wrap(e, r, "df");
	if (c->g.json)
		return df_json(c, &d, e);
	t = table_new(columns);
	row(t, "blobs", d.blob_bytes, d.blobs, "blobs");
	row(t, "  of one image only", d.own_bytes, d.images, "images");
	row(t, "  shared by images", d.shared_bytes, d.tags, "tags");
	row(t, "  that nothing needs", d.unneeded_bytes, 0, NULL);
	row(t, "blobs without a record", d.orphan_bytes, 0, NULL);
	row(t, "partial downloads", d.partial_bytes, d.partials, "files");
	row(t, "tables of contents", d.derived_bytes, 0, NULL);
	row(t, "trash and scratch", d.trash_bytes + d.scratch_bytes, 0, NULL);
	row(t, "index", d.index_bytes, 0, NULL);
	row(t, "gc would free", d.reclaimable_bytes, 0, NULL);
	row(t, "free on the disk", d.fs_free, 0, NULL);
	table_print(t);
	return 0;
}

const struct cli_command cmd_df = {
	.name = "df",
	.summary = "Show what the store takes and what is shared",
	.run = run_df,
};
