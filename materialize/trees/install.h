/* SPDX-License-Identifier: Apache-2.0 */
/* Between install.c (the order of an install) and install_stage.c (its private directory). */
#pragma once

#include "materialize/trees/trees.h"

struct stage {
	char name[256]; /* below the roots dir */
	int fd;         /* holds the flock that says "somebody is at it" */
	uint64_t ino;
};
/* One install of a label at a time; waits. *ret_fd ends it: stage_unlock_label. */
int stage_lock_label(const struct roots *r, const char *label, int *ret_fd, struct varve_err *e);
void stage_unlock_label(const struct roots *r, const char *label, int fd);
/* VARVE_E_NOSPACE says what is needed and what is there. */
int stage_check_space(const struct roots *r, const struct varve_plan *p, struct varve_spool *sp,
		      struct varve_err *e);
/* sp: what it has already becomes the stage. */
int stage_begin(const struct roots *r, const char *label, struct varve_spool *sp, struct stage *ret,
		struct varve_err *e);
/* Delete it unless it has become a tree. Never changes an error that is being reported. */
void stage_abort(const struct roots *r, struct stage *s);
