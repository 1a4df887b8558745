/* SPDX-License-Identifier: Apache-2.0 */
/* What gc keeps and why: roots, marks, and the names that a budget drops. Decides only; nothing is
 * changed. */
#pragma once

#include "store/base/arena.h"
#include "store/graph.h"

struct gc_root {
	const char *kind; /* "tag", "pin", "rootfs", "in use", "index.json" */
	const char *name; /* may be NULL */
};
struct gc_state {
	struct varve_store *store;
	const struct varve_gc_options *opt;
	struct graph g;
	struct gc_root *roots;
	size_t n_roots, cap_roots;
	struct arena *names;
	uint32_t *image_mark; /* root + 1 */
	bool *image_hard;     /* kept by something that no budget drops */
	bool *young;          /* per blob: younger than the grace; NULL without one */
	const char **drop;    /* per tag: why its name goes; NULL: it stays */
	struct varve_install_list installs;
	bool *install_gone; /* its tree was deleted, its roots directory is there */
	bool drop_derived, drop_partials;
	bool foreign_unknown; /* index.json cannot be read: it may name anything */
	uint64_t kept_bytes;  /* present blobs that are marked */
	uint64_t freed_bytes; /* present blobs that are not */
	uint64_t other_freed; /* set by the caller before gc_decide(): files that go anyway */
	uint64_t derived_bytes;
	uint64_t partial_bytes; /* of partials that only a budget takes; set like other_freed */
	bool budget_met;
};

/* Load everything. */
int gc_begin(struct gc_state *st, struct varve_store *s, const struct varve_gc_options *opt,
	     struct varve_err *e);
/* Mark from all roots and meet the budget. Again under the lock: leases and entries of other tools
 * are read anew. */
int gc_decide(struct gc_state *st, struct varve_err *e);
void gc_end(struct gc_state *st);
bool gc_has_budget(const struct varve_gc_options *opt);
/* "tag debian:sid" into buf. mark is that of a blob or an image. */
const char *gc_reason(const struct gc_state *st, uint32_t mark, char *buf, size_t size);
