/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree that is to come, begun before it is planned: a body goes to the place that its layer
 * names, if nothing is there, so that most need not be moved when the plan is known. It holds
 * directories and regular files of ours, nothing else: no link of an image is ever in it.
 */
#pragma once

#include "materialize/disk/dir_cache.h"
#include "materialize/plan/tree_internal.h"
#include "store/base/buf.h"
#include "store/base/siphash.h"

#include <pthread.h>

#define SPOOL_NOWHERE UINT32_MAX

struct spool_dir {
	const char *name;
	uint32_t parent, hash, next; /* in its chain of the table */
	bool ours;                   /* false: something else has the name */
};
struct spool_tree {
	pthread_mutex_t lock; /* of what follows, while layers are read */
	struct spool_dir **chunks;
	uint32_t n, n_ours, *table, table_n;
	struct siphash_key secret; /* of the hash */
	size_t places;             /* bytes that they take, all layers together */
	struct arena *names;
	struct dir_names dirs; /* for caches; root -1: there is no tree */
};
/* Makes it: the directory `name` in dir, locked. No tree, and no error, where the umask takes our
 * own bits. */
int spool_tree_init(struct spool_tree *t, int dir, const char *name, struct varve_err *e);
void spool_tree_done(struct spool_tree *t);

/*
 * The directory of that path, made if need be; SPOOL_NOWHERE: there is none here, as the path is no
 * plain one, or something else has the name. cache: the caller's.
 */
uint32_t spool_tree_directory(struct spool_tree *t, struct dir_cache *cache, struct span path);
/* May a file of that name be put into one? */
bool spool_tree_takes(struct span name);
/* Is there memory left for n bytes of a place? Files beyond have none. */
bool spool_tree_remembers(struct spool_tree *t, size_t n);
/* SPOOL_NOWHERE: not here. Holds the lock, or nobody reads a layer any more; so does the next. */
uint32_t spool_tree_find(const struct spool_tree *t, uint32_t parent, struct span name);
struct spool_dir *spool_dir_at(const struct spool_tree *t, uint32_t id);

/* Where a body went. Of one layer, in the order of the stream. */
struct spool_place {
	struct spool_place *next;
	uint64_t body_off;
	uint32_t dir;
	bool lies; /* it is there; of the thread that writes it, until the layer is done */
	char name[];
};
