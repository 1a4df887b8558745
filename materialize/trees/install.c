/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Install a plan as a tree of a roots dir: build in private, make durable, then one atomic rename
 * (docs/store-format.md). Until the rename nothing is visible; a failure or a kill
 * before it leaves what was there.
 */
#include "materialize/trees/install.h"
#include "materialize/plan/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "materialize/apply/apply.h"
#include "materialize/confine/cage.h"
#include "materialize/confine/userns.h"
#include "materialize/disk/sync_ahead.h"
#include "materialize/spool/spool.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/options.h"
#include "store/blob.h"
#include "store/catalog.h"

#define THREADS_MAX 64

struct job {
	struct varve_store *store;
	const struct varve_plan *plan;
	const struct varve_install_options *opt;
	struct roots roots;
	struct stage stage;
	struct sync_ahead *ahead;
	char id[17];
	struct varve_install_result result;
};

static unsigned cpus(void)
{
	cpu_set_t set;
	int n = 1;

	if (!sched_getaffinity(0, sizeof(set), &set))
		n = CPU_COUNT(&set);
	return (unsigned)VARVE_MIN(VARVE_MAX(n, 1), THREADS_MAX);
}

/* --- what is there already --- */

static int check_reference(const struct job *j, const struct tree *t, struct varve_err *e)
{
	const struct varve_install_record *in = t->record;
	const char *mine = j->opt->reference;

	if (!in || !varve_digest_is_set(&in->manifest)) {
		if (j->opt->force)
			return 0; /* it stays as the previous generation */
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s/%s: is there and was not installed by varve; --force replaces it "
			"and keeps it for \"varve rollback\", --name installs beside it",
			TEXT_SAFE(j->roots.path), TEXT_SAFE(t->directory));
	}
	if (mine && in->reference && strcmp(mine, in->reference) != 0)
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"label %s: belongs to %s, not to %s; install it under another one "
			"with --name, or remove the tree first",
			TEXT_SAFE(j->opt->label), TEXT_SAFE(in->reference), TEXT_SAFE(mine));
	if (j->opt->force)
		return 0;
	if (varve_digest_equal(&in->manifest, &j->plan->manifest))
		return varve_fail(e, VARVE_E_EXISTS,
				  "%s: this image is installed already; --force builds it anew and "
				  "keeps the old tree for \"varve rollback\"",
				  TEXT_SAFE(j->opt->label));
	return varve_fail(
		e, VARVE_E_EXISTS,
		"%s: an older image of it is installed; --force replaces it and keeps the old "
		"tree for \"varve rollback\"",
		TEXT_SAFE(j->opt->label));
}

/* The active tree is recorded under the label, and a mount lies over it. */
static bool is_hidden(const struct job *j, const struct tree_scan *s)
{
	const struct tree *active = tree_by_directory(s, "rootfs");

	for (size_t i = 0; active && active->hidden && i < s->records.n; i++)
		if (!strcmp(s->records.items[i].directory, "rootfs") &&
		    !strcmp(s->records.items[i].label, j->opt->label))
			return true;
	return false;
}

/* *ret_old: the tree that will be replaced, or NULL. */
static int check_existing(const struct job *j, const struct tree_scan *s,
			  const struct tree **ret_old, struct varve_err *e)
{
	char directory[300], mount[256];
	const struct tree *t;
	bool at;
	int x;

	(void)snprintf(directory, sizeof(directory), "rootfs_%s", j->opt->label);
	t = tree_by_directory(s, directory);
	if (!t)
		t = tree_by_label(s, j->opt->label);
	*ret_old = t;
	if (!t && is_hidden(j, s))
		return varve_fail(e, VARVE_E_BUSY,
				  "%s/rootfs: is the tree of that label, and something is mounted "
				  "there; unmount it before the tree is replaced",
				  TEXT_SAFE(j->roots.path));
	if (!t)
		return 0;
	if (t->odd)
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s/%s: is no tree but a link, a file or a mount; nothing was changed",
			TEXT_SAFE(j->roots.path), TEXT_SAFE(t->directory));
	x = check_reference(j, t, e);
	if (x < 0)
		return x;
	if (!j->roots.journalled)
		return varve_fail(e, VARVE_E_READONLY,
				  "%s/%s: replacing a tree needs a journal in the store, and the "
				  "store is read-only; install under another label with --name",
				  TEXT_SAFE(j->roots.path), TEXT_SAFE(t->directory));
	if (tree_has_mount(&j->roots, t, &at, mount))
		return varve_fail(
			e, VARVE_E_BUSY,
			"%s: something is mounted there; unmount it before the tree is replaced",
			mount);
	if (tree_holds_store(&j->roots, t))
		return varve_fail(e, VARVE_E_CONFLICT,
				  "%s/%s: holds the store; it cannot be replaced",
				  TEXT_SAFE(j->roots.path), TEXT_SAFE(t->directory));
	return 0;
}

