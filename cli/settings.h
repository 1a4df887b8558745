/* SPDX-License-Identifier: Apache-2.0 */
/* How a command made a tree, recorded with it so that a reinstall repeats it. */
#pragma once

#include "cli/finishing.h"

/* How the entries of a tree are made. */
struct making {
	bool strict, keep_dirlinks, userns, no_chown;
};
#define MAKING_ROWS(type, member)                                                                  \
	{"strict", 0,                                                                              \
	 NULL,     "refuse names that climb with \"..\"",                                          \
	 OPT_FLAG, offsetof(type, member.strict)},                                                 \
		{"keep-dirlinks",                                                                  \
		 0,                                                                                \
		 NULL,                                                                             \
		 "a directory over a symlink to a directory keeps the symlink",                    \
		 OPT_FLAG,                                                                         \
		 offsetof(type, member.keep_dirlinks)},                                            \
		{"userns", 0,                                                                      \
		 NULL,     "not root: keep owners, as the user's subordinate ids",                 \
		 OPT_FLAG, offsetof(type, member.userns)},                                         \
	{                                                                                          \
		"no-chown", 0, NULL, "as root: leave every file to root", OPT_FLAG,                \
			offsetof(type, member.no_chown)                                            \
	}

/* One option a line, as on the command line; NULL when nothing was asked for. Free it. */
int settings_write(const struct finishing *o, const struct making *m, char **ret,
		   struct varve_err *e);

/* Recorded settings in the form of options; what they point to lives as long as this. */
struct settings {
	char *text, **lines;
	struct finishing finishing;
	struct making making;
};
int settings_read(struct settings *s, const char *text, struct varve_err *e);
/* Into the options of a command, which count for more. tree: where the user comes from. */
void settings_apply(const struct settings *s, const char *tree, struct finishing *o,
		    struct making *m);
void settings_done(struct settings *s);
