/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Give a name ("rootfs", "rootfs_X") another tree: the one primitive of switch, replacing install
 * and rollback (docs/store-format.md).
 *
 *   1. journal: slot, src, out and both inode numbers (durable)
 *   2. EXCHANGE(slot, src): at no instant is there nothing at slot
 *   3. rename(src -> out): the tree that came out gets its own name
 *   4. fsync of the roots dir; records; journal gone
 *
 * Killed anywhere, the inode numbers at the three names tell how far it got. Where the file system
 * has no EXCHANGE, 2 and 3 are rename(slot -> out), rename(src -> slot): recovery fills the gap
 * between them.
 */
#include "materialize/trees/trees.h"
#include "store/state.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/json.h"
#include "store/catalog.h"

#define STATE_MAX (64u << 10)

/* --- journal and undo, in the store's index --- */

static char *state_key(const struct roots *r, const char *kind)
{
	char *key;

	return asprintf(&key, "%s:%s", kind, r->path) < 0 ? NULL : key;
}

static int put_state(const struct roots *r, const char *kind, const struct buf *b,
		     struct varve_err *e)
{
	VARVE_FREE char *key = state_key(r, kind);

	if (!key || (b && buf_error(b)))
		return varve_fail_oom(e);
	return catalog_put_state(r->store, key, b ? b->p : NULL, b ? b->n : 0, e);
}

/* 1 found and parsed, 0 none. */
static int get_state(const struct roots *r, const char *kind, json **ret, struct varve_err *e)
{
	VARVE_FREE char *key = state_key(r, kind);
	struct buf b;
	int x;

	if (!key)
		return varve_fail_oom(e);
	buf_init(&b, STATE_MAX);
	x = catalog_get_state(r->store, key, &b, e);
	if (x > 0) {
		x = json_parse(ret, b.p, b.n, STATE_MAX, e);
		x = x < 0 ? varve_wrap(e, x, "%s of %s in the store", kind, TEXT_SAFE(r->path)) : 1;
	}
	buf_done(&b);
	return x;
}

/* Inode numbers as text: they may not fit the 53 bits of a JSON number. */
static void put_inode(struct jsonw *w, const char *key, uint64_t ino)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)ino);
	jsonw_str(w, key, number);
}

static uint64_t get_inode(const json *j, const char *key)
{
	const char *text = json_str(json_get(j, key));
	uint64_t ino = 0;

	return text && span_u64(span_str(text), UINT64_MAX, &ino) ? ino : 0;
}

static int put_undo(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	struct jsonw w;
	struct buf b;
	int x;

	if (!s->undo_op)
		return 0;
	buf_init(&b, STATE_MAX);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	jsonw_str(&w, "op", s->undo_op);
	jsonw_str(&w, "label", s->undo_label);
	put_inode(&w, "inode", s->undo_ino);
	jsonw_end_object(&w);
	x = put_state(r, "undo", &b, e);
	buf_done(&b);
	return x;
}

int swap_get_undo(const struct roots *r, struct swap_undo *ret, struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	const char *op, *label;
	int x = get_state(r, "undo", &j, e);

	if (x <= 0)
		return x;
	op = json_str(json_get(j, "op"));
	label = json_str(json_get(j, "label"));
	if (!op || !label)
		return 0;
	(void)snprintf(ret->op, sizeof(ret->op), "%s", op);
	(void)snprintf(ret->label, sizeof(ret->label), "%s", label);
	ret->ino = get_inode(j, "inode");
	return ret->ino != 0;
}

static int put_journal(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	struct jsonw w;
	struct buf b;
	int x;

	buf_init(&b, STATE_MAX);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	jsonw_str(&w, "slot", s->slot);
	jsonw_str(&w, "src", s->src);
	jsonw_str(&w, "out", s->out);
	put_inode(&w, "new", s->new_ino);
	put_inode(&w, "old", s->old_ino);
	jsonw_str(&w, "undo_op", s->undo_op);
	jsonw_str(&w, "undo_label", s->undo_label);
	put_inode(&w, "undo_inode", s->undo_ino);
	jsonw_end_object(&w);
	x = put_state(r, "journal", &b, e);
	buf_done(&b);
	return x;
}

int swap_pending(const struct roots *r, struct varve_err *e)
{
	JSON_FREE json *j = NULL;

	return get_state(r, "journal", &j, e);
}

/* --- renames --- */

static uint64_t inode_at(const struct roots *r, const char *name)
{
	struct stat st;

	return name && !fstatat(r->fd, name, &st, AT_SYMLINK_NOFOLLOW) ? st.st_ino : 0;
}

/* Never onto something. Where the kernel cannot promise that (EINVAL), the lock that we hold must
 * do. */
static int rename_new(const struct roots *r, const char *from, const char *to)
{
	if (!fsx_rename_noreplace(r->fd, from, r->fd, to))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (inode_at(r, to)) {
		errno = EEXIST;
		return -1;
	}
	return renameat(r->fd, from, r->fd, to);
}

static int fail_rename(const struct roots *r, const char *from, const char *to, struct varve_err *e)
{
	if (errno == EXDEV)
		return varve_fail(e, EXDEV,
				  "%s/%s: this file system cannot rename the directory (an overlay "
				  "mount renames only what was made in its upper layer); choose "
				  "another place with --roots",
				  TEXT_SAFE(r->path), TEXT_SAFE(from));
	if (errno == EBUSY)
		return varve_fail(e, VARVE_E_BUSY, "%s/%s: something is mounted on it; unmount it",
				  TEXT_SAFE(r->path), TEXT_SAFE(from));
	return varve_fail_errno(e, "rename %s/%s to %s", TEXT_SAFE(r->path), TEXT_SAFE(from),
				TEXT_SAFE(to));
}

