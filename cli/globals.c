/* SPDX-License-Identifier: Apache-2.0 */
/* The global options, and commands by name. */
#include "cli/cli.h"

#include <string.h>

#define AT(member) offsetof(struct globals, member)
const struct opt_row global_rows[] = {
	{"store", 0, "DIR", "the store", OPT_TEXT, AT(store)},
	{"roots", 0, "DIR", "where rootfs trees are installed", OPT_TEXT, AT(roots)},
	{"config", 0, "FILE", "configuration file", OPT_TEXT, AT(config)},
	{"offline", 0, NULL, "use only what is stored, no network", OPT_FLAG, AT(offline)},
	{"json", 0, NULL, "print the result as one JSON document", OPT_FLAG, AT(json)},
	{"quiet", 'q', NULL, "no progress, no notes", OPT_FLAG, AT(quiet)},
	{"verbose", 'v', NULL, "say more; twice: debug", OPT_COUNT, AT(verbose)},
	{"progress", 0, "auto|plain|json|none", "how progress is shown", OPT_CHOICE, AT(progress)},
	{"color", 0, "auto|always|never", "colours", OPT_CHOICE, AT(color)},
	{"help", 'h', NULL, "this help", OPT_FLAG, AT(help)},
	{"version", 0, NULL, "print the version", OPT_FLAG, AT(version)},
};
#undef AT
const size_t n_global_rows = ARRAY_SIZE(global_rows);

/* What other tools call it. */
static const struct {
	const char *name, *ours;
} synonyms[] = {
	{"ls", "list"},         {"images", "list"},  {"rm", "remove"},        {"rmi", "remove"},
	{"delete", "remove"},   {"untag", "remove"}, {"uninstall", "remove"}, {"prune", "gc"},
	{"clean", "gc"},        {"fsck", "check"},   {"verify", "check"},     {"repair", "check"},
	{"du", "df"},           {"use", "switch"},   {"activate", "switch"},  {"undo", "rollback"},
	{"fetch", "pull"},      {"get", "pull"},     {"download", "pull"},    {"show", "inspect"},
	{"info", "inspect"},    {"save", "export"},  {"load", "import"},      {"unpack", "install"},
	{"update", "outdated"},
};

const struct cli_command *command_find(const struct cli *c, const char *name)
{
	for (size_t i = 0; i < c->n_commands; i++)
		if (strcmp(c->commands[i]->name, name) == 0)
			return c->commands[i];
	return NULL;
}

const char *command_nearest(const struct cli *c, const char *name)
{
	const char *names[64];

	for (size_t i = 0; i < ARRAY_SIZE(synonyms); i++)
		if (strcmp(synonyms[i].name, name) == 0 && command_find(c, synonyms[i].ours))
			return synonyms[i].ours;
	for (size_t i = 0; i < c->n_commands; i++)
		names[i] = c->commands[i]->name;
	return opt_nearest(name, names, c->n_commands, sizeof(names[0]));
}
