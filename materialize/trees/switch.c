/* SPDX-License-Identifier: Apache-2.0 */
/* Make another installed tree the active one, and go back. */
#include "materialize/trees/trees.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/options.h"
#include "store/catalog.h"

static int fail_unknown(const struct roots *r, const struct tree_scan *s, const char *label,
			struct varve_err *e)
{
	struct buf b;
	int x;

	buf_init(&b, 2048);
	tree_nearest(s, label, &b);
	x = varve_fail(e, VARVE_E_NOTFOUND, "%s: no such tree in %s%s", TEXT_SAFE(label),
		       TEXT_SAFE(r->path), b.p);
	buf_done(&b);
	return x;
}

/*
 * A tree may be renamed if nothing is mounted in it and no process lives there. With force only a
 * mount on the tree itself is in the way: processes stay in the tree that moves, and mounts below
 * it move along.
 */
static int check_movable(const struct roots *r, const struct tree *t,
			 const struct varve_switch_options *opt, struct varve_err *e)
{
	char mount[256];
	bool at;
	int n;

	if (t->odd)
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s/%s: is no tree but a link, a file or a mount; nothing was moved",
			TEXT_SAFE(r->path), TEXT_SAFE(t->directory));
	if (t->foreign)
		return varve_fail(
			e, VARVE_E_UNSAFE,
			"%s/%s: belongs to user %u, who put it into a directory that others may "
			"write to; nothing was moved. If you trust that user, add the number to "
			"\"trusted_owners\" of the configuration",
			TEXT_SAFE(r->path), TEXT_SAFE(t->directory), (unsigned)t->owner);
	if (tree_has_mount(r, t, &at, mount) && (at || !opt->force))
		return varve_fail(e, VARVE_E_BUSY, "%s: something is mounted there; unmount it%s",
				  mount, at ? "" : ", or --force moves it along with the tree");
	if (tree_holds_store(r, t))
		return varve_fail(e, VARVE_E_CONFLICT, "%s/%s: holds the store; it cannot be moved",
				  TEXT_SAFE(r->path), TEXT_SAFE(t->directory));
	n = opt->force ? 0 : tree_in_use(r, t, opt, e);
	if (n > 0)
		return varve_fail(
			e, VARVE_E_BUSY,
			"%s/%s: %d process%s in it; end them, or --force goes on (they keep "
			"the tree they are in)",
			TEXT_SAFE(r->path), TEXT_SAFE(t->directory), n,
			n == 1 ? " lives" : "es live");
	return n < 0 ? n : 0;
}

/*
 * Remember the label of a tree that others made, so that it comes back under its name; or again
 * what the file beside it says, where the store lost its record.
 */
static int adopt(const struct roots *r, const struct tree_scan *s, const struct tree *t,
		 struct varve_err *e)
{
	bool again = tree_is_remembered(s, t);
	struct varve_install_record in = {
		.roots = r->path,
		.label = t->label,
		.directory = t->directory,
		.state = VARVE_INSTALL_READY,
		.ino = t->ino,
		.installed_at = time(NULL),
	};
	char id[17];
	struct stat st;
	int x;

	if (t->record && !again)
		return 0;
	if (fstat(r->fd, &st))
		return varve_fail_errno(e, "%s", TEXT_SAFE(r->path));
	fsx_random_name(id);
	in.id = id;
	if (again) {
		in = *t->record;
		in.roots = r->path;
		in.directory = t->directory;
	}
	in.dev = (uint64_t)st.st_dev;
	x = sidecar_write(r, &in, e);
	return x < 0 ? x : catalog_put_install(r->store, &in, e);
}

