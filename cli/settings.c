/* SPDX-License-Identifier: Apache-2.0 */
/* Users and wsl.conf of an install as text, and back: the rows of the options are the grammar. */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct opt_row rows[] = {FINISHING_ROWS(struct settings, options)};

static void put(FILE *f, const char *name, const char *value)
{
	if (value)
		(void)fprintf(f, "--%s=%s\n", name, value);
}

int settings_write(const struct finishing *o, char **ret, struct varve_err *e)
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
	put(f, "wsl-user", o->wsl_user);
	put(f, "wsl-hostname", o->wsl_hostname);
	put(f, "wsl-systemd", systemd[o->wsl_systemd]);
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

void settings_apply(const struct settings *s, const char *tree, struct finishing *o)
{
	const struct finishing *was = &s->options;

	if (!o->user && was->user) {
		o->user = was->user;
		o->user_from = tree;
		o->groups = was->groups;
		o->root_password = was->root_password;
	}
	if (!o->wsl_user)
		o->wsl_user = was->wsl_user;
	if (!o->wsl_hostname)
		o->wsl_hostname = was->wsl_hostname;
	if (!o->wsl_systemd)
		o->wsl_systemd = was->wsl_systemd;
}

void settings_done(struct settings *s)
{
	opt_done(&(struct opt_set){.rows = rows, .n = ARRAY_SIZE(rows), .dst = s});
	free(s->lines);
	free(s->text);
}
