/* SPDX-License-Identifier: Apache-2.0 */
/* Extended headers of a tar: pax records and GNU names. */
#pragma once

#include "varve-base.h"

struct tar_meta;

void tar_meta_reset(struct tar_meta *m);
void tar_meta_done(struct tar_meta *m);
/* Decode the records of one pax extended header; text stays with the caller and must outlive m's
 * use. */
int tar_meta_pax(struct tar_meta *m, char *text, size_t n, struct varve_err *e);
int tar_meta_extent(struct tar_meta *m, uint64_t off, uint64_t n, struct varve_err *e);
/* Sorted, without overlap, inside size; empty ones are dropped. *ret_sum: bytes stored. */
int tar_meta_check_extents(struct tar_meta *m, uint64_t size, uint64_t *ret_sum,
			   struct varve_err *e);
