/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carry a user from one tree into another (docs/from-wsl-distribution-switcher.md, "Users"): its
 * lines of passwd, shadow, group and gshadow, its home directory, its further groups, and root's
 * password. Ids that are taken in the new tree give way to free ones.
 */
#include "materialize/finish/users.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/options.h"

#define FIRST_ID  1000u
#define LAST_ID   60000u
#define LINE_ROOM 4096

enum { PASSWD, SHADOW, GROUP, GSHADOW, FILES };
static const char *const paths[FILES] = {"etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"};
static const mode_t modes[FILES] = {0644, 0640, 0644, 0640};

struct carry {
	const struct varve_user_options *opt;
	int rootfd;
	struct etc_file from[FILES], to[FILES];
	struct span user;             /* the passwd line in from */
	char group[ETC_NAME_MAX + 1]; /* name of the primary group in from */
	char shell[256];
	uint32_t uid, gid;         /* in from */
	uint32_t new_uid, new_gid; /* in to */
};

static void note(const struct carry *c, const char *fmt, ...) VARVE_PRINTF(2, 3);

static void note(const struct carry *c, const char *fmt, ...)
{
	char text[512], safe[600];
	va_list ap;

	if (!c->opt->note)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->opt->note(c->opt->user, text_escape_str(text, safe, sizeof(safe)));
}

