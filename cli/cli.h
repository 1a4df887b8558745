/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: the table of commands, the global options, the open store. */
#pragma once

#include "varve-base.h"
#include "varve-fetch.h"
#include "varve-materialize.h"
#include "varve-store.h"
#include "varve-text.h"

#include "cli/options.h"
#include "cli/out.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum progress_mode { PROGRESS_AUTO, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };
enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/* In the order of their rows in globals.c. */
struct globals {
	const char *store, *roots, *config;
	bool offline, json, quiet, help, version;
	unsigned verbose;
	unsigned progress; /* enum progress_mode */
	unsigned color;    /* enum color_mode */
};
extern const struct opt_row global_rows[];
extern const size_t n_global_rows;

struct cli {
	const struct cli_command *const *commands; /* all_commands, given by main() */
	size_t n_commands;
	const struct cli_command *command;
	struct globals g;
	struct varve_ctx ctx;
	struct varve_store *store;    /* cli_store() */
	struct varve_config *config;  /* cli_config() */
	void (*close)(struct cli *c); /* set by what opened them */
	char *store_path, *roots_path;
	struct varve_json *json; /* the document of --json, from cli_json() */
	int status;              /* of a command that did its work and has bad news, e.g. check */
};

struct cli_command {
	const char *name, *args, *summary;
	int (*run)(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e);
	int min_args, max_args; /* max_args < 0: any number */
	const struct opt_row *rows;
	size_t n_rows, options_size;
};
/* Sorted as "varve help" shows them. */
const struct cli_command *command_find(const struct cli *c, const char *name);
/* The command that was perhaps meant; NULL if none. */
const char *command_nearest(const struct cli *c, const char *name);

/* --- help.c --- */
void help_general(const struct cli *c);
void help_command(const struct cli_command *cmd);

/* --- places.c: where things are (README.md, "Where things are") --- */
int cli_store_path(struct cli *c, const char **ret, struct varve_err *e);
/* Absolute, symlinks resolved as far as it exists. */
int cli_roots_path(struct cli *c, const char **ret, struct varve_err *e);

/* --- open.c --- */
enum cli_access {
	CLI_READ,    /* read-only if it cannot be written; must exist */
	CLI_WRITE,   /* must exist */
	CLI_CREATE,  /* made if missing */
	CLI_RESTORE, /* a backup of one is enough */
};
/* Opens c->store; main closes it. */
int cli_store(struct cli *c, enum cli_access access, struct varve_err *e);
/* 1, with a note and c->store NULL, when there is no store yet, which is an empty one. */
int cli_store_if_any(struct cli *c, enum cli_access access, struct varve_err *e);
int cli_store_to_list(struct cli *c, struct varve_err *e); /* CLI_READ */
/* The same for trees: a roots dir that others filled is shown, and switched in, by a store made for
 * it. */
int cli_store_for_trees(struct cli *c, struct varve_err *e);
int cli_config(struct cli *c, struct varve_err *e);
/* Become root of a user namespace (varve_userns_enter), after what depends on who we are is known:
 * before cli_store. */
int cli_userns(struct cli *c, struct varve_err *e);
/*
 * The same if one of the labels is that of a tree which was made so, as its record says; n 0: if
 * all trees are. Before the store is opened for the work itself. 1: entered; 0: no need.
 */
int cli_userns_of(struct cli *c, char *const *labels, int n, struct varve_err *e);
/* What was asked for; NULL: where it usually is. */
const char *cli_config_path(const struct cli *c);
/* Closes what the two opened. */
void cli_close(struct cli *c);
/* --platform of a stored image; fills a struct varve_platform. */
extern const struct opt_rows platform_rows;
/* NULL when the option was not given. */
static inline const struct varve_platform *platform_or_null(const struct varve_platform *p)
{
	return p->os[0] ? p : NULL;
}
/*
 * One stored image, as users name it: a reference in any form, or a digest or a prefix of one. The
 * list has one item.
 */
int cli_find(struct cli *c, const char *text, const struct varve_platform *platform,
	     struct varve_image_list *ret, struct varve_err *e);
/* The label that a user means by a label or a reference, checked against the installed trees. */
int cli_label(struct cli *c, const char *text, char ret[512], struct varve_err *e);

/* --- session.c --- */
/* Begin the document {"schema": schema, …}; NULL without --json. cli_json_end prints it. */
struct varve_json *cli_json(struct cli *c, const char *schema);
int cli_json_end(struct cli *c, struct varve_err *e);
/* With --json: the writer of the document, before the command begins. */
int session_json(struct cli *c, struct varve_err *e);
void session_done(struct cli *c);
/* Hand a large part to stdout before the end: for documents of any length. After it no error may
 * follow. */
int cli_json_flush(struct cli *c, struct varve_err *e);

/* --- message.c: everything on stderr but progress --- */
void message_setup(struct cli *c);
/* "outer: inner: cause". Returns buf. */
const char *message_text(const struct varve_err *e, char *buf, size_t size);
void message_error(struct cli *c, const struct varve_err *e);
void message_note(const struct cli *c, const char *fmt, ...) VARVE_PRINTF(2, 3);
void message_warn(const struct cli *c, const char *fmt, ...) VARVE_PRINTF(2, 3);
