/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a configuration file into a struct; pure. */
#include "fetch/config/config_read.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/text.h"

#define CONFIG_MAX     (1u << 20)
#define REGISTRIES_MAX 1000u
#define LIST_MAX       256u
#define JOBS_MAX       16u
/* How far limits can be raised: what the memory of a plan, its buffers and the stack bear. */
#define ENTRIES_MAX    1000000000u
#define PATH_BYTES_MAX 65535u
#define DEPTH_MAX      4096u
#define RATIO_MAX      1000000u
#define LINK_WORK_MAX  1000000000000u

struct reader {
	struct varve_config *c;
	config_finding finding;
	void *user;
	char at[512]; /* the member that is being read */
	bool oom;
};

static void say(struct reader *rd, bool error, const char *fmt, ...) VARVE_PRINTF(3, 4);
static void say(struct reader *rd, bool error, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rd->finding(rd->user, error, *rd->at ? rd->at : "the file", text);
}

/* Go down to a member; the result goes to leave(). */
static size_t enter(struct reader *rd, const char *member)
{
	size_t n = strlen(rd->at);

	(void)snprintf(rd->at + n, sizeof(rd->at) - n, "%s%s", n ? "." : "", TEXT_SAFE(member));
	return n;
}

static size_t enter_item(struct reader *rd, size_t i)
{
	size_t n = strlen(rd->at);

	(void)snprintf(rd->at + n, sizeof(rd->at) - n, "[%zu]", i);
	return n;
}

static void leave(struct reader *rd, size_t n)
{
	rd->at[n] = 0;
}

static char *copy(struct reader *rd, const char *s)
{
	char *out = strdup(s);

	rd->oom |= !out;
	return out;
}

/* --- values --- */

static void read_bool(struct reader *rd, const json *j, bool *ret)
{
	if (!json_bool(j, ret))
		say(rd, true, "must be true or false");
}

static const char *read_text(struct reader *rd, const json *j)
{
	const char *s = json_str(j);

	if (!s || !*s)
		say(rd, true, "must be a text that is not empty");
	return s && *s ? s : NULL;
}

static void read_duration(struct reader *rd, const json *j, unsigned *ret_ms)
{
	const char *s = json_str(j);
	uint64_t seconds;

	if (!s || !text_parse_duration(s, &seconds) || !seconds || seconds > 86400)
		say(rd, true, "must be a duration from \"1s\" to \"1d\"");
	else
		*ret_ms = (unsigned)seconds * 1000;
}

static void read_count(struct reader *rd, const json *j, unsigned min, unsigned max, unsigned *ret)
{
	uint64_t v;

	if (!json_u64(j, &v) || v < min || v > max)
		say(rd, true, "must be a number from %u to %u", min, max);
	else
		*ret = (unsigned)v;
}

static void read_count64(struct reader *rd, const json *j, uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (!json_u64(j, &v) || v < 1 || v > max)
		say(rd, true, "must be a number from 1 to %llu", (unsigned long long)max);
	else
		*ret = v;
}

static void read_size(struct reader *rd, const json *j, uint64_t *ret)
{
	const char *s = json_str(j);
	uint64_t v;

	if ((s && text_parse_size(s, &v)) || json_u64(j, &v))
		*ret = v;
	else
		say(rd, true, "must be a size like \"20G\" or a number of bytes");
}

static char **read_texts(struct reader *rd, const json *j)
{
	size_t n = json_len(j), k = 0;
	char **out;

	if (!json_is_array(j) || n > LIST_MAX) {
		say(rd, true, "must be a list of at most %u texts", LIST_MAX);
		return NULL;
	}
	out = calloc(n + 1, sizeof(*out));
	rd->oom |= !out;
	for (const json *i = json_first(j); out && i; i = json_next(i)) {
		size_t at = enter_item(rd, k);
		const char *s = read_text(rd, i);

		if (s)
			out[k++] = copy(rd, s);
		leave(rd, at);
	}
	return out;
}

static bool host_ok(const char *host)
{
	char text[600];
	struct url u;

	(void)snprintf(text, sizeof(text), "https://%s/", host);
	return *host && host[strlen(host) - 1] != ':' && url_parse(&u, text, NULL) == 0 &&
	       !u.has_userinfo && !strcmp(u.target, "/");
}

/* --- mirrors --- */

