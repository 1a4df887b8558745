/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a registry's or token server's error body (dist-spec "Error Codes"); pure. */
#include "fetch/registry/regerror.h"

#include <stdio.h>
#include <string.h>

#include "store/base/json.h"
#include "store/base/text.h"

#define BODY_MAX (64u << 10)

static void put(char *out, size_t size, const json *value)
{
	const char *s = json_str(value);

	if (s && !*out)
		(void)text_escape_str(s, out, size);
}

void registry_error_parse(struct registry_error *ret, const void *p, size_t n)
{
	JSON_FREE json *doc = NULL;
	const json *first;

	*ret = (struct registry_error){0};
	if (json_parse(&doc, p, n, BODY_MAX, NULL) < 0)
		return;
	first = json_first(json_get(doc, "errors"));
	if (first) {
		put(ret->code, sizeof(ret->code), json_get(first, "code"));
		put(ret->message, sizeof(ret->message), json_get(first, "message"));
	}
	/* Token servers: RFC 6749 5.2, Docker Hub's "details", others' "message". */
	put(ret->code, sizeof(ret->code), json_get(doc, "error"));
	put(ret->message, sizeof(ret->message), json_get(doc, "error_description"));
	put(ret->message, sizeof(ret->message), json_get(doc, "details"));
	put(ret->message, sizeof(ret->message), json_get(doc, "message"));
}