/* The label that the tree which goes out of "rootfs" gets; a free one. */
static int name_outgoing(const struct roots *r, const struct tree_scan *s, struct tree *active,
			 const char *fallback, struct varve_err *e)
{
	char directory[300];
	const struct tree *taken;

	if (!active->label[0] && fallback)
		(void)snprintf(active->label, sizeof(active->label), "%s", fallback);
	if (!active->label[0])
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s/rootfs: cannot find out what it is, so it cannot get a name of "
			"its own; say it with --label-active LABEL, or write it into its "
			"/.switch_label",
			TEXT_SAFE(r->path));
	(void)snprintf(directory, sizeof(directory), "rootfs_%s", active->label);
	taken = tree_by_directory(s, directory);
	if (taken)
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s/%s is there already, and the active tree has the same label %s; "
			"rename one of them",
			TEXT_SAFE(r->path), TEXT_SAFE(directory), TEXT_SAFE(active->label));
	return 0;
}

static int switch_to(const struct roots *r, const struct tree_scan *s, const struct tree *to,
		     const struct varve_switch_options *opt, struct varve_switch_result *ret,
		     struct varve_err *e)
{
	struct tree *active = tree_active(s);
	char out[300] = "";
	int x;

	(void)snprintf(ret->to, sizeof(ret->to), "%s", to->label);
	if (to == active) {
		ret->already = true;
		return 0;
	}
	x = check_movable(r, to, opt, e);
	if (x >= 0)
		x = adopt(r, s, to, e);
	if (x >= 0 && active) {
		x = check_movable(r, active, opt, e);
		if (x >= 0)
			x = name_outgoing(r, s, active, opt->fallback_label, e);
		if (x >= 0)
			x = adopt(r, s, active, e);
		if (x >= 0) {
			(void)snprintf(ret->from, sizeof(ret->from), "%s", active->label);
			(void)snprintf(out, sizeof(out), "rootfs_%s", active->label);
		}
	}
	if (x < 0)
		return x;
	return swap_run(r,
			&(struct swap){
				.slot = TREE_ACTIVE_NAME,
				.src = to->directory,
				.out = out,
				.new_ino = to->ino,
				.old_ino = active ? active->ino : 0,
				.undo_op = active ? "switch" : NULL,
				.undo_label = active ? active->label : NULL,
				.undo_ino = active ? active->ino : 0,
			},
			e);
}

int varve_switch(struct varve_store *s, const char *label, const struct varve_switch_options *opt,
		 struct varve_switch_result *ret, struct varve_err *e)
{
	struct varve_switch_result result = {0};
	struct tree_scan scan;
	const struct tree *to;
	struct roots r;
	struct varve_switch_options own;
	int x = OPTIONS_COPY(&own, opt, user, e);

	if (x < 0)
		return x;
	opt = &own;
	x = tree_scan_open(&r, &scan, s, opt->roots, e);
	if (x < 0)
		return x;
	to = tree_by_label(&scan, label);
	x = to ? switch_to(&r, &scan, to, opt, &result, e) : fail_unknown(&r, &scan, label, e);
	tree_scan_close(&r, &scan);
	if (x >= 0)
		*ret = result;
	return x;
}

/* --- rollback --- */

/* The previous generation comes back; what replaced it becomes the newest previous one. */
static int undo_install(const struct roots *r, const struct tree_scan *s, const struct tree *old,
			const struct varve_switch_options *opt, struct varve_switch_result *ret,
			struct varve_err *e)
{
	const struct tree *now = tree_by_label(s, old->label);
	char out[300];
	int x;

	if (!now)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: the tree that replaced it is gone; rename %s/%s yourself",
				  TEXT_SAFE(old->label), TEXT_SAFE(r->path),
				  TEXT_SAFE(old->directory));
	x = check_movable(r, now, opt, e);
	if (x >= 0)
		x = check_movable(r, old, opt, e);
	if (x >= 0)
		x = adopt(r, s, now, e);
	if (x < 0)
		return x;
	(void)snprintf(out, sizeof(out), ".rootfs_%s.old.%llu", old->label,
		       (unsigned long long)tree_next_generation(s, old->label));
	(void)snprintf(ret->from, sizeof(ret->from), "%s", old->label);
	(void)snprintf(ret->to, sizeof(ret->to), "%s", old->label);
	return swap_run(r,
			&(struct swap){
				.slot = now->directory,
				.src = old->directory,
				.out = out,
				.new_ino = old->ino,
				.old_ino = now->ino,
				.undo_op = "install",
				.undo_label = old->label,
				.undo_ino = now->ino,
			},
			e);
}

