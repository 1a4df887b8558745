/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A roots dir and the trees in it. Names in it (docs/store-format.md):
 *   rootfs                            the active tree
 *   rootfs_<label>                    another tree
 *   .rootfs_<label>.new.<rand>        being built; its builder holds a flock on it
 *   .rootfs_<label>.old.<generation>  previous generation
 *   .rootfs_<label>.del.<rand>        being deleted; the deleter holds a flock on it
 *   .rootfs_<label>.<id>.varve.json   what the tree with the inode number in it was made from
 *   .rootfs_<label>.hooks.log         what the hooks of its last install wrote
 *   .rootfs_<label>.lock              held by an install of the label; gone otherwise
 * Which record belongs to which tree is decided by inode number, never by name alone.
 */
#pragma once

#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "varve-materialize.h"

#define TREE_ACTIVE_NAME "rootfs"
#define TREE_LABEL_MAX   200u /* leaves room in NAME_MAX for what surrounds it */

/* --- the directory (roots.c; roots_lock: trees_begin.c) --- */
struct roots {
	int fd;
	char *path; /* absolute, without symlinks */
	struct varve_store *store;
	const struct varve_ctx *ctx;
	bool writable;
	bool shared;     /* others may put trees into it */
	bool journalled; /* the store can be written: trees may be exchanged and recorded */
};
/* create: make it (0700) if it is missing. VARVE_E_NOTFOUND, VARVE_E_UNSAFE (anybody may rename in
 * it). */
int roots_open(struct roots *r, struct varve_store *s, const char *path, bool create,
	       struct varve_err *e);
void roots_close(struct roots *r); /* ends the lock too */
/* Only the lock: enough to give a new tree its name, which is one rename and needs no journal. */
int roots_lock_new(struct roots *r, struct varve_err *e);
/* One renamer at a time; waits. Then finishes or undoes what a dead one left. */
int roots_lock(struct roots *r, struct varve_err *e);
void roots_unlock(struct roots *r);
/* flock on fd with waiting that can be cancelled; what: for the message. */
int roots_wait_flock(const struct roots *r, int fd, const char *what, struct varve_err *e);

/* --- what is in it (trees.c) --- */
enum tree_kind { TREE_ACTIVE, TREE_NAMED, TREE_PREVIOUS, TREE_STAGING, TREE_DELETED };
struct tree {
	enum tree_kind kind;
	char *directory;
	char label[256]; /* "": not known */
	uint64_t generation;
	uint64_t ino;
	int64_t born; /* 0: not known */
	bool odd;     /* no directory (a symlink, a file), or a mount point */
	bool hidden;  /* odd, and there may be a tree below it */
	bool foreign; /* somebody else put it into a directory where all may */
	uid_t owner;
	const struct varve_install_record *record; /* NULL: not made by us, or its record is lost */
};
struct tree_scan {
	struct tree *trees; /* sorted by directory name */
	size_t n;
	struct varve_install_list records; /* of this roots dir */
	struct varve_install_list
		sidecars; /* records read from sidecars, where the store had none */
};
int tree_scan(const struct roots *r, struct tree_scan *ret, struct varve_err *e);
void tree_scan_done(struct tree_scan *s);
/* trees_begin.c. How a change of what is there begins: open, lock, look. After an error nothing is
 * open. */
int tree_scan_open(struct roots *r, struct tree_scan *ret, struct varve_store *s, const char *path,
		   struct varve_err *e);
void tree_scan_close(struct roots *r, struct tree_scan *s);
struct tree *tree_by_directory(const struct tree_scan *s, const char *directory);
/* Active or named, never a previous generation. */
struct tree *tree_by_label(const struct tree_scan *s, const char *label);
struct tree *tree_by_inode(const struct tree_scan *s, uint64_t ino);
struct tree *tree_active(const struct tree_scan *s);
/* "; nearest: a, b" or "; installed: ..." for a message. */
void tree_nearest(const struct tree_scan *s, const char *label, struct buf *out);
uint64_t tree_next_generation(const struct tree_scan *s, const char *label);

