/* SPDX-License-Identifier: Apache-2.0 */
/* check: is the store whole? */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cmd_diff.h"
#include "cli/cmd_pull.h"
#include "cli/commands.h"

struct check_options {
	struct diffing diffing; /* of --installed; read_data is that of the store as well */
	bool repair, rebuild;
	const char *installed;
};
#define AT(member) offsetof(struct check_options, member)
static const struct opt_row check_rows[] = {
	{"read-data", 0, NULL, "read every blob and layer and compare digests", OPT_FLAG,
	 AT(diffing.read_data)},
	{"repair", 0, NULL, "fetch damaged and missing blobs again", OPT_FLAG, AT(repair)},
	{"rebuild", 0, NULL, "make the index again from the blobs", OPT_FLAG, AT(rebuild)},
	{"installed", 'i', "LABEL", "compare an installed tree with its image instead", OPT_TEXT,
	 AT(installed)},
	{"userns", 0, NULL, "with --installed: the tree was installed with --userns", OPT_FLAG,
	 AT(diffing.userns)},
};
#undef AT

static void on_finding(void *user, const struct varve_check_finding *f)
{
	struct cli *c = user;

	if (c->g.json) {
		varve_json_object(c->json, NULL);
		varve_json_str(c->json, "severity", f->error ? "error" : "note");
		varve_json_bool(c->json, "repaired", f->repaired);
		varve_json_str(c->json, "what", f->what);
		varve_json_str(c->json, "name", f->name);
		varve_json_str(c->json, "message", f->message);
		varve_json_end_object(c->json);
		return;
	}
	if (!f->error && c->g.quiet)
		return;
	out_printf("%s%s ", f->repaired ? "repaired: " : f->error ? "error: " : "note: ", f->what);
	out_safe(f->name ? f->name : "");
	out_printf(": ");
	out_safe(f->message);
	out_printf("\n");
}

static int report(struct cli *c, const struct varve_check_result *res, struct varve_err *e)
{
	uint64_t bad = res->errors > res->repaired ? res->errors - res->repaired : 0;
	struct varve_json *j = c->json;

	if (bad)
		c->status = VARVE_EXIT_INTEGRITY;
	if (j) {
		varve_json_end_array(j);
		varve_json_bool(j, "clean", bad == 0);
		varve_json_u64(j, "blobs", res->blobs);
		varve_json_u64(j, "bytes", res->bytes);
		varve_json_u64(j, "images", res->images);
		varve_json_u64(j, "tags", res->tags);
		varve_json_u64(j, "installs", res->installs);
		varve_json_u64(j, "errors", res->errors);
		varve_json_u64(j, "repaired", res->repaired);
		return cli_json_end(c, e);
	}
	out_printf("%s: %s (%s), %s, %s, %s; %s", bad ? "damaged" : "clean",
		   COUNT(res->blobs, "blob"), VARVE_TEXT_SIZE(res->bytes),
		   COUNT(res->images, "image"), COUNT(res->tags, "tag"),
		   COUNT(res->installs, "installed tree"), COUNT(res->errors, "error"));
	if (res->repaired)
		out_printf(", %" PRIu64 " repaired", res->repaired);
	out_printf("\n");
	return 0;
}

static int check_tree(struct cli *c, const struct check_options *o, struct varve_err *e)
{
	struct varve_diff_result res = {0};
	int r;

	if (o->repair || o->rebuild)
		return varve_fail(
			e, VARVE_E_USAGE,
			"check: a tree is repaired by varve install --force; --repair and "
			"--rebuild are for the store");
	r = diffing_run(c, o->installed, "varve.diff/1", &o->diffing, &res, e);
	if (r < 0)
		return varve_wrap(e, r, "check --installed %s", VARVE_TEXT_SAFE(o->installed));
	if (res.added || res.changed || res.removed)
		c->status = VARVE_EXIT_INTEGRITY;
	return 0;
}

/* Trees that only the files beside them know of get their records again. */
static int remember_in(struct cli *c, const char *roots, struct varve_check_result *res)
{
	struct varve_check_finding f = {.error = true, .repaired = true, .what = "install"};
	struct varve_err why = VARVE_ERR_INIT;
	char text[1024], message[200];
	uint64_t n = 0;
	int r = varve_trees_remember(c->store, roots, &n, &why);

	if (r < 0) {
		if (r != -VARVE_E_NOTFOUND)
			message_warn(c, "%s", message_text(&why, text, sizeof(text)));
		return r == -VARVE_E_INTERRUPTED ? r : 0;
	}
	if (n == 0)
		return 0;
	(void)snprintf(message, sizeof(message), "%" PRIu64 " %s recorded again", n,
		       n == 1 ? "tree was" : "trees were");
	f.name = roots;
	f.message = message;
	on_finding(c, &f);
	res->errors++;
	res->repaired++;
	res->installs += n;
	return 0;
}

static int remember_trees(struct cli *c, struct varve_check_result *res, struct varve_err *e)
{
	struct varve_install_list list = {0};
	const char *roots;
	int r = cli_roots_path(c, &roots, e);

	if (r == 0)
		r = varve_store_installs(c->store, NULL, &list, e);
	if (r == 0)
		r = remember_in(c, roots, res);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		bool seen = strcmp(list.items[i].roots, roots) == 0;

		for (size_t k = 0; k < i && !seen; k++)
			seen = strcmp(list.items[i].roots, list.items[k].roots) == 0;
		if (!seen)
			r = remember_in(c, list.items[i].roots, res);
	}
	varve_install_list_free(&list);
	return r;
}

/* From a file that is on this machine, or over the network. */
static int refetch_blob(void *user, const struct varve_digest *d, uint64_t size, const char *origin,
			struct varve_err *e)
{
	struct varve_refetch *r = user;

	return strncmp(origin, "file:", 5) == 0
		       ? varve_import_blob(r->store, origin + 5, d, size, e)
		       : varve_refetch_blob(r, d, size, origin, e);
}

static int check_store(struct cli *c, const struct check_options *o, struct varve_err *e)
{
	struct varve_check_options to = VARVE_CHECK_OPTIONS_INIT;
	struct pulling defaults = {0};
	struct varve_pull_options pull;
	struct varve_refetch refetch;
	struct varve_check_result res = {0};
	int r = cli_store_if_any(c, o->rebuild ? CLI_RESTORE : o->repair ? CLI_WRITE : CLI_READ, e);

	if (r < 0)
		return varve_wrap(e, r, "check");
	pulling_options(c, &defaults, &pull);
	refetch = (struct varve_refetch){.store = c->store, .options = &pull};
	to.read_data = o->diffing.read_data;
	to.repair = o->repair;
	to.rebuild = o->rebuild;
	to.layers = varve_layer_ops();
	to.refetch = refetch_blob;
	to.refetch_user = &refetch;
	to.finding = on_finding;
	to.user = c;
	if (c->g.json)
		varve_json_array(cli_json(c, "varve.check/1"), "findings");
	r = c->store ? varve_store_check(c->store, &to, &res, e) : 0;
	if (r == 0 && c->store && (o->rebuild || o->repair))
		r = remember_trees(c, &res, e);
	return r < 0 ? varve_wrap(e, r, "check") : report(c, &res, e);
}

static int run_check(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct check_options *o = options;

	(void)argc, (void)argv;
	return o->installed ? check_tree(c, o, e) : check_store(c, o, e);
}

const struct cli_command cmd_check = {
	.name = "check",
	.summary = "Verify the store, and repair it",
	.run = run_check,
	.rows = check_rows,
	.n_rows = ARRAY_SIZE(check_rows),
	.options_size = sizeof(struct check_options),
};
