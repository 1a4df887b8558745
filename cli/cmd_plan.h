/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a stored image, for the commands that look into it. */
#pragma once

#include "cli/cli.h"

/* How an image becomes a plan. */
struct planning {
	bool strict, keep_dirlinks;
};
extern const struct opt_rows planning_rows;

struct looking {
	struct varve_platform platform;
	struct planning planning;
};
extern const struct opt_rows looking_rows;

/* Open the store, find the image, make its plan. */
int looking_open(struct cli *c, const char *ref, const struct looking *o, struct varve_plan **ret,
		 struct varve_err *e);
/* The plan's warnings: as the member "warnings", or
 * said on stderr, the first max of them (0: all). */
void looking_warnings_json(struct varve_json *j, const struct varve_plan *p);
void looking_warn(const struct cli *c, const struct varve_plan *p, uint64_t max);
