/* SPDX-License-Identifier: Apache-2.0 */
/* import: local files become images of the store. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cmd_import.h"
#include "cli/commands.h"

int importing_is_file(const char *text, struct varve_err *e)
{
	struct varve_import_label label;
	struct stat st;

	if (text[0] == '/' || strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0)
		return 1;
	/* "debian" may be a directory here by chance; "debian_sid.tar.gz" is no image by chance. */
	if (varve_import_label(text, &label, NULL) < 0)
		return strchr(text, '.') && stat(text, &st) == 0 && S_ISREG(st.st_mode);
	if (strchr(text, ':') || strchr(text, '@'))
		return label.has_extension && stat(text, &st) == 0 && S_ISREG(st.st_mode);
	if (label.has_extension && stat(text, &st) < 0)
		return varve_fail(
			e, VARVE_E_NOTFOUND,
			"there is no such file; if it is the name of an image, say its tag: "
			"%s:latest",
			VARVE_TEXT_SAFE(text));
	return label.has_extension ||
	       (strchr(text, '.') && stat(text, &st) == 0 && S_ISREG(st.st_mode));
}

int importing_normalise(void *user, const char *text, struct varve_import_name *ret,
			struct varve_err *e)
{
	struct varve_reference ref;
	int r = varve_reference_parse(&ref, text, e);

	(void)user;
	if (r < 0)
		return r;
	varve_reference_canonical(&ref, ret->reference);
	varve_reference_familiar(&ref, ret->name);
	return 0;
}

int importing_name(const char *path, struct varve_import_name *ret,
		   struct varve_import_label *ret_label, struct varve_err *e)
{
	struct varve_import_label label;
	char text[800];
	int r = varve_import_label(path, &label, e);

	if (r < 0)
		return r;
	/* localhost: what a file holds must not pass for what Docker Hub calls by that name. */
	(void)snprintf(text, sizeof(text), "localhost/%s:%s", label.image, label.tag);
	r = importing_normalise(NULL, text, ret, e);
	if (r < 0)
		return varve_wrap(
			e, r,
			"the file name makes no image name; varve import FILE REF gives it one");
	*ret_label = label;
	return 0;
}

struct import_options {
	const char *path;
	unsigned type; /* enum varve_import_type */
	struct varve_platform platform;
};
static const struct opt_row import_rows[] = {
	{"path", 0, "NAME", "which squashfs of an ISO, or which image of an archive", OPT_TEXT,
	 offsetof(struct import_options, path)},
	{"type", 0, "auto|rootfs|docker-archive|oci|squashfs|iso",
	 "what FILE is (auto: by its content)", OPT_CHOICE, offsetof(struct import_options, type)},
	{"platform", 0, "PLATFORM", "os/arch[/variant] of what does not say its own", OPT_PLATFORM,
	 offsetof(struct import_options, platform)},
};

static void on_imported(void *user, const struct varve_imported *i)
{
	struct cli *c = user;

	if (!c->g.json) {
		out_safe(i->reference ? i->reference : "(no name)");
		out_printf("  %s  %s%s",
			   DIGEST_TEXT(&i->manifest, c->g.verbose > 0 || !i->reference), i->kind,
			   i->member ? " " : "");
		out_safe(i->member ? i->member : "");
		out_printf("  %s new\n", VARVE_TEXT_SIZE(i->bytes_new));
		return;
	}
	varve_json_object(c->json, NULL);
	varve_json_str(c->json, "reference", i->reference);
	varve_json_digest(c->json, "manifest", &i->manifest);
	varve_json_str(c->json, "kind", i->kind);
	varve_json_str(c->json, "member", i->member);
	varve_json_u64(c->json, "blobs", i->n_blobs);
	varve_json_u64(c->json, "bytes_new", i->bytes_new);
	varve_json_end_object(c->json);
}

static int run_import(struct cli *c, const void *options, int argc, char **argv,
		      struct varve_err *e)
{
	const struct import_options *o = options;
	struct varve_import_options to = VARVE_IMPORT_OPTIONS_INIT;
	struct varve_import_name name;
	bool from_stdin = strcmp(argv[0], "-") == 0;
	int r = argc > 1 ? importing_normalise(NULL, argv[1], &name, e) : 0;

	if (r == 0)
		r = cli_store(c, CLI_CREATE, e);
	if (r < 0)
		return varve_wrap(e, r, "import %s", VARVE_TEXT_SAFE(argv[0]));
	if (argc > 1)
		to.name = &name;
	to.select = o->path;
	to.type = (enum varve_import_type)o->type;
	to.platform = platform_or_null(&o->platform);
	to.normalise = importing_normalise;
	to.imported = on_imported;
	to.user = c;
	if (c->g.json)
		varve_json_array(cli_json(c, "varve.import/1"), "images");
	r = varve_import(c->store, argv[0], from_stdin ? STDIN_FILENO : -1, &to, e);
	if (r < 0)
		return varve_wrap(e, r, "import %s", VARVE_TEXT_SAFE(argv[0]));
	if (!c->g.json)
		return 0;
	varve_json_end_array(c->json);
	return cli_json_end(c, e);
}

const struct cli_command cmd_import = {
	.name = "import",
	.args = "FILE|DIR [REF]",
	.summary = "Bring an archive, a squashfs, an ISO or an OCI layout into the store",
	.run = run_import,
	.min_args = 1,
	.max_args = 2,
	.rows = import_rows,
	.n_rows = ARRAY_SIZE(import_rows),
	.options_size = sizeof(struct import_options),
};
