/* SPDX-License-Identifier: Apache-2.0 */
/* tag, pin, unpin, remove: names of images, and trees that go. */
#include <stdio.h>

#include "cli/cmd_switch.h"
#include "cli/commands.h"

/* What the store calls an image: its canonical reference, or its digest when it has no name. */
static const char *store_name(const struct varve_image *m, char buf[VARVE_DIGEST_STR_MAX])
{
	return m->reference ? m->reference : varve_digest_str(&m->manifest, buf);
}

static int run_tag(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	struct varve_image_list images = {0};
	struct varve_reference ref;
	char canonical[800], name[800], digest[VARVE_DIGEST_STR_MAX];
	int r = varve_reference_parse(&ref, argv[1], e);

	(void)options, (void)argc;
	if (r == 0 && varve_digest_is_set(&ref.digest))
		r = varve_fail(e, VARVE_E_USAGE, "%s: a new name has a tag and no digest",
			       VARVE_TEXT_SAFE(argv[1]));
	if (r == 0)
		r = cli_store(c, CLI_WRITE, e);
	if (r == 0)
		r = cli_find(c, argv[0], NULL, &images, e);
	if (r == 0)
		r = varve_store_tag(c->store, store_name(&images.items[0], digest),
				    varve_reference_canonical(&ref, canonical), e);
	if (r < 0) {
		varve_image_list_free(&images);
		return varve_wrap(e, r, "tag %s", VARVE_TEXT_SAFE(argv[0]));
	}
	varve_reference_familiar(&ref, name);
	if (c->g.json) {
		struct varve_json *j = cli_json(c, "varve.tag/1");

		varve_json_str(j, "name", name);
		varve_json_str(j, "reference", canonical);
		varve_json_digest(j, "manifest", &images.items[0].manifest);
		r = cli_json_end(c, e);
	} else {
		out_printf("%s  %s\n", name,
			   DIGEST_TEXT(&images.items[0].manifest, c->g.verbose > 0));
	}
	varve_image_list_free(&images);
	return r;
}

const struct cli_command cmd_tag = {
	.name = "tag",
	.args = "REF NEWREF",
	.summary = "Give a stored image another name",
	.run = run_tag,
	.min_args = 2,
	.max_args = 2,
};

static int pin_one(struct cli *c, const char *text, bool pin, struct varve_err *e)
{
	struct varve_image_list images = {0};
	char digest[VARVE_DIGEST_STR_MAX];
	int r = cli_find(c, text, NULL, &images, e);

	if (r == 0)
		r = varve_store_pin(c->store, store_name(&images.items[0], digest), pin, e);
	if (r == 0 && c->g.json) {
		varve_json_object(c->json, NULL);
		varve_json_str(c->json, "name", images.items[0].name);
		varve_json_digest(c->json, "manifest", &images.items[0].manifest);
		varve_json_end_object(c->json);
	} else if (r == 0) {
		out_safe(images.items[0].name ? images.items[0].name : text);
		out_printf(pin ? " is pinned: gc keeps it\n" : " is no longer pinned\n");
	}
	varve_image_list_free(&images);
	return r < 0 ? varve_wrap(e, r, "%s %s", pin ? "pin" : "unpin", VARVE_TEXT_SAFE(text)) : 0;
}

static int pin_all(struct cli *c, bool pin, int n, char **names, struct varve_err *e)
{
	int r = cli_store(c, CLI_WRITE, e);

	if (r < 0)
		return varve_wrap(e, r, pin ? "pin" : "unpin");
	if (c->g.json)
		varve_json_array(cli_json(c, pin ? "varve.pin/1" : "varve.unpin/1"), "images");
	for (int i = 0; i < n && r == 0; i++)
		r = pin_one(c, names[i], pin, e);
	if (r < 0 || !c->g.json)
		return r;
	varve_json_end_array(c->json);
	return cli_json_end(c, e);
}

static int run_pin(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	(void)options;
	return pin_all(c, true, argc, argv, e);
}

const struct cli_command cmd_pin = {
	.name = "pin",
	.args = "REF...",
	.summary = "Keep images whatever gc thinks",
	.run = run_pin,
	.min_args = 1,
	.max_args = -1,
};

static int run_unpin(struct cli *c, const void *options, int argc, char **argv, struct varve_err *e)
{
	(void)options;
	return pin_all(c, false, argc, argv, e);
}

const struct cli_command cmd_unpin = {
	.name = "unpin",
	.args = "REF...",
	.summary = "Leave pinned images to gc again",
	.run = run_unpin,
	.min_args = 1,
	.max_args = -1,
};

