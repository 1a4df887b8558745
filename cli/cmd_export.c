/* SPDX-License-Identifier: Apache-2.0 */
/* export: images in the forms of other tools. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cmd_plan.h"
#include "cli/commands.h"

enum on_off { AS_IS, ON, OFF };
enum { MAX_HAVE = 10000000, MAX_ICON = 1 << 20 };

struct export_options {
	const char *output, *format, *have, *compressor;
	unsigned level, threads;
	struct looking looking;
	const char *wsl_user, *wsl_name, *wsl_icon;
	unsigned wsl_systemd; /* enum on_off */
};
#define AT(member) offsetof(struct export_options, member)
static const struct opt_row export_rows[] = {
	{"output", 'o', "OUT", "the file or directory to make; - is standard output", OPT_TEXT,
	 AT(output)},
	{"format", 0, "FORMAT",
	 "tar, squashfs, oci, docker-archive, wsl … instead of what OUT ends in", OPT_TEXT,
	 AT(format)},
	{"have", 0, "FILE", "leave out the blobs that the other side has (its varve have)",
	 OPT_TEXT, AT(have)},
	{"level", 0, "N", "of compression", OPT_NUMBER, AT(level)},
	{"compressor", 0, "NAME", "of a squashfs: gzip, xz, zstd, lz4", OPT_TEXT, AT(compressor)},
	{"threads", 0, "N", "compressing threads (as many as processors)", OPT_NUMBER, AT(threads)},
	OPT_ALL_OF(looking_rows, AT(looking)),
	{"wsl-user", 0, "NAME", "default user of a .wsl file", OPT_TEXT, AT(wsl_user)},
	{"wsl-name", 0, "NAME", "name of the distribution", OPT_TEXT, AT(wsl_name)},
	{"wsl-icon", 0, "FILE", "icon (.ico)", OPT_TEXT, AT(wsl_icon)},
	{"wsl-systemd", 0, "as-is|on|off", "whether WSL starts systemd", OPT_CHOICE,
	 AT(wsl_systemd)},
};
#undef AT

/* What one export borrows until its end. */
struct work {
	struct varve_image *images; /* shallow copies; their strings live in lists */
	struct varve_image_list *lists;
	size_t n;
	struct varve_digest *have;
	size_t n_have;
	char *icon;
	struct varve_wsl_options wsl;
	struct varve_plan_options plan;
};

static void work_done(struct work *w)
{
	for (size_t i = 0; i < w->n; i++)
		varve_image_list_free(&w->lists[i]);
	free(w->lists);
	free(w->images);
	free(w->have);
	free(w->icon);
}

static int add_digest(struct work *w, char *line, const char *file, size_t number,
		      struct varve_err *e)
{
	struct varve_digest *have = w->have;

	line[strcspn(line, " \t\r\n")] = '\0';
	if (!line[0])
		return 0;
	if ((w->n_have & (w->n_have - 1)) == 0) {
		have = realloc(have, (w->n_have ? 2 * w->n_have : 1) * sizeof(*have));
		if (!have)
			return varve_fail(e, ENOMEM, "out of memory");
		w->have = have;
	}
	if (w->n_have == MAX_HAVE || varve_digest_parse(&have[w->n_have], line) < 0)
		return varve_fail(e, VARVE_E_USAGE,
				  "%s, line %zu: %s is no digest; make the list with varve have",
				  VARVE_TEXT_SAFE(file), number, VARVE_TEXT_SAFE(line));
	w->n_have++;
	return 0;
}

static int read_have(struct work *w, const char *file, struct varve_err *e)
{
	FILE *f = strcmp(file, "-") == 0 ? fdopen(dup(STDIN_FILENO), "r") : fopen(file, "re");
	char line[512];
	size_t number = 0;
	int r = 0;

	if (!f)
		return varve_fail(e, errno, "%s: %s", VARVE_TEXT_SAFE(file), strerror(errno));
	while (r == 0 && fgets(line, sizeof(line), f))
		r = add_digest(w, line, file, ++number, e);
	if (r == 0 && ferror(f))
		r = varve_fail(e, errno, "%s: %s", VARVE_TEXT_SAFE(file), strerror(errno));
	(void)fclose(f);
	return r;
}

static int read_icon(struct work *w, const char *file, struct varve_err *e)
{
	FILE *f = fopen(file, "re");

	w->icon = malloc(MAX_ICON + 1);
	if (!f || !w->icon) {
		int code = errno;

		if (f)
			(void)fclose(f);
		return varve_fail(e, code, "--wsl-icon %s: %s", VARVE_TEXT_SAFE(file),
				  strerror(code));
	}
	w->wsl.icon = w->icon;
	w->wsl.icon_size = fread(w->icon, 1, MAX_ICON + 1, f);
	(void)fclose(f);
	if (w->wsl.icon_size == 0 || w->wsl.icon_size > MAX_ICON)
		return varve_fail(e, VARVE_E_USAGE, "--wsl-icon %s: an icon has 1 byte to 1 MiB",
				  VARVE_TEXT_SAFE(file));
	return 0;
}

