/* SPDX-License-Identifier: Apache-2.0 */
/* outdated: which stored or installed tags mean something else upstream by now. */

#include "cli/asking.h"
#include "cli/commands.h"
#include "cli/table.h"

struct outdated_options {
	bool installed;
	struct pulling pulling;
};
static const struct opt_row outdated_rows[] = {
	{"installed", 'i', NULL, "only what is installed in the roots directory", OPT_FLAG,
	 offsetof(struct outdated_options, installed)},
	{"wait", 0, NULL, "wait as long as a registry asks for", OPT_FLAG,
	 offsetof(struct outdated_options, pulling.wait)},
};

static const char *const answers[] = {"current", "outdated", "error", "not-asked"};

static int report(struct cli *c, const struct questions *q, struct varve_err *e)
{
	static const char *const columns[] = {"NAME", "INSTALLED AS", "STATE", "HAVE", "NOW", NULL};
	struct varve_json *j = cli_json(c, "varve.outdated/1");
	struct table *t = j ? NULL : table_new(columns);
	char name[800];

	if (j)
		varve_json_array(j, "items");
	for (size_t i = 0; i < q->n; i++) {
		const struct question *it = &q->items[i];
		struct varve_reference ref;

		if (varve_reference_parse(&ref, it->reference, NULL) == 0)
			varve_reference_familiar(&ref, name);
		if (!j) {
			table_add(t, name);
			table_add(t, it->label);
			table_add(t, answers[it->answer]);
			table_digest(t, &it->have, c->g.verbose > 0);
			table_digest(t, &it->now, c->g.verbose > 0);
			if (it->answer == ANSWER_ERROR)
				message_warn(c, "%s: %s", name, it->error);
			else if (it->answer == ANSWER_NOT_ASKED)
				message_note(c, "%s: was not asked about: %s", name, it->error);
			continue;
		}
		varve_json_object(j, NULL);
		varve_json_str(j, "name", name);
		varve_json_str(j, "reference", it->reference);
		varve_json_str(j, "label", it->label);
		varve_json_str(j, "state", answers[it->answer]);
		varve_json_digest(j, "have", &it->have);
		varve_json_digest(j, "now", &it->now);
		varve_json_str(j, "error", it->error[0] ? it->error : NULL);
		varve_json_end_object(j);
	}
	if (t) {
		table_print(t);
		return 0;
	}
	varve_json_end_array(j);
	return cli_json_end(c, e);
}

static int run_outdated(struct cli *c, const void *options, int argc, char **argv,
			struct varve_err *e)
{
	const struct outdated_options *o = options;
	struct questions q = {0};
	int r = cli_store(c, CLI_READ, e);

	if (r < 0)
		return varve_wrap(e, r, "outdated");
	if (!o->installed)
		r = ask_images(c, &q, argc, argv, e);
	if (r == 0)
		r = ask_trees(c, &q, argc, argv, e);
	if (r == 0 && argc && q.n == 0)
		r = varve_fail(e, VARVE_E_NOTFOUND, "%s is neither stored nor installed",
			       VARVE_TEXT_SAFE(argv[0]));
	if (r == 0)
		r = ask_all(c, &q, &o->pulling, e);
	if (r == 0)
		r = report(c, &q, e);
	questions_done(&q);
	return r < 0 ? varve_wrap(e, r, "outdated") : 0;
}

const struct cli_command cmd_outdated = {
	.name = "outdated",
	.args = "[REF...]",
	.summary = "Tell which stored or installed tags have moved upstream",
	.run = run_outdated,
	.max_args = -1,
	.rows = outdated_rows,
	.n_rows = ARRAY_SIZE(outdated_rows),
	.options_size = sizeof(struct outdated_options),
};