static int check_before(const struct job *j, struct varve_err *e)
{
	struct tree_scan s;
	const struct tree *old;
	int x = tree_scan(&j->roots, &s, e);

	if (x < 0)
		return x;
	x = check_existing(j, &s, &old, e);
	tree_scan_done(&s);
	return x < 0 ? x : stage_check_space(&j->roots, j->plan, j->opt->spool, e);
}

/* --- build --- */

static int sync_stage(struct job *j, struct varve_err *e)
{
	struct varve_progress p = {.stage = VARVE_STAGE_SYNC, .object = j->stage.name};
	int error;

	if (j->opt->no_sync)
		return 0;
	progress_emit(j->roots.ctx, &p);
	error = sync_ahead_end(VARVE_TAKE(j->ahead));
	if (error)
		errno = error;
	/* Also tells of writes that failed in the background. */
	if (error || syncfs(j->stage.fd))
		return varve_fail_errno(e, "%s/%s: write to disk", TEXT_SAFE(j->roots.path),
					TEXT_SAFE(j->stage.name));
	p.finished = true;
	progress_emit(j->roots.ctx, &p);
	return 0;
}

struct build {
	const struct varve_plan *plan;
	const struct apply_options *options;
	struct varve_losses *losses;
	struct varve_err *e;
};

static int build_caged(void *arg)
{
	struct build *b = arg;
	int x = apply_plan(b->plan, b->options, b->losses, b->e);

	return x < 0 ? x : apply_finish_root(b->plan, b->options, b->losses, b->e);
}

/* Content of the image is inflated and cut up here: only the new tree and what reading a layer
 * needs can be written. */
static int build_tree(struct job *j, const struct apply_options *a, struct varve_err *e)
{
	struct build b = {.plan = j->plan, .options = a, .losses = &j->result.losses, .e = e};
	VARVE_FREE char *stage = NULL;
	struct cage_store paths = {0};
	struct cage c = {.ctx = j->roots.ctx};
	int x;

	if (asprintf(&stage, "%s/%s", j->roots.path, j->stage.name) < 0) {
		stage = NULL;
		return varve_fail_oom(e);
	}
	c.dirs[0] = stage;
	c.dirs[1] = spool_path(a->spool);
	x = cage_store(&c, &paths, j->store, e);
	if (x >= 0)
		x = cage_run(&c, build_caged, &b, e);
	cage_store_done(&paths);
	return x;
}

static bool sets_owners(const struct varve_install_options *o)
{
	return o->chown || (geteuid() == 0 && !o->no_chown);
}

static int build(struct job *j, struct varve_err *e)
{
	const struct varve_install_options *o = j->opt;
	struct apply_options a = {
		.rootfd = j->stage.fd,
		.threads = o->threads ? VARVE_MIN(o->threads, THREADS_MAX) : cpus(),
		.chown = sets_owners(o),
		.spool = o->spool,
		.loss = o->loss,
		.user = o->user,
	};
	VARVE_FREE char *path = NULL;
	int x;

	if (!o->no_sync) {
		j->ahead = spool_take_sync(o->spool);
		if (!j->ahead)
			j->ahead = sync_ahead_start(j->stage.fd);
		a.ahead = j->ahead;
	}
	x = build_tree(j, &a, e);
	if (x >= 0 && o->finish) {
		if (asprintf(&path, "%s/%s", j->roots.path, j->stage.name) < 0) {
			path = NULL;
			return varve_fail_oom(e);
		}
		x = o->finish(o->user, j->stage.fd, path, e);
		if (x)
			return x;
	}
	if (x >= 0)
		x = ctx_check(j->roots.ctx, e);
	return x < 0 ? x : sync_stage(j, e);
}

