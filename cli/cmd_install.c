/* SPDX-License-Identifier: Apache-2.0 */
/* install: a stored, pulled or local image becomes a rootfs tree. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd_import.h"
#include "cli/cmd_plan.h"
#include "cli/cmd_switch.h"
#include "cli/commands.h"
#include "cli/reinstall.h"

#define FETCH_TRIES   3
#define WARNINGS_SAID 5

enum when { PULL_MISSING, PULL_ALWAYS, PULL_NEVER };

#define AT(member) offsetof(struct install_options, member)
static const struct opt_row install_rows[] = {
	{"name", 'n', "LABEL", "the label, instead of <image>_<tag>", OPT_TEXT, AT(name)},
	{"switch", 's', NULL, "make it the active one", OPT_FLAG, AT(switch_to)},
	{"label-active", 0, "LABEL",
	 "with --switch: label of an active tree that does not tell its own", OPT_TEXT,
	 AT(label_active)},
	{"force", 'f', NULL, "replace the tree of that label; it is kept for rollback", OPT_FLAG,
	 AT(force)},
	{"all-outdated", 0, NULL, "with --force: every tree whose tag has moved, pulled again",
	 OPT_FLAG, AT(all_outdated)},
	{"keep", 0, "N", "replaced trees of the label that are kept (1)", OPT_NUMBER, AT(keep)},
	{"no-keep", 0, NULL, "keep no replaced tree", OPT_FLAG, AT(no_keep)},
	{"pull", 0, "missing|always|never", "when to ask the registry", OPT_CHOICE, AT(pull)},
	OPT_ALL_OF(pulling_rows, AT(pulling)),
	{"path", 0, "NAME", "which squashfs of an ISO, or which image of an archive", OPT_TEXT,
	 AT(path)},
	{"type", 0, "auto|rootfs|docker-archive|oci|squashfs|iso",
	 "what FILE is (auto: by its content)", OPT_CHOICE, AT(type)},
	OPT_ALL_OF(finishing_rows, AT(finishing)),
	OPT_ALL_OF(making_rows, AT(making)),
	{"no-sync", 0, NULL, "do not wait until the data is on disk", OPT_FLAG, AT(no_sync)},
	{"threads", 0, "N", "writing threads (as many as processors)", OPT_NUMBER, AT(threads)},
};
#undef AT

struct lost {
	char *path, *what;
};
/* What the run of one install has found out. */
struct job {
	struct cli *c;
	const struct install_options *o;
	struct varve_reference ref;
	char canonical[800], label[512];
	char image[800], tag[256]; /* as hooks know it */
	bool is_file, pulled, imported;
	bool already; /* the tree was there, of this image and made in the same way */
	char what[VARVE_DIGEST_STR_MAX]; /* the manifest that a pull brought or a file became */
	struct varve_image_list images;
	struct varve_pull_result pull;
	struct varve_spool *spool; /* of what was pulled; may be NULL */
	struct finish finish;
	struct varve_plan *plan;
	struct varve_install_result result;
	char *settings; /* what is recorded of the options */
	struct lost *lost;
	size_t n_lost;
};

/* Kept for --json only: there may be hundreds of thousands. */
static void on_loss(void *user, const char *path, const char *what)
{
	struct job *job = user;
	struct lost *lost = job->lost;

	if ((job->n_lost & (job->n_lost - 1)) == 0) {
		lost = realloc(lost, (job->n_lost ? 2 * job->n_lost : 1) * sizeof(*lost));
		if (!lost)
			return;
		job->lost = lost;
	}
	lost[job->n_lost].path = strdup(path);
	lost[job->n_lost].what = strdup(what);
	job->n_lost++;
}

static int finish(void *user, int rootfd, const char *staging_path, struct varve_err *e)
{
	struct job *job = user;

	return finishing_run(&job->finish, rootfd, staging_path, e);
}

/* What is downloaded for this install is unpacked on the way. */
static int open_spool(struct job *job, struct varve_err *e)
{
	const char *roots;
	int r = cli_roots_path(job->c, &roots, e);

	if (r < 0 || job->c->g.offline)
		return r;
	return varve_spool_new(&job->spool, &job->c->ctx, roots, job->o->threads, job->o->no_sync,
			       e);
}

/*
 * By its digest from here on: another process may take the name away again. Should its gc be faster
 * than our plan's lease as well, the image is fetched again.
 */
