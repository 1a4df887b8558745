/* SPDX-License-Identifier: Apache-2.0 */
/* Grammar and normalisation of image references (docs/requirements.md 1); pure. */
#include "varve-fetch.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "fetch/http/url.h"
#include "store/base/buf.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/text.h"

#define DEFAULT_DOMAIN  "docker.io"
#define LEGACY_DOMAIN   "index.docker.io"
#define OFFICIAL_PREFIX "library/"
#define REFERENCE_MAX   1000
#define LABEL_MAX       200 /* leaves room for "rootfs_", suffixes and NAME_MAX */

#define SHAPE "[HOST[:PORT]/]NAME[:TAG][@DIGEST], for example debian:sid"

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_ok(struct span s)
{
	size_t i = 0;

	for (;;) {
		size_t from = i;

		while (i < s.n && is_lower_alnum(s.p[i]))
			i++;
		if (i == from)
			return false;
		if (i == s.n)
			return true;
		from = i;
		if (s.p[i] == '.')
			i++;
		else if (s.p[i] == '_')
			while (i < s.n && s.p[i] == '_' && i - from < 2)
				i++;
		else
			while (i < s.n && s.p[i] == '-')
				i++;
		if (i == from)
			return false;
	}
}

static bool path_ok(struct span s)
{
	struct span head;
	bool more;

	do {
		more = span_cut(&s, '/', &head);
		if (!component_ok(head))
			return false;
	} while (more);
	return true;
}

static bool port_ok(struct span s)
{
	uint64_t port;

	return span_u64(s, 65535, &port) && port > 0;
}

/* [HEX:...] with an optional port; no zone ids. */
static bool ipv6_domain_ok(struct span s)
{
	size_t i = 1;

	while (i < s.n && (isxdigit((unsigned char)s.p[i]) || s.p[i] == ':'))
		i++;
	if (i < 3 || i >= s.n || s.p[i] != ']')
		return false;
	i++;
	if (i == s.n)
		return true;
	return s.p[i] == ':' && port_ok(span_of(s.p + i + 1, s.n - i - 1));
}

static bool domain_label_ok(struct span s)
{
	if (!s.n || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

static bool domain_ok(struct span s)
{
	struct span host, label;
	bool more;

	if (s.n && s.p[0] == '[')
		return ipv6_domain_ok(s);
	if (span_cut(&s, ':', &host) && !port_ok(s))
		return false;
	do {
		more = span_cut(&host, '.', &label);
		if (!domain_label_ok(label))
			return false;
	} while (more);
	return true;
}

static bool tag_ok(struct span s)
{
	if (!s.n || s.n > 128 || s.p[0] == '.' || s.p[0] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '.' && s.p[i] != '-')
			return false;
	return true;
}

static bool has_upper(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 'A' && s.p[i] <= 'Z')
			return true;
	return false;
}

static void put(char *out, size_t size, struct span s)
{
	size_t n = VARVE_MIN(s.n, size - 1);

	memcpy(out, s.p, n);
	out[n] = 0;
}

/* Says which rule a path breaks, because "invalid reference format" helps nobody. */
static int fail_path(struct span path, const char *shown, struct varve_err *e)
{
	struct span rest = path, head;

	if (has_upper(path))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s': a repository name must be lower case; write it as " SHAPE,
				  shown);
	for (bool more = true; more;) {
		more = span_cut(&rest, '/', &head);
		if (!head.n)
			return varve_fail(e, VARVE_E_REFERENCE,
					  "'%s': a component of the name is empty (look for '//' "
					  "or a '/' at the end); write it as " SHAPE,
					  shown);
	}
	return varve_fail(e, VARVE_E_REFERENCE,
			  "'%s': a repository name has only a-z, 0-9 and single separators . _ __ "
			  "- inside; write it as " SHAPE,
			  shown);
}

