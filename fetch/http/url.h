/* SPDX-License-Identifier: Apache-2.0 */
/* Absolute http(s) URLs: take apart, compare, encode, show without secrets; classes of addresses.
 * Pure. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

#define URL_MAX 8192

struct url {
	bool https;
	char host[256]; /* lower case; IPv6 in brackets */
	uint16_t port;  /* effective: 80 or 443 if none is written */
	bool has_userinfo, has_fragment, has_query;
	const char *target; /* from the path on, inside the parsed text; "" if there is none */
};

/* VARVE_E_FORMAT: no absolute http or https URL,
 * control bytes, too long. text must outlive *ret. */
int url_parse(struct url *ret, const char *text, struct varve_err *e);
/* Same scheme, host and effective port: only there may Authorization be sent again. */
bool url_same_origin(const struct url *a, const struct url *b);
/* scheme://host[:port] without userinfo; the port only if it is not the default. */
void url_origin(const struct url *u, struct buf *out);
/*
 * For messages: userinfo and everything behind '?' are masked, control bytes escaped. The text may
 * have any scheme or none, and need not be a valid URL. The one place where this is decided.
 */
const char *url_masked(const char *text, char *out, size_t size);
#define URL_SAFE(t) url_masked((t), (char[300]){0}, 300)
/* Could a text from elsewhere (a library's error) tell the password of the URL, or a part of it? */
bool url_told_by(const char *url, const char *text);
/* Percent-encode all but unreserved characters (RFC 3986 2.3). */
void url_encode(struct buf *out, struct span s);

enum addr_class {
	ADDR_NAME, /* no IP literal */
	ADDR_PUBLIC,
	ADDR_PRIVATE,    /* RFC 1918, 100.64/10, fc00::/7, fec0::/10, 64:ff9b:1::/48 */
	ADDR_LOOPBACK,   /* 127/8, ::1 */
	ADDR_LINK_LOCAL, /* 169.254/16, fe80::/10; clouds' metadata: fd00:ec2::/32, 168.63.129.16 */
	ADDR_UNSPECIFIED, /* 0/8, ::, groups, reserved ones */
};
/* Of a host as in struct url, or of the text of an address. */
enum addr_class url_host_class(const char *host);
struct sockaddr;
enum addr_class url_sockaddr_class(const struct sockaddr *sa);
/* Of a host as in struct url; "localhost" and what is below it count as loopback. */
enum addr_class url_name_class(const char *host);
/*
 * May a server that is at "home" send us to "there"? Public addresses always, names until
 * they are resolved; private ones from private or loopback ones, loopback only from loopback.
 */
bool url_may_lead(enum addr_class home, enum addr_class there);
/* "localhost", "*.localhost" or a loopback literal; a :port is allowed. */
bool url_domain_is_loopback(const char *domain);

/* The host a reference's domain means: docker.io is registry-1.docker.io
 * (docs/requirements.md 1.10). */
const char *url_api_host(const char *domain);