static bool line_is_good(struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if ((unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7f)
			return false;
	return line.n < LINE_ROOM / 2;
}

static bool parse_id(struct span s, uint32_t *ret)
{
	uint64_t v;

	if (!span_u64(s, UINT32_MAX - 1, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* --- reading the old tree --- */

static int read_user(struct carry *c, struct varve_err *e)
{
	const char *name = c->opt->name;
	struct span gid, line;

	if (!etc_find(&c->from[PASSWD], name, &c->user, NULL))
		return varve_fail(e, VARVE_E_NOTFOUND, "user %s: is not in /etc/passwd of %s",
				  TEXT_SAFE(name), TEXT_SAFE(c->opt->from));
	gid = etc_field(c->user, 3);
	if (!line_is_good(c->user) || !parse_id(etc_field(c->user, 2), &c->uid) ||
	    !parse_id(gid, &c->gid))
		return varve_fail(e, VARVE_E_FORMAT, "user %s: damaged line in /etc/passwd of %s",
				  TEXT_SAFE(name), TEXT_SAFE(c->opt->from));
	(void)snprintf(c->group, sizeof(c->group), "%s", name);
	if (etc_find_by(&c->from[GROUP], 2, gid, &line) && etc_field(line, 0).n <= ETC_NAME_MAX) {
		struct span g = etc_field(line, 0);

		(void)snprintf(c->group, sizeof(c->group), "%.*s", (int)g.n, g.p);
		if (!etc_name_is_good(c->group))
			(void)snprintf(c->group, sizeof(c->group), "%s", name);
	}
	return 0;
}

/* --- ids --- */

static bool id_is_taken(const struct etc_file *f, unsigned field, uint32_t id)
{
	struct span line;
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", id);
	return etc_find_by(f, field, span_str(text), &line);
}

/* One pass over the file, however many ids it takes. */
static int free_id(const struct etc_file *f, unsigned field, uint32_t wanted, uint32_t *ret,
		   struct varve_err *e)
{
	bool taken[LAST_ID - FIRST_ID] = {false};

	if (!id_is_taken(f, field, wanted)) {
		*ret = wanted;
		return 0;
	}
	etc_ids(f, field, FIRST_ID, LAST_ID, taken);
	for (uint32_t id = FIRST_ID; id < LAST_ID; id++)
		if (!taken[id - FIRST_ID]) {
			*ret = id;
			return 0;
		}
	return varve_fail(e, VARVE_E_CONFLICT, "%s of the tree: no id is free", f->name);
}

/* A user or group that the image has already keeps the image's id: files in it belong to that. */
static int choose_gid(struct carry *c, struct varve_err *e)
{
	struct span line;
	int x;

	if (etc_find(&c->to[GROUP], c->group, &line, NULL) &&
	    parse_id(etc_field(line, 2), &c->new_gid))
		x = 0;
	else
		x = free_id(&c->to[GROUP], 2, c->gid, &c->new_gid, e);
	if (x >= 0 && c->new_gid != c->gid)
		note(c, "group %s: has gid %u in the new tree, %u in the old one", c->group,
		     c->new_gid, c->gid);
	return x;
}

static int choose_uid(struct carry *c, struct varve_err *e)
{
	struct span line;
	int x;

	if (etc_find(&c->to[PASSWD], c->opt->name, &line, NULL) &&
	    parse_id(etc_field(line, 2), &c->new_uid))
		x = 0;
	else
		x = free_id(&c->to[PASSWD], 2, c->uid, &c->new_uid, e);
	if (x >= 0 && c->new_uid != c->uid)
		note(c, "user %s: has uid %u in the new tree, %u in the old one", c->opt->name,
		     c->new_uid, c->uid);
	return x;
}

/* --- writing --- */

static bool tree_has(const struct carry *c, const char *path)
{
	VARVE_CLOSE int fd = fsx_open_in_root(c->rootfd, path, O_PATH | O_CLOEXEC, 0);

	return fd >= 0;
}

/* The user's shell if the new tree has it, else root's, else /bin/sh. */
static void choose_shell(struct carry *c)
{
	struct span want = etc_field(c->user, 6), line;

	(void)snprintf(c->shell, sizeof(c->shell), "%.*s", (int)VARVE_MIN(want.n, (size_t)255),
		       want.p);
	if (!c->shell[0] || tree_has(c, c->shell))
		return;
	note(c, "user %s: the shell %s is not in the new tree", c->opt->name, c->shell);
	c->shell[0] = '\0';
	if (etc_find(&c->to[PASSWD], "root", &line, NULL) && line_is_good(line)) {
		want = etc_field(line, 6);
		(void)snprintf(c->shell, sizeof(c->shell), "%.*s",
			       (int)VARVE_MIN(want.n, (size_t)255), want.p);
	}
	if (!c->shell[0] || !tree_has(c, c->shell))
		(void)snprintf(c->shell, sizeof(c->shell), "/bin/sh");
}

static int put_passwd(struct carry *c, struct varve_err *e)
{
	struct span gecos = etc_field(c->user, 4), home = etc_field(c->user, 5);
	struct span password = etc_field(c->user, 1);
	char line[LINE_ROOM];

	choose_shell(c);
	if (snprintf(line, sizeof(line), "%s:%.*s:%u:%u:%.*s:%.*s:%s", c->opt->name,
		     (int)password.n, password.p, c->new_uid, c->new_gid, (int)gecos.n, gecos.p,
		     (int)home.n, home.p, c->shell) >= (int)sizeof(line))
		return varve_fail(e, VARVE_E_LIMIT, "user %s: its line of passwd is too long",
				  TEXT_SAFE(c->opt->name));
	etc_put(&c->to[PASSWD], c->opt->name, line);
	return 0;
}

/* A line that moves as it is; none in the old tree: none is written. */
static void copy_line(struct carry *c, int file)
{
	char text[LINE_ROOM];
	struct span line;

	if (!etc_find(&c->from[file], c->opt->name, &line, NULL) || !line_is_good(line))
		return;
	(void)snprintf(text, sizeof(text), "%.*s", (int)line.n, line.p);
	etc_put(&c->to[file], c->opt->name, text);
}

/* The primary group as the old tree has it: password and members too, unless the new one has it
 * already. */
static void put_group(struct carry *c)
{
	struct span line, old, password = {"x", 1}, members = {"", 0};
	char text[LINE_ROOM];

	if (!etc_find(&c->to[GROUP], c->group, &line, NULL)) {
		if (etc_find(&c->from[GROUP], c->group, &old, NULL) && line_is_good(old)) {
			password = etc_field(old, 1);
			members = etc_field(old, 3);
		}
		(void)snprintf(text, sizeof(text), "%s:%.*s:%u:%.*s", c->group, (int)password.n,
			       password.p, c->new_gid, (int)members.n, members.p);
		etc_put(&c->to[GROUP], c->group, text);
	}
	if (etc_find(&c->from[GSHADOW], c->group, &old, NULL) && line_is_good(old) &&
	    !etc_find(&c->to[GSHADOW], c->group, &line, NULL)) {
		(void)snprintf(text, sizeof(text), "%.*s", (int)old.n, old.p);
		etc_put(&c->to[GSHADOW], c->group, text);
	}
}

static bool is_member(struct span members, const char *name)
{
	struct span one;

	while (members.n) {
		if (!span_cut(&members, ',', &one))
			members.n = 0;
		if (span_eq(span_trim(one), name))
			return true;
	}
	return false;
}

static void add_member(struct etc_file *f, const char *group, const char *name)
{
	struct span line, members;
	struct buf b;

	if (!etc_find(f, group, &line, NULL))
		return;
	members = etc_field(line, 3);
	if (is_member(members, name))
		return;
	buf_init(&b, ETC_FILE_MAX);
	buf_add(&b, members.p, members.n);
	buf_printf(&b, "%s%s", members.n ? "," : "", name);
	if (!buf_error(&b))
		(void)etc_set_field(f, group, 3, span_of(b.p, b.n));
	buf_done(&b);
}

static void add_groups(struct carry *c)
{
	struct span line;

	for (const char *const *g = c->opt->groups; g && *g; g++) {
		if (!etc_find(&c->to[GROUP], *g, &line, NULL)) {
			note(c, "group %s: is not in the new tree", *g);
			continue;
		}
		add_member(&c->to[GROUP], *g, c->opt->name);
		add_member(&c->to[GSHADOW], *g, c->opt->name);
	}
}

static bool is_locked(struct span hash)
{
	return span_eq(hash, "*") || (hash.n && hash.p[0] == '!');
}

/* docs/from-wsl-distribution-switcher.md, "Users": the original rule, and the later one without its
 * crash. */
static void carry_root_password(struct carry *c)
{
	struct span line, hash;

	if (c->opt->root_password == VARVE_ROOT_KEEP ||
	    !etc_find(&c->from[SHADOW], "root", &line, NULL) || !line_is_good(line))
		return;
	hash = etc_field(line, 1);
	if (is_locked(hash)) {
		if (c->opt->root_password != VARVE_ROOT_USER || !strcmp(c->opt->name, "root") ||
		    !etc_find(&c->from[SHADOW], c->opt->name, &line, NULL) || !line_is_good(line))
			return;
		hash = etc_field(line, 1);
	}
	if (!c->to[SHADOW].exists) {
		note(c, "root's password was not carried: the new tree has no /etc/shadow");
		return;
	}
	if (!etc_set_field(&c->to[SHADOW], "root", 1, hash)) {
		char text[LINE_ROOM];

		(void)snprintf(text, sizeof(text), "root:%.*s:::::::", (int)hash.n, hash.p);
		etc_put(&c->to[SHADOW], "root", text);
	}
}

/* --- home --- */

static int make_home(struct carry *c, struct varve_err *e)
{
	struct span home = etc_field(c->user, 5);
	char path[LINE_ROOM], *slash;
	VARVE_CLOSE int parent = -1;
	VARVE_CLOSE int fd = -1;

	(void)snprintf(path, sizeof(path), "%.*s", (int)home.n, home.p);
	while (path[0] && path[strlen(path) - 1] == '/')
		path[strlen(path) - 1] = '\0';
	if (c->opt->no_home || path[0] != '/' || !strcmp(c->opt->name, "root") || tree_has(c, path))
		return 0;
	slash = strrchr(path, '/');
	*slash = '\0';
	parent = fsx_open_in_root(c->rootfd, path[0] ? path : "/",
				  O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (parent < 0) {
		note(c, "user %s: no home directory was made: %s is not in the new tree",
		     c->opt->name, path);
		return 0;
	}
	fd = fsx_make_dir(parent, slash + 1, 0700);
	if (fd < 0)
		return varve_fail_errno(e, "home directory of %s", TEXT_SAFE(c->opt->name));
	if (geteuid() == 0 && fchown(fd, c->new_uid, c->new_gid))
		return varve_fail_errno(e, "home directory of %s: set the owner",
					TEXT_SAFE(c->opt->name));
	return 0;
}

/* --- the whole --- */

static int open_from(struct carry *c, struct varve_err *e)
{
	VARVE_CLOSE int fd = open(c->opt->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int x = 0;

	if (fd < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(c->opt->from));
	for (int i = 0; i < FILES && x >= 0; i++)
		x = etc_open(fd, paths[i], &c->from[i], e);
	return x < 0 ? varve_wrap(e, x, "users of %s", TEXT_SAFE(c->opt->from)) : 0;
}

static int open_to(struct carry *c, struct varve_err *e)
{
	int x = 0;

	for (int i = 0; i < FILES && x >= 0; i++)
		x = etc_open(c->rootfd, paths[i], &c->to[i], e);
	return x < 0 ? varve_wrap(e, x, "users of the new tree") : 0;
}

static int carry_user(struct carry *c, struct varve_err *e)
{
	int x = read_user(c, e);

	if (x >= 0)
		x = choose_gid(c, e);
	if (x >= 0)
		x = choose_uid(c, e);
	if (x >= 0)
		x = put_passwd(c, e);
	if (x < 0)
		return x;
	if (c->to[SHADOW].exists || span_eq(etc_field(c->user, 1), "x"))
		copy_line(c, SHADOW);
	put_group(c);
	add_groups(c);
	return make_home(c, e);
}

static int carry_all(struct carry *c, struct varve_err *e)
{
	int x = 0;

	if (strcmp(c->opt->name, "root") != 0)
		x = carry_user(c, e);
	if (x < 0)
		return x;
	carry_root_password(c);
	for (int i = 0; i < FILES && x >= 0; i++)
		x = etc_save(&c->to[i], modes[i], e);
	return x;
}

static void carry_begin(struct carry *c)
{
	for (int i = 0; i < FILES; i++)
		c->from[i].dirfd = c->to[i].dirfd = -1;
}

static void carry_end(struct carry *c)
{
	for (int i = 0; i < FILES; i++) {
		etc_close(&c->from[i]);
		etc_close(&c->to[i]);
	}
}

static int check_names(const struct varve_user_options *opt, struct varve_err *e)
{
	if (!etc_name_is_good(opt->name))
		return varve_fail(e, VARVE_E_USAGE, "%s: cannot be the name of a user",
				  TEXT_SAFE(opt->name));
	for (const char *const *g = opt->groups; g && *g; g++)
		if (!etc_name_is_good(*g))
			return varve_fail(e, VARVE_E_USAGE, "%s: cannot be the name of a group",
					  TEXT_SAFE(*g));
	return 0;
}

int varve_user_check(const struct varve_user_options *opt, struct varve_err *e)
{
	struct varve_user_options own;
	struct carry c = {.opt = &own, .rootfd = -1};
	int x = OPTIONS_COPY(&own, opt, user, e);

	if (x >= 0)
		x = check_names(&own, e);
	if (x < 0)
		return x;
	carry_begin(&c);
	x = open_from(&c, e);
	if (x >= 0 && strcmp(own.name, "root") != 0)
		x = read_user(&c, e);
	carry_end(&c);
	return x;
}

int varve_user_find(int rootfd, const char *name, struct varve_err *e)
{
	struct etc_file passwd;
	struct span line;
	int x = etc_open(rootfd, paths[PASSWD], &passwd, e);

	if (x < 0)
		return x;
	if (!etc_find(&passwd, name, &line, NULL))
		x = varve_fail(e, VARVE_E_NOTFOUND, "user %s: is not in /etc/passwd of the tree",
			       TEXT_SAFE(name));
	etc_close(&passwd);
	return x;
}

int varve_user_carry(int rootfd, const struct varve_user_options *opt,
		     struct varve_user_result *ret, struct varve_err *e)
{
	struct varve_user_options own;
	struct carry c = {.opt = &own, .rootfd = rootfd};
	int x = OPTIONS_COPY(&own, opt, user, e);

	if (x >= 0)
		x = check_names(&own, e);
	if (x < 0)
		return x;
	carry_begin(&c);
	x = open_from(&c, e);
	if (x >= 0)
		x = open_to(&c, e);
	if (x >= 0)
		x = carry_all(&c, e);
	carry_end(&c);
	if (x >= 0)
		*ret = (struct varve_user_result){
			.uid = c.new_uid,
			.gid = c.new_gid,
			.renumbered = c.new_uid != c.uid || c.new_gid != c.gid,
		};
	return x < 0 ? varve_wrap(e, x, "carry user %s", TEXT_SAFE(own.name)) : 0;
}
