/* SPDX-License-Identifier: Apache-2.0 */
/* Find the hooks of an image, put each into the tree, run it there, take it out again
 * (docs/from-wsl-distribution-switcher.md, "Hooks"). */
#include "materialize/finish/hooks.h"
#include "materialize/finish/hooks_trust.h"
#include "materialize/finish/users.h"
#include "materialize/trees/trees.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/options.h"

#define HOOK_MAX        (1u << 20)
#define HOOKS_MAX       8
#define ENV_MAX         64
#define DEFAULT_TIMEOUT 1800

/* A script that was put into the tree. */
struct placed {
	int dirfd;
	char name[256];
	char path[300]; /* as seen inside */
};

/* --- which --- */

struct candidates {
	char names[HOOKS_MAX][512];
	unsigned n;
};

static void add_candidate(struct candidates *c, const char *fmt, ...) VARVE_PRINTF(2, 3);

static void add_candidate(struct candidates *c, const char *fmt, ...)
{
	char x[400];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(x, sizeof(x), fmt, ap);
	va_end(ap);
	if (n < 0 || n >= (int)sizeof(x) || c->n == HOOKS_MAX || strstr(x, "..") || x[0] == '/')
		return;
	(void)snprintf(c->names[c->n], sizeof(c->names[0]), "hook_postinstall_%s.sh", x);
	for (unsigned i = 0; i < c->n; i++)
		if (!strcmp(c->names[i], c->names[c->n]))
			return;
	c->n++;
}

/* "all", the image, the image with its tag. A "/" in the image is a directory, as it used to be, or
 * a "_". */
static void list_candidates(const struct varve_hook_options *o, struct candidates *c)
{
	char flat[256];

	add_candidate(c, "all");
	if (o->image) {
		(void)snprintf(flat, sizeof(flat), "%s", o->image);
		for (char *p = flat; *p; p++)
			if (*p == '/')
				*p = '_';
		add_candidate(c, "%s", o->image);
		add_candidate(c, "%s", flat);
		if (o->tag) {
			add_candidate(c, "%s_%s", o->image, o->tag);
			add_candidate(c, "%s_%s", flat, o->tag);
		}
	}
	if (o->label)
		add_candidate(c, "%s", o->label);
}

/* 1: read; 0: there is none. */
static int read_hook(const struct varve_hook_options *o, const char *name, struct buf *text,
		     struct varve_err *e)
{
	VARVE_FREE char *path = NULL;
	VARVE_CLOSE int fd = -1;
	size_t n = 0;
	int x;

	if (asprintf(&path, "%s/%s", o->directory, name) < 0) {
		path = NULL;
		return varve_fail_oom(e);
	}
	x = hook_open_trusted(path, &fd, e);
	if (x > 0)
		x = fsx_read_file(fd, NULL, text, e) < 0 ? -e->code : 1;
	if (x <= 0)
		return x < 0 ? varve_wrap(e, x, "hook %s", TEXT_SAFE(path)) : 0;
	/* Written on Windows: "#!/bin/sh\r" names no interpreter. */
	for (size_t i = 0; i < text->n; i++)
		if (text->p[i] != '\r')
			text->p[n++] = text->p[i];
	text->n = n;
	return 1;
}

/* --- into the tree and out of it --- */

