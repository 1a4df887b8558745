/* SPDX-License-Identifier: Apache-2.0 */
/* What a command asked for inside the tree, recorded with it so that a reinstall repeats it. */
#pragma once

#include "finishing.h"

/* One option a line, as on the command line; NULL when nothing was asked for. Free it. */
int settings_write(const struct finishing *o, char **ret, struct varve_err *e);

/* Recorded settings in the form of options; what they point to lives as long as this. */
struct settings {
	char *text, **lines;
	struct finishing options;
};
int settings_read(struct settings *s, const char *text, struct varve_err *e);
/* Into the options of a command, which count for more. tree: where the user comes from. */
void settings_apply(const struct settings *s, const char *tree, struct finishing *o);
void settings_done(struct settings *s);
