/* SPDX-License-Identifier: Apache-2.0 */
/* An installed tree beside its image, for diff and check --installed. */
#pragma once

#include "cli/cli.h"

struct diffing {
	bool read_data, keep_dirlinks, userns;
};
#define DIFFING_ROWS(type)                                                                         \
	{"read-data", 0,                                                                           \
	 NULL,        "compare the content of every file",                                         \
	 OPT_FLAG,    offsetof(type, read_data)},                                                  \
		{"keep-dirlinks",                                                                  \
		 0,                                                                                \
		 NULL,                                                                             \
		 "the tree was installed with --keep-dirlinks (old ones do not say)",              \
		 OPT_FLAG,                                                                         \
		 offsetof(type, keep_dirlinks)},                                                   \
	{                                                                                          \
		"userns", 0, NULL, "the tree was installed with --userns: compare owners too",     \
			OPT_FLAG, offsetof(type, userns)                                           \
	}

/* what: a label or a reference. Prints the differences, or the document schema. */
int diffing_run(struct cli *c, const char *what, const char *schema, const struct diffing *o,
		struct varve_diff_result *res, struct varve_err *e);