static int place_in(int rootfd, const char *dir, const char *base, const struct buf *text,
		    struct placed *ret)
{
	VARVE_CLOSE int dirfd =
		fsx_open_in_root(rootfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	VARVE_CLOSE int fd = -1;
	char rand[17];

	if (dirfd < 0)
		return -1;
	(void)snprintf(ret->name, sizeof(ret->name), "%s", base);
	fd = openat(dirfd, ret->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
	if (fd < 0 && errno == EEXIST) { /* the image has one of that name: it stays */
		fsx_random_name(rand);
		(void)snprintf(ret->name, sizeof(ret->name), "hook-%s.sh", rand);
		fd = openat(dirfd, ret->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0700);
	}
	if (fd < 0)
		return -1;
	if (fsx_write_all(fd, text->p, text->n) || fchmod(fd, 0700)) {
		(void)unlinkat(dirfd, ret->name, 0);
		return -1;
	}
	(void)snprintf(ret->path, sizeof(ret->path), "%s%s%s", dir, dir[1] ? "/" : "", ret->name);
	ret->dirfd = VARVE_TAKE_FD(dirfd);
	return 0;
}

static int place(int rootfd, const char *hook, const struct buf *text, struct placed *ret,
		 struct varve_err *e)
{
	const char *slash = strrchr(hook, '/');
	const char *base = slash ? slash + 1 : hook;

	ret->dirfd = -1;
	if (place_in(rootfd, "/root", base, text, ret) && place_in(rootfd, "/", base, text, ret))
		return varve_fail_errno(e, "hook %s: put it into the tree", TEXT_SAFE(hook));
	return 0;
}

static void take_out(struct placed *p)
{
	if (p->dirfd < 0)
		return;
	(void)unlinkat(p->dirfd, p->name, 0);
	(void)close(p->dirfd);
	p->dirfd = -1;
}

/* --- where proc and dev are mounted --- */

/* A tree without them gets them while a hook runs. */
struct lent_dirs {
	bool dev, proc;
	struct timespec times[2]; /* of the root */
};

static void lend_dirs(int rootfd, struct lent_dirs *ret)
{
	struct stat st;

	*ret = (struct lent_dirs){0};
	if (fstat(rootfd, &st))
		return;
	ret->times[0] = st.st_atim;
	ret->times[1] = st.st_mtim;
	ret->dev = !mkdirat(rootfd, "dev", 0755);
	ret->proc = !mkdirat(rootfd, "proc", 0555);
}

/* What the hook put into one stays, and so does the directory. */
static void take_back_dirs(int rootfd, const struct lent_dirs *l)
{
	struct stat st;
	bool untouched = !fstat(rootfd, &st) && !l->dev && !l->proc;

	if (l->dev)
		(void)unlinkat(rootfd, "dev", AT_REMOVEDIR);
	if (l->proc)
		(void)unlinkat(rootfd, "proc", AT_REMOVEDIR);
	if (!untouched)
		(void)futimens(rootfd, l->times);
}

/* --- environment --- */

struct env {
	char *items[ENV_MAX + 1];
	unsigned n;
};

static void add_env(struct env *v, const char *name, const char *value)
{
	if (v->n < ENV_MAX && asprintf(&v->items[v->n], "%s=%s", name, value ? value : "") >= 0)
		v->n++;
	v->items[v->n] = NULL;
}

static void env_done(struct env *v)
{
	for (unsigned i = 0; i < v->n; i++)
		free(v->items[i]);
}

/* Nothing of the caller's environment gets in but what is asked for. */
static void make_env(struct env *v, const struct varve_hook_options *o)
{
	v->n = 0;
	add_env(v, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	add_env(v, "HOME", "/root");
	add_env(v, "USER", "root");
	add_env(v, "LOGNAME", "root");
	add_env(v, "SHELL", "/bin/sh");
	add_env(v, "LANG", "C.UTF-8");
	add_env(v, "REGULARUSER", o->regular_user);
	add_env(v, "VARVE_IMAGE", o->image);
	add_env(v, "VARVE_TAG", o->tag);
	add_env(v, "VARVE_LABEL", o->label);
	add_env(v, "VARVE_ROOTFS", "/");
	add_env(v, "VARVE_ROOTS", o->roots);
	add_env(v, "VARVE_REFERENCE", o->reference);
	for (const char *const *p = o->env; p && *p; p++)
		if (v->n < ENV_MAX && strchr(*p, '=') && (v->items[v->n] = strdup(*p)))
			v->items[++v->n] = NULL;
}

/* --- log --- */

/* What hooks wrote stays beside the tree. Best effort: a log must not hinder the install. */
struct logged {
	const struct varve_hook_options *o;
	struct varve_hook_options mine;
	int fd;
};

static void log_output(void *user, const char *hook, const void *data, size_t n)
{
	struct logged *l = user;

	if (l->fd >= 0)
		(void)fsx_write_all(l->fd, data, n);
	if (l->o->output)
		l->o->output(l->o->user, hook, data, n);
}

static void log_begin(struct logged *l, const struct varve_hook_options *o)
{
	VARVE_CLOSE int dir = o->roots ? open(o->roots, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	char name[300];

	*l = (struct logged){.o = o, .mine = *o, .fd = -1};
	l->mine.output = log_output;
	l->mine.user = l;
	if (dir < 0 || !o->label || label_check(o->label, NULL) < 0)
		return;
	(void)snprintf(name, sizeof(name), ".rootfs_%s.hooks.log", o->label);
	/* A new file each time: what others put there (/tmp) may be a FIFO, or one more name of a
	 * file of ours. */
	(void)unlinkat(dir, name, 0);
	l->fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void log_line(const struct logged *l, const char *hook, const char *text)
{
	if (l->fd >= 0)
		(void)dprintf(l->fd, "--- %s: %s\n", hook, text);
}

static void log_end(struct logged *l)
{
	if (l->fd >= 0)
		(void)close(l->fd);
}

/* --- the whole --- */

static int run_one(int rootfd, const char *hook, const struct buf *text,
		   const struct varve_hook_options *o, struct hook_end *ret, struct varve_err *e)
{
	struct hook_script s = {
		.name = hook,
		.timeout = o->timeout ? o->timeout : DEFAULT_TIMEOUT,
		.network = o->network,
		.unconfined = o->unconfined,
	};
	struct lent_dirs dirs;
	struct resolver resolver;
	struct placed p;
	struct env env;
	int x, y;

	x = place(rootfd, hook, text, &p, e);
	if (x < 0)
		return x;
	lend_dirs(rootfd, &dirs);
	resolver_lend(rootfd, &resolver);
	make_env(&env, o);
	s.path = p.path;
	s.env = env.items;
	progress_emit(o->ctx, &(struct varve_progress){.stage = VARVE_STAGE_HOOK, .object = hook});
	x = hook_run(rootfd, &s, o, ret, e);
	progress_emit(o->ctx, &(struct varve_progress){
				      .stage = VARVE_STAGE_HOOK, .object = hook, .finished = true});
	env_done(&env);
	y = resolver_take_back(&resolver, x < 0 ? NULL : e);
	take_out(&p);
	take_back_dirs(rootfd, &dirs);
	return x < 0 ? x : y;
}

static int run_hook(int rootfd, const char *hook, const struct buf *text, const struct logged *l,
		    struct varve_hook_result *ret, struct varve_err *e)
{
	const struct varve_hook_options *o = l->o;
	struct hook_end end = {0};
	char status[32];
	int x;

	if (o->start)
		o->start(o->user, hook);
	log_line(l, hook, "begins");
	x = run_one(rootfd, hook, text, &l->mine, &end, e);
	if (x < 0)
		return varve_wrap(e, x, "hook %s", TEXT_SAFE(hook));
	(void)snprintf(status, sizeof(status), "status %d", end.status);
	log_line(l, hook, end.problem ? end.problem : status);
	if (o->end)
		o->end(o->user, hook, end.status, end.problem);
	if (!end.status && !end.problem)
		return 0;
	ret->failed++;
	if (o->keep_going)
		return 0;
	return varve_fail(
		e, VARVE_E_HOOK,
		"hook %s: %s%s%d; --hook-errors=warn goes on in spite of it, --no-hooks runs "
		"none%s",
		TEXT_SAFE(hook), end.problem ? end.problem : "failed",
		end.problem ? ", status " : " with status ", end.status,
		o->network ? "" : ", --hook-network lets hooks use the network");
}

int varve_hooks_run(int rootfd, const struct varve_hook_options *opt, struct varve_hook_result *ret,
		    struct varve_err *e)
{
	struct varve_hook_result result = {0};
	struct varve_hook_options own;
	struct candidates c = {.n = 0};
	struct logged log = {.o = &own, .fd = -1};
	struct buf text;
	int x = OPTIONS_COPY(&own, opt, user, e);

	if (x < 0)
		return x;
	opt = &own;
	if (opt->directory)
		list_candidates(opt, &c);
	buf_init(&text, HOOK_MAX);
	for (unsigned i = 0; i < c.n && x >= 0; i++) {
		x = read_hook(opt, c.names[i], &text, e);
		if (x <= 0)
			continue;
		if (!result.found++)
			log_begin(&log, opt);
		x = run_hook(rootfd, c.names[i], &text, &log, &result, e);
	}
	log_end(&log);
	buf_done(&text);
	*ret = result;
	return x < 0 ? x : 0;
}