static void read_headers(struct reader *rd, const json *j, struct config_mirror *m)
{
	size_t n = json_len(j), k = 0;

	if (!json_is_object(j) || n > LIST_MAX) {
		say(rd, true, "must be an object of header names and texts");
		return;
	}
	m->headers = calloc(n + 1, sizeof(*m->headers));
	rd->oom |= !m->headers;
	for (const json *i = json_first(j); m->headers && i; i = json_next(i)) {
		size_t at = enter(rd, json_key(i));
		const char *value = json_str(i), *name = json_key(i);

		if (!value || !*name || strpbrk(value, "\r\n") || strpbrk(name, ": \t\r\n"))
			say(rd, true, "must be a header name with a text on one line");
		else if (!strcasecmp(name, "Authorization") || !strcasecmp(name, "Host"))
			say(rd, true, "cannot be set here; credentials come from auth files");
		else if (asprintf(&m->headers[k], "%s: %s", name, value) < 0)
			rd->oom = true;
		else
			k++;
		leave(rd, at);
	}
}

static void read_capabilities(struct reader *rd, const json *j, struct config_mirror *m)
{
	if (!json_is_array(j)) {
		say(rd, true, "must be a list of \"pull\" and \"resolve\"");
		return;
	}
	m->pull = m->resolve = false;
	for (const json *i = json_first(j); i; i = json_next(i)) {
		const char *s = json_str(i);

		if (s && !strcmp(s, "pull"))
			m->pull = true;
		else if (s && !strcmp(s, "resolve"))
			m->resolve = true;
		else
			say(rd, true, "may have \"pull\" and \"resolve\" only");
	}
}

static void read_mirror_url(struct reader *rd, const json *j, struct config_mirror *m)
{
	const char *s = read_text(rd, j);
	struct url u;
	size_t n;

	if (!s)
		return;
	if (url_parse(&u, s, NULL) < 0 || u.has_userinfo || u.has_query || u.has_fragment) {
		say(rd, true, "must be an http or https URL without user name, query and fragment");
		return;
	}
	m->url = copy(rd, s);
	for (n = m->url ? strlen(m->url) : 0; n && m->url[n - 1] == '/'; n--)
		m->url[n - 1] = 0;
}

static void mirror_member(struct reader *rd, const char *key, const json *j,
			  struct config_mirror *m)
{
	const char *s;

	if (!strcmp(key, "url")) {
		read_mirror_url(rd, j, m);
	} else if (!strcmp(key, "repository")) {
		s = read_text(rd, j);
		m->repository = s ? copy(rd, s) : NULL;
	} else if (!strcmp(key, "headers")) {
		read_headers(rd, j, m);
	} else if (!strcmp(key, "capabilities")) {
		read_capabilities(rd, j, m);
	} else if (!strcmp(key, "insecure")) {
		read_bool(rd, j, &m->insecure);
	} else if (!strcmp(key, "ns")) {
		read_bool(rd, j, &m->ns);
	} else if (!strcmp(key, "override_path")) {
		read_bool(rd, j, &m->override_path);
	} else if (!strcmp(key, "connect_timeout")) {
		read_duration(rd, j, &m->connect_ms);
	} else if (!strcmp(key, "header_timeout")) {
		read_duration(rd, j, &m->header_ms);
	} else {
		say(rd, false, "is not known");
	}
}

static void read_mirrors(struct reader *rd, const json *j, struct config_registry *reg)
{
	size_t n = json_len(j), i = 0;

	if (!json_is_array(j) || n > CONFIG_MIRRORS_MAX) {
		say(rd, true, "must be a list of at most %u mirrors", CONFIG_MIRRORS_MAX);
		return;
	}
	reg->mirrors = calloc(n + 1, sizeof(*reg->mirrors));
	rd->oom |= !reg->mirrors;
	for (const json *item = json_first(j); reg->mirrors && item; item = json_next(item), i++) {
		struct config_mirror *m = &reg->mirrors[reg->n_mirrors];
		size_t at = enter_item(rd, i);

		/* A mirror that does not answer must not cost a minute per blob
		 * (docs/requirements.md 5.6). */
		*m = (struct config_mirror){
			.pull = true, .ns = true, .connect_ms = 3000, .header_ms = 10000};
		if (!json_is_object(item))
			say(rd, true, "must be an object");
		for (const json *k = json_first(json_is_object(item) ? item : NULL); k;
		     k = json_next(k)) {
			size_t below = enter(rd, json_key(k));

			mirror_member(rd, json_key(k), k, m);
			leave(rd, below);
		}
		if (json_is_object(item) && !json_get(item, "url"))
			say(rd, true, "has no \"url\"");
		reg->n_mirrors++;
		leave(rd, at);
	}
}

/* --- registries --- */

static void registry_member(struct reader *rd, const char *key, const json *j,
			    struct config_registry *reg)
{
	const char *s;

	if (!strcmp(key, "location")) {
		s = read_text(rd, j);
		reg->location = s ? copy(rd, s) : NULL;
	} else if (!strcmp(key, "insecure")) {
		read_bool(rd, j, &reg->insecure);
	} else if (!strcmp(key, "blocked")) {
		read_bool(rd, j, &reg->blocked);
	} else if (!strcmp(key, "fallback")) {
		read_bool(rd, j, &reg->fallback);
	} else if (!strcmp(key, "token_hosts")) {
		reg->token_hosts = read_texts(rd, j);
	} else if (!strcmp(key, "mirrors")) {
		read_mirrors(rd, j, reg);
	} else {
		say(rd, false, "is not known");
	}
}

