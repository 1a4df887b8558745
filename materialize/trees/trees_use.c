/* SPDX-License-Identifier: Apache-2.0 */
/* Find out who lives in a tree and what is mounted in it, before it is moved or deleted. */
#include "materialize/trees/trees.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"

#define DEPTH_MAX 4096

struct use {
	const struct tree *tree;
	dev_t dev;
	char *path; /* of the tree, absolute */
	const struct varve_switch_options *opt;
	int found;
};

/* Is the directory that /proc/PID/cwd or root leads to the tree or below it? Climbs by "..", so it
 * holds whatever the path looks like from the process' namespace. */
static bool leads_into(int proc, const char *link, const struct use *u)
{
	int fd = openat(proc, link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st, last = {0};
	bool in = false;

	for (int i = 0; i < DEPTH_MAX && fd >= 0; i++) {
		int up;

		if (fstat(fd, &st) || (i && st.st_ino == last.st_ino && st.st_dev == last.st_dev))
			break;
		if (st.st_ino == u->tree->ino && st.st_dev == u->dev) {
			in = true;
			break;
		}
		last = st;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		(void)close(fd);
		fd = up;
	}
	if (fd >= 0)
		(void)close(fd);
	return in;
}

static bool exe_is_in(int proc, const struct use *u)
{
	char path[4096];
	ssize_t n = readlinkat(proc, "exe", path, sizeof(path) - 1);
	size_t k = strlen(u->path);

	if (n <= 0)
		return false;
	path[n] = '\0';
	return !strncmp(path, u->path, k) && path[k] == '/';
}

static void look_at_process(const char *pid, int proc, struct use *u)
{
	const char *how = leads_into(proc, "root", u)  ? "root directory"
			  : leads_into(proc, "cwd", u) ? "current directory"
			  : exe_is_in(proc, u)         ? "program"
						       : NULL;
	char comm[64], safe[256];
	struct buf b;

	if (!how)
		return;
	u->found++;
	if (!u->opt->in_use)
		return;
	buf_init(&b, 4096);
	if (fsx_read_file(proc, "comm", &b, NULL) < 0)
		buf_adds(&b, "?");
	(void)snprintf(comm, sizeof(comm), "%.*s", (int)strcspn(b.p, "\n"), b.p);
	buf_done(&b);
	u->opt->in_use(u->opt->user, strtol(pid, NULL, 10),
		       text_escape_str(comm, safe, sizeof(safe)), how);
}

static int use_init(struct use *u, const struct roots *r, const struct tree *t,
		    const struct varve_switch_options *opt, struct varve_err *e)
{
	struct stat st;

	*u = (struct use){.tree = t, .opt = opt};
	if (fstatat(r->fd, t->directory, &st, AT_SYMLINK_NOFOLLOW))
		return varve_fail_errno(e, "%s/%s", TEXT_SAFE(r->path), TEXT_SAFE(t->directory));
	u->dev = st.st_dev;
	if (asprintf(&u->path, "%s/%s", r->path, t->directory) < 0) {
		u->path = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

int tree_in_use(const struct roots *r, const struct tree *t, const struct varve_switch_options *opt,
		struct varve_err *e)
{
	VARVE_CLOSEDIR DIR *d = opendir("/proc");
	struct dirent *de;
	struct use u;
	char self[16];
	int x;

	if (!d)
		return varve_fail_errno(e, "/proc");
	x = use_init(&u, r, t, opt, e);
	if (x < 0)
		return x;
	(void)snprintf(self, sizeof(self), "%ld", (long)getpid());
	while ((de = readdir(d))) {
		VARVE_CLOSE int proc = -1;

		if (!isdigit((unsigned char)de->d_name[0]) || !strcmp(de->d_name, self))
			continue;
		proc = openat(dirfd(d), de->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (proc >= 0)
			look_at_process(de->d_name, proc, &u);
	}
	free(u.path);
	return u.found;
}

struct warning {
	const struct roots *roots;
	const struct tree *tree;
};

static void warn(void *user, long pid, const char *command, const char *how)
{
	const struct warning *w = user;

	log_warn(w->roots->ctx, "roots", "process %ld (%s) lives in %s: %s", pid, command,
		 TEXT_SAFE(w->tree->directory), how);
}

int tree_warn_in_use(const struct roots *r, const struct tree *t)
{
	struct warning w = {r, t};
	struct varve_switch_options opt = VARVE_SWITCH_OPTIONS_INIT;

	opt.in_use = warn;
	opt.user = &w;
	return tree_in_use(r, t, &opt, NULL);
}

/* mountinfo writes blanks and backslashes as \040. In place. */
static void unescape_octal(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

bool tree_has_mount(const struct roots *r, const struct tree *t, bool *ret_at, char mount[256])
{
	VARVE_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	VARVE_FREE char *line = NULL;
	VARVE_FREE char *path = NULL;
	size_t cap = 0, n;

	*ret_at = false;
	if (!f || asprintf(&path, "%s/%s", r->path, t->directory) < 0)
		return false;
	n = strlen(path);
	while (getline(&line, &cap, f) > 0) {
		char *save = NULL;
		char *p = strtok_r(line, " ", &save);

		/* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT ... (proc_pid_mountinfo(5)) */
		for (int i = 0; i < 4 && p; i++)
			p = strtok_r(NULL, " ", &save);
		if (!p)
			continue;
		unescape_octal(p);
		if (strncmp(p, path, n) != 0 || (p[n] && p[n] != '/'))
			continue;
		*ret_at = !p[n];
		(void)text_escape_str(p, mount, 256);
		return true;
	}
	return false;
}

bool tree_holds_store(const struct roots *r, const struct tree *t)
{
	VARVE_FREE char *store = realpath(varve_store_path(r->store), NULL);
	VARVE_FREE char *path = NULL;
	size_t n;

	if (!store || asprintf(&path, "%s/%s", r->path, t->directory) < 0)
		return false;
	n = strlen(path);
	return !strncmp(store, path, n) && (store[n] == '/' || !store[n]);
}
