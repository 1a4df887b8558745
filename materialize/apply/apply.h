/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write a plan below a private directory (docs/architecture.md, "Three ideas"): dumb and fast,
 * because every hard question was answered by the plan. No path of the image is ever resolved on
 * disk: each step is one name below a directory fd that was opened without following links.
 */
#pragma once

#include "materialize/disk/dir_cache.h"
#include "materialize/layer/batch.h"
#include "materialize/plan/plan.h"
#include "materialize/spool/spool.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"

#include <pthread.h>
#include <stdatomic.h>

struct apply_options {
	/* A directory of ours, mode 0700, that nobody else can enter; empty but for the spool's
	 * tree. */
	int rootfd;
	unsigned threads;          /* at least 1; the caller's thread is one of them */
	bool chown;                /* set owners */
	struct sync_ahead *ahead;  /* is told what was written; may be NULL */
	struct varve_spool *spool; /* bodies that are written already; may be NULL */
	/* Each thing that could not be kept; one call at a time. May be NULL. */
	void (*loss)(void *user, const char *path, const char *what);
	void *user;
};

/*
 * Write everything but the mode of the root itself (it stays 0700; apply_finish_root). The layers
 * that were read have been verified when this returns 0. VARVE_E_DIGEST: one has rotted; what was
 * written must go.
 */
int apply_plan(const struct varve_plan *p, const struct apply_options *o, struct varve_losses *ret,
	       struct varve_err *e);
/* Owner, mode, xattrs and time of the root. Last, after whatever else was changed in the tree. */
int apply_finish_root(const struct varve_plan *p, const struct apply_options *o,
		      struct varve_losses *ret, struct varve_err *e);

/* --- between apply.c, apply_write.c and meta.c --- */
enum apply_loss {
	APPLY_LOSS_OWNER,
	APPLY_LOSS_DEVICE,
	APPLY_LOSS_XATTR,
	APPLY_LOSS_OTHER,
	APPLY_LOSS_KINDS,
};
/* What all threads share. */
struct apply_shared {
	const struct varve_plan *plan;
	const struct apply_options *opt;
	const struct varve_ctx *ctx;
	struct dir_names dirs;      /* those of the plan, for caches */
	struct spool_placed placed; /* what is there before anything is written */
	uid_t uid;                  /* what a new file gets */
	gid_t gid;
	mode_t umask; /* bits that a new file's mode loses */
	bool root;    /* effective uid 0 */
	atomic_uint_fast64_t losses[APPLY_LOSS_KINDS];
	pthread_mutex_t store; /* its handle is one thread's at a time; and of these: */
	uint32_t judged;       /* the layer that could not be read, + 1 */
	int verdict;           /* of layer_verify() about it */
	struct varve_err why;
	atomic_bool warned_xattr, warned_owner;
	pthread_mutex_t big_lock;
	struct body_file *bigs; /* all of them, open or not */
};
void apply_shared_init(struct apply_shared *a, const struct varve_plan *p,
		       const struct apply_options *o);
void apply_shared_done(struct apply_shared *a);
/* Find out uid, gid and umask from the directory
 * and a probe in it, and free it of inherited ACLs. */
int apply_probe(struct apply_shared *a, struct varve_err *e);
void apply_lose(struct apply_shared *a, uint32_t name, enum apply_loss kind, const char *what);
/* The path of a name for messages, escaped; out is returned. */
const char *apply_path(const struct apply_shared *a, uint32_t name, char out[512]);
#define APPLY_PATH(a, name) apply_path((a), (name), (char[512]){0})

/* What a thread works with. */
struct apply_worker {
	struct apply_shared *a;
	struct dir_cache dirs; /* by plan name */
	uint64_t written;      /* body bytes since the last report */
	uint64_t dirty;        /* what they and their metadata take on the disk */
};

/* NULL without memory; apply_shared_done frees it. */
struct body_file *apply_big_new(struct apply_shared *a, uint64_t body_len);

/* mkdir of every directory, parents first. */
int apply_directories(struct apply_worker *w, struct varve_err *e);
/* Metadata of every directory but the root, children first. */
int apply_directory_metadata(struct apply_worker *w, struct varve_err *e);
/* A regular file with its whole stored body. */
int apply_file(struct apply_worker *w, uint32_t inode, const void *body, struct varve_err *e);
/* A regular file whose body lies, whole and with its time, in its place or in a directory of the
 * spool. */
int apply_spooled(struct apply_worker *w, uint32_t inode, int from, struct varve_err *e);
/* A piece of the stored body of a file that is in several batches; the last one to come finishes
 * and closes the file. */
int apply_big_piece(struct apply_worker *w, const struct batch_piece *piece, const void *p,
		    struct varve_err *e);
/* Whatever is no directory and has no body: symlinks, devices, FIFOs, empty files. */
int apply_plain(struct apply_worker *w, uint32_t inode, struct varve_err *e);

static inline const struct plan_name *apply_name(const struct apply_shared *a, uint32_t name)
{
	return &a->plan->names[name];
}

static inline const struct plan_inode *apply_inode(const struct apply_shared *a, uint32_t inode)
{
	return &a->plan->inodes[inode];
}
