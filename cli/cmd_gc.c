/* SPDX-License-Identifier: Apache-2.0 */
/* gc: remove what nothing needs. */
#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

struct gc_options {
	bool dry_run;
	struct opt_amount max_size, older_than, grace;
	const char *min_free;
	struct opt_list keep;
};
#define AT(member) offsetof(struct gc_options, member)
static const struct opt_row gc_rows[] = {
	{"dry-run", 'n', NULL, "only say what would go", OPT_FLAG, AT(dry_run)},
	{"max-size", 0, "SIZE", "drop tags, least recently used first, until the store fits",
	 OPT_SIZE, AT(max_size)},
	{"older-than", 0, "TIME", "drop tags that nobody used for so long", OPT_DURATION,
	 AT(older_than)},
	{"min-free", 0, "SIZE|PERCENT%", "drop tags until so much of the file system is free",
	 OPT_TEXT, AT(min_free)},
	{"keep", 0, "GLOB", "names that those three leave alone", OPT_LIST, AT(keep)},
	{"grace", 0, "TIME", "leave unneeded blobs that are younger", OPT_DURATION, AT(grace)},
};
#undef AT

/* "20G" or "10%" */
static int parse_min_free(const char *text, struct varve_gc_options *o, struct varve_err *e)
{
	char *end;
	unsigned long percent;

	if (!text || varve_text_parse_size(text, &o->min_free))
		return 0;
	percent = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || strcmp(end, "%") != 0 || percent < 1 || percent > 99)
		return varve_fail(e, VARVE_E_USAGE,
				  "--min-free %s: must be a size like 20G or a share like 10%%",
				  VARVE_TEXT_SAFE(text));
	o->min_free_percent = (unsigned)percent;
	return 0;
}

struct run {
	struct cli *c;
	bool dry_run;
};

static void on_item(void *user, const struct varve_gc_item *item)
{
	struct run *run = user;
	struct cli *c = run->c;
	bool keep = item->verdict == VARVE_GC_KEEP;
	struct varve_digest d;

	if (c->g.json) {
		varve_json_object(c->json, NULL);
		varve_json_str(c->json, "verdict", keep ? "keep" : "remove");
		varve_json_str(c->json, "what", item->what);
		varve_json_str(c->json, "name", item->name);
		varve_json_u64(c->json, "size", item->size);
		varve_json_str(c->json, "reason", item->reason);
		if (strcmp(item->what, "tag") == 0) {
			varve_json_u64(c->json, "own_size", item->own_size);
			varve_json_u64(c->json, "shared_size", item->shared_size);
		}
		varve_json_end_object(c->json);
		return;
	}
	if (keep && c->g.verbose == 0)
		return;
	out_printf("%-12s %10s  %s ",
		   keep           ? "keep"
		   : run->dry_run ? "would remove"
				  : "remove",
		   VARVE_TEXT_SIZE(item->size), item->what);
	if (varve_digest_parse(&d, item->name) == 0)
		out_printf("%s", DIGEST_TEXT(&d, c->g.verbose > 0));
	else
		out_safe(item->name);
	out_printf(": ");
	out_safe(item->reason);
	if (item->own_size || item->shared_size)
		out_printf(" (%s of its own, %s shared)", VARVE_TEXT_SIZE(item->own_size),
			   VARVE_TEXT_SIZE(item->shared_size));
	out_printf("\n");
}

/* --- previous generations: gc frees none, but says what they take --- */