/* --- records (trees_records.c) --- */
/* Only the file beside it knows what it was made from: the store lost its record. */
bool tree_is_remembered(const struct tree_scan *s, const struct tree *t);
/* Bring the records in line with what is on disk; del: further ids to delete, NULL-terminated, or
 * NULL. */
int tree_records_update(const struct roots *r, const char *const *del, struct varve_err *e);

/* --- labels (trees_label.c) --- */
/* A label that we give to a tree: VARVE_E_USAGE with the reason otherwise. */
int label_check(const char *label, struct varve_err *e);
/* Parse a directory name. False: not one of ours. */
bool label_from_directory(const char *directory, enum tree_kind *ret_kind, char label[256],
			  uint64_t *ret_generation);
/* From the content of a tree: .switch_label, else os-release; "" if neither
 * (docs/from-wsl-distribution-switcher.md, "Names and labels"). */
void label_from_tree(int rootfd, char label[256]);

/* --- sidecars (trees_sidecar.c) --- */
int sidecar_write(const struct roots *r, const struct varve_install_record *in,
		  struct varve_err *e);
/* Missing is fine. */
void sidecar_remove(const struct roots *r, const char *label, const char *id);
/* All that can be read; damaged ones are skipped. Free with sidecar_list_free. */
int sidecar_list(const struct roots *r, struct varve_install_list *ret, struct varve_err *e);
void sidecar_list_free(struct varve_install_list *l);
/* remove.c. Remove those whose tree is gone. */
void sidecar_sweep(const struct roots *r, const struct tree_scan *s);

/* --- who uses a tree (trees_use.c) --- */
/* Calls back for each process with its root, cwd or exe in the tree. Returns how many, or <0. */
int tree_in_use(const struct roots *r, const struct tree *t, const struct varve_switch_options *opt,
		struct varve_err *e);
/* The same, each told as a warning: for what is done all the same. */
int tree_warn_in_use(const struct roots *r, const struct tree *t);
/* True if something is mounted at (*ret_at) or below the tree; mount gets an escaped path. */
bool tree_has_mount(const struct roots *r, const struct tree *t, bool *ret_at, char mount[256]);
/* True if the store lies in the tree: moving the tree would take it away. */
bool tree_holds_store(const struct roots *r, const struct tree *t);

/* --- changing which tree has a name (switch_swap.c) --- */
struct swap {
	const char *slot;          /* the name that gets another tree */
	const char *src;           /* where that tree is now */
	const char *out;           /* where the old tree of slot goes; unused if there is none */
	uint64_t new_ino, old_ino; /* old 0: nothing is at slot */
	/* What rollback needs; undo_op NULL: leave the last one. */
	const char *undo_op; /* "switch" or "install" */
	const char *undo_label;
	uint64_t undo_ino; /* the tree that comes back */
};
/* Under the lock. Durable on return; the records follow. */
int swap_run(const struct roots *r, const struct swap *s, struct varve_err *e);
/* Under the lock: decide by inode numbers what a dead swap left. */
int swap_recover(const struct roots *r, struct varve_err *e);
/* True if there is a journal. */
int swap_pending(const struct roots *r, struct varve_err *e);
struct swap_undo {
	char op[16];
	char label[256];
	uint64_t ino;
};
/* 1 found, 0 none. */
int swap_get_undo(const struct roots *r, struct swap_undo *ret, struct varve_err *e);

/* --- removing (remove.c) --- */
/* Under the lock: rename out of sight. Then, without it, tree_delete(). */
int tree_condemn(const struct roots *r, const struct tree *t, char ret_name[256],
		 struct varve_err *e);
int tree_delete(const struct roots *r, const char *name, struct varve_err *e);
/* Delete what dead installs and removes left. Best effort. */
void tree_sweep(const struct roots *r);
/* Keep the newest n previous generations of a label; takes the lock itself. */
int tree_prune(struct roots *r, const char *label, unsigned keep, struct varve_err *e);
