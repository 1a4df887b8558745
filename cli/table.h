/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of text, for people. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

struct table;

/* One word per column, NULL-terminated; a leading
 * '>' aligns to the right: {"NAME", ">SIZE", NULL}. */
struct table *table_new(const char *const *columns);
/* NULL when memory ran out: the others do nothing then, and out_finish() tells. */
/* The cells of a row from left to right. Text is made safe. NULL: "-". */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) VARVE_PRINTF(2, 3);
void table_size(struct table *t, uint64_t bytes);
void table_digest(struct table *t, const struct varve_digest *d, bool whole);
/* "3 days ago"; "-" for 0. */
void table_age(struct table *t, int64_t seconds);
/* Print (with the header) and free. */
void table_print(struct table *t);