static int fetch_image(struct job *job, struct varve_err *e)
{
	int r = 0;

	for (int tries = 0; tries < FETCH_TRIES; tries++) {
		r = pulling_run(job->c, &job->ref, 1, &job->o->pulling, job->spool, &job->pull, e);
		if (r < 0)
			return r;
		job->pulled = true;
		varve_digest_str(&job->pull.manifest, job->what);
		r = varve_store_find(job->c->store, job->what, NULL, &job->images, e);
		if (r != -VARVE_E_NOTFOUND)
			return r;
	}
	return r;
}

/* What the registry calls by the name may be another image than its source makes. */
static bool has_source(const struct job *job)
{
	const char *source = job->images.items[0].source;

	return !job->o->pulling.source || (source && strcmp(source, "official") == 0);
}

/* A tag that is stored is not resolved again unless asked: the same command gives the same tree. */
static int have_image(struct job *job, struct varve_err *e)
{
	const struct varve_platform *platform = platform_or_null(&job->o->pulling.platform);
	struct varve_store *s = job->c->store;
	unsigned when = job->o->pull;
	int r;

	if (when != PULL_ALWAYS) {
		r = varve_store_find(s, job->canonical, platform, &job->images, e);
		if (r == 0 && !has_source(job) && (when == PULL_NEVER || job->c->g.offline))
			return varve_fail(e, VARVE_E_OFFLINE,
					  "what is stored came from a registry, and its source may "
					  "not be asked");
		if (r == 0 && has_source(job) &&
		    (job->images.items[0].complete || when == PULL_NEVER))
			return 0;
		if (r == 0)
			varve_image_list_free(&job->images);
		else if (when == PULL_NEVER || (r != -VARVE_E_NOTFOUND && r != -VARVE_E_NOPLATFORM))
			return r;
	}
	r = open_spool(job, e);
	return r < 0 ? r : fetch_image(job, e);
}

static void on_imported(void *user, const struct varve_imported *i)
{
	struct job *job = user;

	varve_digest_str(&i->manifest, job->what);
	job->imported = true;
}

static int have_file(struct job *job, const char *path, struct varve_err *e)
{
	struct varve_import_options to = VARVE_IMPORT_OPTIONS_INIT;
	struct varve_import_name name;
	int r = importing_normalise(NULL, job->canonical, &name, e);

	if (r < 0)
		return r;
	to.name = &name;
	to.select = job->o->path;
	to.type = (enum varve_import_type)job->o->type;
	to.platform = platform_or_null(&job->o->pulling.platform);
	to.imported = on_imported;
	to.user = job;
	r = varve_import(job->c->store, path, -1, &to, e);
	if (r == 0 && !job->imported)
		r = varve_fail(e, VARVE_E_FORMAT, "it holds no image");
	return r < 0 ? r : varve_store_find(job->c->store, job->what, NULL, &job->images, e);
}

/* Where newer ones come from is recorded with the tree: the name in the store may go. */
static void find_source(const struct job *job, struct varve_image_list *ret,
			struct varve_install_options *to)
{
	const struct varve_image *m = &job->images.items[0];

	if (varve_store_find(job->c->store, job->canonical, &m->platform, ret, NULL) == 0 &&
	    varve_digest_equal(&ret->items[0].manifest, &m->manifest))
		m = &ret->items[0];
	to->source = m->source;
	to->origin = m->origin;
	to->target = &m->target;
	if (job->is_file)
		to->source = "import";
	else if (!to->source && job->pulled)
		to->source = job->o->pulling.source ? "official" : "registry";
	if (job->pulled)
		to->target = &job->pull.target;
}

/* What was changed in the tree since does not matter. */
static void find_installed(struct job *job)
{
	struct varve_tree t = {.label = job->label,
			       .reference = job->canonical,
			       .manifest = job->images.items[0].manifest,
			       .settings = job->settings};

	job->already = install_is_there(job->c, job->finish.roots, &t, job->result.path,
					sizeof(job->result.path));
	job->result.active = job->already && t.active;
}

/* The numbers that the install gave, as far as the image alone says them. */
static void result_of_plan(struct job *job)
{
	struct varve_plan_summary s;

	varve_plan_summary(job->plan, &s);
	job->result.entries = s.entries;
	job->result.bytes = s.bytes;
}

