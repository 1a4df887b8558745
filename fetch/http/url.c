/* SPDX-License-Identifier: Apache-2.0 */
/* Absolute http(s) URLs: take apart, compare, encode, show without secrets; classes of addresses.
 * Pure. */
#include "fetch/http/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/mask.h"
#include "store/base/text.h"

static bool cut_scheme(const char **text, bool *ret_https)
{
	*ret_https = !strncasecmp(*text, "https://", 8);
	if (!*ret_https && strncasecmp(*text, "http://", 7) != 0)
		return false;
	*text += *ret_https ? 8 : 7;
	return true;
}

/* host[:port]; IPv6 in brackets. */
static bool parse_authority(struct url *u, struct span s)
{
	struct span host = s, rest = s;
	uint64_t port = u->https ? 443 : 80;

	if (s.n && s.p[0] == '[') {
		const char *end = memchr(s.p, ']', s.n);

		if (!end)
			return false;
		host = span_of(s.p, (size_t)(end + 1 - s.p));
		rest = span_of(end + 1, s.n - host.n);
		if (rest.n &&
		    (rest.p[0] != ':' || !span_u64(span_of(rest.p + 1, rest.n - 1), 65535, &port)))
			return false;
	} else if (span_cut(&rest, ':', &host)) {
		if (rest.n && !span_u64(rest, 65535, &port))
			return false;
	}
	if (!host.n || host.n >= sizeof(u->host) || !port)
		return false;
	for (size_t i = 0; i < host.n; i++) {
		unsigned char c = (unsigned char)host.p[i];

		if (!isalnum(c) && !strchr(host.p[0] == '[' ? ":.[]" : ".-_", c))
			return false;
		u->host[i] = (char)tolower(c);
	}
	u->host[host.n] = 0;
	u->port = (uint16_t)port;
	return u->host[0] != '[' || url_host_class(u->host) != ADDR_NAME;
}

int url_parse(struct url *ret, const char *text, struct varve_err *e)
{
	struct url u = {0};
	const char *p = text, *at;
	size_t n = strnlen(text, URL_MAX + 1);
	struct span authority;

	if (n > URL_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "a URL of more than %d bytes", URL_MAX);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] <= ' ' || text[i] == 127)
			return varve_fail(e, VARVE_E_FORMAT,
					  "'%s': blanks or control bytes in a URL", URL_SAFE(text));
	if (!cut_scheme(&p, &u.https))
		return varve_fail(e, VARVE_E_FORMAT, "'%s' is not an http or https URL",
				  URL_SAFE(text));
	authority = span_of(p, strcspn(p, "/?#\\"));
	u.target = p + authority.n;
	at = memrchr(authority.p, '@', authority.n);
	if (at) {
		u.has_userinfo = true;
		authority = span_of(at + 1, authority.n - (size_t)(at + 1 - authority.p));
	}
	if (!parse_authority(&u, authority) || *u.target == '\\')
		return varve_fail(e, VARVE_E_FORMAT, "'%s': no valid host in the URL",
				  URL_SAFE(text));
	u.has_fragment = strchr(u.target, '#') != NULL;
	u.has_query = strchr(u.target, '?') != NULL;
	*ret = u;
	return 0;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->https == b->https && a->port == b->port && !strcmp(a->host, b->host);
}

void url_origin(const struct url *u, struct buf *out)
{
	buf_printf(out, "%s://%s", u->https ? "https" : "http", u->host);
	if (u->port != (u->https ? 443 : 80))
		buf_printf(out, ":%u", u->port);
}

const char *url_masked(const char *text, char *out, size_t size)
{
	return mask_text(text, true, out, size);
}

bool url_told_by(const char *url, const char *text)
{
	const char *p = mask_behind_scheme(url), *at = mask_userinfo_end(p), *colon;
	char part[URL_MAX], *w = part;

	if (!at || at == p)
		return false;
	colon = memchr(p, ':', (size_t)(at - p));
	if (colon && colon + 1 < at)
		p = colon + 1;
	if ((size_t)(at - p) >= sizeof(part) || strchr(text, '@'))
		return true;
	(void)snprintf(part, sizeof(part), "%.*s", (int)(at - p), p);
	if (strstr(text, part))
		return true;
	/* Decoded, and up to where a parser may have cut it. */
	for (const char *s = p; s < at; s++) {
		unsigned byte;

		if (*s == '%' && at - s > 2 && sscanf(s + 1, "%2x", &byte) == 1) {
			*w++ = (char)byte;
			s += 2;
		} else {
			*w++ = *s;
		}
	}
	*w = 0;
	if (strstr(text, part))
		return true;
	part[strcspn(part, "/?#")] = 0;
	return *part && strstr(text, part);
}