static int find_images(struct cli *c, const struct export_options *o, struct work *w, int n,
		       char **names, struct varve_err *e)
{
	w->images = calloc((size_t)n, sizeof(*w->images));
	w->lists = calloc((size_t)n, sizeof(*w->lists));
	if (!w->images || !w->lists)
		return varve_fail(e, ENOMEM, "out of memory");
	for (int i = 0; i < n; i++) {
		int r = cli_find(c, names[i], platform_or_null(&o->looking.platform), &w->lists[i],
				 e);

		if (r < 0)
			return r;
		w->images[w->n++] = w->lists[i].items[0];
	}
	return 0;
}

/* Also by another name (/dev/stdout): what is printed must not get between its bytes. */
static bool is_stdout(const char *name)
{
	struct stat a, b;

	if (strcmp(name, "-") == 0)
		return true;
	return stat(name, &a) == 0 && fstat(STDOUT_FILENO, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int prepare(struct cli *c, const struct export_options *o, struct work *w,
		   struct varve_export_options *to, struct varve_err *e)
{
	static const struct varve_digest none;
	static const int systemd[] = {[AS_IS] = -1, [ON] = 1, [OFF] = 0};
	int r = 0;

	if (!o->output)
		return varve_fail(e, VARVE_E_USAGE, "say where to: --output OUT");
	to->path = o->output;
	if (is_stdout(o->output)) {
		if (!o->format)
			return varve_fail(e, VARVE_E_USAGE,
					  "standard output has no name: say --format FORMAT");
		if (c->g.json || isatty(STDOUT_FILENO))
			return varve_fail(e, VARVE_E_USAGE,
					  "standard output is %s: name a file with --output",
					  c->g.json ? "for the JSON document" : "a terminal");
		to->fd = STDOUT_FILENO;
	}
	if (o->format)
		r = varve_export_format_parse(&to->format, o->format, e);
	if (r == 0 && o->have)
		r = read_have(w, o->have, e);
	if (r == 0 && o->wsl_icon)
		r = read_icon(w, o->wsl_icon, e);
	w->wsl.user = o->wsl_user;
	w->wsl.name = o->wsl_name;
	w->wsl.systemd = systemd[o->wsl_systemd];
	w->plan = (struct varve_plan_options)VARVE_PLAN_OPTIONS_INIT;
	w->plan.strict = o->looking.planning.strict;
	w->plan.keep_dirlinks = o->looking.planning.keep_dirlinks;
	to->threads = o->threads;
	to->level = (int)o->level;
	to->compressor = o->compressor;
	/* An empty list is a new machine's: it lacks
	 * everything, and wants a bundle all the same. */
	to->have = o->have && !w->have ? &none : w->have;
	to->n_have = w->n_have;
	to->wsl = o->wsl_user || o->wsl_name || o->wsl_icon || o->wsl_systemd ? &w->wsl : NULL;
	to->plan = &w->plan;
	return r;
}

static int report(struct cli *c, const struct export_options *o, bool to_stdout,
		  const struct varve_export_result *res, struct varve_err *e)
{
	struct varve_json *j = cli_json(c, "varve.export/1");

	if (j) {
		varve_json_str(j, "output", o->output);
		varve_json_str(j, "format", varve_export_format_name(res->format));
		varve_json_u64(j, "bytes", res->bytes);
		varve_json_u64(j, "entries", res->entries);
		varve_json_u64(j, "blobs", res->n_blobs);
		varve_json_u64(j, "blobs_left_out", res->n_left_out);
		return cli_json_end(c, e);
	}
	if (to_stdout)
		return 0;
	out_safe(o->output);
	out_printf("  %s  %s", varve_export_format_name(res->format), VARVE_TEXT_SIZE(res->bytes));
	if (res->entries)
		out_printf(", %s", COUNT(res->entries, "entry"));
	if (res->n_blobs || res->n_left_out)
		out_printf(", %s, %" PRIu64 " left out", COUNT(res->n_blobs, "blob"),
			   res->n_left_out);
	out_printf("\n");
	return 0;
}

static int run_export(struct cli *c, const void *options, int argc, char **argv,
		      struct varve_err *e)
{
	const struct export_options *o = options;
	struct varve_export_options to = VARVE_EXPORT_OPTIONS_INIT;
	struct varve_export_result res = {0};
	struct work w = {0};
	int r = prepare(c, o, &w, &to, e);

	if (r == 0)
		r = cli_store(c, CLI_READ, e);
	if (r == 0)
		r = find_images(c, o, &w, argc, argv, e);
	if (r == 0)
		r = varve_export(c->store, w.images, w.n, &to, &res, e);
	work_done(&w);
	if (r < 0)
		return varve_wrap(e, r, "export %s", VARVE_TEXT_SAFE(argv[0]));
	return report(c, o, to.fd >= 0, &res, e);
}

const struct cli_command cmd_export = {
	.name = "export",
	.args = "REF...",
	.summary = "Write images as tar, squashfs, OCI layout, docker-archive or .wsl",
	.run = run_export,
	.min_args = 1,
	.max_args = -1,
	.rows = export_rows,
	.n_rows = ARRAY_SIZE(export_rows),
	.options_size = sizeof(struct export_options),
};