static int build(struct job *job, struct varve_err *e)
{
	const struct install_options *o = job->o;
	struct varve_plan_options plan_options = VARVE_PLAN_OPTIONS_INIT;
	struct varve_install_options to = VARVE_INSTALL_OPTIONS_INIT;
	struct varve_image_list tagged = {0};
	int r = settings_write(&o->finishing, &o->making, &job->settings, e);

	if (r < 0)
		return r;
	to.roots = job->finish.roots;
	plan_options.strict = o->making.planning.strict;
	plan_options.keep_dirlinks = o->making.planning.keep_dirlinks;
	r = varve_plan_new(&job->plan, job->c->store, &job->images.items[0], &plan_options, e);
	if (r < 0)
		return r;
	if (!o->force)
		find_installed(job);
	if (job->already) {
		result_of_plan(job);
		return 0;
	}
	if (!job->c->g.json)
		looking_warn(job->c, job->plan, WARNINGS_SAID);
	to.label = job->label;
	to.reference = job->canonical;
	to.settings = job->settings;
	find_source(job, &tagged, &to);
	to.force = o->force;
	to.keep = o->no_keep ? VARVE_KEEP_NONE : o->keep;
	to.no_sync = o->no_sync;
	to.no_chown = o->making.no_chown;
	to.threads = o->threads;
	to.loss = job->c->g.json ? on_loss : NULL;
	to.finish = finish;
	to.spool = job->spool;
	to.user = job;
	r = varve_install(job->c->store, job->plan, &to, &job->result, e);
	varve_image_list_free(&tagged);
	if (r == -VARVE_E_EXISTS) /* perhaps the same command was a moment faster */
		find_installed(job);
	if (job->already) {
		*e = (struct varve_err)VARVE_ERR_INIT;
		result_of_plan(job);
		r = 0;
	}
	return r;
}

static void losses_json(struct varve_json *j, const struct job *job)
{
	const struct varve_losses *l = &job->result.losses;

	varve_json_object(j, "losses");
	varve_json_u64(j, "owners", l->owners);
	varve_json_u64(j, "devices", l->devices);
	varve_json_u64(j, "xattrs", l->xattrs);
	varve_json_u64(j, "others", l->others);
	varve_json_end_object(j);
	varve_json_array(j, "lost");
	for (size_t i = 0; i < job->n_lost; i++) {
		varve_json_object(j, NULL);
		varve_json_str(j, "path", job->lost[i].path);
		varve_json_str(j, "what", job->lost[i].what);
		varve_json_end_object(j);
	}
	varve_json_end_array(j);
}

static void job_json(struct varve_json *j, const struct job *job)
{
	varve_json_str(j, "label", job->label);
	varve_json_str(j, "path", job->result.path);
	varve_json_str(j, "reference", job->canonical);
	varve_json_digest(j, "manifest", &job->images.items[0].manifest);
	varve_json_bool(j, "installed_already", job->already);
	varve_json_bool(j, "replaced", job->result.replaced);
	varve_json_bool(j, "active", job->result.active);
	varve_json_u64(j, "entries", job->result.entries);
	varve_json_u64(j, "bytes", job->result.bytes);
	losses_json(j, job);
	looking_warnings_json(j, job->plan);
	finishing_json(j, &job->finish);
	if (job->pulled) {
		varve_json_object(j, "pull");
		pulling_json(j, &job->ref, &job->pull);
		varve_json_end_object(j);
	} else {
		varve_json_null(j, "pull");
	}
}

static void job_text(const struct job *job)
{
	if (job->pulled)
		pulling_line(job->c, &job->ref, &job->pull);
	out_safe(job->label);
	out_printf("  ");
	out_safe(job->result.path);
	if (job->already) {
		out_printf("  is installed already (%s)%s\n",
			   DIGEST_TEXT(&job->images.items[0].manifest, job->c->g.verbose > 0),
			   job->result.active ? ", active" : "");
		return;
	}
	out_printf("  %s, %s%s\n", COUNT(job->result.entries, "entry"),
		   VARVE_TEXT_SIZE(job->result.bytes), job->result.active ? ", active" : "");
}

static void job_notes(const struct job *job)
{
	const struct varve_losses *l = &job->result.losses;
	const struct out_count lost[] = {{l->owners, "owner"},
					 {l->devices, "device"},
					 {l->xattrs, "xattr"},
					 {l->others, "other thing"}};
	char text[300];

	if (*counts_text(lost, ARRAY_SIZE(lost), text, sizeof(text)))
		message_note(job->c, "could not be kept%s: %s (--json lists them)",
			     geteuid() == 0 ? "" : " without root", text);
	if (job->result.replaced && !job->o->no_keep)
		message_note(job->c,
			     "the tree that was there is kept: varve rollback brings it back");
}