static void check_prefix(struct reader *rd, const char *prefix)
{
	bool wildcard = !strncmp(prefix, "*.", 2);
	const char *name = wildcard ? prefix + 2 : prefix;
	size_t n = strcspn(name, "/");
	char host[300];

	(void)snprintf(host, sizeof(host), "%.*s", (int)VARVE_MIN(n, 299), name);
	if (wildcard && strchr(prefix, '/'))
		say(rd, true, "a wildcard stands for hosts only: \"*.example.com\"");
	else if (!host_ok(host))
		say(rd, true, "must be HOST[:PORT][/PATH] or \"*.DOMAIN\"");
	else if (!strcmp(host, "index.docker.io") || !strcmp(host, "registry-1.docker.io"))
		say(rd, true, "Docker Hub is called docker.io here");
}

static void read_registries(struct reader *rd, const json *j)
{
	struct varve_config *c = rd->c;
	size_t n = json_len(j);

	if (!json_is_object(j) || n > REGISTRIES_MAX) {
		say(rd, true, "must be an object of at most %u registries", REGISTRIES_MAX);
		return;
	}
	c->registries = calloc(n + 1, sizeof(*c->registries));
	rd->oom |= !c->registries;
	for (const json *i = json_first(j); c->registries && i; i = json_next(i)) {
		struct config_registry *reg = &c->registries[c->n_registries];
		size_t at = enter(rd, json_key(i));

		reg->fallback = true;
		reg->prefix = copy(rd, json_key(i));
		check_prefix(rd, json_key(i));
		if (!json_is_object(i))
			say(rd, true, "must be an object");
		for (const json *k = json_first(json_is_object(i) ? i : NULL); k;
		     k = json_next(k)) {
			size_t below = enter(rd, json_key(k));

			registry_member(rd, json_key(k), k, reg);
			leave(rd, below);
		}
		if (!reg->fallback && !reg->n_mirrors)
			say(rd, true, "has no mirror and may not use the registry itself");
		c->n_registries++;
		leave(rd, at);
	}
}

static void read_insecure(struct reader *rd, const json *j)
{
	rd->c->insecure = read_texts(rd, j);
	for (char **s = rd->c->insecure; s && *s; s++)
		if (!host_ok(*s))
			say(rd, true, "'%s' is not HOST[:PORT]", URL_SAFE(*s));
}

static void read_lower(struct reader *rd, const json *j)
{
	rd->c->lower = read_texts(rd, j);
	for (char **s = rd->c->lower; s && *s; s++)
		if (**s != '/')
			say(rd, true, "'%s' is not an absolute path", TEXT_SAFE(*s));
}

static void read_platform(struct reader *rd, const json *j)
{
	const char *s = read_text(rd, j);

	if (!s)
		return;
	if (varve_platform_parse(&rd->c->platform, s, NULL) < 0)
		say(rd, true, "'%s' is not OS/ARCHITECTURE[/VARIANT]", TEXT_SAFE(s));
	else
		rd->c->has_platform = true;
}

/* "{image}", "{repo}", …: with something in their place it must be a URL. */
static char *read_template(struct reader *rd, const json *j, bool library)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	const char *s = read_text(rd, j);
	struct url u;
	int r;

	if (!s)
		return NULL;
	buf_init(&b, URL_MAX);
	if (library) {
		r = official_library_url(&b, s, "x", NULL);
	} else {
		struct official_host h = {"h", s};

		r = official_url(&b, &h, 1, "https://h/r", "c", "p", NULL);
	}
	if (r < 0 || url_parse(&u, b.p, NULL) < 0)
		say(rd, true, "must be a URL with %s",
		    library ? "{image}" : "{repo}, {commit} and {path}");
	return copy(rd, s);
}

static void read_official_hosts(struct reader *rd, const json *j)
{
	struct varve_config *c = rd->c;
	size_t n = json_len(j);

	if (!json_is_object(j) || n > REGISTRIES_MAX) {
		say(rd, true, "must be an object of at most %u hosts", REGISTRIES_MAX);
		return;
	}
	c->official_hosts = calloc(n + 1, sizeof(*c->official_hosts));
	rd->oom |= !c->official_hosts;
	for (const json *i = json_first(j); c->official_hosts && i; i = json_next(i)) {
		struct official_host *h = &c->official_hosts[c->n_official_hosts];
		size_t at = enter(rd, json_key(i));

		h->host = copy(rd, json_key(i));
		h->url = read_template(rd, i, false);
		if (h->host && h->url) {
			c->n_official_hosts++;
		} else {
			free(UNCONST(h->host));
			free(UNCONST(h->url));
			*h = (struct official_host){0};
		}
		leave(rd, at);
	}
}