void url_encode(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < 128 && isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~')
			buf_addc(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

static enum addr_class class_v4(uint32_t a)
{
	if (a >> 24 == 127)
		return ADDR_LOOPBACK;
	/* 168.63.129.16: what Azure's machines ask about themselves (keys, certificates). */
	if (a >> 16 == 0xa9fe || a == 0xa83f8110)
		return ADDR_LINK_LOCAL;
	/* Groups and the reserved rest are no host's. */
	if (a >> 24 == 0 || a >> 28 >= 0xe)
		return ADDR_UNSPECIFIED;
	if (a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 || a >> 22 == 0x191)
		return ADDR_PRIVATE;
	return ADDR_PUBLIC;
}

static enum addr_class class_v4_in(const uint8_t *b)
{
	return class_v4((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
}

static enum addr_class class_v6(const struct in6_addr *a)
{
	const uint8_t *b = a->s6_addr;
	enum addr_class k;

	if (IN6_IS_ADDR_LOOPBACK(a))
		return ADDR_LOOPBACK;
	if (IN6_IS_ADDR_UNSPECIFIED(a))
		return ADDR_UNSPECIFIED;
	/* Forms that lead to an IPv4 address: mapped, compatible, translated (RFC 2765), NAT64 (RFC
	 * 6052) and 6to4. */
	if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a) ||
	    !memcmp(b, "\0\0\0\0\0\0\0\0\xff\xff\0\0", 12) ||
	    !memcmp(b, "\0\x64\xff\x9b\0\0\0\0\0\0\0", 12))
		return class_v4_in(b + 12);
	if (b[0] == 0x20 && b[1] == 0x02)
		return class_v4_in(b + 2);
	/* NAT64 of a site (RFC 8215): inside it in any case, wherever it puts the IPv4 address. */
	if (!memcmp(b, "\0\x64\xff\x9b\0\x01", 6)) {
		k = class_v4_in(b + 12);
		return k == ADDR_PUBLIC ? ADDR_PRIVATE : k;
	}
	if (IN6_IS_ADDR_LINKLOCAL(a) || (b[0] == 0xfd && b[1] == 0 && b[2] == 0x0e && b[3] == 0xc2))
		return ADDR_LINK_LOCAL;
	if (IN6_IS_ADDR_MULTICAST(a))
		return ADDR_UNSPECIFIED;
	if ((b[0] & 0xfe) == 0xfc || IN6_IS_ADDR_SITELOCAL(a))
		return ADDR_PRIVATE;
	return ADDR_PUBLIC;
}

enum addr_class url_host_class(const char *host)
{
	char text[64];
	struct in_addr v4;
	struct in6_addr v6;
	size_t n = strlen(host);

	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host++;
		n -= 2;
	}
	if (!n || n >= sizeof(text))
		return ADDR_NAME;
	memcpy(text, host, n);
	text[n] = 0;
	if (inet_pton(AF_INET6, text, &v6) == 1)
		return class_v6(&v6);
	/* inet_aton takes what resolvers take: 127.1, 0x7f000001, 2130706433. */
	if (inet_aton(text, &v4))
		return class_v4(ntohl(v4.s_addr));
	return ADDR_NAME;
}

enum addr_class url_sockaddr_class(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		return class_v4(ntohl(in.sin_addr.s_addr));
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		return class_v6(&in6.sin6_addr);
	}
	return ADDR_NAME;
}

bool url_domain_is_loopback(const char *domain)
{
	char host[256];
	size_t n = domain[0] == '[' ? strcspn(domain, "]") + 1 : strcspn(domain, ":");

	if (n > strlen(domain) || n >= sizeof(host))
		return false;
	memcpy(host, domain, n);
	host[n] = 0;
	if (!strcasecmp(host, "localhost") || (n > 10 && !strcasecmp(host + n - 10, ".localhost")))
		return true;
	return url_host_class(host) == ADDR_LOOPBACK;
}

enum addr_class url_name_class(const char *host)
{
	return url_domain_is_loopback(host) ? ADDR_LOOPBACK : url_host_class(host);
}

bool url_may_lead(enum addr_class home, enum addr_class there)
{
	switch (there) {
	case ADDR_NAME:
	case ADDR_PUBLIC:
		return true;
	case ADDR_PRIVATE:
		return home == ADDR_PRIVATE || home == ADDR_LOOPBACK;
	case ADDR_LOOPBACK:
		return home == ADDR_LOOPBACK;
	default:
		return false;
	}
}

const char *url_api_host(const char *domain)
{
	return strcmp(domain, "docker.io") == 0 ? "registry-1.docker.io" : domain;
}