/* --- make visible --- */

static int64_t install_time(const struct job *j)
{
	struct statx stx;
	int64_t now = time(NULL);

	/* Never before the directory's own birth, whatever the clock did: the two are compared
	 * later. */
	if (!statx(j->stage.fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) &&
	    (stx.stx_mask & STATX_BTIME))
		now = VARVE_MAX(now, (int64_t)stx.stx_btime.tv_sec);
	return now;
}

/* For whoever compares the tree with its image. */
static uint32_t how_made(const struct job *j)
{
	const struct varve_losses *lost = &j->result.losses;
	uint32_t made = VARVE_MADE_RECORDED;

	if (!sets_owners(j->opt))
		made |= VARVE_MADE_NO_OWNERS;
	if (geteuid() != 0)
		made |= VARVE_MADE_UNPRIVILEGED;
	if (userns_is_mapped())
		made |= VARVE_MADE_USERNS;
	if (lost->devices)
		made |= VARVE_MADE_NO_DEVICES;
	if (lost->others)
		made |= VARVE_MADE_NO_LINKS;
	if (j->plan->keep_dirlinks)
		made |= VARVE_MADE_KEEP_DIRLINKS;
	return made;
}

static int put_record(struct job *j, struct varve_err *e)
{
	struct varve_install_record in = {
		.id = j->id,
		.roots = j->roots.path,
		.label = j->opt->label,
		.directory = j->stage.name,
		.reference = j->opt->reference,
		.manifest = j->plan->manifest,
		.source = j->opt->source,
		.origin = j->opt->origin,
		.settings = j->opt->settings,
		.target = j->opt->target ? *j->opt->target : (struct varve_digest){0},
		.state = VARVE_INSTALL_STAGING,
		.ino = j->stage.ino,
		.installed_at = install_time(j),
		.made = how_made(j),
	};
	struct varve_image_list l;
	struct stat st;
	int x;

	if (fstat(j->stage.fd, &st))
		return varve_fail_errno(e, "%s", TEXT_SAFE(j->stage.name));
	in.dev = (uint64_t)st.st_dev;
	if (!varve_store_find(j->store, DIGEST_STR(&j->plan->manifest), NULL, &l, NULL)) {
		in.platform = l.items[0].platform;
		varve_image_list_free(&l);
	}
	x = sidecar_write(&j->roots, &in, e);
	return x < 0 ? x : catalog_put_install(j->store, &in, e);
}

static int publish_locked(struct job *j, struct varve_err *e)
{
	char slot[300], out[300];
	const struct tree *old;
	struct tree_scan s;
	int x = tree_scan(&j->roots, &s, e);

	if (x < 0)
		return x;
	x = check_existing(j, &s, &old, e);
	if (x >= 0) {
		(void)snprintf(slot, sizeof(slot), "rootfs_%s", j->opt->label);
		if (old)
			(void)snprintf(slot, sizeof(slot), "%s", old->directory);
		(void)snprintf(out, sizeof(out), ".rootfs_%s.old.%llu", j->opt->label,
			       (unsigned long long)tree_next_generation(&s, j->opt->label));
		(void)snprintf(j->result.path, sizeof(j->result.path), "%s/%s", j->roots.path,
			       slot);
		j->result.replaced = old != NULL;
		j->result.active = old && old->kind == TREE_ACTIVE;
		/* --force was given: as with a switch, who lives there goes on in the old tree. */
		if (old && tree_warn_in_use(&j->roots, old) > 0)
			log_warn(j->roots.ctx, "install",
				 "what lives in the tree of %s keeps it: it stays as %s, until "
				 "nobody does any more",
				 TEXT_SAFE(j->opt->label), TEXT_SAFE(out));
		x = swap_run(&j->roots,
			     &(struct swap){
				     .slot = slot,
				     .src = j->stage.name,
				     .out = out,
				     .new_ino = j->stage.ino,
				     .old_ino = old ? old->ino : 0,
				     .undo_op = old ? "install" : NULL,
				     .undo_label = old ? j->opt->label : NULL,
				     .undo_ino = old ? old->ino : 0,
			     },
			     e);
	}
	tree_scan_done(&s);
	return x;
}