struct remove_options {
	struct varve_platform platform;
	bool installed, previous, force, userns;
};
static const struct opt_row remove_rows[] = {
	{"installed", 'i', NULL, "delete rootfs trees, by their labels", OPT_FLAG,
	 offsetof(struct remove_options, installed)},
	{"previous", 0, NULL, "with --installed: only their previous generations", OPT_FLAG,
	 offsetof(struct remove_options, previous)},
	{"platform", 0, "PLATFORM", "only this one of the name", OPT_PLATFORM,
	 offsetof(struct remove_options, platform)},
	{"force", 'f', NULL, "with --installed: the active tree, or one not made by varve too",
	 OPT_FLAG, offsetof(struct remove_options, force)},
	{"userns", 0, NULL, "with --installed: a tree that was installed with --userns", OPT_FLAG,
	 offsetof(struct remove_options, userns)},
};

static int remove_image(struct cli *c, const struct remove_options *o, const char *text,
			struct varve_err *e)
{
	const struct varve_platform *platform = platform_or_null(&o->platform);
	struct varve_image_list images = {0};
	char digest[VARVE_DIGEST_STR_MAX];
	int r = cli_find(c, text, platform, &images, e);

	if (r == 0)
		r = varve_store_untag(c->store, store_name(&images.items[0], digest), platform, e);
	if (r == 0 && c->g.json)
		varve_json_str(c->json, NULL, store_name(&images.items[0], digest));
	else if (r == 0) {
		out_safe(images.items[0].name ? images.items[0].name : text);
		out_printf(" removed\n");
	}
	varve_image_list_free(&images);
	return r;
}

static int remove_tree(struct cli *c, const struct remove_options *o, const char *text,
		       struct varve_err *e)
{
	struct varve_switch_options to = VARVE_SWITCH_OPTIONS_INIT;
	char label[512];
	int r = cli_roots_path(c, &to.roots, e);

	to.force = o->force;
	to.previous_only = o->previous;
	to.in_use = trees_in_use;
	to.user = c;
	if (r == 0)
		r = cli_label(c, text, label, e);
	if (r == 0)
		r = varve_remove_tree(c->store, label, &to, e);
	if (r < 0)
		return r;
	if (c->g.json) {
		varve_json_str(c->json, NULL, label);
	} else {
		out_safe(label);
		out_printf(o->previous ? ": previous generations deleted\n" : " deleted\n");
	}
	return 0;
}

/* All names are looked up before the first goes, so that a typing error removes nothing. */
static int check_images(struct cli *c, const struct remove_options *o, int n, char **names,
			struct varve_err *e)
{
	for (int i = 0; i < n; i++) {
		struct varve_image_list images = {0};
		int r = cli_find(c, names[i], platform_or_null(&o->platform), &images, e);

		if (r < 0)
			return varve_wrap(e, r, "remove %s", VARVE_TEXT_SAFE(names[i]));
		varve_image_list_free(&images);
	}
	return 0;
}

static int run_remove(struct cli *c, const void *options, int argc, char **argv,
		      struct varve_err *e)
{
	const struct remove_options *o = options;
	int r;

	if (o->force && !o->installed)
		return varve_fail(e, VARVE_E_USAGE, "remove: --force goes with --installed");
	if (o->previous && !o->installed)
		return varve_fail(e, VARVE_E_USAGE, "remove: --previous goes with --installed");
	if (o->userns && !o->installed)
		return varve_fail(e, VARVE_E_USAGE, "remove: --userns goes with --installed");
	if (o->installed && platform_or_null(&o->platform))
		return varve_fail(e, VARVE_E_USAGE, "remove: --platform selects images, not trees");
	r = o->userns ? cli_userns(c, e) : 0;
	if (r == 0 && o->installed && !o->userns)
		r = cli_userns_of(c, argv, argc, e);
	if (r >= 0)
		r = cli_store(c, CLI_WRITE, e);
	if (r < 0)
		return varve_wrap(e, r, "remove");
	r = o->installed ? 0 : check_images(c, o, argc, argv, e);
	if (r < 0)
		return r;
	if (c->g.json)
		varve_json_array(cli_json(c, "varve.remove/1"), "removed");
	for (int i = 0; i < argc && r == 0; i++) {
		r = o->installed ? remove_tree(c, o, argv[i], e) : remove_image(c, o, argv[i], e);
		if (r < 0)
			(void)varve_wrap(e, r, "remove %s", VARVE_TEXT_SAFE(argv[i]));
	}
	if (r < 0)
		return r;
	if (!o->installed)
		message_note(c, "what no other image needs goes with: varve gc");
	if (!c->g.json)
		return 0;
	varve_json_end_array(c->json);
	return cli_json_end(c, e);
}

const struct cli_command cmd_remove = {
	.name = "remove",
	.args = "REF...|LABEL...",
	.summary = "Remove names of images, or delete rootfs trees",
	.run = run_remove,
	.min_args = 1,
	.max_args = -1,
	.rows = remove_rows,
	.n_rows = ARRAY_SIZE(remove_rows),
	.options_size = sizeof(struct remove_options),
};
