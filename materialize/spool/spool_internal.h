/* SPDX-License-Identifier: Apache-2.0 */
/* What spool.c, spool_write.c and spool_settle.c share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "materialize/layer/batch.h"
#include "materialize/layer/tee.h"
#include "materialize/spool/spool.h"
#include "materialize/spool/spool_tree.h"
#include "store/base/buf.h"

#define WRITERS_MAX 16u
#define SPOOL_SLOTS 12u /* open directories of a thread: there are 32 at most */

struct spool_layer {
	struct spool_layer *next;
	struct varve_spool *sp;
	struct varve_digest blob;
	char name[17];
	int dir;
	atomic_bool failed;
	bool done;        /* under the lock: read to its end and all written */
	unsigned pending; /* under the lock: batches that are queued or being written */
	/* of the reading thread */
	struct dir_cache dirs;
	struct arena *arena; /* of the places */
	struct spool_place *places, **places_last;
	const struct plan_body_list *bodies; /* while it is settled: what is wanted of it */
	struct buf last_dir;                 /* of the entry before, */
	uint32_t last_place;                 /* and where that is in the tree */
	struct batch *batch;
	struct body body; /* that is coming; its id is its offset in the layer, its place a
			     struct spool_place or NULL */
	uint64_t left;    /* bytes of it */
};
struct varve_spool {
	const struct varve_ctx *ctx;
	int roots, dir;
	char name[64];
	char *path;
	struct spool_tree tree;
	bool taken;   /* the tree is the caller's */
	bool settled; /* with a plan: what it has was moved */
	bool useless; /* and there is nothing for another one */
	pthread_t writers[WRITERS_MAX];
	unsigned n_writers;
	unsigned n_reading;   /* layers, under the lock */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct batch_queue queue;
	struct spool_layer *layers;
	bool stop;
	struct sync_ahead *ahead; /* NULL: nothing is synced, or install has taken it over */
	struct layer_tee tee;     /* what ops tell us */
	struct varve_layer_ops ops;
};

/* --- spool.c --- */
/* No layer is read any more: their open directories go with them. */
void spool_end_writers(struct varve_spool *sp);
void spool_forget_places(struct spool_layer *l);

/* --- spool_write.c --- */
/* A file for a body: at its place in the tree, or else by its number. -1 with errno. */
int spool_create_body(const struct spool_layer *l, struct dir_cache *dirs, const struct body *b);
/* Write a batch that was taken from the queue. The caller holds sp->lock; it is given up while
 * writing. */
void spool_write(struct varve_spool *sp, struct batch *b, struct dir_cache *dirs);
/* The thread. */
void *spool_writer(void *user);
