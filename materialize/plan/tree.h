/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of an image in memory: tables of contents applied in order, by the rules of the
 * image-spec (layer.md). No I/O, and no path of an image ever means a path of the host. The tocs
 * must outlive the tree and what it is frozen to.
 */
#pragma once

#include "materialize/layer/toc.h"
#include "materialize/plan/plan.h"

struct tree;

/* ctx: whom to ask for a cancellation, or NULL. */
int tree_new(struct tree **ret, const struct varve_plan_options *opt, const struct varve_ctx *ctx,
	     struct varve_err *e);
void tree_free(struct tree *t);
/* Whether the layers that follow mark removals as overlayfs does: a squashfs of several layers. */
void tree_read_overlay(struct tree *t, bool yes);
/* layer: its index, base first. */
int tree_apply(struct tree *t, const struct toc *toc, uint32_t layer, struct varve_err *e);

/* What a frozen tree keeps alive besides the arrays in struct varve_plan. */
struct tree_keep {
	struct arena *arena;
	char **warnings;
	uint32_t n_warnings; /* kept texts; the summary counts all */
	uint32_t *body_inodes;
};
/*
 * Fill names, inodes, bodies and the counts of the summary; p->summary.layers (n_layers of them,
 * digests set) gets its used_* members. The tree is empty afterwards. Free with tree_thaw.
 */
int tree_freeze(struct tree *t, struct varve_plan *p, struct varve_plan_layer *layers,
		size_t n_layers, struct tree_keep *keep, struct varve_err *e);
void tree_thaw(struct varve_plan *p, struct tree_keep *keep);
