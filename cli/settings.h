/* SPDX-License-Identifier: Apache-2.0 */
/* How a command made a tree, recorded with it so that a reinstall repeats it. */
#pragma once

#include "cli/cmd_plan.h"
#include "cli/finishing.h"

/* How the entries of a tree are made. */
struct making {
	struct planning planning;
	bool userns, no_chown;
};
extern const struct opt_rows making_rows;

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
