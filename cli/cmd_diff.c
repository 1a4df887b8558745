/* SPDX-License-Identifier: Apache-2.0 */
/* diff: how an installed tree differs from its image. */
#include "cli/cmd_diff.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"

static const struct {
	unsigned bit;
	const char *name;
} change_names[] = {
	{VARVE_DIFF_TYPE, "type"},     {VARVE_DIFF_MODE, "mode"},
	{VARVE_DIFF_OWNER, "owner"},   {VARVE_DIFF_SIZE, "size"},
	{VARVE_DIFF_MTIME, "mtime"},   {VARVE_DIFF_CONTENT, "content"},
	{VARVE_DIFF_TARGET, "target"}, {VARVE_DIFF_DEVICE, "device"},
	{VARVE_DIFF_XATTRS, "xattrs"}, {VARVE_DIFF_LINKS, "links"},
};

/* The installed tree of a label; VARVE_E_NOTFOUND. */
static int find_tree(struct cli *c, const char *label, struct varve_tree_list *trees,
		     const struct varve_tree **ret, struct varve_err *e)
{
	int r = varve_trees(c->store, c->roots_path, trees, e);

	*ret = NULL;
	for (size_t i = 0; i < trees->n && r == 0; i++)
		if (!trees->items[i].previous && strcmp(trees->items[i].label, label) == 0)
			*ret = &trees->items[i];
	if (r == 0 && !*ret)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s is not installed in %s; see what is with: varve switch",
				  VARVE_TEXT_SAFE(label), VARVE_TEXT_SAFE(c->roots_path));
	if (r == 0 && !varve_digest_is_set(&(*ret)->manifest))
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "%s was not made by varve: there is no image to compare it with",
				  VARVE_TEXT_SAFE(label));
	return r;
}

static int plan_of(struct cli *c, const struct varve_tree *tree, bool keep_dirlinks,
		   struct varve_plan **ret, struct varve_err *e)
{
	struct varve_plan_options po = VARVE_PLAN_OPTIONS_INIT;
	struct varve_image_list images = {0};
	char digest[VARVE_DIGEST_STR_MAX];
	int r = varve_store_find(c->store, varve_digest_str(&tree->manifest, digest), NULL, &images,
				 e);

	if (r < 0)
		return r;
	po.keep_dirlinks = keep_dirlinks;
	r = varve_plan_new(ret, c->store, &images.items[0], &po, e);
	varve_image_list_free(&images);
	return r;
}

static int on_item(void *user, const struct varve_diff_item *item)
{
	static const char *const kinds[] = {"added", "changed", "removed", "unreadable"};
	struct cli *c = user;
	const char *separator = "  (";

	if (!c->g.json) {
		out_printf("%c ", "+~-?"[item->kind]);
		out_safe(item->path);
		for (size_t i = 0; i < ARRAY_SIZE(change_names); i++)
			if (item->changes & change_names[i].bit) {
				out_printf("%s%s", separator, change_names[i].name);
				separator = ", ";
			}
		out_printf(item->changes ? ")\n" : "\n");
		return out_failed();
	}
	varve_json_object(c->json, NULL);
	varve_json_str(c->json, "kind", kinds[item->kind]);
	varve_json_str(c->json, "path", item->path);
	varve_json_array(c->json, "changes");
	for (size_t i = 0; i < ARRAY_SIZE(change_names); i++)
		if (item->changes & change_names[i].bit)
			varve_json_str(c->json, NULL, change_names[i].name);
	varve_json_end_array(c->json);
	varve_json_end_object(c->json);
	return 0;
}

static int compare(struct cli *c, const char *label, const struct diffing *o,
		   struct varve_diff_result *res, struct varve_err *e)
{
	struct varve_diff_options to = VARVE_DIFF_OPTIONS_INIT;
	struct varve_tree_list trees = {0};
	const struct varve_tree *tree;
	struct varve_plan *plan = NULL;
	char path[8192];
	struct stat st;
	int r = find_tree(c, label, &trees, &tree, e);

	if (r == 0)
		r = plan_of(c, tree, o->keep_dirlinks || tree->made & VARVE_MADE_KEEP_DIRLINKS,
			    &plan, e);
	if (r == 0) {
		(void)snprintf(path, sizeof(path), "%s/%s", c->roots_path, tree->directory);
		to.read_data = o->read_data;
		to.installed_at = tree->installed_at;
		to.made = tree->made;
		/* Of one whose record is old: a tree that root made mostly belongs to root. */
		to.unprivileged = !tree->made && stat(path, &st) == 0 && st.st_uid != 0;
		to.item = on_item;
		to.user = c;
		r = varve_diff(plan, path, &to, res, e);
	}
	varve_plan_free(plan);
	varve_tree_list_free(&trees);
	return r < 0 ? r : 0;
}

int diffing_run(struct cli *c, const char *what, const char *schema, const struct diffing *o,
		struct varve_diff_result *res, struct varve_err *e)
{
	const char *roots;
	char label[512];
	int r = o->userns ? cli_userns(c, e)
			  : cli_userns_of(c, &(char *){(char *)(uintptr_t)what}, 1, e);

	if (r >= 0)
		r = cli_store(c, CLI_READ, e);
	if (r == 0)
		r = cli_roots_path(c, &roots, e);
	if (r == 0)
		r = cli_label(c, what, label, e);
	if (r < 0)
		return r;
	if (c->g.json) {
		varve_json_str(cli_json(c, schema), "label", label);
		varve_json_array(c->json, "items");
	}
	r = compare(c, label, o, res, e);
	if (r < 0)
		return r;
	if (c->g.json) {
		varve_json_end_array(c->json);
		varve_json_u64(c->json, "entries", res->entries);
		varve_json_u64(c->json, "added", res->added);
		varve_json_u64(c->json, "changed", res->changed);
		varve_json_u64(c->json, "removed", res->removed);
		varve_json_u64(c->json, "unreadable", res->unreadable);
		varve_json_u64(c->json, "files_read", res->files_read);
		return cli_json_end(c, e);
	}
	message_note(c, "%s compared: %" PRIu64 " added, %" PRIu64 " changed, %" PRIu64 " removed",
		     COUNT(res->entries, "entry"), res->added, res->changed, res->removed);
	if (res->unreadable)
		message_warn(c, "%s could not be read and %s not compared: no permission",
			     COUNT(res->unreadable, "entry"),
			     res->unreadable == 1 ? "was" : "were");
	return 0;
}

#define AT(member) offsetof(struct diffing, member)
static const struct opt_row diff_rows[] = {
	{"read-data", 0, NULL, "compare the content of every file", OPT_FLAG, AT(read_data)},
	{"keep-dirlinks", 0, NULL,
	 "the tree was installed with --keep-dirlinks (old ones do not say)", OPT_FLAG,
	 AT(keep_dirlinks)},
	{"userns", 0, NULL, "the tree was installed with --userns: compare owners too", OPT_FLAG,
	 AT(userns)},
};
#undef AT

static int run_diff(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	struct varve_diff_result res = {0};
	int r = diffing_run(c, argv[0], "varve.diff/1", options, &res, e);

	(void)argc;
	return r < 0 ? varve_wrap(e, r, "diff %s", VARVE_TEXT_SAFE(argv[0])) : 0;
}

const struct cli_command cmd_diff = {
	.name = "diff",
	.args = "LABEL",
	.summary = "Show how an installed tree differs from its image",
	.run = run_diff,
	.min_args = 1,
	.max_args = 1,
	.rows = diff_rows,
	.n_rows = ARRAY_SIZE(diff_rows),
	.options_size = sizeof(struct diffing),
};
