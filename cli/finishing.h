/* SPDX-License-Identifier: Apache-2.0 */
/* Users, hooks and wsl.conf: what install does inside a finished tree before it becomes visible. */
#pragma once

#include "cli/cli.h"

struct finishing {
	const char *user, *user_from;
	struct opt_list groups;
	unsigned root_password; /* enum varve_root_password */
	const char *hooks;
	bool no_hooks, hook_network, hooks_unconfined, raw;
	unsigned hook_errors; /* 0: stop, 1: warn */
	struct opt_amount hook_timeout;
	const char *wsl_user, *wsl_hostname;
	unsigned wsl_systemd; /* 0: as it is, 1: on, 2: off */
};
extern const struct opt_rows finishing_rows;

/* What one install does at its end, and how it went. */
struct finish {
	struct cli *c;
	const struct finishing *o;
	const char *image, *tag, *label, *roots, *reference;
	bool carried;
	struct varve_user_result user;
	struct varve_hook_result hooks;
	char *user_from; /* finishing_prepare() */
	char **groups;   /* NULL-terminated */
};
/* Usage that can be known before anything is fetched. */
int finishing_check(const struct finishing *o, struct varve_err *e);
/* What can be known before the tree is there: the user to carry and the directory of the hooks
 * exist. Then finishing_done(). */
int finishing_prepare(struct finish *f, struct varve_err *e);
void finishing_done(struct finish *f);
/* For varve_install_options.finish; user is a struct finish. */
int finishing_run(void *user, int rootfd, const char *staging_path, struct varve_err *e);
void finishing_json(struct varve_json *j, const struct finish *f);
