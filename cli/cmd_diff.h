/* SPDX-License-Identifier: Apache-2.0 */
/* An installed tree beside its image, for diff and check --installed. */
#pragma once

#include "cli/cli.h"

struct diffing {
	bool read_data, keep_dirlinks, userns;
};

/* what: a label or a reference. Prints the differences, or the document schema. */
int diffing_run(struct cli *c, const char *what, const char *schema, const struct diffing *o,
		struct varve_diff_result *res, struct varve_err *e);
