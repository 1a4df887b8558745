/* SPDX-License-Identifier: Apache-2.0 */
/* Whether two hosts have one owner, by the public
 * suffix list; the only file that includes libpsl. */
#include "fetch/http/site.h"
#include "fetch/http/url.h"

#include <string.h>

#ifdef HAVE_LIBPSL
#include <libpsl.h>
#endif

static bool is_subdomain(const char *child, const char *parent)
{
	size_t c = strlen(child), p = strlen(parent);

	/* The owner of the parent's zone decides what the child is; a parent without a dot is a
	 * TLD. */
	return c > p + 1 && child[c - p - 1] == '.' && !strcmp(child + c - p, parent) &&
	       strchr(parent, '.');
}

static bool same_registrable(const char *a, const char *b)
{
#ifdef HAVE_LIBPSL
	const psl_ctx_t *psl = psl_builtin();
	const char *ra = psl ? psl_registrable_domain(psl, a) : NULL;
	const char *rb = psl ? psl_registrable_domain(psl, b) : NULL;

	return ra && rb && !strcmp(ra, rb);
#else
	(void)a;
	(void)b;
	return false;
#endif
}

bool url_same_site(const char *a, const char *b)
{
	if (!strcmp(a, b))
		return true;
	if (url_host_class(a) != ADDR_NAME || url_host_class(b) != ADDR_NAME)
		return false;
	return is_subdomain(a, b) || is_subdomain(b, a) || same_registrable(a, b);
}
