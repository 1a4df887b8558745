/* SPDX-License-Identifier: Apache-2.0 */
/* Paths inside a git tree and the URLs under which a raw-file host serves them. */
#include "fetch/config/official_path.h"

#include <ctype.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define PATH_MAX_BYTES 1023u

/* The forms of the hosts that library files name (and of their kinds, for mirrors of them). */
static const struct official_host builtin_hosts[] = {
	{"github.com", "https://raw.githubusercontent.com/{repo}/{commit}/{path}"},
	{"gitlab.com", "https://gitlab.com/{repo}/-/raw/{commit}/{path}"},
	{"gitlab.archlinux.org", "https://gitlab.archlinux.org/{repo}/-/raw/{commit}/{path}"},
	{"git.launchpad.net", "https://git.launchpad.net/{repo}/plain/{path}?id={commit}"},
};
#define GITLAB_FORM "https://{host}/{repo}/-/raw/{commit}/{path}"
#define CGIT_FORM   "https://{host}/{repo}/plain/{path}?id={commit}"

static int unsafe(struct varve_err *e, struct span path, const char *why)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, 4096);
	text_escape(&b, path.p, VARVE_MIN(path.n, 200u));
	return varve_fail(e, VARVE_E_UNSAFE, "\"%s\": %s", b.p, why);
}

static bool has_control(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return true;
	return false;
}

int official_path_clean(struct buf *out, struct span path, struct varve_err *e)
{
	struct span rest = path, part;
	bool more = true;

	buf_reset(out);
	if (path.n > PATH_MAX_BYTES)
		return unsafe(e, path, "path is too long");
	if (path.n && path.p[0] == '/')
		return unsafe(e, path, "path is absolute");
	if (has_control(path))
		return unsafe(e, path, "path has control characters");
	while (more) {
		more = span_cut(&rest, '/', &part);
		if (!part.n || span_eq(part, "."))
			continue;
		if (span_eq(part, "..")) {
			const char *slash = memrchr(out->p, '/', out->n);

			if (!out->n)
				return unsafe(e, path, "path leaves the tree");
			out->n = slash ? (size_t)(slash - out->p) : 0;
			out->p[out->n] = '\0';
			continue;
		}
		if (out->n)
			buf_addc(out, '/');
		buf_add(out, part.p, part.n);
	}
	if (!out->n)
		buf_addc(out, '.');
	return buf_error(out) ? varve_fail_oom(e) : 0;
}

int official_path_join(struct buf *out, const char *root, const char *dir, struct span name,
		       struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf joined = {0};
	size_t n = strcmp(root, ".") != 0 ? strlen(root) : 0;
	int r;

	buf_init(&joined, 8192);
	if (name.n && name.p[0] == '/')
		return unsafe(e, name, "path is absolute");
	buf_printf(&joined, "%s/", dir);
	buf_add(&joined, name.p, name.n);
	if (buf_error(&joined))
		return unsafe(e, name, "path is too long");
	r = official_path_clean(out, span_of(joined.p, joined.n), e);
	if (r < 0)
		return r;
	if (n && (strncmp(out->p, root, n) != 0 || (out->p[n] && out->p[n] != '/')))
		return unsafe(e, name, "path leaves its directory");
	return 0;
}

/* Percent-encode what may not stand in a path; '/' and '+' are kept (RFC 3986 3.3). */
static void encode_path(struct buf *out, struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    (c && strchr("-._~/+@,=", c)))
			buf_addc(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

struct fill {
	const char *name;
	struct span value;
};

static int expand(struct buf *out, const char *form, const struct fill *f, size_t n,
		  struct varve_err *e)
{
	const char *p = form;

	buf_reset(out);
	while (*p) {
		const char *end = *p == '{' ? strchr(p, '}') : NULL;
		size_t i;

		if (!end) {
			buf_addc(out, *p++);
			continue;
		}
		for (i = 0; i < n; i++)
			if (span_eq(span_of(p + 1, (size_t)(end - p - 1)), f[i].name))
				break;
		if (i == n)
			return varve_fail(e, VARVE_E_CONFIG,
					  "\"%s\": unknown placeholder in the URL; known are "
					  "{repo}, {commit}, {path} and {image}",
					  TEXT_SAFE(form));
		if (!strcmp(f[i].name, "host"))
			buf_add(out, f[i].value.p, f[i].value.n);
		else
			encode_path(out, f[i].value);
		p = end + 1;
	}
	return buf_error(out) ? varve_fail(e, VARVE_E_LIMIT, "URL is too long") : 0;
}

static bool is_host(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (!isalnum((unsigned char)s.p[i]) && !strchr(".-_:[]", s.p[i]))
			return false;
	return s.n > 0 && s.n < 256;
}

/* scheme://[user@]host[:port]/repo[.git][/] */
static bool split_repo(const char *url, struct span *ret_host, struct span *ret_repo)
{
	const char *p = strstr(url, "://");
	struct span rest, host, user;

	if (!p)
		return false;
	rest = span_str(p + 3);
	if (!span_cut(&rest, '/', &host))
		return false;
	user = host;
	if (span_cut(&user, '@', &host))
		host = user;
	while (rest.n && rest.p[rest.n - 1] == '/')
		rest.n--;
	if (rest.n > 4 && !memcmp(rest.p + rest.n - 4, ".git", 4))
		rest.n -= 4;
	*ret_host = host;
	*ret_repo = rest;
	return rest.n && is_host(host) && !has_control(rest);
}

static const char *find_form(const struct official_host *own, size_t n_own, struct span host)
{
	size_t i;

	for (i = 0; i < n_own; i++)
		if (span_eq_nocase(host, own[i].host))
			return own[i].url;
	for (i = 0; i < VARVE_ARRAY_SIZE(builtin_hosts); i++)
		if (span_eq_nocase(host, builtin_hosts[i].host))
			return builtin_hosts[i].url;
	return span_starts(host, "gitlab.") ? GITLAB_FORM : CGIT_FORM;
}

int official_url(struct buf *out, const struct official_host *own, size_t n_own, const char *repo,
		 const char *commit, const char *path, struct varve_err *e)
{
	struct fill f[] = {
		{"host", {0}},
		{"repo", {0}},
		{"commit", span_str(commit)},
		{"path", span_str(path)},
	};

	if (!split_repo(repo, &f[0].value, &f[1].value))
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "git repository \"%s\": not a URL of the form "
				  "https://HOST/REPOSITORY",
				  TEXT_SAFE(repo));
	return expand(out, find_form(own, n_own, f[0].value), f, VARVE_ARRAY_SIZE(f), e);
}

int official_library_url(struct buf *out, const char *url, const char *image, struct varve_err *e)
{
	struct fill f = {"image", span_str(image)};

	return expand(out, url, &f, 1, e);
}
