/* SPDX-License-Identifier: Apache-2.0 */
/* Help from the tables: for people, and machine-readable for completions and the check of the man
 * pages. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "cli/commands.h"

static size_t row_text(const struct opt_row *row, char *buf, size_t size)
{
	char letter[5] = "    ";

	if (row->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", row->letter);
	return (size_t)snprintf(buf, size, "  %s--%s%s%s", letter, row->name, row->arg ? " " : "",
				row->arg ? row->arg : "");
}

static void print_rows(const struct opt_row *rows, size_t n)
{
	struct opt_walk walk = opt_walk(rows, n);
	struct opt_row row;
	char text[128];
	size_t width = 0;

	while (opt_next(&walk, &row)) {
		size_t w = row_text(&row, text, sizeof(text));

		if (w > width && w < 36)
			width = w;
	}
	walk = opt_walk(rows, n);
	while (opt_next(&walk, &row)) {
		row_text(&row, text, sizeof(text));
		if (strlen(text) > width)
			out_printf("%s\n%*s  %s\n", text, (int)width, "", row.help);
		else
			out_printf("%-*s  %s\n", (int)width, text, row.help);
	}
}

void help_general(const struct cli *c)
{
	out_printf("%svarve%s [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n\n"
		   "Fetches each layer of an image once, keeps it, and builds root filesystems.\n\n"
		   "%sCommands%s\n",
		   out_bold(), out_plain(), out_bold(), out_plain());
	for (size_t i = 0; i < c->n_commands; i++)
		out_printf("  %-10s  %s\n", c->commands[i]->name, c->commands[i]->summary);
	out_printf("\n%sGlobal options%s (before or after the command)\n", out_bold(), out_plain());
	print_rows(global_rows, n_global_rows);
	out_printf("\nvarve help COMMAND shows its options. To begin: varve pull debian:sid\n");
}

void help_command(const struct cli_command *cmd)
{
	out_printf("%svarve %s%s%s%s%s\n\n%s.\n", out_bold(), cmd->name, out_plain(),
		   cmd->n_rows ? " [OPTIONS]" : "", cmd->args ? " " : "",
		   cmd->args ? cmd->args : "", cmd->summary);
	if (cmd->n_rows) {
		out_printf("\n%sOptions%s\n", out_bold(), out_plain());
		print_rows(cmd->rows, cmd->n_rows);
	}
	out_printf("\nGlobal options: varve help. More: man varve-%s\n", cmd->name);
}

static const char *const kind_names[] = {
	[OPT_FLAG] = "flag",         [OPT_COUNT] = "count",   [OPT_TEXT] = "text",
	[OPT_LIST] = "list",         [OPT_NUMBER] = "number", [OPT_SIZE] = "size",
	[OPT_DURATION] = "duration", [OPT_CHOICE] = "choice", [OPT_PLATFORM] = "platform",
};

_Static_assert(ARRAY_SIZE(kind_names) == OPT_ROWS, "every kind of option has a name");

static void dump_rows(const char *command, const struct opt_row *rows, size_t n)
{
	struct opt_walk walk = opt_walk(rows, n);
	struct opt_row row;

	while (opt_next(&walk, &row))
		out_printf("option\t%s\t%s\t%c\t%s\t%s\t%s\n", command, row.name,
			   row.letter ? row.letter : '-', row.arg ? row.arg : "-",
			   kind_names[row.kind], row.help);
}

/* Lines of tab-separated fields: "command NAME ARGS SUMMARY", "option COMMAND LONG LETTER ARG KIND
 * HELP" (COMMAND "-" for the globals), "error SLUG STATUS TEXT". */
static void dump(const struct cli *c)
{
	dump_rows("-", global_rows, n_global_rows);
	for (size_t i = 0; i < c->n_commands; i++) {
		out_printf("command\t%s\t%s\t%s\n", c->commands[i]->name,
			   c->commands[i]->args ? c->commands[i]->args : "-",
			   c->commands[i]->summary);
		dump_rows(c->commands[i]->name, c->commands[i]->rows, c->commands[i]->n_rows);
	}
#define ROW(symbol, number, slug, text, status)                                                    \
	out_printf("error\t%s\t%d\t%s\n", slug, (int)(status), text);
	VARVE_CODES(ROW)
#undef ROW
}

static void json_rows(struct varve_json *j, const struct opt_row *rows, size_t n)
{
	struct opt_walk walk = opt_walk(rows, n);
	struct opt_row row;

	varve_json_array(j, "options");
	while (opt_next(&walk, &row)) {
		varve_json_object(j, NULL);
		varve_json_str(j, "name", row.name);
		varve_json_strn(j, "letter", &row.letter, row.letter != 0);
		varve_json_str(j, "argument", row.arg);
		varve_json_str(j, "kind", kind_names[row.kind]);
		varve_json_str(j, "help", row.help);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
}

static int json_help(struct cli *c, const struct cli_command *only, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.help/1");

	json_rows(j, global_rows, n_global_rows);
	varve_json_array(j, "commands");
	for (size_t i = 0; i < c->n_commands; i++) {
		if (only && only != c->commands[i])
			continue;
		varve_json_object(j, NULL);
		varve_json_str(j, "name", c->commands[i]->name);
		varve_json_str(j, "arguments", c->commands[i]->args);
		varve_json_str(j, "summary", c->commands[i]->summary);
		json_rows(j, c->commands[i]->rows, c->commands[i]->n_rows);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
	return cli_json_end(c, e);
}

struct help_options {
	bool dump;
};
static const struct opt_row help_rows[] = {
	{"dump", 0, NULL, "all commands and options, one a line, fields separated by tabs",
	 OPT_FLAG, offsetof(struct help_options, dump)},
};

static int run_help(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct help_options *o = options;
	const struct cli_command *cmd = NULL;

	if (argc > 0) {
		const char *near;

		cmd = command_find(c, argv[0]);
		near = cmd ? NULL : command_nearest(c, argv[0]);
		if (!cmd)
			return varve_fail(e, VARVE_E_USAGE, "no command %s%s%s%s",
					  VARVE_TEXT_SAFE(argv[0]), near ? "; did you mean " : "",
					  near ? near : "", near ? "?" : "");
	}
	if (c->g.json)
		return json_help(c, cmd, e);
	if (o->dump)
		dump(c);
	else if (cmd)
		help_command(cmd);
	else
		help_general(c);
	return 0;
}

const struct cli_command cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "Show the commands, or the options of one",
	.run = run_help,
	.max_args = 1,
	.rows = help_rows,
	.n_rows = ARRAY_SIZE(help_rows),
	.options_size = sizeof(struct help_options),
};

static int run_version(struct cli *c, const void *options, int argc, char **argv,
		       struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.version/1");

	(void)options, (void)argc, (void)argv;
	if (!j) {
		out_printf("varve %s\n", varve_version());
		return 0;
	}
	varve_json_str(j, "version", varve_version());
	return cli_json_end(c, e);
}

const struct cli_command cmd_version = {
	.name = "version",
	.summary = "Print the version",
	.run = run_version,
};
