/* SPDX-License-Identifier: Apache-2.0 */
/* login, logout, registry: credentials, and what registries said about their limits. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/signals.h"
#include "cli/table.h"

enum { MAX_SECRET = 16384 };

struct login_options {
	const char *user, *auth_file;
	bool from_stdin, no_check;
};
#define AT(member) offsetof(struct login_options, member)
static const struct opt_row login_rows[] = {
	{"username", 'u', "NAME", "the user", OPT_TEXT, AT(user)},
	{"password-stdin", 0, NULL, "read the password from standard input", OPT_FLAG,
	 AT(from_stdin)},
	{"no-check", 0, NULL, "keep it without asking the registry", OPT_FLAG, AT(no_check)},
	{"auth-file", 0, "FILE", "where it is kept", OPT_TEXT, AT(auth_file)},
};
#undef AT

/* One line without its end. 0, or -errno; EFBIG when it is too long. Signals end it. */
static int read_line(int fd, char *ret, size_t size)
{
	size_t n = 0;

	for (;;) {
		char c;
		ssize_t r = signals_read(fd, &c, 1);

		if (r < 0)
			return -errno;
		if (r == 0 || c == '\n')
			break;
		if (n + 1 == size)
			return -EFBIG;
		ret[n++] = c;
	}
	if (n && ret[n - 1] == '\r')
		n--;
	ret[n] = '\0';
	return 0;
}

/* Ask on the terminal, without echo for a secret. */
static int ask(const char *question, bool secret, char *ret, size_t size, struct varve_err *e)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), r;
	struct termios old, quiet;

	if (fd < 0)
		return varve_fail(e, VARVE_E_USAGE,
				  "there is no terminal to ask on: give --username and "
				  "--password-stdin");
	(void)dprintf(fd, "%s: ", question);
	if (secret && tcgetattr(fd, &old) == 0) {
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		(void)tcsetattr(fd, TCSAFLUSH, &quiet);
	}
	r = read_line(fd, ret, size);
	if (secret) {
		(void)tcsetattr(fd, TCSAFLUSH, &old);
		(void)dprintf(fd, "\n");
	}
	(void)close(fd);
	if (r == -EINTR)
		return varve_fail(e, VARVE_E_INTERRUPTED, "interrupted");
	return r < 0 ? varve_fail(e, -r, "terminal: %s", strerror(-r)) : 0;
}

static int get_secret(const struct login_options *o, const char *registry, char *user,
		      char *password, struct varve_err *e)
{
	char question[600];
	int r = 0;

	if (o->from_stdin && !o->user)
		return varve_fail(e, VARVE_E_USAGE, "--password-stdin needs --username NAME");
	(void)snprintf(question, sizeof(question), "User at %s", VARVE_TEXT_SAFE(registry));
	if (o->user)
		(void)snprintf(user, MAX_SECRET, "%s", o->user);
	else
		r = ask(question, false, user, MAX_SECRET, e);
	if (r < 0)
		return r;
	if (!user[0])
		return varve_fail(e, VARVE_E_USAGE, "the user name is empty");
	if (!o->from_stdin)
		return ask("Password", true, password, MAX_SECRET, e);
	r = read_line(STDIN_FILENO, password, MAX_SECRET);
	if (r == -EINTR)
		return varve_fail(e, VARVE_E_INTERRUPTED, "interrupted");
	if (r < 0)
		return varve_fail(e, -r, "standard input: %s", strerror(-r));
	return password[0] ? 0 : varve_fail(e, VARVE_E_USAGE, "standard input holds no password");
}

static int report(struct cli *c, const char *schema, const char *registry, const char *user,
		  const char *where, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, schema);

	if (!j) {
		out_safe(registry);
		out_printf(user ? ": kept in " : ": removed from ");
		out_safe(where);
		out_printf("\n");
		return 0;
	}
	varve_json_str(j, "registry", registry);
	if (user)
		varve_json_str(j, "user", user);
	varve_json_str(j, "where", where);
	return cli_json_end(c, e);
}

static int run_login(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct login_options *o = options;
	struct varve_login_options to = VARVE_LOGIN_OPTIONS_INIT;
	const char *registry = argc ? argv[0] : "docker.io";
	char user[MAX_SECRET] = "", password[MAX_SECRET] = "", where[4096];
	int r = 0;

	if (c->g.offline && !o->no_check)
		r = varve_fail(e, VARVE_E_OFFLINE,
			       "a login is tried at the registry: leave --offline out, or give "
			       "--no-check");
	if (r == 0)
		r = cli_config(c, e);
	/* The password is in no core file, whatever is wrong with a helper or a library, and read
	 * by no other process of the user. */
	signals_no_core();
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (r == 0)
		r = get_secret(o, registry, user, password, e);
	if (r == 0) {
		to.config = c->config;
		to.user = user;
		to.password = password;
		to.no_check = o->no_check;
		to.auth_file = o->auth_file;
		r = varve_login(&c->ctx, registry, &to, where, e);
	}
	explicit_bzero(password, sizeof(password));
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (r < 0)
		return varve_wrap(e, r, "login %s", VARVE_TEXT_SAFE(registry));
	return report(c, "varve.login/1", registry, user, where, e);
}

