/* SPDX-License-Identifier: Apache-2.0 */
/* config: is the configuration file right? */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

static void on_finding(void *user, const char *member, const char *message)
{
	struct cli *c = user;

	if (c->g.json) {
		varve_json_object(c->json, NULL);
		varve_json_str(c->json, "member", member);
		varve_json_str(c->json, "message", message);
		varve_json_end_object(c->json);
		return;
	}
	out_safe(member);
	out_printf(": ");
	out_safe(message);
	out_printf("\n");
}

static int report(struct cli *c, const struct varve_config_check_result *res, struct varve_err *e)
{
	struct varve_json *j = c->json;

	if (res->errors)
		c->status = VARVE_EXIT_USAGE;
	if (j) {
		varve_json_end_array(j);
		varve_json_str(j, "path", res->path[0] ? res->path : NULL);
		varve_json_u64(j, "errors", res->errors);
		varve_json_bool(j, "valid", res->errors == 0);
		return cli_json_end(c, e);
	}
	if (!res->path[0])
		out_printf("there is no configuration file: the defaults hold\n");
	else if (res->errors == 0) {
		out_safe(res->path);
		out_printf(" is valid\n");
	}
	return 0;
}

static int run_config(struct cli *c, const void *options, int argc, char **argv,
		      struct varve_err *e)
{
	struct varve_config_check_options to = VARVE_CONFIG_CHECK_OPTIONS_INIT;
	struct varve_config_check_result res = {0};
	const char *path = argc > 1 ? argv[1] : cli_config_path(c);
	int r;

	(void)options;
	if (strcmp(argv[0], "check") != 0)
		return varve_fail(e, VARVE_E_USAGE, "config %s: there is only varve config check",
				  VARVE_TEXT_SAFE(argv[0]));
	to.finding = on_finding;
	to.user = c;
	if (c->g.json)
		varve_json_array(cli_json(c, "varve.config/1"), "findings");
	r = varve_config_check(path, &to, &res, e);
	return r < 0 ? varve_wrap(e, r, "config check") : report(c, &res, e);
}

const struct cli_command cmd_config = {
	.name = "config",
	.args = "check [FILE]",
	.summary = "Check the configuration file",
	.run = run_config,
	.min_args = 1,
	.max_args = 2,
};
