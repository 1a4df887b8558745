/* SPDX-License-Identifier: Apache-2.0 */
/* Which proxy a URL goes through, by the rules of
 * Go's httpproxy (docs/requirements.md 5.13); pure. */
#include "fetch/http/proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

static const char *env_either(const char *lower, const char *upper)
{
	const char *v = getenv(lower);

	return v && *v ? v : getenv(upper);
}

void proxy_env_read(struct proxy_env *ret)
{
	ret->cgi = getenv("REQUEST_METHOD") != NULL;
	ret->http = getenv("http_proxy");
	if ((!ret->http || !*ret->http) && !ret->cgi)
		ret->http = getenv("HTTP_PROXY");
	ret->https = env_either("https_proxy", "HTTPS_PROXY");
	ret->all = env_either("all_proxy", "ALL_PROXY");
	ret->no = env_either("no_proxy", "NO_PROXY");
}

/* Address bytes of a literal; length 4 or 16, 0 for a name. */
static size_t address_bytes(const char *host, uint8_t out[16])
{
	char text[64];
	size_t n = strlen(host), skip = host[0] == '[';

	if (n >= sizeof(text) || n < 2 * skip)
		return 0;
	memcpy(text, host + skip, n - 2 * skip);
	text[n - 2 * skip] = 0;
	if (inet_pton(AF_INET, text, out) == 1)
		return 4;
	return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static bool cidr_match(struct span entry, const char *host)
{
	uint8_t net[16], addr[16];
	char text[64];
	struct span base;
	uint64_t bits;
	size_t n;

	if (!span_cut(&entry, '/', &base) || base.n >= sizeof(text))
		return false;
	memcpy(text, base.p, base.n);
	text[base.n] = 0;
	n = address_bytes(text, net);
	if (!n || address_bytes(host, addr) != n || !span_u64(entry, n * 8, &bits))
		return false;
	for (size_t i = 0; i < bits; i++)
		if ((net[i / 8] ^ addr[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

/* host, .domain, *.domain (both: sub-domains only for "."-forms), optional :port. */
static bool name_match(struct span entry, const struct url *u)
{
	size_t n = strlen(u->host);
	const char *colon =
		entry.n && entry.p[entry.n - 1] != ']' ? memrchr(entry.p, ':', entry.n) : NULL;
	bool only_below = false;
	uint64_t port;
	uint8_t raw[16];

	/* "::1" has colons, but none of a port. */
	if (colon && (entry.p[0] == '[' || memchr(entry.p, ':', entry.n) == colon)) {
		size_t at = (size_t)(colon - entry.p);

		if (!span_u64(span_of(colon + 1, entry.n - at - 1), 65535, &port) ||
		    port != u->port)
			return false;
		entry.n = at;
	}
	if (entry.n > 1 && entry.p[0] == '*' && entry.p[1] == '.')
		entry = span_of(entry.p + 1, entry.n - 1);
	if (entry.n > 1 && entry.p[0] == '.') {
		entry = span_of(entry.p + 1, entry.n - 1);
		only_below = true;
	}
	if (span_eq_nocase(entry, u->host))
		return !only_below;
	if (u->host[0] == '[' && n > 2 && entry.n == n - 2 && !memcmp(entry.p, u->host + 1, n - 2))
		return true;
	return entry.n && !address_bytes(u->host, raw) && n > entry.n + 1 &&
	       u->host[n - entry.n - 1] == '.' &&
	       !strncasecmp(u->host + n - entry.n, entry.p, entry.n);
}

static bool excluded(const char *list, const struct url *u)
{
	struct span rest = span_str(list ? list : ""), entry;
	bool more;

	do {
		more = span_cut(&rest, ',', &entry);
		entry = span_trim(entry);
		if (!entry.n)
			continue;
		if (span_eq(entry, "*") || cidr_match(entry, u->host) || name_match(entry, u))
			return true;
	} while (more);
	return false;
}

const char *proxy_for(const struct proxy_env *env, const struct url *u)
{
	const char *proxy = u->https ? env->https : env->http;

	if (!proxy || !*proxy)
		proxy = env->all;
	if (!proxy || !*proxy)
		return "";
	if (url_domain_is_loopback(u->host) || excluded(env->no, u))
		return "";
	return proxy;
}

static bool known_scheme(struct span s)
{
	static const char *const known[] = {"http",    "https",  "socks",  "socks4",
					    "socks4a", "socks5", "socks5h"};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(known); i++)
		if (span_eq_nocase(s, known[i]))
			return true;
	return false;
}

/* host[:port]; libcurl judges the name itself. */
static bool place_ok(struct span s)
{
	const char *end = s.n && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	size_t n = 0;
	uint64_t port = 1;

	if (s.n && s.p[0] == '[' && !end)
		return false;
	n = end ? (size_t)(end + 1 - s.p) : 0;
	while (!end && n < s.n && s.p[n] != ':')
		n++;
	if (!n)
		return false;
	for (size_t i = 0; !end && i < n; i++)
		if (strchr("[]@%\"'<>`{}|^", s.p[i]))
			return false;
	if (n == s.n)
		return true;
	s = span_of(s.p + n, s.n - n);
	return s.p[0] == ':' &&
	       (s.n == 1 || (span_u64(span_of(s.p + 1, s.n - 1), 65535, &port) && port));
}

int proxy_check(const char *proxy, struct varve_err *e)
{
	const char *p = proxy, *sep = strstr(proxy, "://"), *at;
	size_t n;
	bool ok = strlen(proxy) < URL_MAX;

	for (const char *s = proxy; *s; s++)
		ok &= (unsigned char)*s > ' ' && *s != 127;
	if (sep) {
		ok &= known_scheme(span_of(proxy, (size_t)(sep - proxy)));
		p = sep + 3;
	}
	n = strcspn(p, "/?#\\");
	/* An '@' behind the place: a password that should have been encoded. */
	ok &= !strchr(p + n, '@');
	at = memrchr(p, '@', n);
	if (at) {
		n -= (size_t)(at + 1 - p);
		p = at + 1;
	}
	if (ok && place_ok(span_of(p, n)))
		return 0;
	return varve_fail(e, VARVE_E_NETWORK,
			  "the proxy variables name '%s', which is not the URL of a proxy; in a "
			  "user name or a password all but letters and digits has to be written "
			  "as %%XX",
			  URL_SAFE(proxy));
}
