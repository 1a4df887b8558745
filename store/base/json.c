/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict reading over cJSON. cJSON 1.7.15 accepts trailing bytes, BOM, invalid UTF-8, "01" and
 * "\u0000" (which it cuts strings at), and rounds numbers over 2^53: a scan before (json_scan.c)
 * and a walk after the parse refuse all of these.
 */
#include "store/base/json.h"

#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/json_scan.h"
#include "store/base/text.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int cmp_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two members of one object with the same key: parsers disagree on which counts, so nobody may send
 * it. */
static int refuse_duplicates(const json *j, struct varve_err *e)
{
	const json *c;
	const char **keys;
	size_t n = 0;
	int r = 0;

	for (c = j->child; c; c = c->next) {
		n++;
		if (c->child) {
			r = refuse_duplicates(c, e);
			if (r < 0)
				return r;
		}
	}
	if (!cJSON_IsObject(j) || n < 2)
		return 0;
	keys = malloc(n * sizeof(*keys));
	if (!keys)
		return varve_fail_oom(e);
	n = 0;
	for (c = j->child; c; c = c->next)
		keys[n++] = c->string;
	qsort(keys, n, sizeof(*keys), cmp_keys);
	for (size_t i = 1; i < n && r == 0; i++)
		if (strcmp(keys[i - 1], keys[i]) == 0)
			r = varve_fail(e, VARVE_E_FORMAT, "JSON: duplicate member \"%s\"",
				       TEXT_SAFE(keys[i]));
	free(keys);
	return r;
}

int json_parse(json **ret, const void *text, size_t n, size_t max_size, struct varve_err *e)
{
	const char *p = text, *why;
	size_t at;
	json *j;
	int r;

	if (n > max_size)
		return varve_fail(e, VARVE_E_LIMIT, "JSON document of %zu bytes, the limit is %zu",
				  n, max_size);
	if (n == 0)
		return varve_fail(e, VARVE_E_FORMAT, "JSON: empty document");
	if (memchr(p, '\0', n) || !text_utf8_valid(p, n) ||
	    (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)))
		return varve_fail(e, VARVE_E_FORMAT, "JSON: not plain UTF-8 text");
	why = json_scan(span_of(p, n), &at);
	if (why)
		return varve_fail(e, VARVE_E_FORMAT, "JSON: %s near byte %zu", why, at);
	j = cJSON_ParseWithLengthOpts(p, n, NULL, false);
	if (!j)
		return varve_fail_oom(e); /* its text was well-formed */
	r = refuse_duplicates(j, e);
	if (r < 0) {
		cJSON_Delete(j);
		return r;
	}
	*ret = j;
	return 0;
}

void json_free(json *j)
{
	cJSON_Delete(j);
}

/* At most as deep as json_parse() lets a document be. */
static void overwrite(json *j)
{
	for (; j; j = j->next) {
		if (j->valuestring)
			explicit_bzero(j->valuestring, strlen(j->valuestring));
		overwrite(j->child);
	}
}

void json_free_secret(json *j)
{
	overwrite(j);
	cJSON_Delete(j);
}

bool json_is_object(const json *j)
{
	return cJSON_IsObject(j);
}

bool json_is_array(const json *j)
{
	return cJSON_IsArray(j);
}

const json *json_get(const json *j, const char *key)
{
	if (!cJSON_IsObject(j))
		return NULL;
	for (const json *c = j->child; c; c = c->next)
		if (strcmp(c->string, key) == 0)
			return cJSON_IsNull(c) ? NULL : c;
	return NULL;
}

const json *json_get_nocase(const json *j, const char *key)
{
	const json *exact = json_get(j, key);

	if (exact || !cJSON_IsObject(j))
		return exact;
	for (const json *c = j->child; c; c = c->next)
		if (strcasecmp(c->string, key) == 0)
			return cJSON_IsNull(c) ? NULL : c;
	return NULL;
}

bool json_has_nocase(const json *j, const char *key)
{
	if (!cJSON_IsObject(j))
		return false;
	for (const json *c = j->child; c; c = c->next)
		if (strcasecmp(c->string, key) == 0)
			return true;
	return false;
}

size_t json_len(const json *j)
{
	size_t n = 0;

	for (const json *c = json_first(j); c; c = c->next)
		n++;
	return n;
}

const json *json_first(const json *j)
{
	return cJSON_IsArray(j) || cJSON_IsObject(j) ? j->child : NULL;
}

const json *json_next(const json *j)
{
	return j->next;
}

const char *json_key(const json *child)
{
	return child->string ? child->string : "";
}

const char *json_str(const json *j)
{
	return cJSON_IsString(j) ? j->valuestring : NULL;
}

bool json_u64(const json *j, uint64_t *ret)
{
	if (!cJSON_IsNumber(j) || !(j->valuedouble >= 0) || j->valuedouble >= 9007199254740992.0 ||
	    (double)(uint64_t)j->valuedouble != j->valuedouble)
		return false;
	*ret = (uint64_t)j->valuedouble;
	return true;
}

bool json_bool(const json *j, bool *ret)
{
	if (!cJSON_IsBool(j))
		return false;
	*ret = cJSON_IsTrue(j);
	return true;
}

static int missing(const char *what, const char *key, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_FORMAT, "%s: member \"%s\" is missing", what, key);
}

static int wrong(const char *what, const char *key, const char *want, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_FORMAT, "%s: member \"%s\" is not %s", what, key, want);
}

int json_opt_str(const json *j, const char *what, const char *key, const char **ret,
		 struct varve_err *e)
{
	const json *c = json_get(j, key);

	if (!c)
		return 0;
	if (!json_str(c))
		return wrong(what, key, "a string", e);
	*ret = json_str(c);
	return 0;
}

int json_need_str(const json *j, const char *what, const char *key, const char **ret,
		  struct varve_err *e)
{
	return json_get(j, key) ? json_opt_str(j, what, key, ret, e) : missing(what, key, e);
}

int json_opt_u64(const json *j, const char *what, const char *key, uint64_t *ret,
		 struct varve_err *e)
{
	const json *c = json_get(j, key);

	if (c && !json_u64(c, ret))
		return wrong(what, key, "a whole number below 2^53", e);
	return 0;
}

int json_need_u64(const json *j, const char *what, const char *key, uint64_t *ret,
		  struct varve_err *e)
{
	return json_get(j, key) ? json_opt_u64(j, what, key, ret, e) : missing(what, key, e);
}

int json_need_digest(const json *j, const char *what, const char *key, struct varve_digest *ret,
		     struct varve_err *e)
{
	const char *text = NULL;
	int r = json_need_str(j, what, key, &text, e);

	if (r < 0)
		return r;
	if (varve_digest_parse(ret, text) < 0)
		return varve_fail(e, VARVE_E_FORMAT,
				  "%s: member \"%s\" is no sha256 or sha512 digest: \"%s\"", what,
				  key, TEXT_SAFE(text));
	return 0;
}

char *json_print(const json *j)
{
	return cJSON_PrintUnformatted(j);
}