static int publish(struct job *j, struct varve_err *e)
{
	int x;

	fsx_random_name(j->id);
	x = j->roots.journalled ? roots_lock(&j->roots, e) : roots_lock_new(&j->roots, e);
	if (x < 0)
		return x;
	x = put_record(j, e);
	if (x >= 0)
		x = publish_locked(j, e);
	roots_unlock(&j->roots);
	return x;
}

/* Forget the record and the sidecar of a tree that did not come to be. */
static void withdraw(struct job *j)
{
	if (!j->id[0])
		return;
	sidecar_remove(&j->roots, j->opt->label, j->id);
	(void)catalog_update_installs(j->store, NULL, 0, (const char *const[]){j->id, NULL}, NULL);
}

static bool is_visible(const struct job *j)
{
	struct stat st;

	return fstatat(j->roots.fd, j->stage.name, &st, AT_SYMLINK_NOFOLLOW) ||
	       st.st_ino != j->stage.ino;
}

static int install_label(struct job *j, struct varve_err *e)
{
	int x;

	tree_sweep(&j->roots);
	x = check_before(j, e);
	if (x >= 0)
		x = stage_begin(&j->roots, j->opt->label, j->opt->spool, &j->stage, e);
	if (x < 0)
		return x;
	x = build(j, e);
	(void)sync_ahead_end(VARVE_TAKE(j->ahead)); /* still there after a failure only */
	if (!x)
		x = publish(j, e);
	if (x && !is_visible(j))
		withdraw(j);
	stage_abort(&j->roots, &j->stage);
	return x;
}

static void fill_result(struct job *j)
{
	j->result.entries = j->plan->summary.entries;
	j->result.bytes = j->plan->summary.bytes;
}

/* The new tree is there: what fails from here on is only told. */
static void tidy(struct job *j)
{
	unsigned keep = j->opt->keep == VARVE_KEEP_NONE ? 0 : VARVE_MAX(j->opt->keep, 1u);
	struct varve_err err = VARVE_ERR_INIT;
	char text[512];

	if (j->result.replaced && tree_prune(&j->roots, j->opt->label, keep, &err) < 0)
		log_warn(j->roots.ctx, "install", "%s", varve_err_text(&err, text, sizeof(text)));
}

int varve_install(struct varve_store *s, struct varve_plan *p,
		  const struct varve_install_options *opt, struct varve_install_result *ret,
		  struct varve_err *e)
{
	struct varve_install_options own;
	struct job j = {.store = s, .plan = p, .opt = &own, .stage = {.fd = -1}};
	int lock = -1;
	int x = OPTIONS_COPY(&own, opt, finish, e);

	if (x < 0)
		return x;
	opt = &own;
	x = label_check(opt->label, e);
	if (x < 0)
		return x;
	x = roots_open(&j.roots, s, opt->roots, true, e);
	if (x < 0)
		return x;
	if (!j.roots.writable) {
		x = varve_fail(e, VARVE_E_READONLY, "%s: cannot write to this roots dir",
			       TEXT_SAFE(j.roots.path));
		roots_close(&j.roots);
		return x;
	}
	x = stage_lock_label(&j.roots, opt->label, &lock, e);
	if (x >= 0)
		x = install_label(&j, e);
	if (!x) {
		fill_result(&j);
		tidy(&j);
		*ret = j.result;
	}
	stage_unlock_label(&j.roots, opt->label, lock);
	roots_close(&j.roots);
	return x ? varve_wrap(e, x, "install %s", TEXT_SAFE(opt->label)) : 0;
}
