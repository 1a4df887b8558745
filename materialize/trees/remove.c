/* SPDX-License-Identifier: Apache-2.0 */
/* Delete trees: out of sight by a rename under the lock, then by a walker that crosses no mount. */
#include "materialize/trees/trees.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/base/json.h"
#include "store/base/options.h"
#include <dirent.h>

void sidecar_sweep(const struct roots *r, const struct tree_scan *s)
{
	struct varve_install_list l;

	/* What is in a tree that lies below a mount cannot be known. */
	for (size_t i = 0; i < s->n; i++)
		if (s->trees[i].hidden)
			return;
	if (sidecar_list(r, &l, NULL) < 0)
		return;
	for (size_t i = 0; i < l.n; i++)
		if (!tree_by_inode(s, l.items[i].ino))
			sidecar_remove(r, l.items[i].label, l.items[i].id);
	sidecar_list_free(&l);
}

int tree_condemn(const struct roots *r, const struct tree *t, char ret_name[256],
		 struct varve_err *e)
{
	char rand[17], name[256];

	fsx_random_name(rand);
	if (snprintf(name, sizeof(name), ".rootfs_%s.del.%s", t->label[0] ? t->label : "unknown",
		     rand) >= 256)
		return varve_fail(e, VARVE_E_LIMIT, "label %s: too long", TEXT_SAFE(t->label));
	if (renameat(r->fd, t->directory, r->fd, name)) {
		if (errno == EBUSY)
			return varve_fail(e, VARVE_E_BUSY,
					  "%s/%s: something is mounted on it; unmount it first",
					  TEXT_SAFE(r->path), TEXT_SAFE(t->directory));
		return varve_fail_errno(e, "rename %s/%s", TEXT_SAFE(r->path),
					TEXT_SAFE(t->directory));
	}
	memcpy(ret_name, name, sizeof(name));
	return 0;
}

