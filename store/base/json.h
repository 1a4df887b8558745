/* SPDX-License-Identifier: Apache-2.0 */
/* Strict JSON reading over cJSON, and a streaming writer. Limits are checked before anything is
 * built. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"
#include "varve-text.h"

/* A node of a parsed document; borrowed from its json_doc. */
typedef struct cJSON json;

/*
 * Refused with VARVE_E_FORMAT: trailing bytes, NUL or "\u0000", BOM, invalid UTF-8, duplicate keys,
 * depth over 64. Over max_size: VARVE_E_LIMIT. Free with json_free.
 */
int json_parse(json **ret, const void *p, size_t n, size_t max_size, struct varve_err *e);
void json_free(json *j);
static inline void json_cleanup(json **j)
{
	json_free(*j);
}
#define JSON_FREE __attribute__((cleanup(json_cleanup)))
/* The same for documents with secrets: their strings are overwritten. */
void json_free_secret(json *j);
static inline void json_cleanup_secret(json **j)
{
	json_free_secret(*j);
}
#define JSON_FREE_SECRET __attribute__((cleanup(json_cleanup_secret)))

bool json_is_object(const json *j);
bool json_is_array(const json *j);
/* Member by exact key; NULL if j is no object or has none. An explicit null counts as none. */
const json *json_get(const json *j, const char *key);
/* The same for documents that Go programs read: a key in another case counts where the exact one is
 * not there. */
const json *json_get_nocase(const json *j, const char *key);
/* True if a member has the key in any case: to detect ambiguous documents. */
bool json_has_nocase(const json *j, const char *key);
size_t json_len(const json *array_or_object);
const json *json_first(const json *j); /* first child, then json_next() */
const json *json_next(const json *j);
/* The name of a member; "" for an item of an array. */
const char *json_key(const json *child);

/* Value accessors: the value, or NULL/false when it is of another type. */
const char *json_str(const json *j);
bool json_u64(const json *j, uint64_t *ret); /* whole numbers in [0, 2^53) only */
bool json_bool(const json *j, bool *ret);

/* "member KEY of WHAT": required (missing is an error) or optional (0 and *ret untouched if
 * missing). */
int json_need_str(const json *j, const char *what, const char *key, const char **ret,
		  struct varve_err *e);
int json_opt_str(const json *j, const char *what, const char *key, const char **ret,
		 struct varve_err *e);
int json_need_u64(const json *j, const char *what, const char *key, uint64_t *ret,
		  struct varve_err *e);
int json_opt_u64(const json *j, const char *what, const char *key, uint64_t *ret,
		 struct varve_err *e);
int json_need_digest(const json *j, const char *what, const char *key, struct varve_digest *ret,
		     struct varve_err *e);
/* The exact bytes are gone after parsing: this prints the node again, compact. malloc'ed. */
char *json_print(const json *j);

/*
 * The writer (varve-text.h documents its functions), here over a buffer of the caller. Keys are the
 * caller's literals. Errors are those of the buffer.
 */
#define jsonw            varve_json
#define jsonw_object     varve_json_object
#define jsonw_end_object varve_json_end_object
#define jsonw_array      varve_json_array
#define jsonw_end_array  varve_json_end_array
#define jsonw_str        varve_json_str
#define jsonw_strn       varve_json_strn
#define jsonw_u64        varve_json_u64
#define jsonw_i64        varve_json_i64
#define jsonw_bool       varve_json_bool
#define jsonw_null       varve_json_null
#define jsonw_digest     varve_json_digest
#define jsonw_time       varve_json_time
struct jsonw {
	struct buf *b;
	unsigned depth;
	bool need_comma;
	bool pretty;
};
void jsonw_init(struct jsonw *w, struct buf *b, bool pretty);
/* A node of a parsed document, unchanged. */
void jsonw_node(struct jsonw *w, const char *key, const json *node);
