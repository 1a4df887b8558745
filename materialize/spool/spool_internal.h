/* SPDX-License-Identifier: Apache-2.0 */
/* What spool.c, spool_write.c and spool_settle.c share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "materialize/layer/tee.h"
#include "materialize/spool/spool.h"
#include "materialize/spool/spool_tree.h"
#include "store/base/buf.h"

#define BATCH_BYTES (1u << 20)
#define WRITERS_MAX 16u
#define SPOOL_SLOTS 12u /* open directories of a thread: there are 32 at most */

/* A body that is in more than one batch. */
struct big {
	int fd;
	atomic_uint_fast64_t remaining;
};
struct piece {
	uint64_t body_off;         /* names the file */
	struct spool_place *place; /* in the tree; NULL: it has none there */
	uint64_t off;              /* in the body */
	int64_t mtime;
	uint32_t mtime_ns, mode;
	uint32_t pos, n; /* in the batch's bytes */
	struct big *big; /* NULL: the whole body is here */
};
struct batch {
	struct batch *next;
	struct spool_layer *layer;
	struct piece *pieces;
	size_t n_pieces, cap;
	uint32_t used;
	unsigned char *bytes;
};
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
	struct piece file; /* the body that is coming */
	uint64_t left;     /* bytes of it */
	struct big *big;
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
	unsigned n_writers, n_batches;
	unsigned n_reading;   /* layers, under the lock */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct batch *queue_first, **queue_last, *free_batches;
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
int spool_create_body(const struct spool_layer *l, struct dir_cache *dirs, const struct piece *p);
/* Write what waits first. Holds sp->lock, gives it up while writing. */
void spool_write_first(struct varve_spool *sp, struct dir_cache *dirs);
/* The thread. */
void *spool_writer(void *user);
