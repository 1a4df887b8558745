/* SPDX-License-Identifier: Apache-2.0 */
/* A growable byte buffer with a ceiling, and a borrowed slice for parsers. */
#pragma once

#include "varve-base.h"

#include <stdarg.h>

/*
 * p is never NULL after buf_init and always NUL-terminated at p[n]. A failure (ceiling reached or
 * no memory) is sticky: later appends do nothing, and buf_error() is checked once at the end.
 */
struct buf {
	char *p;
	size_t n, cap, max;
	int error; /* 0, -ENOMEM or -VARVE_E_LIMIT */
	bool secret;
};

void buf_init(struct buf *b, size_t max);
/* For secrets: overwritten by buf_done(), and no copy stays behind while it grows. */
void buf_init_secret(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* accepts a zeroed struct */
void buf_reset(struct buf *b); /* empty, error cleared, memory kept */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) VARVE_PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) VARVE_PRINTF(2, 0);
/* Room for n more bytes at p + n (not counted yet); NULL on failure. */
char *buf_room(struct buf *b, size_t n);
int buf_error(const struct buf *b);
/* The error of a buffer that has one: VARVE_E_LIMIT with a text that says what is too long, or that
 * there is no memory. */
int buf_fail(const struct buf *b, struct varve_err *e, const char *fmt, ...) VARVE_PRINTF(3, 4);
/* Hand the bytes over (free() them); the buffer is empty again. NULL on a sticky error. */
char *buf_take(struct buf *b);

/* Borrowed bytes, not terminated. */
struct span {
	const char *p;
	size_t n;
};

static inline struct span span_of(const void *p, size_t n)
{
	return (struct span){(const char *)p, n};
}
struct span span_str(const char *s);
bool span_eq(struct span s, const char *text);
bool span_eq_nocase(struct span s, const char *text);
bool span_starts(struct span s, const char *prefix);
/* Split at the first c: head gets what is before, *s what is behind. False (head = all) if none. */
bool span_cut(struct span *s, char c, struct span *ret_head);
struct span span_trim(struct span s); /* blanks, tabs, CR, LF */
/* Decimal digits only, <= max. */
bool span_u64(struct span s, uint64_t max, uint64_t *ret);
char *span_dup(struct span s); /* malloc'ed, terminated; NULL without memory */
