/* SPDX-License-Identifier: Apache-2.0 */
/* switch, rollback: which tree is the active rootfs. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd_switch.h"
#include "cli/commands.h"
#include "cli/table.h"

void trees_in_use(void *user, long pid, const char *command, const char *how)
{
	if (pid > 0)
		message_note(user, "process %ld (%s) %s", pid, VARVE_TEXT_SAFE(command),
			     VARVE_TEXT_SAFE(how));
	else
		message_note(user, "%s %s", VARVE_TEXT_SAFE(command), VARVE_TEXT_SAFE(how));
}

static const char *tree_state(const struct varve_tree *t)
{
	if (t->active)
		return t->ours ? "active" : "active, not made by varve";
	return t->ours ? "" : "not made by varve";
}

static void list_json(struct varve_json *j, const struct varve_tree_list *trees)
{
	varve_json_array(j, "trees");
	for (size_t i = 0; i < trees->n; i++) {
		const struct varve_tree *t = &trees->items[i];

		varve_json_object(j, NULL);
		varve_json_str(j, "label", t->label);
		varve_json_str(j, "directory", t->directory);
		varve_json_str(j, "reference", t->reference);
		varve_json_digest(j, "manifest", &t->manifest);
		varve_json_bool(j, "active", t->active);
		varve_json_bool(j, "ours", t->ours);
		varve_json_bool(j, "previous", t->previous);
		varve_json_u64(j, "generation", t->generation);
		if (t->installed_at > 0)
			varve_json_time(j, "installed_at", t->installed_at);
		else
			varve_json_null(j, "installed_at");
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
}

static void list_table(const struct cli *c, const struct varve_tree_list *trees)
{
	static const char *const columns[] = {" ",         "LABEL", "REFERENCE", "DIGEST",
					      "INSTALLED", "STATE", "DIRECTORY", NULL};
	struct table *t = table_new(columns);

	for (size_t i = 0; i < trees->n; i++) {
		const struct varve_tree *tree = &trees->items[i];

		table_addf(t, "%s", tree->active ? "*" : " ");
		table_add(t, tree->label);
		table_add(t, tree->reference);
		table_digest(t, &tree->manifest, c->g.verbose > 0);
		table_age(t, tree->installed_at);
		if (tree->previous)
			table_addf(t, "previous %" PRIu64, tree->generation);
		else
			table_addf(t, "%s", tree_state(tree));
		table_add(t, tree->directory);
	}
	table_print(t);
}

int trees_list(struct cli *c, struct varve_err *e)
{
	struct varve_tree_list trees = {0};
	const char *roots;
	int r = cli_roots_path(c, &roots, e);

	if (r == 0 && c->store)
		r = varve_trees(c->store, roots, &trees, e);
	if (r < 0)
		return r;
	if (c->g.json) {
		struct varve_json *j = cli_json(c, "varve.installed/1");

		varve_json_str(j, "roots", roots);
		list_json(j, &trees);
		r = cli_json_end(c, e);
	} else if (trees.n) {
		list_table(c, &trees);
	} else if (c->store) {
		message_note(c, "nothing is installed in %s", VARVE_TEXT_SAFE(roots));
	}
	varve_tree_list_free(&trees);
	return r;
}

int trees_switch(struct cli *c, const char *label, bool force, const char *fallback_label,
		 struct varve_switch_result *ret, struct varve_err *e)
{
	struct varve_switch_options o = VARVE_SWITCH_OPTIONS_INIT;
	int r = cli_roots_path(c, &o.roots, e);

	o.force = force;
	o.fallback_label = fallback_label;
	o.in_use = trees_in_use;
	o.user = c;
	return r < 0 ? r : varve_switch(c->store, label, &o, ret, e);
}

static int report(struct cli *c, const char *schema, const struct varve_switch_result *res,
		  struct varve_err *e)
{
	struct varve_json *j = cli_json(c, schema);

	if (j) {
		varve_json_str(j, "from", res->from[0] ? res->from : NULL);
		varve_json_str(j, "to", res->to);
		varve_json_bool(j, "already", res->already);
		return cli_json_end(c, e);
	}
	out_safe(res->to);
	if (res->already) {
		out_printf(" is the active one already\n");
	} else if (strcmp(res->from, res->to) == 0) {
		out_printf(": the tree that was replaced is back\n");
	} else if (res->from[0]) {
		out_printf(" is active now, it was ");
		out_safe(res->from);
		out_printf("\n");
	} else {
		out_printf(" is active now\n");
	}
	return 0;
}

struct switch_options {
	bool force;
	const char *fallback;
};
static const struct opt_row switch_rows[] = {
	{"force", 'f', NULL, "although processes live in the tree", OPT_FLAG,
	 offsetof(struct switch_options, force)},
	{"label-active", 0, "LABEL", "label of an active tree that does not tell its own", OPT_TEXT,
	 offsetof(struct switch_options, fallback)},
};

static int run_switch(struct cli *c, const void *options, int argc, char **argv,
		      struct varve_err *e)
{
	const struct switch_options *o = options;
	struct varve_switch_result res;
	char label[512];
	const char *roots;
	int r = cli_roots_path(c, &roots, e);

	if (r == 0 && argc && access(roots, F_OK) < 0)
		r = varve_fail(e, VARVE_E_NOTFOUND, "nothing is installed in %s",
			       VARVE_TEXT_SAFE(roots));
	if (r == 0)
		r = argc ? cli_store(c, CLI_CREATE, e) : cli_store_for_trees(c, e);
	if (r < 0)
		return varve_wrap(e, r, "switch");
	if (argc == 0) {
		r = trees_list(c, e);
		return r < 0 ? varve_wrap(e, r, "switch") : 0;
	}
	r = cli_label(c, argv[0], label, e);
	if (r == 0)
		r = trees_switch(c, label, o->force, o->fallback, &res, e);
	if (r < 0)
		return varve_wrap(e, r, "switch %s", VARVE_TEXT_SAFE(argv[0]));
	return report(c, "varve.switch/1", &res, e);
}

const struct cli_command cmd_switch = {
	.name = "switch",
	.args = "[REF|LABEL]",
	.summary = "Make an installed rootfs the active one; list them without an argument",
	.run = run_switch,
	.max_args = 1,
	.rows = switch_rows,
	.n_rows = ARRAY_SIZE(switch_rows),
	.options_size = sizeof(struct switch_options),
};

struct rollback_options {
	bool force;
	unsigned to;
};
static const struct opt_row rollback_rows[] = {
	{"force", 'f', NULL, "although processes live in the tree", OPT_FLAG,
	 offsetof(struct rollback_options, force)},
	{"to", 0, "N", "which previous generation of LABEL (the newest)", OPT_NUMBER,
	 offsetof(struct rollback_options, to)},
};

static int run_rollback(struct cli *c, const void *options, int argc, char **argv,
			struct varve_err *e)
{
	const struct rollback_options *o = options;
	struct varve_switch_options to = VARVE_SWITCH_OPTIONS_INIT;
	struct varve_switch_result res;
	char label[512];
	int r = 0;

	if (o->to && !argc)
		return varve_fail(e, VARVE_E_USAGE, "rollback: --to %u needs a label", o->to);
	r = cli_store(c, CLI_WRITE, e);
	if (r == 0)
		r = cli_roots_path(c, &to.roots, e);
	if (r == 0 && argc)
		r = cli_label(c, argv[0], label, e);
	if (r < 0)
		return varve_wrap(e, r, "rollback");
	to.force = o->force;
	to.in_use = trees_in_use;
	to.user = c;
	r = varve_rollback_to(c->store, argc ? label : NULL, o->to, &to, &res, e);
	if (r < 0)
		return varve_wrap(e, r, "rollback");
	return report(c, "varve.rollback/1", &res, e);
}

const struct cli_command cmd_rollback = {
	.name = "rollback",
	.args = "[REF|LABEL]",
	.summary = "Undo the last switch or replacing install, or bring a kept tree back",
	.run = run_rollback,
	.max_args = 1,
	.rows = rollback_rows,
	.n_rows = ARRAY_SIZE(rollback_rows),
	.options_size = sizeof(struct rollback_options),
};