int tree_delete(const struct roots *r, const char *name, struct varve_err *e)
{
	VARVE_CLOSE int fd = fsx_open_dir(r->fd, name);
	struct varve_progress p = {.stage = VARVE_STAGE_DELETE, .object = name};
	uint64_t n = 0;
	int x;

	/* Whoever sweeps in the meantime sees by the lock that somebody is at it. */
	if (fd >= 0 && fsx_flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return 0;
	progress_emit(r->ctx, &p);
	x = fsx_remove_tree(r->fd, name, r->ctx, &n, e);
	if (x < 0)
		return varve_wrap(e, x, "delete %s/%s", TEXT_SAFE(r->path), TEXT_SAFE(name));
	p.done = p.total = n;
	p.finished = true;
	progress_emit(r->ctx, &p);
	return 0;
}

/* True if the process that made the directory is dead: the kernel has let its flock go. */
static bool is_abandoned(const struct roots *r, const struct tree *t)
{
	VARVE_CLOSE int fd = fsx_open_dir(r->fd, t->directory);

	if (fd < 0) /* mode 0000 and not root: nobody can hold it open either but its maker */
		return errno == EACCES;
	return !fsx_flock(fd, LOCK_EX | LOCK_NB);
}

void tree_sweep(const struct roots *r)
{
	struct tree_scan s;

	if (tree_scan(r, &s, NULL) < 0)
		return;
	for (size_t i = 0; i < s.n; i++) {
		const struct tree *t = &s.trees[i];
		struct varve_err err = VARVE_ERR_INIT;
		char text[512];

		if ((t->kind != TREE_STAGING && t->kind != TREE_DELETED) || t->odd ||
		    !is_abandoned(r, t))
			continue;
		log_debug(r->ctx, "roots", "deleting %s, left by a process that ended",
			  t->directory);
		if (tree_delete(r, t->directory, &err) < 0)
			log_warn(r->ctx, "roots", "%s", varve_err_text(&err, text, sizeof(text)));
	}
	sidecar_sweep(r, &s);
	tree_scan_done(&s);
}

/* --- previous generations --- */

static int by_generation_down(const void *a, const void *b)
{
	const struct tree *x = *(struct tree *const *)a, *y = *(struct tree *const *)b;

	return x->generation < y->generation ? 1 : x->generation > y->generation ? -1 : 0;
}

/* Names of condemned trees, to be deleted without the lock. */
struct condemned {
	char (*names)[256];
	size_t n;
};

static int condemn(const struct roots *r, const struct tree *t, struct condemned *c,
		   struct varve_err *e)
{
	char(*p)[256] = realloc(c->names, (c->n + 1) * sizeof(*p));
	int x;

	if (!p)
		return varve_fail_oom(e);
	c->names = p;
	x = tree_condemn(r, t, c->names[c->n], e);
	if (x < 0)
		return x;
	if (t->record)
		sidecar_remove(r, t->record->label, t->record->id);
	c->n++;
	return 0;
}

static int delete_condemned(const struct roots *r, struct condemned *c, struct varve_err *e)
{
	int x = 0;

	for (size_t i = 0; i < c->n && x >= 0; i++)
		x = tree_delete(r, c->names[i], e);
	free(c->names);
	return x;
}

/* Deleted trees are gone for ever, and one in which something lives would break that. */
static bool must_stay(const struct roots *r, const struct tree *t)
{
	char mount[256];
	bool at;

	if (tree_has_mount(r, t, &at, mount)) {
		log_warn(r->ctx, "roots", "%s is kept: something is mounted at %s", t->directory,
			 mount);
		return true;
	}
	if (tree_warn_in_use(r, t) > 0) {
		log_warn(r->ctx, "roots", "%s is kept: processes live in it", t->directory);
		return true;
	}
	return false;
}

/* force: what was checked before goes, whoever lives in it. */
static int condemn_previous(const struct roots *r, const struct tree_scan *s, const char *label,
			    unsigned keep, bool force, struct condemned *c, struct varve_err *e)
{
	VARVE_FREE struct tree **old = calloc(s->n + 1, sizeof(*old));
	size_t n = 0;
	int x = 0;

	if (!old)
		return varve_fail_oom(e);
	for (size_t i = 0; i < s->n; i++)
		if (s->trees[i].kind == TREE_PREVIOUS && !s->trees[i].odd &&
		    !strcmp(s->trees[i].label, label))
			old[n++] = &s->trees[i];
	qsort(old, n, sizeof(*old), by_generation_down);
	for (size_t i = keep; i < n && x >= 0; i++)
		if (force || !must_stay(r, old[i]))
			x = condemn(r, old[i], c, e);
	return x;
}

int tree_prune(struct roots *r, const char *label, unsigned keep, struct varve_err *e)
{
	struct condemned c = {0};
	struct tree_scan s;
	int x, y;

	x = roots_lock(r, e);
	if (x < 0)
		return x;
	x = tree_scan(r, &s, e);
	if (x >= 0) {
		x = condemn_previous(r, &s, label, keep, false, &c, e);
		tree_scan_done(&s);
		if (x >= 0 && c.n)
			x = tree_records_update(r, NULL, e);
	}
	roots_unlock(r);
	y = delete_condemned(r, &c, x < 0 ? NULL : e);
	return x < 0 ? x : y;
}

/* --- remove --installed --- */

static int check_deletable(const struct roots *r, const struct tree *t,
			   const struct varve_switch_options *opt, struct varve_err *e)
{
	char mount[256];
	bool at;
	int n;

	/* Not even with force: what is mounted there belongs to somebody else. */
	if (tree_has_mount(r, t, &at, mount))
		return varve_fail(e, VARVE_E_BUSY,
				  "%s: something is mounted there; unmount it first", mount);
	n = tree_in_use(r, t, opt, e);
	if (n > 0 && !opt->force)
		return varve_fail(e, VARVE_E_BUSY,
				  "%s/%s: %d process%s in it; end them or use --force",
				  TEXT_SAFE(r->path), TEXT_SAFE(t->directory), n,
				  n == 1 ? " lives" : "es live");
	return n < 0 ? n : 0;
}

static int check_removable(const struct roots *r, const struct tree *t,
			   const struct varve_switch_options *opt, struct varve_err *e)
{
	if (t->kind == TREE_ACTIVE && !opt->force)
		return varve_fail(e, VARVE_E_BUSY,
				  "%s is the active tree; switch to another one first, or --force "
				  "deletes it",
				  TEXT_SAFE(t->label));
	if (t->odd)
		return varve_fail(e, VARVE_E_CONFLICT,
				  "%s/%s: is no tree but a link, a file or a mount; left alone",
				  TEXT_SAFE(r->path), TEXT_SAFE(t->directory));
	if (!opt->force && !(t->record && varve_digest_is_set(&t->record->manifest)))
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s/%s: was not installed by varve; --force deletes it all the same",
			TEXT_SAFE(r->path), TEXT_SAFE(t->directory));
	return check_deletable(r, t, opt, e);
}

