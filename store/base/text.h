/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people and from people: escaping, UTF-8, sizes, durations, times. Pure. */
#pragma once

#include "store/base/buf.h"
#include "varve-text.h"

#include <time.h>

/* The public functions go by their short names inside the library. */
#define text_escape_str     varve_text_escape_str
#define text_size           varve_text_size
#define text_parse_size     varve_text_parse_size
#define text_parse_duration varve_text_parse_duration
#define text_time           varve_text_time
#define text_distance       varve_text_distance

bool text_utf8_valid(const void *p, size_t n);
/*
 * Bytes of the valid UTF-8 sequence at p, 0 if there is none. *ret_drives: it changes how text is
 * shown and is none itself: C0 and C1 controls, DEL, line and paragraph separators, and controls of
 * the direction of writing, which make a text look like another one.
 */
size_t text_sequence(const void *p, size_t n, bool *ret_drives, uint32_t *ret_code);
/* Append with what drives a display, backslash and invalid UTF-8 as \xNN: safe on a terminal. */
void text_escape(struct buf *b, const void *p, size_t n);
#define TEXT_SAFE VARVE_TEXT_SAFE

#define TEXT_SIZE VARVE_TEXT_SIZE
bool text_parse_time(struct span s, int64_t *ret_seconds); /* RFC 3339, fractions ignored */

/* Overwrite a secret, free it, set the pointer to NULL. *s may be NULL. */
void text_forget(char **s);
/* Standard and URL-safe base64 (padding optional for both). */
bool text_base64_decode(struct span s, struct buf *out);
bool text_base64url_decode(struct span s, struct buf *out);
void text_base64_encode(const void *p, size_t n, struct buf *out);
