/* SPDX-License-Identifier: Apache-2.0 */
/* files, cat: look into a stored image without installing it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cmd_plan.h"
#include "cli/commands.h"

struct files_options {
	struct looking looking;
	bool longer, null;
};
static const struct opt_row files_rows[] = {
	{"long", 'l', NULL, "mode, owner, size and time as well", OPT_FLAG,
	 offsetof(struct files_options, longer)},
	{"null", '0', NULL, "end names with a NUL byte and do not escape them", OPT_FLAG,
	 offsetof(struct files_options, null)},
	OPT_ALL_OF(looking_rows, offsetof(struct files_options, looking)),
};

struct listing {
	struct cli *c;
	const struct files_options *o;
	struct varve_err *e;
};

static char type_letter(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	case S_IFIFO:
		return 'p';
	default:
		return '-';
	}
}

/* "drwxr-sr-t" */
static const char *mode_text(uint32_t mode, char buf[11])
{
	static const char letters[] = "rwxrwxrwx";

	buf[0] = type_letter(mode);
	for (int i = 0; i < 9; i++)
		buf[i + 1] = mode & (0400u >> i) ? letters[i] : '-';
	if (mode & S_ISUID)
		buf[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		buf[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		buf[9] = mode & S_IXOTH ? 't' : 'T';
	buf[10] = '\0';
	return buf;
}

static void long_part(const struct varve_entry *t)
{
	char mode[11], when[32], size[32];
	struct tm tm;
	time_t s = (time_t)t->mtime;

	if (S_ISCHR(t->mode) || S_ISBLK(t->mode))
		(void)snprintf(size, sizeof(size), "%" PRIu32 ",%" PRIu32, t->dev_major,
			       t->dev_minor);
	else
		(void)snprintf(size, sizeof(size), "%" PRIu64, t->size);
	if (!gmtime_r(&s, &tm) || !strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm))
		(void)snprintf(when, sizeof(when), "%" PRId64, t->mtime);
	out_printf("%s %5" PRIu32 " %5" PRIu32 " %10s %s ", mode_text(t->mode, mode), t->uid,
		   t->gid, size, when);
}

static void entry_text(const struct files_options *o, const struct varve_entry *t)
{
	if (o->longer)
		long_part(t);
	if (o->null) {
		out_write(t->path, strlen(t->path) + 1);
		return;
	}
	out_safe(t->path);
	if (o->longer && t->link) {
		out_printf(t->is_hardlink ? " link to " : " -> ");
		out_safe(t->link);
	}
	out_printf("\n");
}

static void entry_json(struct varve_json *j, const struct varve_entry *t)
{
	static const char letters[] = "-dlcbp";
	static const char *const types[] = {"file", "directory", "symlink",
					    "char", "block",     "fifo"};
	char mode[8];

	(void)snprintf(mode, sizeof(mode), "%04o", t->mode & 07777);
	varve_json_object(j, NULL);
	varve_json_str(j, "path", t->path);
	/* A name is bytes: where JSON cannot hold them as they are, they come a second time. */
	if (strcmp(varve_text_escape_str(t->path, (char[256]){0}, 256), t->path) != 0)
		varve_json_base64(j, "path_base64", t->path, strlen(t->path));
	varve_json_str(j, "type",
		       t->is_hardlink ? "hardlink"
				      : types[strchr(letters, type_letter(t->mode)) - letters]);
	varve_json_str(j, "mode", mode);
	varve_json_u64(j, "uid", t->uid);
	varve_json_u64(j, "gid", t->gid);
	varve_json_u64(j, "size", t->size);
	varve_json_i64(j, "mtime", t->mtime);
	varve_json_u64(j, "mtime_ns", t->mtime_ns);
	if (t->link)
		varve_json_str(j, "link", t->link);
	if (S_ISCHR(t->mode) || S_ISBLK(t->mode)) {
		varve_json_u64(j, "major", t->dev_major);
		varve_json_u64(j, "minor", t->dev_minor);
	}
	varve_json_u64(j, "layer", t->layer + 1);
	if (t->n_xattrs) {
		varve_json_array(j, "xattrs");
		for (uint32_t i = 0; i < t->n_xattrs; i++)
			varve_json_str(j, NULL, t->xattrs[i].name);
		varve_json_end_array(j);
	}
	varve_json_end_object(j);
}

static int on_entry(void *user, const struct varve_entry *entry)
{
	struct listing *l = user;

	if (!l->c->g.json) {
		entry_text(l->o, entry);
		return out_failed(); /* nobody reads any more: stop */
	}
	entry_json(l->c->json, entry);
	return cli_json_flush(l->c, l->e);
}

static int run_files(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct files_options *o = options;
	struct listing l = {.c = c, .o = o, .e = e};
	struct varve_plan *p = NULL;
	int r;

	if (o->null && (o->longer || c->g.json))
		return varve_fail(e, VARVE_E_USAGE, "files: --null goes with plain names only");
	r = looking_open(c, argv[0], &o->looking, &p, e);
	if (r == 0 && c->g.json)
		varve_json_array(cli_json(c, "varve.files/1"), "entries");
	if (r == 0)
		r = varve_plan_each(p, argc > 1 ? argv[1] : NULL, on_entry, &l, e);
	if (r >= 0 && c->g.json) {
		varve_json_end_array(c->json);
		r = cli_json_end(c, e);
	}
	varve_plan_free(p);
	return r < 0 ? varve_wrap(e, r, "files %s", VARVE_TEXT_SAFE(argv[0])) : 0;
}

const struct cli_command cmd_files = {
	.name = "files",
	.args = "REF [PATH]",
	.summary = "List the files of a stored image",
	.run = run_files,
	.min_args = 1,
	.max_args = 2,
	.rows = files_rows,
	.n_rows = ARRAY_SIZE(files_rows),
	.options_size = sizeof(struct files_options),
};

struct cat_options {
	struct looking looking;
};
static const struct opt_row cat_rows[] = {
	OPT_ALL_OF(looking_rows, offsetof(struct cat_options, looking)),
};

static int on_bytes(void *user, const void *data, size_t n)
{
	(void)user;
	out_write(data, n);
	return out_failed();
}

/* For --json, which needs the whole file at once. */
enum { MAX_JSON_FILE = 64 << 20 };
struct content {
	char *p;
	size_t n, cap;
	struct varve_err *e;
};

static int collect(void *user, const void *data, size_t n)
{
	struct content *all = user;

	if (n > MAX_JSON_FILE - all->n)
		return varve_fail(all->e, VARVE_E_LIMIT,
				  "over 64 MiB, too much for a JSON document; leave --json out");
	if (all->n + n > all->cap) {
		size_t cap = 2 * (all->n + n);
		char *p = realloc(all->p, cap);

		if (!p)
			return varve_fail(all->e, ENOMEM, "out of memory");
		all->p = p;
		all->cap = cap;
	}
	memcpy(all->p + all->n, data, n);
	all->n += n;
	return 0;
}

static int cat_json(struct cli *c, struct varve_plan *p, const char *path, struct varve_err *e)
{
	struct content all = {.e = e};
	int r = varve_plan_cat(p, path, collect, &all, e);

	if (r == 0) {
		struct varve_json *j = cli_json(c, "varve.cat/1");

		varve_json_str(j, "path", path);
		varve_json_u64(j, "size", all.n);
		varve_json_base64(j, "base64", all.p, all.n);
		r = cli_json_end(c, e);
	}
	free(all.p);
	return r;
}

static int run_cat(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	const struct cat_options *o = options;
	struct varve_plan *p = NULL;
	int r = looking_open(c, argv[0], &o->looking, &p, e);

	(void)argc;
	if (r == 0)
		r = c->g.json ? cat_json(c, p, argv[1], e)
			      : varve_plan_cat(p, argv[1], on_bytes, NULL, e);
	varve_plan_free(p);
	return r < 0 ? varve_wrap(e, r, "cat %s %s", VARVE_TEXT_SAFE(argv[0]),
				  VARVE_TEXT_SAFE(argv[1]))
		     : 0;
}

const struct cli_command cmd_cat = {
	.name = "cat",
	.args = "REF PATH",
	.summary = "Print a file of a stored image",
	.run = run_cat,
	.min_args = 2,
	.max_args = 2,
	.rows = cat_rows,
	.n_rows = ARRAY_SIZE(cat_rows),
	.options_size = sizeof(struct cat_options),
};
