/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that hold credentials: containers auth.json, docker config.json, .dockercfg, netrc.
 * Pure. */
#include "fetch/auth/authfile.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define HUB        "docker.io"
#define HUB_SERVER "https://index.docker.io/v1/"

void authfile_answer_done(struct authfile_answer *a)
{
	credential_done(&a->credential);
	free(a->helper);
	a->helper = NULL;
}

const char *authfile_host(const char *host)
{
	if (!strcmp(host, "index.docker.io") || !strcmp(host, "registry-1.docker.io"))
		return HUB;
	return host;
}

const char *authfile_server_name(const char *host)
{
	return strcmp(authfile_host(host), HUB) == 0 ? HUB_SERVER : host;
}

bool helper_name_ok(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-",
			    name[n]))
			return false;
	return n > 0 && n < 128;
}

/* "https://h/v1/" -> "h"; "h/ns" stays; Docker Hub's names become one. */
void authfile_normalise_key(const char *key, char out[AUTHFILE_KEY_MAX])
{
	bool url = !strncmp(key, "https://", 8) || !strncmp(key, "http://", 7);
	const char *p = url ? strstr(key, "://") + 3 : key;
	char host[AUTHFILE_KEY_MAX];
	size_t n = strcspn(p, "/");

	(void)snprintf(host, sizeof(host), "%.*s", (int)VARVE_MIN(n, sizeof(host) - 1), p);
	p += n;
	/* What is behind the host of a URL is an API version, not a namespace. */
	if (url || !strcmp(p, "/v1/") || !strcmp(p, "/v2/") || !strcmp(p, "/v1") ||
	    !strcmp(p, "/v2") || !strcmp(p, "/"))
		p = "";
	(void)snprintf(out, AUTHFILE_KEY_MAX, "%s%s", authfile_host(host), p);
}

/* base64 of user:password, cut at the first colon; old tools padded with NUL. */
static int decode_auth(struct credential *ret, const char *auth, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf raw = {0};
	struct span rest, user;

	buf_init_secret(&raw, 65536);
	if (!text_base64_decode(span_str(auth), &raw))
		return varve_fail(e, VARVE_E_FORMAT, "an \"auth\" that is not base64");
	while (raw.n && raw.p[raw.n - 1] == 0)
		raw.n--;
	rest = span_of(raw.p, raw.n);
	if (memchr(raw.p, 0, raw.n) || !span_cut(&rest, ':', &user))
		return varve_fail(e, VARVE_E_FORMAT, "an \"auth\" that is not user:password");
	ret->user = span_dup(user);
	ret->secret = span_dup(rest);
	ret->kind = CREDENTIAL_PASSWORD;
	return ret->user && ret->secret ? 0 : varve_fail_oom(e);
}

static int set_secret(struct credential *ret, enum credential_kind kind, const char *user,
		      const char *secret, struct varve_err *e)
{
	credential_done(ret);
	ret->kind = kind;
	ret->user = strdup(user ? user : "");
	ret->secret = strdup(secret);
	return ret->user && ret->secret ? 0 : varve_fail_oom(e);
}

static bool filled(const char *s)
{
	return s && *s;
}

/* One entry of "auths". An empty one marks that a helper has it: no credential. */
static int read_entry(struct credential *ret, const json *entry, struct varve_err *e)
{
	const char *auth = json_str(json_get(entry, "auth"));
	const char *user = json_str(json_get(entry, "username"));
	const char *password = json_str(json_get(entry, "password"));
	const char *identity = json_str(json_get(entry, "identitytoken"));
	const char *bearer = json_str(json_get(entry, "registrytoken"));
	int r = 0;

	if (filled(bearer))
		return set_secret(ret, CREDENTIAL_BEARER, user, bearer, e);
	if (filled(auth))
		r = decode_auth(ret, auth, e);
	else if (filled(user) && password)
		r = set_secret(ret, CREDENTIAL_PASSWORD, user, password, e);
	if (r == 0 && filled(identity)) {
		VARVE_FREE char *name = ret->user ? strdup(ret->user) : NULL;

		r = set_secret(ret, CREDENTIAL_IDENTITY, name ? name : user, identity, e);
	}
	return r;
}

/* The entry of one key, or NULL. A key as it is
 * wanted comes before one that only means the same. */
static const json *find_entry(const json *auths, const char *want)
{
	const json *same = NULL;
	char key[AUTHFILE_KEY_MAX];

	for (const json *j = json_first(auths); j; j = json_next(j)) {
		if (!strcmp(json_key(j), want))
			return j;
		authfile_normalise_key(json_key(j), key);
		if (!same && !strcmp(key, want))
			same = j;
	}
	return same;
}

static int find_auths(struct credential *ret, const json *auths, const char *host, const char *path,
		      struct varve_err *e)
{
	char want[AUTHFILE_KEY_MAX], *slash;
	int r;

