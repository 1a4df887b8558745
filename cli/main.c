/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of every command: options, context, run, report, exit status. */
#include "cli/cli.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/signals.h"

/* "--platform" before the command: known, but elsewhere. */
static int explain_misplaced(const struct cli *c, const char *arg, int r, struct varve_err *e)
{
	char name[64] = "";
	size_t n = arg ? strcspn(arg, "=") : 0;

	if (n < 3 || n - 2 >= sizeof(name) || strncmp(arg, "--", 2) != 0)
		return r;
	memcpy(name, arg + 2, n - 2);
	for (size_t i = 0; i < c->n_commands; i++)
		if (opt_has(c->commands[i]->rows, c->commands[i]->n_rows, name))
			return varve_fail(e, VARVE_E_USAGE,
					  "--%s is an option of %s: write it after the command",
					  name, c->commands[i]->name);
	return r;
}

static int parse_globals(struct cli *c, int argc, char **argv, int *ret_used, struct varve_err *e)
{
	struct opt_set globals = {global_rows, n_global_rows, &c->g};
	int r = opt_parse(&globals, 1, argc, argv, true, NULL, ret_used, e);

	if (r == -VARVE_E_USAGE)
		for (int i = 1; i < argc; i++) {
			struct opt_set again = {global_rows, n_global_rows, &(struct globals){0}};
			int used;

			/* The first word that the prefix cannot do without is the culprit. */
			if (opt_parse(&again, 1, i + 1, argv, true, NULL, &used, NULL) < 0)
				return explain_misplaced(c, argv[i], r, e);
		}
	return r;
}

static int find_command(struct cli *c, const char *name, struct varve_err *e)
{
	const char *near;

	c->command = command_find(c, name);
	if (c->command)
		return 0;
	near = command_nearest(c, name);
	if (near)
		return varve_fail(e, VARVE_E_USAGE, "no command %s; did you mean %s?",
				  VARVE_TEXT_SAFE(name), near);
	return varve_fail(e, VARVE_E_USAGE, "no command %s", VARVE_TEXT_SAFE(name));
}

static int check_count(const struct cli_command *cmd, int n, char **args, struct varve_err *e)
{
	if (n < cmd->min_args)
		return varve_fail(e, VARVE_E_USAGE, "%s needs %s: varve %s %s", cmd->name,
				  n == 0 ? "an argument" : "another argument", cmd->name,
				  cmd->args);
	if (cmd->max_args < 0 || n <= cmd->max_args)
		return 0;
	if (cmd->max_args == 0)
		return varve_fail(e, VARVE_E_USAGE, "%s takes no argument, but %s was given",
				  cmd->name, VARVE_TEXT_SAFE(args[0]));
	return varve_fail(e, VARVE_E_USAGE, "%s: %s is one argument too many: varve %s %s",
			  cmd->name, VARVE_TEXT_SAFE(args[cmd->max_args]), cmd->name, cmd->args);
}

static int run_parsed(struct cli *c, const void *options, int n, char **args, struct varve_err *e)
{
	int r;

	message_setup(c);
	r = session_json(c, e);
	if (r < 0)
		return r;
	if (c->g.help) {
		help_command(c->command);
		return 0;
	}
	if (c->g.version)
		return cmd_version.run(c, NULL, 0, NULL, e);
	r = check_count(c->command, n, args, e);
	if (r < 0)
		return r;
	progress_setup(c);
	r = c->command->run(c, options, n, args, e);
	progress_hide();
	return r;
}

/* argv[0] is the command. */
static int run_command(struct cli *c, int argc, char **argv, struct varve_err *e)
{
	const struct cli_command *cmd = c->command;
	size_t size = cmd->options_size ? cmd->options_size : 1;
	void *options = calloc(1, size);
	char **args = calloc((size_t)argc + 1, sizeof(*args));
	struct opt_set sets[] = {
		{cmd->rows, cmd->n_rows, options},
		{global_rows, n_global_rows, &c->g},
	};
	int n, r = -ENOMEM;

	if (options && args)
		r = opt_parse(sets, ARRAY_SIZE(sets), argc, argv, false, args, &n, e);
	else
		(void)varve_fail(e, ENOMEM, "out of memory");
	if (r == 0)
		r = run_parsed(c, options, n, args, e);
	if (options)
		opt_done(&sets[0]);
	free(options);
	free(args);
	return r;
}

static int run(struct cli *c, int argc, char **argv, struct varve_err *e)
{
	int used = 1, r = parse_globals(c, argc, argv, &used, e);

	message_setup(c);
	if (r == 0)
		r = session_json(c, e);
	if (r < 0)
		return r;
	if (used < argc) {
		r = find_command(c, argv[used], e);
		return r < 0 ? r : run_command(c, argc - used, argv + used, e);
	}
	if (c->g.version)
		return cmd_version.run(c, NULL, 0, NULL, e);
	if (!c->g.help)
		return varve_fail(e, VARVE_E_USAGE,
				  "no command given; to begin: varve pull debian:sid");
	help_general(c);
	return 0;
}

/* --json decides how errors are told, also when the options were not understood. */
static bool asked_for_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct cli c = {.commands = all_commands, .n_commands = n_all_commands, 0};
	struct varve_err e = VARVE_ERR_INIT;
	int r, status;

	/* The windows of decoders go back to the system when they are done, and do not stay in the
	 * arena of each thread that had one. */
	(void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
	signals_setup(&c.ctx);
	r = run(&c, argc, argv, &e);
	if (r >= 0 && signals_heard()) {
		c.g.json = false; /* a document may have been begun, or be whole */
		r = varve_fail(&e, VARVE_E_INTERRUPTED, "interrupted");
	} else
		c.g.json |= asked_for_json(argc, argv);
	status = r < 0 ? (int)varve_code_exit(r) : c.status;
	if (r < 0)
		message_error(&c, &e);
	session_done(&c);
	r = out_finish(&e);
	if (r < 0) {
		c.g.json = false;
		message_error(&c, &e);
		if (status == 0)
			status = varve_code_exit(r);
	}
	return signals_status(status);
}