static void read_official(struct reader *rd, const json *j)
{
	if (!json_is_object(j)) {
		say(rd, true, "must be an object");
		return;
	}
	for (const json *i = json_first(j); i; i = json_next(i)) {
		size_t at = enter(rd, json_key(i));

		if (!strcmp(json_key(i), "library")) {
			free(rd->c->official_library);
			rd->c->official_library = read_template(rd, i, true);
		} else if (!strcmp(json_key(i), "hosts")) {
			read_official_hosts(rd, i);
		} else {
			say(rd, false, "is not known");
		}
		leave(rd, at);
	}
}

static void read_limits(struct reader *rd, const json *j)
{
	struct varve_limits *l = &rd->c->limits;

	if (!json_is_object(j)) {
		say(rd, true, "must be an object");
		return;
	}
	for (const json *i = json_first(j); i; i = json_next(i)) {
		const char *key = json_key(i);
		size_t at = enter(rd, key);

		if (!strcmp(key, "max_layer_size"))
			read_size(rd, i, &l->max_layer_bytes);
		else if (!strcmp(key, "max_layer_entries"))
			read_count64(rd, i, ENTRIES_MAX, &l->max_layer_entries);
		else if (!strcmp(key, "max_entries"))
			read_count64(rd, i, ENTRIES_MAX, &l->max_entries);
		else if (!strcmp(key, "max_path"))
			read_count(rd, i, 1, PATH_BYTES_MAX, &l->max_path);
		else if (!strcmp(key, "max_depth"))
			read_count(rd, i, 1, DEPTH_MAX, &l->max_depth);
		else if (!strcmp(key, "max_ratio"))
			read_count(rd, i, 1, RATIO_MAX, &l->max_ratio);
		else if (!strcmp(key, "max_link_work"))
			read_count64(rd, i, LINK_WORK_MAX, &l->max_link_work);
		else if (!strcmp(key, "max_documents"))
			read_size(rd, i, &l->max_documents);
		else
			say(rd, false, "is not known");
		leave(rd, at);
	}
}

static void read_hooks(struct reader *rd, const json *j)
{
	const char *s = read_text(rd, j);

	free(rd->c->hooks);
	rd->c->hooks = s ? copy(rd, s) : NULL;
	if (s && s[0] != '/' && strcmp(s, ".") != 0)
		say(rd, true,
		    "must be an absolute path, or \".\" for the directory of the command");
}

static void top_member(struct reader *rd, const char *key, const json *j)
{
	struct varve_config *c = rd->c;

	if (!strcmp(key, "registries"))
		read_registries(rd, j);
	else if (!strcmp(key, "insecure"))
		read_insecure(rd, j);
	else if (!strcmp(key, "lower"))
		read_lower(rd, j);
	else if (!strcmp(key, "platform"))
		read_platform(rd, j);
	else if (!strcmp(key, "hooks"))
		read_hooks(rd, j);
	else if (!strcmp(key, "official"))
		read_official(rd, j);
	else if (!strcmp(key, "limits"))
		read_limits(rd, j);
	else if (!strcmp(key, "jobs"))
		read_count(rd, j, 1, JOBS_MAX, &c->jobs);
	else if (!strcmp(key, "retries"))
		read_count(rd, j, 0, 100, &c->retries);
	else if (!strcmp(key, "connect_timeout"))
		read_duration(rd, j, &c->connect_ms);
	else if (!strcmp(key, "header_timeout"))
		read_duration(rd, j, &c->header_ms);
	else if (!strcmp(key, "stall_timeout"))
		read_duration(rd, j, &c->stall_ms);
	else if (!strcmp(key, "max_blob_size"))
		read_size(rd, j, &c->max_blob);
	else
		say(rd, false, "is not known");
}

int config_read(struct varve_config *c, const void *p, size_t n, config_finding finding, void *user,
		struct varve_err *e)
{
	struct reader rd = {.c = c, .finding = finding, .user = user};
	JSON_FREE json *doc = NULL;
	struct varve_err own = VARVE_ERR_INIT;
	int r = json_parse(&doc, p, n, CONFIG_MAX, &own);

	if (r < 0 || !json_is_object(doc)) {
		char why[400] = "not a JSON object";

		if (r < 0)
			(void)varve_err_text(&own, why, sizeof(why));
		return varve_fail(e, VARVE_E_CONFIG, "%s", why);
	}
	for (const json *j = json_first(doc); j; j = json_next(j)) {
		size_t at = enter(&rd, json_key(j));

		top_member(&rd, json_key(j), j);
		leave(&rd, at);
	}
	return rd.oom ? varve_fail_oom(e) : 0;
}