static int parse_digest(struct varve_reference *out, struct span digest, const char *shown,
			struct varve_err *e)
{
	if (digest_parse_span(&out->digest, digest) == 0)
		return 0;
	if (span_starts(digest, "sha256:") || span_starts(digest, "sha512:"))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s': the digest must be sha256: with 64, or sha512: with 128, "
				  "lower-case hex digits",
				  shown);
	return varve_fail(e, VARVE_E_REFERENCE,
			  "'%s': only sha256: and sha512: digests can be verified; "
			  "use NAME@sha256:<64 hex digits>",
			  shown);
}

/* The rules of splitDockerDomain (distribution/reference normalize.go). */
static void split_domain(struct span name, struct span *ret_domain, struct span *ret_path)
{
	struct span rest = name, first;

	*ret_domain = span_str(DEFAULT_DOMAIN);
	*ret_path = name;
	if (!span_cut(&rest, '/', &first))
		return;
	if (span_eq(first, LEGACY_DOMAIN)) {
		*ret_path = rest;
		return;
	}
	if (memchr(first.p, '.', first.n) || memchr(first.p, ':', first.n) ||
	    span_eq(first, "localhost") || has_upper(first)) {
		*ret_domain = first;
		*ret_path = rest;
	}
}

/* A tag's ':' is the last one behind the last '/'. */
static bool cut_tag(struct span *name, struct span *ret_tag)
{
	for (size_t i = name->n; i-- > 0 && name->p[i] != '/';)
		if (name->p[i] == ':') {
			*ret_tag = span_of(name->p + i + 1, name->n - i - 1);
			name->n = i;
			return true;
		}
	return false;
}

static bool is_bare_id(struct span s)
{
	if (s.n != 64)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_lower_alnum(s.p[i]) || s.p[i] > 'f')
			return false;
	return true;
}

static int fill_name(struct varve_reference *out, struct span name, const char *shown,
		     struct varve_err *e)
{
	struct span domain, path;

	split_domain(name, &domain, &path);
	if (!domain_ok(domain)) {
		/* "Foo//bar" is meant as a name, although the grammar calls "Foo" a host. */
		if (!memchr(domain.p, '.', domain.n) && !memchr(domain.p, ':', domain.n))
			return fail_path(name, shown, e);
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s': the registry must be a host name, an address or "
				  "[IPv6], with an optional :port; write it as " SHAPE,
				  shown);
	}
	if (!path_ok(path)) {
		if (has_upper(domain) && !memchr(domain.p, '.', domain.n))
			return fail_path(name, shown, e);
		return fail_path(path, shown, e);
	}
	if (domain.n >= sizeof(out->domain))
		return varve_fail(e, VARVE_E_REFERENCE, "'%s': the host name is too long", shown);
	put(out->domain, sizeof(out->domain), domain);
	if (!strcmp(out->domain, DEFAULT_DOMAIN) && !memchr(path.p, '/', path.n)) {
		memcpy(out->path, OFFICIAL_PREFIX, sizeof(OFFICIAL_PREFIX));
		if (path.n + strlen(OFFICIAL_PREFIX) >= sizeof(out->path))
			path.n = sizeof(out->path);
		else
			put(out->path + strlen(OFFICIAL_PREFIX),
			    sizeof(out->path) - strlen(OFFICIAL_PREFIX), path);
	} else {
		put(out->path, sizeof(out->path), path);
	}
	if (path.n >= sizeof(out->path))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s': a repository name has at most 255 characters", shown);
	return 0;
}