/* Blocks of a tree; a file with several names counts once, however they are spread. */
static uint64_t tree_size(const char *path)
{
	char *paths[] = {(char *)(uintptr_t)path, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	uint64_t size = 0;
	FTSENT *f;

	while (fts && (f = fts_read(fts)))
		if (f->fts_info != FTS_DP && f->fts_info != FTS_ERR && f->fts_info != FTS_NS &&
		    f->fts_info != FTS_DNR)
			size += (uint64_t)f->fts_statp->st_blocks * 512 /
				(f->fts_info == FTS_D ? 1 : f->fts_statp->st_nlink);
	if (fts)
		(void)fts_close(fts);
	return size;
}

static void tell_previous(struct cli *c, const char *roots, const struct varve_tree *t)
{
	char path[PATH_MAX];
	uint64_t size;

	(void)snprintf(path, sizeof(path), "%s/%s", roots, t->directory);
	size = tree_size(path);
	if (c->g.json) {
		varve_json_object(c->json, NULL);
		varve_json_str(c->json, "label", t->label);
		varve_json_str(c->json, "roots", roots);
		varve_json_str(c->json, "directory", t->directory);
		varve_json_u64(c->json, "generation", t->generation);
		varve_json_u64(c->json, "size", size);
		varve_json_end_object(c->json);
		return;
	}
	out_printf("%-12s %10s  tree %s: previous generation; varve --roots %s remove "
		   "--installed --previous %s deletes it\n",
		   "keep", VARVE_TEXT_SIZE(size), VARVE_TEXT_SAFE(path), VARVE_TEXT_SAFE(roots),
		   VARVE_TEXT_SAFE(t->label));
}

static void tell_previous_in(struct cli *c, const char *roots)
{
	struct varve_tree_list trees = {0};
	/* Without a store nothing was installed. */
	int r = c->store ? varve_trees(c->store, roots, &trees, NULL) : 0;

	if (r == -ENOMEM)
		out_no_memory();
	if (r < 0)
		return;
	for (size_t i = 0; i < trees.n; i++)
		if (trees.items[i].previous)
			tell_previous(c, roots, &trees.items[i]);
	varve_tree_list_free(&trees);
}

/* In the roots dir, and in all others that the store knows of. */
static void report_previous(struct cli *c)
{
	struct varve_install_list list = {0};
	const char *roots;
	int r = cli_roots_path(c, &roots, NULL);

	if (r == 0)
		r = c->store ? varve_store_installs(c->store, NULL, &list, NULL) : 0;
	if (r == -ENOMEM)
		out_no_memory();
	if (r < 0)
		return;
	if (c->g.json)
		varve_json_array(c->json, "previous");
	tell_previous_in(c, roots);
	for (size_t i = 0; i < list.n; i++) {
		bool seen = strcmp(list.items[i].roots, roots) == 0;

		for (size_t k = 0; k < i && !seen; k++)
			seen = strcmp(list.items[k].roots, list.items[i].roots) == 0;
		if (!seen)
			tell_previous_in(c, list.items[i].roots);
	}
	if (c->g.json)
		varve_json_end_array(c->json);
	varve_install_list_free(&list);
}

static void report_text(const struct run *run, const struct varve_gc_result *res)
{
	out_printf("%s %s, %s", run->dry_run ? "would remove" : "removed",
		   COUNT(res->removed_blobs, "blob"), VARVE_TEXT_SIZE(res->removed_bytes));
	if (res->removed_tags)
		out_printf(", %s", COUNT(res->removed_tags, "tag"));
	if (res->removed_partials)
		out_printf(", %s", COUNT(res->removed_partials, "partial download"));
	out_printf("; %s %s, %s\n", run->dry_run ? "would keep" : "kept",
		   COUNT(res->kept_blobs, "blob"), VARVE_TEXT_SIZE(res->kept_bytes));
}

static int report_json(struct cli *c, bool dry_run, bool met, const struct varve_gc_result *res,
		       struct varve_err *e)
{
	struct varve_json *j = c->json;

	varve_json_end_array(j);
	report_previous(c);
	varve_json_bool(j, "dry_run", dry_run);
	varve_json_bool(j, "budget_met", met);
	varve_json_u64(j, "kept_blobs", res->kept_blobs);
	varve_json_u64(j, "kept_bytes", res->kept_bytes);
	varve_json_u64(j, "removed_blobs", res->removed_blobs);
	varve_json_u64(j, "removed_bytes", res->removed_bytes);
	varve_json_u64(j, "removed_tags", res->removed_tags);
	varve_json_u64(j, "removed_partials", res->removed_partials);
	return cli_json_end(c, e);
}

static int run_gc(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct gc_options *o = options;
	struct varve_gc_options to = VARVE_GC_OPTIONS_INIT;
	struct run run = {.c = c, .dry_run = o->dry_run};
	struct varve_gc_result res = {0};
	int r = parse_min_free(o->min_free, &to, e), printed = 0;

	(void)argc, (void)argv;
	if (r == 0)
		r = cli_store_if_any(c, o->dry_run ? CLI_READ : CLI_WRITE, e);
	if (r < 0)
		return varve_wrap(e, r, "gc");
	to.dry_run = o->dry_run;
	if (o->max_size.given)
		to.max_size = o->max_size.n;
	if (o->older_than.given)
		to.older_than = o->older_than.n;
	to.grace = o->grace.n;
	to.keep = o->keep.items;
	to.item = on_item;
	to.user = &run;
	if (c->g.json)
		varve_json_array(cli_json(c, "varve.gc/1"), "items");
	r = c->store ? varve_store_gc(c->store, &to, &res, e) : 0;
	/* A budget that cannot be met is bad news, but the work was done: the result is told. */
	if (r == 0 || r == -VARVE_E_BUDGET) {
		if (c->g.json)
			printed = report_json(c, o->dry_run, r == 0, &res, r ? NULL : e);
		else {
			report_previous(c);
			report_text(&run, &res);
		}
	}
	return r < 0 ? varve_wrap(e, r, "gc") : printed;
}

const struct cli_command cmd_gc = {
	.name = "gc",
	.summary = "Remove from the store what nothing needs",
	.run = run_gc,
	.rows = gc_rows,
	.n_rows = ARRAY_SIZE(gc_rows),
	.options_size = sizeof(struct gc_options),
};
