/* SPDX-License-Identifier: Apache-2.0 */
/* Results: everything that goes to stdout, with one check of every write. */
#pragma once

#include "varve-base.h"

#include "varve-text.h"

/* Buffered; the first failure is kept and later calls do nothing. */
void out_write(const void *p, size_t n);
void out_printf(const char *fmt, ...) VARVE_PRINTF(1, 2);
/* What was to be written cannot be made: as a failed write. */
void out_no_memory(void);
/* Untrusted text, safe on a terminal. */
void out_safe(const char *s);
/* True when writing on makes no sense: long loops stop. */
bool out_failed(void);
/* Whether anything has been handed in. */
bool out_used(void);
/*
 * Write what is left. A reader that went away (EPIPE) is no failure: "varve list | head -1" ends
 * quietly. Other failures are an error of the command.
 */
int out_finish(struct varve_err *e);

/* Bold where stdout is a terminal that wants colours; "" otherwise. */
void out_set_colour(bool on);
const char *out_bold(void);
const char *out_plain(void);

/* --- aligned tables --- */
struct table;

/* The first 12 hex digits, or the whole digest. */
const char *digest_text(const struct varve_digest *d, bool whole, char buf[VARVE_DIGEST_STR_MAX]);
#define DIGEST_TEXT(d, whole) digest_text((d), (whole), (char[VARVE_DIGEST_STR_MAX]){0})
/* "3 days ago" */
const char *age_text(int64_t seconds, char buf[32]);
/* "1 blob", "3 blobs" */
const char *count_text(uint64_t n, const char *what, char buf[64]);
struct out_count {
	uint64_t n;
	const char *what;
};
/* "2 owners, 1 device": those that are not 0, in their order. Returns buf; "" if all are. */
const char *counts_text(const struct out_count *counts, size_t n, char *buf, size_t size);
#define COUNT(n, what) count_text((n), (what), (char[64]){0})
