/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers and plans in memory, for tests. A layer is written as lines:
 *
 *   d PATH            directory          h PATH TARGET     hard link
 *   f PATH [CONTENT]  regular file       c PATH MAJ:MIN    character device
 *   s PATH TARGET     symlink            p PATH            FIFO
 *
 * each with attributes behind it: m=OCTAL u=UID:GID t=SECONDS x=NAME:VALUE (a pax xattr). Defaults:
 * 0755 for directories, 0644 otherwise, 0:0, t=1000. ';' ends a line too. PATH may hold %XX.
 */
#pragma once

#include "materialize/plan/plan.h"
#include "materialize/plan/tree.h"

#define IMAGE_LAYERS_MAX 8

struct image {
	struct buf tar[IMAGE_LAYERS_MAX]; /* uncompressed layers */
	struct toc *toc[IMAGE_LAYERS_MAX];
	void *toc_bytes[IMAGE_LAYERS_MAX];
	struct varve_plan_layer layers[IMAGE_LAYERS_MAX];
	size_t n;
	struct varve_plan plan;
	struct tree_keep keep;
	bool planned;
};
void image_init(struct image *m);
void image_done(struct image *m);
/* Append a layer from its text, with two end blocks. */
void image_layer(struct image *m, const char *text);
/* Append a layer of raw tar bytes. */
void image_layer_raw(struct image *m, const void *p, size_t n);
/* Tar bytes of a text, without end blocks. */
void image_tar(struct buf *b, const char *text);
/* One header block with a right checksum; the fields may be patched before image_checksum() is
 * called again. */
uint8_t *image_header(struct buf *b, char type, const char *path, uint64_t size);
void image_checksum(uint8_t *block);
void image_body(struct buf *b, const void *p, size_t n);
/* One record of a pax extended header; and the header of all of them, which ends rec. */
void image_record(struct buf *rec, const char *key, const void *value, size_t n);
void image_records(struct buf *b, struct buf *rec);
/* A pax extended header with one record. */
void image_pax(struct buf *b, const char *key, const void *value, size_t n);

/* Tocs, tree and plan. <0: the error of the first that failed. */
int image_plan(struct image *m, const struct varve_plan_options *opt, struct varve_err *e);
/* Plan it, and write the tree as lines like above (sorted, "h" for further names, without "."), or
 * "error SLUG". */
void image_dump(struct image *m, const struct varve_plan_options *opt, bool attributes,
		struct buf *out);
