/* SPDX-License-Identifier: Apache-2.0 */
/* Users, hooks and wsl.conf of an install. */
#include "cli/finishing.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/progress.h"

#define AT(member) offsetof(struct finishing, member)
static const struct opt_row finishing_array[] = {
	{"user", 'u', "NAME", "carry this user into the new tree", OPT_TEXT, AT(user)},
	{"user-from", 0, "DIR|host", "the tree that has the user (the active one)", OPT_TEXT,
	 AT(user_from)},
	{"groups", 0, "GROUP,...", "further groups for the user, if the image has them", OPT_LIST,
	 AT(groups)},
	{"root-password", 0, "original|user|keep", "what root's password becomes", OPT_CHOICE,
	 AT(root_password)},
	{"hooks", 0, "DIR", "where hook_postinstall_*.sh are", OPT_TEXT, AT(hooks)},
	{"no-hooks", 0, NULL, "run no hooks", OPT_FLAG, AT(no_hooks)},
	{"hook-network", 0, NULL, "let hooks use the network", OPT_FLAG, AT(hook_network)},
	{"hooks-unconfined", 0, NULL, "run hooks in a chroot where there are no namespaces",
	 OPT_FLAG, AT(hooks_unconfined)},
	{"raw", 0, NULL, "pass control characters of hooks on to the terminal", OPT_FLAG, AT(raw)},
	{"hook-errors", 0, "stop|warn", "what a failing hook means", OPT_CHOICE, AT(hook_errors)},
	{"hook-timeout", 0, "TIME", "for each hook (30m)", OPT_DURATION, AT(hook_timeout)},
	{"wsl-user", 0, "NAME", "default user in /etc/wsl.conf", OPT_TEXT, AT(wsl_user)},
	{"wsl-hostname", 0, "NAME", "host name in /etc/wsl.conf", OPT_TEXT, AT(wsl_hostname)},
	{"wsl-systemd", 0, "as-is|on|off", "whether WSL starts systemd", OPT_CHOICE,
	 AT(wsl_systemd)},
};
#undef AT
const struct opt_rows finishing_rows = OPT_ROWS_OF(finishing_array);

int finishing_check(const struct finishing *o, struct varve_err *e)
{
	const char *needs = o->user_from            ? "--user-from"
			    : o->groups.n           ? "--groups"
			    : o->root_password != 0 ? "--root-password"
						    : NULL;

	if (needs && !o->user)
		return varve_fail(e, VARVE_E_USAGE, "%s needs --user NAME", needs);
	if (o->no_hooks && o->hooks)
		return varve_fail(e, VARVE_E_USAGE, "--hooks and --no-hooks exclude each other");
	return 0;
}

static void on_note(void *user, const char *message)
{
	message_note(user, "%s", message);
}

/* The tree that has the user: what was said, else the active rootfs, else this system. */
static int user_source(const struct finish *f, char ret[PATH_MAX], struct varve_err *e)
{
	const char *from = f->o->user_from;
	struct stat st, dir;
	int n;

	if (from && strcmp(from, "host") != 0) {
		if (!realpath(from, ret))
			return varve_fail(e, errno, "--user-from %s: %s", VARVE_TEXT_SAFE(from),
					  strerror(errno));
		return 0;
	}
	n = snprintf(ret, PATH_MAX, "%s/rootfs", f->roots);
	if (from || n >= PATH_MAX || lstat(ret, &st) < 0) {
		(void)snprintf(ret, PATH_MAX, "/");
		return 0;
	}
	/* Passwords come from there: in a directory that all may write to it may be anybody's. */
	if (stat(f->roots, &dir) == 0 && (dir.st_mode & S_IWOTH) != 0 && st.st_uid != geteuid() &&
	    st.st_uid != 0)
		return varve_fail(e, VARVE_E_UNSAFE,
				  "%s: belongs to user %u; say with --user-from where the user is "
				  "to come from",
				  VARVE_TEXT_SAFE(ret), (unsigned)st.st_uid);
	return 0;
}

