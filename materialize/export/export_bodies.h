/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of a plan's files in an order of the caller's choice, although layers can only be read
 * from front to back: what is passed on the way to a wanted body is kept in an unnamed file.
 */
#pragma once

#include "materialize/plan/plan.h"

struct bodies;

/* spool_dir: where the unnamed file is made if one is needed. The plan is borrowed. */
int bodies_new(struct bodies **ret, const struct varve_plan *plan, const char *spool_dir,
	       struct varve_err *e);
void bodies_free(struct bodies *b);
/* The stored bytes of one inode with body_len > 0, each inode once at most. */
int bodies_read(struct bodies *b, uint32_t inode,
		int (*fn)(void *user, const void *p, size_t n, struct varve_err *e), void *user,
		struct varve_err *e);
/* Verify every layer that was read (VARVE_E_DIGEST). Before the result becomes visible. */
int bodies_end(struct bodies *b, struct varve_err *e);
