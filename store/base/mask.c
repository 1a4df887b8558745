/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that may be URLs, shown without the secrets in them. */
#include "store/base/mask.h"

#include "store/base/compiler.h"
#include "varve-text.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 900

const char *mask_behind_scheme(const char *text)
{
	size_t n =
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-");

	return n && !strncmp(text + n, "://", 3) ? text + n + 3 : text;
}

const char *mask_userinfo_end(const char *p)
{
	const char *at = strrchr(p, '@');

	if (!at || at < p + strcspn(p, "/?#\\") || memchr(p, ':', (size_t)(at - p)))
		return at;
	at = memrchr(p, '@', strcspn(p, "/?#\\"));
	return at;
}

/* The '@' of a digest at the end, or the end. */
static const char *digest_at(const char *text)
{
	const char *at = strrchr(text, '@');

	return at && (!strncmp(at, "@sha256:", 8) || !strncmp(at, "@sha512:", 8)) &&
			       !at[8 + strspn(at + 8, "0123456789abcdefABCDEF")]
		       ? at
		       : text + strlen(text);
}

const char *mask_text(const char *text, bool is_url, char *out, size_t size)
{
	char head[SHOWN_MAX + 1], tmp[SHOWN_MAX + 200];
	const char *digest = digest_at(text), *p, *at, *rest;
	bool has_scheme, has_user;
	size_t query, n;

	(void)snprintf(head, sizeof(head), "%.*s", (int)VARVE_MIN(digest - text, SHOWN_MAX), text);
	p = mask_behind_scheme(head);
	at = mask_userinfo_end(p);
	/* Too long to look at: the '@' may be where it was cut. */
	if (digest - text > SHOWN_MAX && !at && strchr(text, '@'))
		at = head + strlen(head) - 1;
	has_scheme = p != head;
	has_user = at && memchr(p, ':', strcspn(p, "/")) && strcspn(p, ":") < (size_t)(at - p);
	if (!is_url && !has_scheme && !has_user)
		return varve_text_escape_str(text, out, size);
	rest = at ? at + 1 : p;
	query = strcspn(head, "?#");
	n = strcspn(rest, "?#");
	/* A '?' in front of the '@': what is behind it may be a query as well as a host. */
	if (at && at > head + query)
		n = 0;
	(void)snprintf(tmp, sizeof(tmp), "%.*s%s%.*s%s%.160s", (int)VARVE_MIN(p - head, 16), head,
		       !at ? ""
		       : n ? "***@"
			   : "***",
		       (int)n, rest, head[query] ? "?..." : "", digest);
	return varve_text_escape_str(tmp, out, size);
}

const char *varve_text_show(const char *text, char *out, size_t size)
{
	return mask_text(text, false, out, size);
}