/* "sudo,wheel" and --groups given again are the same. */
static int split_groups(struct finish *f, struct varve_err *e)
{
	const struct opt_list *list = &f->o->groups;
	size_t n = 0, room = 1;

	for (size_t i = 0; i < list->n; i++)
		room += strlen(list->items[i]) + 1;
	f->groups = calloc(room, sizeof(*f->groups));
	if (!f->groups)
		return varve_fail(e, ENOMEM, "out of memory");
	for (size_t i = 0; i < list->n; i++) {
		for (const char *p = list->items[i]; p; n++) {
			const char *comma = strchrnul(p, ',');

			f->groups[n] = strndup(p, (size_t)(comma - p));
			if (!f->groups[n])
				return varve_fail(e, ENOMEM, "out of memory");
			p = *comma ? comma + 1 : NULL;
		}
	}
	return 0;
}

static void user_options(const struct finish *f, struct varve_user_options *ret)
{
	*ret = (struct varve_user_options)VARVE_USER_OPTIONS_INIT;
	ret->name = f->o->user;
	ret->from = f->user_from;
	ret->groups = (const char *const *)f->groups;
	ret->root_password = (enum varve_root_password)f->o->root_password;
	ret->note = on_note;
	ret->user = f->c;
}

/* A configured directory may be absent; the one that was asked for may not. */
static int check_hooks(const struct finish *f, struct varve_err *e)
{
	const char *dir = f->o->hooks;
	struct stat st;

	if (!dir || (stat(dir, &st) == 0 && S_ISDIR(st.st_mode)))
		return 0;
	return varve_fail(e, access(dir, F_OK) == 0 ? ENOTDIR : errno,
			  "--hooks %s: no such directory; --no-hooks runs none",
			  VARVE_TEXT_SAFE(dir));
}

int finishing_prepare(struct finish *f, struct varve_err *e)
{
	struct varve_user_options to;
	char from[PATH_MAX];
	int r = check_hooks(f, e);

	if (r < 0 || !f->o->user)
		return r;
	r = user_source(f, from, e);
	if (r == 0)
		r = split_groups(f, e);
	if (r < 0)
		return r;
	f->user_from = strdup(from);
	if (!f->user_from)
		return varve_fail(e, ENOMEM, "out of memory");
	user_options(f, &to);
	return varve_user_check(&to, e);
}

void finishing_done(struct finish *f)
{
	for (char **p = f->groups; p && *p; p++)
		free(*p);
	free(f->groups);
	free(f->user_from);
}

static int carry_user(struct finish *f, int rootfd, struct varve_err *e)
{
	struct varve_user_options to;
	int r;

	user_options(f, &to);
	r = varve_user_carry(rootfd, &to, &f->user, e);
	if (r < 0)
		return varve_wrap(e, r, "user %s", VARVE_TEXT_SAFE(f->o->user));
	f->carried = true;
	return 0;
}

static void on_hook_start(void *user, const char *hook)
{
	const struct finish *f = user;

	message_note(f->c, "%s runs", VARVE_TEXT_SAFE(hook));
}

/* What an image's programs print must not drive the terminal: control characters are shown, but for
 * the ends of lines and tabs. */
static void write_shown(const char *p, size_t n)
{
	char piece[256], shown[1024]; /* an escaped byte takes four places at most */

	while (n > 0) {
		size_t k = 0;

		if (*p == '\n' || *p == '\t' || *p == '\0') {
			(void)fputs(*p == '\n' ? "\n" : *p == '\t' ? "\t" : "\\x00", stderr);
			p++;
			n--;
			continue;
		}
		while (k < n && k < sizeof(piece) - 1 && p[k] && p[k] != '\n' && p[k] != '\t') {
			piece[k] = p[k];
			k++;
		}
		piece[k] = '\0';
		(void)fputs(varve_text_escape_str(piece, shown, sizeof(shown)), stderr);
		p += k;
		n -= k;
	}
}

static void on_hook_output(void *user, const char *hook, const void *data, size_t n)
{
	const struct finish *f = user;

	(void)hook;
	progress_hide();
	if (!f->o->raw && isatty(STDERR_FILENO))
		write_shown(data, n);
	else
		(void)fwrite(data, 1, n, stderr);
}

static void on_hook_end(void *user, const char *hook, int status, const char *problem)
{
	const struct finish *f = user;

	if (problem)
		message_warn(f->c, "%s: %s", VARVE_TEXT_SAFE(hook), problem);
	else if (status != 0)
		message_warn(f->c, "%s ended with status %d", VARVE_TEXT_SAFE(hook), status);
}