/* Now the tree is there: when the switch is refused, that is said, and the install stays. */
static int make_active(struct job *job, struct varve_err *e)
{
	struct varve_switch_result res;
	int r = trees_switch(job->c, job->label, false, job->o->label_active, &res, e);

	if (r < 0)
		return varve_wrap(e, r, "%s is installed, but was not made active",
				  VARVE_TEXT_SAFE(job->label));
	job->result.active = true;
	(void)snprintf(job->result.path, sizeof(job->result.path), "%s/rootfs", job->finish.roots);
	return 0;
}

/* The store is open. */
static int install(struct job *job, const char *what, struct varve_err *e)
{
	int r = cli_roots_path(job->c, &job->finish.roots, e);

	if (r == 0)
		r = finishing_prepare(&job->finish, e);
	if (r == 0)
		r = job->is_file ? have_file(job, what, e) : have_image(job, e);
	if (r == 0)
		r = build(job, e);
	if (r == 0 && job->o->switch_to && !job->result.active)
		r = make_active(job, e);
	if (r == 0)
		job_notes(job);
	return r;
}

static void job_done(struct job *job)
{
	varve_plan_free(job->plan);
	varve_spool_free(job->spool);
	varve_image_list_free(&job->images);
	for (size_t i = 0; i < job->n_lost; i++) {
		free(job->lost[i].path);
		free(job->lost[i].what);
	}
	free(job->lost);
	free(job->settings);
	finishing_done(&job->finish);
}

/* A file's name says what hooks are for; nothing was ever called localhost. */
static int name_file(struct job *job, const char *path, struct varve_err *e)
{
	struct varve_import_label label;
	struct varve_import_name name;
	int r = importing_name(path, &name, &label, job->o->name ? NULL : e);

	/* "$(date).tar" says nothing, but the label may. */
	if (r < 0 && job->o->name)
		r = importing_name(job->o->name, &name, &label, e);
	if (r == 0)
		r = varve_reference_parse(&job->ref, name.reference, e);
	if (r < 0)
		return r;
	(void)snprintf(job->label, sizeof(job->label), "%s", label.label);
	(void)snprintf(job->image, sizeof(job->image), "%s", label.image);
	(void)snprintf(job->tag, sizeof(job->tag), "%s", label.tag);
	return 0;
}

static int name_reference(struct job *job, const char *what, struct varve_err *e)
{
	char *tag;
	int r = varve_reference_parse(&job->ref, what, e);

	if (r < 0)
		return r;
	varve_reference_label(&job->ref, job->label);
	varve_reference_familiar(&job->ref, job->image);
	(void)snprintf(job->tag, sizeof(job->tag), "%s", job->ref.tag);
	tag = job->tag[0] ? strrchr(job->image, ':') : NULL;
	if (tag)
		*tag = '\0';
	return 0;
}

/* Reference, label and the names of hooks, from a file's name or the reference. */
static int name_it(struct job *job, const char *what, struct varve_err *e)
{
	int r = importing_is_file(what, e);

	if (r < 0)
		return r;
	job->is_file = r;
	if (!job->is_file && job->o->path)
		return varve_fail(e, VARVE_E_USAGE, "--path selects in a file");
	if (!job->is_file && job->o->type)
		return varve_fail(e, VARVE_E_USAGE, "--type says what a file is; %s is none",
				  VARVE_TEXT_SAFE(what));
	r = job->is_file ? name_file(job, what, e) : name_reference(job, what, e);
	if (r < 0)
		return r;
	varve_reference_canonical(&job->ref, job->canonical);
	if (job->o->name)
		(void)snprintf(job->label, sizeof(job->label), "%s", job->o->name);
	job->finish = (struct finish){
		.c = job->c,
		.o = &job->o->finishing,
		.image = job->image,
		.tag = job->tag[0] ? job->tag : NULL,
		.label = job->label,
		.reference = job->canonical,
	};
	return 0;
}

static int install_one(struct cli *c, const struct install_options *o, const char *what,
		       struct varve_err *e)
{
	struct job job = {.c = c, .o = o};
	char name[800];
	int r = name_it(&job, what, e);