	(void)snprintf(want, sizeof(want), "%s%s%s", host, path ? "/" : "", path ? path : "");
	for (;;) {
		const json *entry = find_entry(auths, want);

		r = entry ? read_entry(ret, entry, e) : 0;
		if (r < 0)
			return varve_wrap(e, r, "the entry for %s", TEXT_SAFE(want));
		if (ret->kind != CREDENTIAL_NONE)
			return 0;
		slash = strrchr(want, '/');
		if (!slash)
			return 0;
		*slash = 0;
	}
}

static int set_helper(struct authfile_answer *ret, const char *name, bool specific,
		      struct varve_err *e)
{
	if (!helper_name_ok(name))
		return varve_fail(e, VARVE_E_FORMAT, "'%s' is not the name of a credential helper",
				  TEXT_SAFE(name));
	ret->helper = strdup(name);
	ret->helper_specific = specific;
	return ret->helper ? 0 : varve_fail_oom(e);
}

int authfile_member(const json **ret, const json *doc, const char *key, struct varve_err *e)
{
	const json *j = json_get(doc, key);

	if (j && !json_is_object(j))
		return varve_fail(e, VARVE_E_FORMAT, "member \"%s\" is not an object", key);
	*ret = j;
	return 0;
}

/* The helper that "credHelpers" has for the host; NULL: none. */
static const char *find_helper(const json *helpers, const char *host)
{
	for (const json *j = json_first(helpers); j; j = json_next(j)) {
		char key[AUTHFILE_KEY_MAX];

		authfile_normalise_key(json_key(j), key);
		if (!strcmp(key, host) && json_str(j))
			return json_str(j);
	}
	return NULL;
}

int authfile_find(struct authfile_answer *ret, const void *p, size_t n, bool legacy,
		  const char *host, const char *path, struct varve_err *e)
{
	JSON_FREE_SECRET json *doc = NULL;
	const json *helpers = NULL, *auths;
	const char *name;
	int r = json_parse(&doc, p, n, AUTHFILE_MAX, e);

	*ret = (struct authfile_answer){0};
	if (r < 0)
		return r;
	if (!json_is_object(doc))
		return varve_fail(e, VARVE_E_FORMAT, "not a JSON object");
	host = authfile_host(host);
	auths = doc;
	if (!legacy) {
		r = authfile_member(&auths, doc, "auths", e);
		if (r == 0)
			r = authfile_member(&helpers, doc, "credHelpers", e);
		if (r < 0)
			return r;
	}
	name = find_helper(helpers, host);
	if (filled(name))
		return set_helper(ret, name, true, e);
	r = find_auths(&ret->credential, auths, host, path, e);
	if (r < 0 || ret->credential.kind != CREDENTIAL_NONE)
		return r;
	name = legacy ? NULL : json_str(json_get(doc, "credsStore"));
	return filled(name) ? set_helper(ret, name, false, e) : 0;
}

int helper_answer_parse(struct credential *ret, const void *p, size_t n, struct varve_err *e)
{
	JSON_FREE_SECRET json *doc = NULL;
	const char *user, *secret;
	int r = json_parse(&doc, p, n, 65536, e);

	if (r < 0)
		return r;
	user = json_str(json_get(doc, "Username"));
	secret = json_str(json_get(doc, "Secret"));
	if (!user || !filled(secret))
		return varve_fail(e, VARVE_E_FORMAT, "no Username and Secret in the answer");
	return set_secret(ret,
			  strcmp(user, "<token>") == 0 ? CREDENTIAL_IDENTITY : CREDENTIAL_PASSWORD,
			  user, secret, e);
}

static bool next_word(struct span *s, struct span *ret)
{
	size_t n = 0;

	*s = span_trim(*s);
	while (s->n && s->p[0] == '#') {
		struct span line;

		(void)span_cut(s, '\n', &line);
		*s = span_trim(*s);
	}
	while (n < s->n && !strchr(" \t\r\n", s->p[n]))
		n++;
	*ret = span_of(s->p, n);
	*s = span_of(s->p + n, s->n - n);
	return n > 0;
}

bool netrc_find(const void *p, size_t n, const char *machine, struct credential *ret)
{
	struct span rest = span_of(p, n), word, value;
	struct span login = {0}, password = {0};
	bool here = false;

	while (next_word(&rest, &word)) {
		if (here && password.p && span_eq(word, "machine"))
			break;
		/* Meant for hosts of FTP; a registry that somebody else named must not get it. It
		 * is the last entry. */
		if (span_eq(word, "default"))
			break;
		if (!next_word(&rest, &value))
			break;
		if (span_eq(word, "machine"))
			here = span_eq_nocase(value, machine);
		else if (span_eq(word, "macdef"))
			return false; /* a macro's text could look like anything */
		else if (here && span_eq(word, "login"))
			login = value;
		else if (here && span_eq(word, "password"))
			password = value;
	}
	if (!here || !password.p)
		return false;
	ret->kind = CREDENTIAL_PASSWORD;
	ret->user = span_dup(login.p ? login : span_str(""));
	ret->secret = span_dup(password);
	if (ret->user && ret->secret)
		return true;
	credential_done(ret);
	return false;
}
