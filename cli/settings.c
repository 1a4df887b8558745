/* SPDX-License-Identifier: Apache-2.0 */
/* The options of an install as text, and back: their rows are the grammar. */
#include "cli/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct making, member)
static const struct opt_row making_array[] = {
	OPT_ALL_OF(planning_rows, AT(planning)),
	{"userns", 0, NULL, "not root: keep owners, as the user's subordinate ids", OPT_FLAG,
	 AT(userns)},
	{"no-chown", 0, NULL, "as root: leave every file to root", OPT_FLAG, AT(no_chown)},
};
#undef AT
const struct opt_rows making_rows = OPT_ROWS_OF(making_array);

static const struct opt_row rows[] = {
	OPT_ALL_OF(finishing_rows, offsetof(struct settings, finishing)),
	OPT_ALL_OF(making_rows, offsetof(struct settings, making)),
};

static void put(FILE *f, const char *name, const char *value)
{
	if (value)
		(void)fprintf(f, "--%s=%s\n", name, value);
}

static void put_flag(FILE *f, const char *name, bool value)
{
	if (value)
		(void)fprintf(f, "--%s\n", name);
}

/* The directory is named in full: the next command may run elsewhere. */
static void put_hooks(FILE *f, const struct finishing *o)
{
	char path[PATH_MAX];

	if (o->hooks)
		put(f, "hooks", realpath(o->hooks, path) ? path : o->hooks);
	put_flag(f, "no-hooks", o->no_hooks);
	put_flag(f, "hook-network", o->hook_network);
	put_flag(f, "hooks-unconfined", o->hooks_unconfined);
	put(f, "hook-errors", o->hook_errors ? "warn" : NULL);
	if (o->hook_timeout.given)
		(void)fprintf(f, "--hook-timeout=%" PRIu64 "s\n", o->hook_timeout.n);
}

int settings_write(const struct finishing *o, const struct making *m, char **ret,
		   struct varve_err *e)
{
	static const char *const passwords[] = {NULL, "user", "keep"};
	static const char *const systemd[] = {NULL, "on", "off"};
	size_t n;
	FILE *f = open_memstream(ret, &n);

	if (!f)
		return varve_fail(e, ENOMEM, "out of memory");
	put(f, "user", o->user);
	for (size_t i = 0; i < o->groups.n; i++)
		put(f, "groups", o->groups.items[i]);
	put(f, "root-password", passwords[o->root_password]);
	put_hooks(f, o);
	put(f, "wsl-user", o->wsl_user);
	put(f, "wsl-hostname", o->wsl_hostname);
	put(f, "wsl-systemd", systemd[o->wsl_systemd]);
	put_flag(f, "strict", m->planning.strict);
	put_flag(f, "keep-dirlinks", m->planning.keep_dirlinks);
	put_flag(f, "userns", m->userns);
	put_flag(f, "no-chown", m->no_chown);
	if (fclose(f)) {
		free(*ret);
		*ret = NULL;
		return varve_fail(e, ENOMEM, "out of memory");
	}
	if (n == 0) {
		free(*ret);
		*ret = NULL;
	}
	return 0;
}

int settings_read(struct settings *s, const char *text, struct varve_err *e)
{
	struct opt_set set = {.rows = rows, .n = ARRAY_SIZE(rows), .dst = s};
	char program[] = "settings", *save = NULL;
	size_t room = 2;
	int argc = 0, n, r;
	char **args;

	*s = (struct settings){0};
	for (const char *p = text; p && *p; p++)
		room += *p == '\n';
	s->text = strdup(text ? text : "");
	s->lines = calloc(room + 1, sizeof(*s->lines));
	args = calloc(room + 1, sizeof(*args));
	if (s->text && s->lines && args) {
		s->lines[argc++] = program;
		for (char *p = strtok_r(s->text, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
			s->lines[argc++] = p;
		r = opt_parse(&set, 1, argc, s->lines, false, args, &n, e);
	} else {
		r = varve_fail(e, ENOMEM, "out of memory");
	}
	free(args);
	return r < 0 ? varve_wrap(e, r, "settings of the tree") : 0;
}

void settings_apply(const struct settings *s, const char *tree, struct finishing *o,
		    struct making *m)
{
	const struct finishing *was = &s->finishing;

	if (!o->user && was->user) {
		o->user = was->user;
		o->user_from = tree;
		o->groups = was->groups;
		o->root_password = was->root_password;
	}
	if (!o->hooks && !o->no_hooks) {
		o->hooks = was->hooks;
		o->no_hooks = was->no_hooks;
	}
	o->hook_network |= was->hook_network;
	o->hooks_unconfined |= was->hooks_unconfined;
	if (!o->hook_errors)
		o->hook_errors = was->hook_errors;
	if (!o->hook_timeout.given)
		o->hook_timeout = was->hook_timeout;
	if (!o->wsl_user)
		o->wsl_user = was->wsl_user;
	if (!o->wsl_hostname)
		o->wsl_hostname = was->wsl_hostname;
	if (!o->wsl_systemd)
		o->wsl_systemd = was->wsl_systemd;
	m->planning.strict |= s->making.planning.strict;
	m->planning.keep_dirlinks |= s->making.planning.keep_dirlinks;
	m->no_chown |= s->making.no_chown;
}

void settings_done(struct settings *s)
{
	opt_done(&(struct opt_set){.rows = rows, .n = ARRAY_SIZE(rows), .dst = s});
	free(s->lines);
	free(s->text);
}