/* Returns how many there are. */
static int check_previous(const struct roots *r, const struct tree_scan *s, const char *label,
			  const struct varve_switch_options *opt, struct varve_err *e)
{
	int n = 0, x = 0;

	for (size_t i = 0; i < s->n && x >= 0; i++) {
		const struct tree *t = &s->trees[i];

		if (t->kind != TREE_PREVIOUS || t->odd || strcmp(t->label, label) != 0)
			continue;
		n++;
		x = check_deletable(r, t, opt, e);
	}
	return x < 0 ? x : n;
}

static void remove_log(const struct roots *r, const char *label)
{
	char name[300];

	(void)snprintf(name, sizeof(name), ".rootfs_%s.hooks.log", label);
	(void)unlinkat(r->fd, name, 0);
}

static int fail_missing(const struct roots *r, const struct tree_scan *s, const char *label,
			bool is_there, struct varve_err *e)
{
	struct buf b;
	int x;

	if (is_there)
		return varve_fail(e, VARVE_E_NOTFOUND, "%s: has no previous generation in %s",
				  TEXT_SAFE(label), TEXT_SAFE(r->path));
	buf_init(&b, 1024);
	tree_nearest(s, label, &b);
	x = varve_fail(e, VARVE_E_NOTFOUND, "%s: no such tree in %s%s", TEXT_SAFE(label),
		       TEXT_SAFE(r->path), b.p);
	buf_done(&b);
	return x;
}

static int remove_locked(const struct roots *r, const char *label,
			 const struct varve_switch_options *opt, struct condemned *c,
			 struct varve_err *e)
{
	struct tree_scan s;
	struct tree *t;
	int x = tree_scan(r, &s, e), n;

	if (x < 0)
		return x;
	t = tree_by_label(&s, label);
	x = n = check_previous(r, &s, label, opt, e);
	if (n == 0 && (!t || opt->previous_only))
		x = fail_missing(r, &s, label, t != NULL, e);
	if (opt->previous_only)
		t = NULL;
	if (x >= 0 && t)
		x = check_removable(r, t, opt, e);
	if (x >= 0 && t)
		x = condemn(r, t, c, e);
	if (x >= 0)
		x = condemn_previous(r, &s, label, 0, true, c, e);
	if (x >= 0 && t)
		remove_log(r, label);
	if (x >= 0 && fsync(r->fd))
		x = varve_fail_errno(e, "%s: sync", TEXT_SAFE(r->path));
	if (c->n)
		(void)tree_records_update(r, NULL, x < 0 ? NULL : e);
	tree_scan_done(&s);
	return x;
}

int varve_remove_tree(struct varve_store *s, const char *label,
		      const struct varve_switch_options *opt, struct varve_err *e)
{
	struct varve_switch_options own;
	struct condemned c = {0};
	struct roots r;
	int x = OPTIONS_COPY(&own, opt, user, e), y;

	if (x < 0)
		return x;
	opt = &own;
	x = roots_open(&r, s, opt->roots, false, e);
	if (x < 0)
		return x;
	x = roots_lock(&r, e);
	if (x >= 0) {
		x = remove_locked(&r, label, opt, &c, e);
		roots_unlock(&r);
	}
	y = delete_condemned(&r, &c, x < 0 ? NULL : e);
	roots_close(&r);
	return x < 0 ? x : y;
}