	if (r == 0 && o->making.userns)
		r = cli_userns(c, e);
	if (r == 0)
		r = cli_store(c, o->pull == PULL_NEVER && !job.is_file ? CLI_READ : CLI_CREATE, e);
	if (r == 0)
		r = install(&job, what, e);
	if (r == 0 && c->g.json) {
		job_json(cli_json(c, "varve.install/1"), &job);
		r = cli_json_end(c, e);
	} else if (r == 0) {
		job_text(&job);
	}
	job_done(&job);
	if (r == 0)
		return 0;
	if (job.is_file || !job.ref.path[0])
		return varve_wrap(e, r, "install %s", VARVE_TEXT_SAFE(what));
	return varve_wrap(e, r, "install %s", varve_reference_familiar(&job.ref, name));
}

/* The ids of the whole process: what is made with others has to wait for another command. Where it
 * is not recorded how a tree was made, what is said now counts. */
static int check_userns(const struct question *q, bool was, bool now, struct varve_err *e)
{
	if (was && !now)
		return varve_fail(e, VARVE_E_USAGE,
				  "it was made with --userns: give --userns, too");
	if (!was && now && q->made && !(q->made & VARVE_MADE_USERNS))
		return varve_fail(e, VARVE_E_USAGE,
				  "it was made without --userns: run the same without it");
	return 0;
}

static int install_again(struct cli *c, const struct install_options *o, const struct question *q,
			 struct varve_err *e)
{
	struct install_options anew = *o;
	struct job job = {.c = c, .o = &anew};
	struct settings settings = {0};
	char tree[PATH_MAX];
	const char *roots;
	int r;

	anew.pull = PULL_ALWAYS;
	anew.name = q->label;
	anew.pulling.platform = q->platform;
	anew.pulling.source = q->origin ? 1 : 0;
	r = cli_roots_path(c, &roots, e);
	if (r == 0)
		r = settings_read(&settings, q->settings, e);
	if (r == 0)
		r = check_userns(q, settings.making.userns, o->making.userns, e);
	if (r == 0) {
		(void)snprintf(tree, sizeof(tree), "%s/%s", roots, q->directory);
		settings_apply(&settings, tree, &anew.finishing, &anew.making);
		r = name_it(&job, q->reference, e);
	}
	if (r == 0)
		r = install(&job, q->reference, e);
	if (r == 0 && c->json) {
		varve_json_object(c->json, NULL);
		job_json(c->json, &job);
		varve_json_end_object(c->json);
	} else if (r == 0) {
		job_text(&job);
	}
	job_done(&job);
	settings_done(&settings);
	return r < 0 ? varve_wrap(e, r, "install %s", VARVE_TEXT_SAFE(q->label)) : 0;
}

static int check_usage(const struct install_options *o, int argc, char **argv, struct varve_err *e)
{
	if (o->label_active && !o->switch_to)
		return varve_fail(e, VARVE_E_USAGE, "--label-active needs --switch");
	if (o->no_keep && o->keep)
		return varve_fail(e, VARVE_E_USAGE, "--keep and --no-keep exclude each other");
	if (!o->all_outdated)
		return argc ? 0
			    : varve_fail(e, VARVE_E_USAGE,
					 "install needs an argument: varve install REF|FILE");
	if (argc)
		return varve_fail(e, VARVE_E_USAGE,
				  "--all-outdated takes no argument, but %s was given",
				  VARVE_TEXT_SAFE(argv[0]));
	if (!o->force)
		return varve_fail(e, VARVE_E_USAGE,
				  "--all-outdated replaces trees: it needs --force");
	if (o->name || o->path || o->type || o->switch_to || o->pull || o->pulling.platform.os[0] ||
	    o->pulling.source)
		return varve_fail(
			e, VARVE_E_USAGE,
			"--all-outdated does not go with --name, --path, --type, --switch, --pull, "
			"--platform and --source: each tree keeps its own");
	return 0;
}

static int run_install(struct cli *c, const void *options, int argc, char **argv,
		       struct varve_err *e)
{
	const struct install_options *o = options;
	int r = check_usage(o, argc, argv, e);

	if (r == 0)
		r = finishing_check(&o->finishing, e);
	if (r < 0)
		return r;
	return o->all_outdated ? reinstall_outdated(c, o, install_again, e)
			       : install_one(c, o, argv[0], e);
}

const struct cli_command cmd_install = {
	.name = "install",
	.args = "REF|FILE",
	.summary = "Build a rootfs tree from an image, pulled if needed",
	.run = run_install,
	.max_args = 1,
	.rows = install_rows,
	.n_rows = ARRAY_SIZE(install_rows),
	.options_size = sizeof(struct install_options),
};
