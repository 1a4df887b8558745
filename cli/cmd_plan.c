/* SPDX-License-Identifier: Apache-2.0 */
/* plan: what an install would write. */
#include <inttypes.h>

#include "cli/cmd_plan.h"
#include "cli/commands.h"
#include "cli/table.h"

#define AT(member) offsetof(struct planning, member)
static const struct opt_row planning_array[] = {
	{"strict", 0, NULL, "refuse names that climb with \"..\"", OPT_FLAG, AT(strict)},
	{"keep-dirlinks", 0, NULL, "a directory over a symlink to a directory keeps the symlink",
	 OPT_FLAG, AT(keep_dirlinks)},
};
#undef AT
const struct opt_rows planning_rows = OPT_ROWS_OF(planning_array);

#define AT(member) offsetof(struct looking, member)
static const struct opt_row looking_array[] = {
	OPT_ALL_OF(platform_rows, AT(platform)),
	OPT_ALL_OF(planning_rows, AT(planning)),
};
#undef AT
const struct opt_rows looking_rows = OPT_ROWS_OF(looking_array);

int looking_open(struct cli *c, const char *ref, const struct looking *o, struct varve_plan **ret,
		 struct varve_err *e)
{
	struct varve_plan_options po = VARVE_PLAN_OPTIONS_INIT;
	struct varve_image_list images = {0};
	int r = cli_store(c, CLI_READ, e);

	if (r == 0)
		r = cli_find(c, ref, platform_or_null(&o->platform), &images, e);
	if (r < 0)
		return r;
	po.strict = o->planning.strict;
	po.keep_dirlinks = o->planning.keep_dirlinks;
	r = varve_plan_new(ret, c->store, &images.items[0], &po, e);
	varve_image_list_free(&images);
	return r;
}

struct plan_options {
	struct looking looking;
};
static const struct opt_row plan_rows[] = {
	OPT_ALL_OF(looking_rows, offsetof(struct plan_options, looking)),
};

static void plan_json(struct varve_json *j, const struct varve_plan *p,
		      const struct varve_plan_summary *s)
{
	varve_json_u64(j, "entries", s->entries);
	varve_json_u64(j, "files", s->files);
	varve_json_u64(j, "directories", s->directories);
	varve_json_u64(j, "symlinks", s->symlinks);
	varve_json_u64(j, "hardlinks", s->hardlinks);
	varve_json_u64(j, "devices", s->devices);
	varve_json_u64(j, "others", s->others);
	varve_json_u64(j, "bytes", s->bytes);
	varve_json_u64(j, "inodes", s->inodes);
	varve_json_u64(j, "disk", s->disk);
	varve_json_array(j, "layers");
	for (size_t i = 0; i < s->n_layers; i++) {
		const struct varve_plan_layer *l = &s->layers[i];

		varve_json_object(j, NULL);
		varve_json_digest(j, "digest", &l->digest);
		varve_json_digest(j, "diff_id", &l->diff_id);
		varve_json_u64(j, "size", l->size);
		varve_json_u64(j, "unpacked_size", l->unpacked);
		varve_json_u64(j, "entries", l->entries);
		varve_json_u64(j, "used_entries", l->used_entries);
		varve_json_u64(j, "used_bytes", l->used_bytes);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
	looking_warnings_json(j, p);
}

void looking_warnings_json(struct varve_json *j, const struct varve_plan *p)
{
	varve_json_array(j, "warnings");
	for (uint64_t i = 0; varve_plan_warning(p, i); i++)
		varve_json_str(j, NULL, varve_plan_warning(p, i));
	varve_json_end_array(j);
}

void looking_warn(const struct cli *c, const struct varve_plan *p, uint64_t max)
{
	struct varve_plan_summary s;
	uint64_t i;

	varve_plan_summary(p, &s);
	for (i = 0; (!max || i < max) && varve_plan_warning(p, i); i++)
		message_warn(c, "%s", varve_plan_warning(p, i));
	if (i < s.warnings)
		message_warn(c, "and %s like these (varve plan shows them)",
			     COUNT(s.warnings - i, "further warning"));
}

static void plan_text(const struct cli *c, const struct varve_plan *p,
		      const struct varve_plan_summary *s)
{
	static const char *const columns[] = {">LAYER",   "DIGEST",        ">SIZE", ">UNPACKED",
					      ">ENTRIES", ">USED ENTRIES", ">USED", NULL};
	struct table *t = table_new(columns);

	for (size_t i = 0; i < s->n_layers; i++) {
		const struct varve_plan_layer *l = &s->layers[i];

		table_addf(t, "%zu", i + 1);
		table_digest(t, &l->digest, c->g.verbose > 0);
		table_size(t, l->size);
		table_size(t, l->unpacked);
		table_addf(t, "%" PRIu64, l->entries);
		table_addf(t, "%" PRIu64, l->used_entries);
		table_size(t, l->used_bytes);
	}
	table_print(t);
	out_printf("\n%s: %s, %s, %s, %s, %s, %s\n", COUNT(s->entries, "entry"),
		   COUNT(s->files, "file"), COUNT(s->directories, "directory"),
		   COUNT(s->symlinks, "symlink"), COUNT(s->hardlinks, "further hard link"),
		   COUNT(s->devices, "device"), COUNT(s->others, "other"));
	out_printf("%s of content, %s on disk, %s\n", VARVE_TEXT_SIZE(s->bytes),
		   VARVE_TEXT_SIZE(s->disk), COUNT(s->inodes, "inode"));
	looking_warn(c, p, 0);
}

static int run_plan(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct plan_options *o = options;
	struct varve_plan *p = NULL;
	struct varve_plan_summary s;
	int r = looking_open(c, argv[0], &o->looking, &p, e);

	(void)argc;
	if (r < 0)
		return varve_wrap(e, r, "plan %s", VARVE_TEXT_SAFE(argv[0]));
	varve_plan_summary(p, &s);
	if (c->g.json) {
		struct varve_json *j = cli_json(c, "varve.plan/1");

		varve_json_str(j, "reference", argv[0]);
		plan_json(j, p, &s);
		r = cli_json_end(c, e);
	} else {
		plan_text(c, p, &s);
	}
	varve_plan_free(p);
	return r;
}

const struct cli_command cmd_plan = {
	.name = "plan",
	.args = "REF",
	.summary = "Show what an install would write, without writing",
	.run = run_plan,
	.min_args = 1,
	.max_args = 1,
	.rows = plan_rows,
	.n_rows = ARRAY_SIZE(plan_rows),
	.options_size = sizeof(struct plan_options),
};