/* Variables of the caller that hooks have always read; nothing else gets through. */
static void hook_env(char *ret[], size_t n)
{
	static const char *const names[] = {"WINVER", "ROOTPASSWD", "SUDONOPASSWD",
					    "WITHOUTPACAUR"};
	size_t k = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && k + 1 < n; i++) {
		const char *value = getenv(names[i]);

		if (value && asprintf(&ret[k], "%s=%s", names[i], value) >= 0)
			k++;
	}
	ret[k] = NULL;
}

/* Said, in the environment, configured; else NULL: what happens to lie here is not run. */
static const char *hooks_directory(const struct finish *f)
{
	const char *dir = f->o->hooks ? f->o->hooks : getenv("VARVE_HOOKS");

	if (!dir || !dir[0])
		dir = varve_config_hooks(f->c->config);
	return dir;
}

static int run_hooks(struct finish *f, int rootfd, struct varve_err *e)
{
	struct varve_hook_options to = VARVE_HOOK_OPTIONS_INIT;
	char *env[8];
	int r;

	hook_env(env, sizeof(env) / sizeof(env[0]));
	to.env = (const char *const *)env;
	to.ctx = &f->c->ctx;
	to.directory = hooks_directory(f);
	if (!to.directory && access("hook_postinstall_all.sh", F_OK) == 0)
		message_note(f->c, "hook_postinstall_all.sh is here and was not run: hooks come "
				   "from --hooks DIR, for example --hooks .");
	to.image = f->image;
	to.tag = f->tag;
	to.label = f->label;
	to.roots = f->roots;
	to.reference = f->reference;
	to.regular_user = f->o->user;
	to.timeout = (unsigned)f->o->hook_timeout.n;
	to.keep_going = f->o->hook_errors != 0;
	to.network = f->o->hook_network;
	to.unconfined = f->o->hooks_unconfined;
	to.start = on_hook_start;
	to.output = on_hook_output;
	to.end = on_hook_end;
	to.user = f;
	r = varve_hooks_run(rootfd, &to, &f->hooks, e);
	for (char **p = env; *p; p++)
		free(*p);
	return r;
}

static int write_wsl(const struct finish *f, int rootfd, struct varve_err *e)
{
	static const int systemd[] = {-1, 1, 0};
	struct varve_wsl_conf_options to = VARVE_WSL_CONF_OPTIONS_INIT;

	to.default_user = f->o->wsl_user;
	to.hostname = f->o->wsl_hostname;
	to.systemd = systemd[f->o->wsl_systemd];
	if (!to.default_user && !to.hostname && to.systemd < 0)
		return 0;
	return varve_wsl_conf(rootfd, &to, e);
}

int finishing_run(void *user, int rootfd, const char *staging_path, struct varve_err *e)
{
	struct finish *f = user;
	int r = f->o->user ? carry_user(f, rootfd, e) : 0;

	(void)staging_path;
	/* The hooks come last, so that they find the user and may change what was written. */
	if (r == 0)
		r = write_wsl(f, rootfd, e);
	if (r == 0 && !f->o->no_hooks)
		r = run_hooks(f, rootfd, e);
	/* A hook may have made it: WSL cannot start a
	 * distribution whose default user is not there. */
	if (r == 0 && f->o->wsl_user) {
		r = varve_user_find(rootfd, f->o->wsl_user, e);
		if (r < 0)
			r = varve_wrap(e, r, "--wsl-user (--user carries one, or a hook makes it)");
	}
	return r;
}

void finishing_json(struct varve_json *j, const struct finish *f)
{
	if (f->carried) {
		varve_json_object(j, "user");
		varve_json_str(j, "name", f->o->user);
		varve_json_u64(j, "uid", f->user.uid);
		varve_json_u64(j, "gid", f->user.gid);
		varve_json_bool(j, "renumbered", f->user.renumbered);
		varve_json_end_object(j);
	} else {
		varve_json_null(j, "user");
	}
	varve_json_object(j, "hooks");
	varve_json_u64(j, "found", f->hooks.found);
	varve_json_u64(j, "failed", f->hooks.failed);
	varve_json_end_object(j);
}
