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
#define FINISHING_ROWS(type, member)                                                               \
	{"user",   'u',                                                                            \
	 "NAME",   "carry this user into the new tree",                                            \
	 OPT_TEXT, offsetof(type, member.user)},                                                   \
		{"user-from", 0,                                                                   \
		 "DIR|host",  "the tree that has the user (the active one)",                       \
		 OPT_TEXT,    offsetof(type, member.user_from)},                                   \
		{"groups",    0,                                                                   \
		 "GROUP,...", "further groups for the user, if the image has them",                \
		 OPT_LIST,    offsetof(type, member.groups)},                                      \
		{"root-password",      0,                                                          \
		 "original|user|keep", "what root's password becomes",                             \
		 OPT_CHOICE,           offsetof(type, member.root_password)},                      \
		{"hooks",  0,                                                                      \
		 "DIR",    "where hook_postinstall_*.sh are",                                      \
		 OPT_TEXT, offsetof(type, member.hooks)},                                          \
		{"no-hooks", 0, NULL, "run no hooks", OPT_FLAG, offsetof(type, member.no_hooks)},  \
		{"hook-network", 0,                                                                \
		 NULL,           "let hooks use the network",                                      \
		 OPT_FLAG,       offsetof(type, member.hook_network)},                             \
		{"hooks-unconfined",                                                               \
		 0,                                                                                \
		 NULL,                                                                             \
		 "run hooks in a chroot where there are no namespaces",                            \
		 OPT_FLAG,                                                                         \
		 offsetof(type, member.hooks_unconfined)},                                         \
		{"raw",    0,                                                                      \
		 NULL,     "pass control characters of hooks on to the terminal",                  \
		 OPT_FLAG, offsetof(type, member.raw)},                                            \
		{"hook-errors", 0,                                                                 \
		 "stop|warn",   "what a failing hook means",                                       \
		 OPT_CHOICE,    offsetof(type, member.hook_errors)},                               \
		{"hook-timeout", 0,                                                                \
		 "TIME",         "for each hook (30m)",                                            \
		 OPT_DURATION,   offsetof(type, member.hook_timeout)},                             \
		{"wsl-user", 0,                                                                    \
		 "NAME",     "default user in /etc/wsl.conf",                                      \
		 OPT_TEXT,   offsetof(type, member.wsl_user)},                                     \
		{"wsl-hostname", 0,                                                                \
		 "NAME",         "host name in /etc/wsl.conf",                                     \
		 OPT_TEXT,       offsetof(type, member.wsl_hostname)},                             \
	{                                                                                          \
		"wsl-systemd", 0, "as-is|on|off", "whether WSL starts systemd", OPT_CHOICE,        \
			offsetof(type, member.wsl_systemd)                                         \
	}

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
