/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a stored image, for the commands that look into it. */
#pragma once

#include "cli/cli.h"

struct looking {
	struct varve_platform platform;
	bool strict, keep_dirlinks;
};
#define LOOKING_ROWS(type, member)                                                                 \
	{"platform",   0,                                                                          \
	 "PLATFORM",   "os/arch[/variant], when several are stored",                               \
	 OPT_PLATFORM, offsetof(type, member.platform)},                                           \
		{"strict", 0,                                                                      \
		 NULL,     "refuse names that climb with \"..\"",                                  \
		 OPT_FLAG, offsetof(type, member.strict)},                                         \
	{                                                                                          \
		"keep-dirlinks", 0, NULL,                                                          \
			"a directory over a symlink to a directory keeps the symlink", OPT_FLAG,   \
			offsetof(type, member.keep_dirlinks)                                       \
	}

/* Open the store, find the image, make its plan. */
int looking_open(struct cli *c, const char *ref, const struct looking *o, struct varve_plan **ret,
		 struct varve_err *e);
/* The plan's warnings: as the member "warnings", or said on stderr, the first max of them (0: all).
 */
void looking_warnings_json(struct varve_json *j, const struct varve_plan *p);
void looking_warn(const struct cli *c, const struct varve_plan *p, uint64_t max);