const struct cli_command cmd_login = {
	.name = "login",
	.args = "[REGISTRY]",
	.summary = "Keep the credentials for a registry",
	.run = run_login,
	.max_args = 1,
	.rows = login_rows,
	.n_rows = ARRAY_SIZE(login_rows),
	.options_size = sizeof(struct login_options),
};

static const struct opt_row logout_rows[] = {
	{"auth-file", 0, "FILE", "where it is kept", OPT_TEXT,
	 offsetof(struct login_options, auth_file)},
};

static int run_logout(struct cli *c, const void *options, int argc, char **argv,
		      struct varve_err *e)
{
	const struct login_options *o = options;
	const char *registry = argc ? argv[0] : "docker.io";
	char where[4096];
	int r = varve_logout(&c->ctx, registry, o->auth_file, where, e);

	if (r < 0)
		return varve_wrap(e, r, "logout %s", VARVE_TEXT_SAFE(registry));
	return report(c, "varve.logout/1", registry, NULL, where, e);
}

const struct cli_command cmd_logout = {
	.name = "logout",
	.args = "[REGISTRY]",
	.summary = "Forget the credentials for a registry",
	.run = run_logout,
	.max_args = 1,
	.rows = logout_rows,
	.n_rows = ARRAY_SIZE(logout_rows),
	.options_size = sizeof(struct login_options),
};

static int status_json(struct cli *c, const struct varve_registry_status_list *list,
		       const char *only, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.registry/1");

	varve_json_array(j, "registries");
	for (size_t i = 0; i < list->n; i++) {
		const struct varve_registry_status *s = &list->items[i];

		if (only && strcmp(only, s->registry) != 0)
			continue;
		varve_json_object(j, NULL);
		varve_json_str(j, "registry", s->registry);
		varve_json_u64(j, "limit", s->limit);
		varve_json_u64(j, "remaining", s->remaining);
		varve_json_u64(j, "window_seconds", s->window_s);
		varve_json_str(j, "source", s->source);
		varve_json_time(j, "seen_at", s->seen_at);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
	return cli_json_end(c, e);
}

static void status_table(const struct cli *c, const struct varve_registry_status_list *list,
			 const char *only)
{
	static const char *const columns[] = {"REGISTRY",    ">LIMIT", ">REMAINING", ">HOURS",
					      "COUNTED FOR", "SEEN",   NULL};
	struct table *t = table_new(columns);
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct varve_registry_status *s = &list->items[i];

		if (only && strcmp(only, s->registry) != 0)
			continue;
		n++;
		table_add(t, s->registry);
		table_addf(t, "%" PRIu64, s->limit);
		table_addf(t, "%" PRIu64, s->remaining);
		if (s->window_s)
			table_addf(t, "%.1f", (double)s->window_s / 3600);
		else
			table_add(t, NULL);
		table_add(t, s->source);
		table_age(t, s->seen_at);
	}
	if (n == 0)
		message_note(c, "no registry has told its limits yet");
	table_print(t);
}

static int run_registry(struct cli *c, const void *options, int argc, char **argv,
			struct varve_err *e)
{
	struct varve_registry_status_list list = {0};
	const char *only = argc > 1 ? argv[1] : NULL;
	int r;

	(void)options;
	if (strcmp(argv[0], "status") != 0)
		return varve_fail(e, VARVE_E_USAGE,
				  "registry %s: there is only varve registry status",
				  VARVE_TEXT_SAFE(argv[0]));
	r = cli_store_to_list(c, e);
	if (r == 0)
		r = varve_registry_status(c->store, &list, e);
	if (r < 0)
		return varve_wrap(e, r, "registry status");
	if (c->g.json)
		r = status_json(c, &list, only, e);
	else if (c->store)
		status_table(c, &list, only);
	varve_registry_status_free(&list);
	return r < 0 ? r : 0;
}

const struct cli_command cmd_registry = {
	.name = "registry",
	.args = "status [REGISTRY]",
	.summary = "Show the pull limits that registries told",
	.run = run_registry,
	.min_args = 1,
	.max_args = 2,
};
