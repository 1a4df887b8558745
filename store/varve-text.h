/* SPDX-License-Identifier: Apache-2.0 */
/* Text in and out as the library itself does it: sizes, times, safe text, a JSON writer. */
#ifndef VARVE_TEXT_H
#define VARVE_TEXT_H

#include "varve-base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Control bytes, backslash and invalid UTF-8 as \xNN, "..." at the end when cut. Returns out. */
VARVE_PUBLIC const char *varve_text_escape_str(const char *s, char *out, size_t size);
/*
 * The same for a message, which may be kept: what may be a password in a URL ("https://u:p@h",
 * "u:p@h") and the query of a URL, which may be signed, are masked.
 */
VARVE_PUBLIC const char *varve_text_show(const char *s, char *out, size_t size);
/* "1.4 GiB", at most 15 characters. */
VARVE_PUBLIC const char *varve_text_size(uint64_t bytes, char buf[16]);
/* "10", "20G", "1.5GiB", "500MB" (powers of 1024 for K, KiB; of 1000 for KB). */
VARVE_PUBLIC bool varve_text_parse_size(const char *s, uint64_t *ret);
/* "30s", "10m", "1h", "7d", "2w" -> seconds. */
VARVE_PUBLIC bool varve_text_parse_duration(const char *s, uint64_t *ret_seconds);
/* RFC 3339 UTC "2026-11-22T14:18:00Z". */
VARVE_PUBLIC const char *varve_text_time(int64_t seconds, char buf[32]);
/* Edit distance, for "did you mean". */
VARVE_PUBLIC unsigned varve_text_distance(const char *a, const char *b);

/* Short-lived strings: they live until the end of the block. */
#define VARVE_TEXT_SAFE(s) varve_text_show((s), (char[256]){0}, 256)
#define VARVE_TEXT_SIZE(n) varve_text_size((n), (char[16]){0})

/*
 * A JSON document, written from front to back. Strings are escaped, invalid UTF-8 bytes become
 * U+FFFD, commas are automatic. key: NULL inside an array and at the top. A failure (memory) shows
 * at the end.
 */
struct varve_json;
VARVE_PUBLIC struct varve_json *varve_json_new(bool pretty); /* NULL without memory */
VARVE_PUBLIC void varve_json_free(struct varve_json *j);
/*
 * The text since the last call, valid until the next call on j; NULL after a failure. So a document
 * of any length can be written in parts.
 */
VARVE_PUBLIC const char *varve_json_drain(struct varve_json *j, size_t *ret_n);
/* Bytes that wait for varve_json_drain. */
VARVE_PUBLIC size_t varve_json_pending(const struct varve_json *j);

VARVE_PUBLIC void varve_json_object(struct varve_json *j, const char *key);
VARVE_PUBLIC void varve_json_end_object(struct varve_json *j);
VARVE_PUBLIC void varve_json_array(struct varve_json *j, const char *key);
VARVE_PUBLIC void varve_json_end_array(struct varve_json *j);
VARVE_PUBLIC void varve_json_str(struct varve_json *j, const char *key, const char *value);
VARVE_PUBLIC void varve_json_strn(struct varve_json *j, const char *key, const void *p, size_t n);
/* Any bytes, as a base64 string (RFC 4648). */
VARVE_PUBLIC void varve_json_base64(struct varve_json *j, const char *key, const void *p, size_t n);
VARVE_PUBLIC void varve_json_u64(struct varve_json *j, const char *key, uint64_t value);
VARVE_PUBLIC void varve_json_i64(struct varve_json *j, const char *key, int64_t value);
VARVE_PUBLIC void varve_json_bool(struct varve_json *j, const char *key, bool value);
VARVE_PUBLIC void varve_json_null(struct varve_json *j, const char *key);
/* null for "no digest" */
VARVE_PUBLIC void varve_json_digest(struct varve_json *j, const char *key,
				    const struct varve_digest *d);
/* RFC 3339 */
VARVE_PUBLIC void varve_json_time(struct varve_json *j, const char *key, int64_t seconds);
/* Another JSON document as a member. Read strictly
 * first: nothing is written when it is malformed. */
VARVE_PUBLIC int varve_json_document(struct varve_json *j, const char *key, const void *p, size_t n,
				     struct varve_err *e);

#ifdef __cplusplus
}
#endif
#endif