int varve_reference_parse(struct varve_reference *ret, const char *text, struct varve_err *e)
{
	struct varve_reference out = {0};
	struct span name = span_str(text), tag = {0}, digest, head;
	const char *shown = TEXT_SAFE(text);
	bool has_digest = false;
	int r;

	if (!name.n)
		return varve_fail(e, VARVE_E_REFERENCE,
				  "empty image reference; write it as " SHAPE);
	if (name.n > REFERENCE_MAX)
		return varve_fail(e, VARVE_E_REFERENCE, "'%s': too long for an image reference",
				  shown);
	if (strstr(text, "://"))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s' is a URL; leave out the part before the host: " SHAPE,
				  URL_SAFE(text));
	digest = name;
	if (span_cut(&digest, '@', &head)) {
		name = head;
		has_digest = true;
	}
	if (cut_tag(&name, &tag) && !tag_ok(tag))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s': a tag has 1 to 128 of A-Z a-z 0-9 _ . - and begins with "
				  "none of . -",
				  shown);
	if (is_bare_id(name))
		return varve_fail(e, VARVE_E_REFERENCE,
				  "'%s' could be an image id; for a digest write "
				  "NAME@sha256:%.12s...",
				  shown, name.p);
	r = fill_name(&out, name, shown, e);
	if (r < 0)
		return r;
	if (has_digest) {
		r = parse_digest(&out, digest, shown, e);
		if (r < 0)
			return r;
	}
	if (tag.p)
		put(out.tag, sizeof(out.tag), tag);
	else if (!has_digest)
		put(out.tag, sizeof(out.tag), span_str("latest"));
	*ret = out;
	return 0;
}

static const char *print_reference(const char *domain, const char *path,
				   const struct varve_reference *r, char buf[800])
{
	bool digest = varve_digest_is_set(&r->digest);

	(void)snprintf(buf, 800, "%s%s%s%s%s%s%s", domain, *domain ? "/" : "", path,
		       *r->tag ? ":" : "", r->tag, digest ? "@" : "",
		       digest ? DIGEST_STR(&r->digest) : "");
	return buf;
}

const char *varve_reference_canonical(const struct varve_reference *r, char buf[800])
{
	return print_reference(r->domain, r->path, r, buf);
}

/* The path as a user types it; a single component that looks like a host keeps its prefix. */
static const char *familiar_path(const struct varve_reference *r)
{
	const char *rest = r->path;

	if (!strncmp(rest, OFFICIAL_PREFIX, strlen(OFFICIAL_PREFIX)) &&
	    !strchr(rest + strlen(OFFICIAL_PREFIX), '/') &&
	    !is_bare_id(span_str(rest + strlen(OFFICIAL_PREFIX)))) /* refused when read again */
		rest += strlen(OFFICIAL_PREFIX);
	return rest;
}

/* Without its domain the path would begin with what reads as a host. */
static bool looks_like_host(const char *path)
{
	struct span rest = span_str(path), first;

	return span_cut(&rest, '/', &first) &&
	       (memchr(first.p, '.', first.n) || span_eq(first, "localhost"));
}

const char *varve_reference_familiar(const struct varve_reference *r, char buf[800])
{
	if (strcmp(r->domain, DEFAULT_DOMAIN) != 0 || looks_like_host(r->path))
		return varve_reference_canonical(r, buf);
	return print_reference("", familiar_path(r), r, buf);
}

/* Longer than a file name allows: keep the start, end with what tells it from its like. */
static void shorten_label(char *label, const char *whole)
{
	struct varve_digest d;

	if (strlen(label) <= LABEL_MAX ||
	    hash_bytes(VARVE_SHA256, whole, strlen(whole), &d, NULL) < 0)
		return;
	(void)snprintf(label + LABEL_MAX - 13, 14, "_%.12s", DIGEST_HEX(&d));
}

const char *varve_reference_label(const struct varve_reference *r, char buf[512])
{
	char whole[800];
	bool hub = !strcmp(r->domain, DEFAULT_DOMAIN);

	(void)snprintf(whole, sizeof(whole), "%s%s%s_%.*s", hub ? "" : r->domain, hub ? "" : "/",
		       hub ? familiar_path(r) : r->path, *r->tag ? 128 : 12,
		       *r->tag ? r->tag : DIGEST_HEX(&r->digest));
	for (char *p = whole; *p; p++)
		if (*p == '/' || *p == ':' || *p == '[' || *p == ']')
			*p = '_';
	(void)snprintf(buf, 512, "%.511s", whole);
	shorten_label(buf, whole);
	return buf;
}
