/* SPDX-License-Identifier: Apache-2.0 */
/* Installed trees, as several commands show and switch them. */
#pragma once

#include "cli/cli.h"

/* The list of installed trees, as a table or as the document "varve.installed/1". */
int trees_list(struct cli *c, struct varve_err *e);
/* Switch; what is in the way is listed on stderr. */
int trees_switch(struct cli *c, const char *label, bool force, const char *fallback_label,
		 struct varve_switch_result *ret, struct varve_err *e);
/* For varve_switch_options.in_use with user = the struct cli. */
void trees_in_use(void *user, long pid, const char *command, const char *how);
