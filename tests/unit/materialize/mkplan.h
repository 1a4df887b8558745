/* SPDX-License-Identifier: Apache-2.0 */
/* A plan made by hand, and a layer stream that gives the bytes of a hand-made layer: the writer
 * without a store. */
#pragma once

#include "materialize/plan/plan.h"

#define MK_LAYERS 4
#define MK_NAMES  20000

struct mk {
	struct varve_plan plan;
	struct plan_name names[MK_NAMES];
	struct plan_inode inodes[MK_NAMES];
	struct plan_body_list bodies[MK_LAYERS];
	struct varve_plan_layer layers[MK_LAYERS];
	uint32_t body_inodes[MK_LAYERS][MK_NAMES];
};
/* How the fake stream of layer i behaves. */
struct mk_layer {
	struct buf bytes;
	size_t window;   /* at most so many bytes at once; 0: as asked */
	bool rotten;     /* layer_stream_end fails */
	bool points;     /* it can be read from anywhere */
	unsigned opened; /* times */
	unsigned ended;
	unsigned parts; /* times opened not from its start; their end is not counted */
};
extern struct mk_layer mk_layers[MK_LAYERS];

struct mk *mk_new(void);
void mk_free(struct mk *m);
/* All return the index of the name. */
uint32_t mk_dir(struct mk *m, uint32_t parent, const char *name, uint32_t mode);
uint32_t mk_file(struct mk *m, uint32_t parent, const char *name, uint32_t mode, uint32_t layer,
		 const void *body, size_t n);
uint32_t mk_symlink(struct mk *m, uint32_t parent, const char *name, const char *target);
uint32_t mk_node(struct mk *m, uint32_t parent, const char *name, uint32_t mode,
		 uint32_t rdev_major, uint32_t rdev_minor);
uint32_t mk_link(struct mk *m, uint32_t parent, const char *name, uint32_t to);
struct plan_inode *mk_inode(struct mk *m, uint32_t name);
/* Bytes of the layer that no file needs. */
void mk_gap(uint32_t layer, size_t n);
