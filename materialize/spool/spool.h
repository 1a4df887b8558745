/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File bodies of layers that are still being downloaded, each in a file of its own, so that a cold
 * install inflates every layer once (docs/performance.md): in the future tree, where its layer
 * names it, or beside it by a number if something else is there. The plan then moves what it wants
 * elsewhere.
 */
#pragma once

#include "materialize/plan/plan.h"
#include "materialize/tar/tar.h"
#include "varve-materialize.h"

/*
 * One layer of a spool, fed by the thread that reads it. A body that cannot be spooled (sparse
 * files, a full disk) is no failure: the layer, or that body, is then inflated from the store.
 */
struct spool_layer;
/* NULL: this layer is not spooled; the calls below accept that. */
struct spool_layer *spool_layer_new(struct varve_spool *sp, const struct varve_digest *blob);
void spool_layer_entry(struct spool_layer *l, const struct tar_entry *t);
void spool_layer_body(struct spool_layer *l, const void *p, size_t n);
/* Waits for the writers. ok: the layer was read to its end; otherwise what it left counts as
 * absent. */
void spool_layer_end(struct spool_layer *l, bool ok);

/*
 * The tree with what lies in its place already becomes roots/name, an empty directory. Its fd,
 * locked; -1: there is none, and then nothing of the spool can be used.
 */
int spool_take_tree(struct varve_spool *sp, int roots, const char *name);
/* What of a plan is there already. */
struct spool_placed {
	uint64_t *inodes; /* bits: bodies that lie in their place */
	uint64_t *dirs;   /* bits by name: directories that are made, with SPOOL_DIR_MODE */
};
#define SPOOL_DIR_MODE 0755u /* less the umask */
void spool_placed_done(struct spool_placed *p);
static inline bool spool_is_placed(const uint64_t *bits, uint32_t i)
{
	return bits && (bits[i / 64] >> (i % 64) & 1);
}
/*
 * Once, before a plan is written: what lies where the plan has it is told, other bodies of the plan
 * go to the directory of their layer, and the rest goes. sp may be NULL.
 */
int spool_settle(struct varve_spool *sp, const struct varve_plan *p, struct spool_placed *ret,
		 struct varve_err *e);

/*
 * The directory with the bodies of the index-th layer of a plan, borrowed; -1: not spooled. A body
 * is there once and can be moved once: of several layers with one digest only the first has it.
 */
int spool_layer_dir(struct varve_spool *sp, const struct varve_plan *p, size_t index);
/* Its directory, for a cage; NULL without a spool. */
const char *spool_path(const struct varve_spool *sp);
/* The thread that writes out what is spooled; it is the caller's from here on. May be NULL. */
struct sync_ahead *spool_take_sync(struct varve_spool *sp);
/* Would this body be there? */
bool spool_has(const struct plan_inode *in);
/* What is spooled has its place on the disk already: take it from what the plan needs. */
void spool_reduce_need(struct varve_spool *sp, const struct varve_plan *p,
		       struct varve_plan_summary *need);
/* The name of the body that begins at body_off of the uncompressed layer. */
void spool_body_name(uint64_t body_off, char name[20]);