static int swap_by_two_renames(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	int saved;

	if (!strcmp(s->src, s->out))
		return varve_fail(e, VARVE_E_UNSUPPORTED, "%s: the file system cannot exchange",
				  TEXT_SAFE(r->path));
	if (rename_new(r, s->slot, s->out))
		return fail_rename(r, s->slot, s->out, e);
	if (!rename_new(r, s->src, s->slot))
		return 0;
	saved = errno;
	(void)rename_new(r, s->out, s->slot);
	errno = saved;
	return fail_rename(r, s->src, s->slot, e);
}

static int do_renames(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	if (!s->old_ino)
		return rename_new(r, s->src, s->slot) ? fail_rename(r, s->src, s->slot, e) : 0;
	if (fsx_rename_exchange(r->fd, s->slot, r->fd, s->src)) {
		if (errno != EINVAL && errno != ENOSYS && errno != EXDEV)
			return fail_rename(r, s->slot, s->src, e);
		log_debug(r->ctx, "switch", "%s: no exchange here (%s), renaming twice", r->path,
			  strerror(errno));
		return swap_by_two_renames(r, s, e);
	}
	if (!strcmp(s->src, s->out))
		return 0;
	return rename_new(r, s->src, s->out) ? fail_rename(r, s->src, s->out, e) : 0;
}

/* --- the whole --- */

/* The renames are done: make them last, then bring the records after them. */
static int finish(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	int x;

	if (fsync(r->fd))
		return varve_fail_errno(e, "%s: sync", TEXT_SAFE(r->path));
	x = put_undo(r, s, e);
	if (x >= 0)
		x = tree_records_update(r, NULL, e);
	if (x >= 0)
		x = put_state(r, "journal", NULL, e);
	return x;
}

int swap_run(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	int x;

	if (inode_at(r, s->src) != s->new_ino || inode_at(r, s->slot) != s->old_ino ||
	    (s->old_ino && strcmp(s->src, s->out) != 0 && inode_at(r, s->out)))
		return varve_fail(
			e, VARVE_E_CONFLICT,
			"%s: somebody else changes trees here; nothing was moved, try again",
			TEXT_SAFE(r->path));
	x = put_journal(r, s, e);
	if (x < 0)
		return x;
	x = do_renames(r, s, e);
	if (x < 0) {
		/* Half done or not at all: recovery finds
		 * out, and the first error is what counts. */
		(void)swap_recover(r, NULL);
		return x;
	}
	return finish(r, s, e);
}

/* What the inode numbers say about a swap that was cut. */
static int recover(const struct roots *r, const struct swap *s, struct varve_err *e)
{
	uint64_t slot = inode_at(r, s->slot), src = inode_at(r, s->src);
	uint64_t out = inode_at(r, s->out);

	if (slot == s->new_ino) {
		/* The new tree is in place. The old one may still have the name in between. */
		if (s->old_ino && src == s->old_ino && strcmp(s->src, s->out) != 0 &&
		    rename_new(r, s->src, s->out))
			return fail_rename(r, s->src, s->out, e);
		return finish(r, s, e);
	}
	if (!slot && s->old_ino && out == s->old_ino) {
		/* Between two renames: forward if the new tree is there, else back. */
		if (src == s->new_ino) {
			if (rename_new(r, s->src, s->slot))
				return fail_rename(r, s->src, s->slot, e);
			return finish(r, s, e);
		}
		if (rename_new(r, s->out, s->slot))
			return fail_rename(r, s->out, s->slot, e);
	} else if (slot != s->old_ino) {
		log_warn(r->ctx, "switch",
			 "%s/%s: is neither the old nor the new tree of a switch that was cut; "
			 "left alone",
			 TEXT_SAFE(r->path), TEXT_SAFE(s->slot));
	}
	if (fsync(r->fd))
		return varve_fail_errno(e, "%s: sync", TEXT_SAFE(r->path));
	return put_state(r, "journal", NULL, e);
}

int swap_recover(const struct roots *r, struct varve_err *e)
{
	JSON_FREE json *j = NULL;
	struct swap s;
	int x = get_state(r, "journal", &j, e);

	if (x <= 0)
		return x;
	s = (struct swap){
		.slot = json_str(json_get(j, "slot")),
		.src = json_str(json_get(j, "src")),
		.out = json_str(json_get(j, "out")),
		.new_ino = get_inode(j, "new"),
		.old_ino = get_inode(j, "old"),
		.undo_op = json_str(json_get(j, "undo_op")),
		.undo_label = json_str(json_get(j, "undo_label")),
		.undo_ino = get_inode(j, "undo_inode"),
	};
	if (!s.slot || !s.src || !s.out || !s.new_ino || strchr(s.slot, '/') ||
	    strchr(s.src, '/') || strchr(s.out, '/'))
		return varve_fail(e, VARVE_E_CORRUPT, "journal of %s in the store: damaged",
				  TEXT_SAFE(r->path));
	x = recover(r, &s, e);
	return x < 0 ? varve_wrap(e, x, "finish what a switch of %s left", TEXT_SAFE(r->path)) : 0;
}