static int rollback(const struct roots *r, const struct tree_scan *s,
		    const struct varve_switch_options *opt, struct varve_switch_result *ret,
		    struct varve_err *e)
{
	struct swap_undo undo;
	const struct tree *t;
	int x = swap_get_undo(r, &undo, e);

	if (x < 0)
		return x;
	if (x == 0)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "%s: there is no switch and no replacing install to undo",
				  TEXT_SAFE(r->path));
	t = tree_by_inode(s, undo.ino);
	if (!t || t->kind > TREE_PREVIOUS || strcmp(t->label, undo.label) != 0)
		return varve_fail(e, VARVE_E_NOTFOUND, "%s: the tree to go back to is gone",
				  TEXT_SAFE(undo.label));
	if (t->kind == TREE_PREVIOUS)
		return undo_install(r, s, t, opt, ret, e);
	return switch_to(r, s, t, opt, ret, e);
}

/* Those of the label, for a message. */
static int fail_generation(const struct roots *r, const struct tree_scan *s, const char *label,
			   uint64_t generation, struct varve_err *e)
{
	struct buf b;
	int x;

	buf_init(&b, 1024);
	for (size_t i = 0; i < s->n; i++)
		if (s->trees[i].kind == TREE_PREVIOUS && !strcmp(s->trees[i].label, label))
			buf_printf(&b, "%s%llu", b.n ? ", " : "; there are: ",
				   (unsigned long long)s->trees[i].generation);
	if (!b.n)
		x = varve_fail(e, VARVE_E_NOTFOUND, "%s: has no previous generation in %s",
			       TEXT_SAFE(label), TEXT_SAFE(r->path));
	else
		x = varve_fail(e, VARVE_E_NOTFOUND, "%s: has no generation %llu%s",
			       TEXT_SAFE(label), (unsigned long long)generation, b.p);
	buf_done(&b);
	return x;
}

static int rollback_to(const struct roots *r, const struct tree_scan *s, const char *label,
		       uint64_t generation, const struct varve_switch_options *opt,
		       struct varve_switch_result *ret, struct varve_err *e)
{
	const struct tree *old = NULL;

	for (size_t i = 0; i < s->n; i++) {
		const struct tree *t = &s->trees[i];

		if (t->kind != TREE_PREVIOUS || strcmp(t->label, label) != 0)
			continue;
		if (generation ? t->generation == generation
			       : !old || t->generation > old->generation)
			old = t;
	}
	return old ? undo_install(r, s, old, opt, ret, e)
		   : fail_generation(r, s, label, generation, e);
}

int varve_rollback_to(struct varve_store *s, const char *label, uint64_t generation,
		      const struct varve_switch_options *opt, struct varve_switch_result *ret,
		      struct varve_err *e)
{
	struct varve_switch_result result = {0};
	struct tree_scan scan;
	struct roots r;
	struct varve_switch_options own;
	int x = OPTIONS_COPY(&own, opt, user, e);

	if (x < 0)
		return x;
	opt = &own;
	x = tree_scan_open(&r, &scan, s, opt->roots, e);
	if (x < 0)
		return x;
	x = label ? rollback_to(&r, &scan, label, generation, opt, &result, e)
		  : rollback(&r, &scan, opt, &result, e);
	tree_scan_close(&r, &scan);
	if (x >= 0)
		*ret = result;
	return x;
}

int varve_rollback(struct varve_store *s, const struct varve_switch_options *opt,
		   struct varve_switch_result *ret, struct varve_err *e)
{
	return varve_rollback_to(s, NULL, 0, opt, ret, e);
}
