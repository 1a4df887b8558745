/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a configuration file into a struct; pure. */
#include "fetch/config/config_read.h"

#include <inttypes.h>
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
#define RETRIES_MAX    100u
/* How far limits can be raised: what the memory of a plan, its buffers and the stack bear. */
#define ENTRIES_MAX    1000000000u
#define PATH_BYTES_MAX 65535u
#define DEPTH_MAX      4096u
#define RATIO_MAX      1000000u
#define LINK_WORK_MAX  1000000000000u

struct reader {
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

/* A member of an object of the file, and where in its struct it goes. */
struct field {
	const char *name;
	enum field_kind {
		FIELD_BOOL,     /* bool */
		FIELD_TEXT,     /* char * */
		FIELD_TEXTS,    /* char **, NULL-terminated */
		FIELD_DURATION, /* unsigned, milliseconds */
		FIELD_COUNT,    /* unsigned, from min to max */
		FIELD_COUNT64,  /* uint64_t, from min to max */
		FIELD_SIZE,     /* uint64_t, bytes */
		FIELD_OTHER,    /* what read makes of it */
	} kind;
	size_t offset;
	uint64_t min, max;
	void (*read)(struct reader *rd, const json *j, void *member);
};

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

static bool in_range(struct reader *rd, const json *j, const struct field *f, uint64_t *ret)
{
	if (json_u64(j, ret) && *ret >= f->min && *ret <= f->max)
		return true;
	say(rd, true, "must be a number from %" PRIu64 " to %" PRIu64, f->min, f->max);
	return false;
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

/* Takes the place of one that the member had before. */
static void read_copy(struct reader *rd, const json *j, char **ret)
{
	const char *s = read_text(rd, j);

	free(*ret);
	*ret = s ? copy(rd, s) : NULL;
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

static void read_field(struct reader *rd, const json *j, const struct field *f, void *of)
{
	void *member = (char *)of + f->offset;
	uint64_t n;

	switch (f->kind) {
	case FIELD_BOOL:
		read_bool(rd, j, member);
		break;
	case FIELD_TEXT:
		read_copy(rd, j, member);
		break;
	case FIELD_TEXTS:
		*(char ***)member = read_texts(rd, j);
		break;
	case FIELD_DURATION:
		read_duration(rd, j, member);
		break;
	case FIELD_COUNT:
		if (in_range(rd, j, f, &n))
			*(unsigned *)member = (unsigned)n;
		break;
	case FIELD_COUNT64:
		if (in_range(rd, j, f, &n))
			*(uint64_t *)member = n;
		break;
	case FIELD_SIZE:
		read_size(rd, j, member);
		break;
	case FIELD_OTHER:
		f->read(rd, j, member);
		break;
	}
}

/* Every member of an object goes where its field says. */
static void read_object(struct reader *rd, const json *j, const struct field *fields, size_t n,
			void *of)
{
	if (!json_is_object(j)) {
		say(rd, true, "must be an object");
		return;
	}
	for (const json *i = json_first(j); i; i = json_next(i)) {
		size_t at = enter(rd, json_key(i)), k = 0;

		while (k < n && strcmp(fields[k].name, json_key(i)) != 0)
			k++;
		if (k < n)
			read_field(rd, i, &fields[k], of);
		else
			say(rd, false, "is not known");
		leave(rd, at);
	}
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

static void read_headers(struct reader *rd, const json *j, void *member)
{
	char ***headers = member;
	size_t n = json_len(j), k = 0;

	if (!json_is_object(j) || n > LIST_MAX) {
		say(rd, true, "must be an object of header names and texts");
		return;
	}
	*headers = calloc(n + 1, sizeof(**headers));
	rd->oom |= !*headers;
	for (const json *i = json_first(j); *headers && i; i = json_next(i)) {
		size_t at = enter(rd, json_key(i));
		const char *value = json_str(i), *name = json_key(i);

		if (!value || !*name || strpbrk(value, "\r\n") || strpbrk(name, ": \t\r\n"))
			say(rd, true, "must be a header name with a text on one line");
		else if (!strcasecmp(name, "Authorization") || !strcasecmp(name, "Host"))
			say(rd, true, "cannot be set here; credentials come from auth files");
		else if (asprintf(&(*headers)[k], "%s: %s", name, value) < 0)
			rd->oom = true;
		else
			k++;
		leave(rd, at);
	}
}

/* Two members of a mirror at once. */
static void read_capabilities(struct reader *rd, const json *j, void *mirror)
{
	struct config_mirror *m = mirror;

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

static void read_mirror_url(struct reader *rd, const json *j, void *member)
{
	char **url = member;
	const char *s = read_text(rd, j);
	struct url u;
	size_t n;

	if (!s)
		return;
	if (url_parse(&u, s, NULL) < 0 || u.has_userinfo || u.has_query || u.has_fragment) {
		say(rd, true, "must be an http or https URL without user name, query and fragment");
		return;
	}
	free(*url);
	*url = copy(rd, s);
	for (n = *url ? strlen(*url) : 0; n && (*url)[n - 1] == '/'; n--)
		(*url)[n - 1] = 0;
}

#define AT(member) offsetof(struct config_mirror, member)
static const struct field mirror_fields[] = {
	{"url", FIELD_OTHER, AT(url), .read = read_mirror_url},
	{"repository", FIELD_TEXT, AT(repository)},
	{"headers", FIELD_OTHER, AT(headers), .read = read_headers},
	{"capabilities", FIELD_OTHER, 0, .read = read_capabilities},
	{"insecure", FIELD_BOOL, AT(insecure)},
	{"ns", FIELD_BOOL, AT(ns)},
	{"override_path", FIELD_BOOL, AT(override_path)},
	{"connect_timeout", FIELD_DURATION, AT(connect_ms)},
	{"header_timeout", FIELD_DURATION, AT(header_ms)},
};
#undef AT

/* Two members of a registry at once. */
static void read_mirrors(struct reader *rd, const json *j, void *registry)
{
	struct config_registry *reg = registry;
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
		read_object(rd, item, mirror_fields, VARVE_ARRAY_SIZE(mirror_fields), m);
		if (json_is_object(item) && !json_get(item, "url"))
			say(rd, true, "has no \"url\"");
		reg->n_mirrors++;
		leave(rd, at);
	}
}

/* --- registries --- */

#define AT(member) offsetof(struct config_registry, member)
static const struct field registry_fields[] = {
	{"location", FIELD_TEXT, AT(location)},
	{"insecure", FIELD_BOOL, AT(insecure)},
	{"blocked", FIELD_BOOL, AT(blocked)},
	{"fallback", FIELD_BOOL, AT(fallback)},
	{"token_hosts", FIELD_TEXTS, AT(token_hosts)},
	{"mirrors", FIELD_OTHER, 0, .read = read_mirrors},
};
#undef AT

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

static void read_registries(struct reader *rd, const json *j, void *config)
{
	struct varve_config *c = config;
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
		read_object(rd, i, registry_fields, VARVE_ARRAY_SIZE(registry_fields), reg);
		if (!reg->fallback && !reg->n_mirrors)
			say(rd, true, "has no mirror and may not use the registry itself");
		c->n_registries++;
		leave(rd, at);
	}
}

static void read_insecure(struct reader *rd, const json *j, void *member)
{
	char **list = *(char ***)member = read_texts(rd, j);

	for (char **s = list; s && *s; s++)
		if (!host_ok(*s))
			say(rd, true, "'%s' is not HOST[:PORT]", URL_SAFE(*s));
}

static void read_lower(struct reader *rd, const json *j, void *member)
{
	char **list = *(char ***)member = read_texts(rd, j);

	for (char **s = list; s && *s; s++)
		if (**s != '/')
			say(rd, true, "'%s' is not an absolute path", TEXT_SAFE(*s));
}

/* Two members of the configuration at once. */
static void read_trusted(struct reader *rd, const json *j, void *config)
{
	struct varve_config *c = config;
	size_t n = json_is_array(j) ? json_len(j) : 0;
	uint64_t id;

	free(c->trusted);
	c->n_trusted = 0;
	c->trusted = calloc(n + 1, sizeof(*c->trusted));
	rd->oom |= !c->trusted;
	for (const json *i = json_first(j); c->trusted && n && i; i = json_next(i)) {
		if (!json_u64(i, &id) || id >= UINT32_MAX)
			n = 0;
		else
			c->trusted[c->n_trusted++] = (uint32_t)id;
	}
	if (!n && !(json_is_array(j) && json_len(j) == 0))
		say(rd, true, "must be a list of user ids (numbers, see \"id -u NAME\")");
}

/* Two members of the configuration at once. */
static void read_platform(struct reader *rd, const json *j, void *config)
{
	struct varve_config *c = config;
	const char *s = read_text(rd, j);

	if (!s)
		return;
	if (varve_platform_parse(&c->platform, s, NULL) < 0)
		say(rd, true, "'%s' is not OS/ARCHITECTURE[/VARIANT]", TEXT_SAFE(s));
	else
		c->has_platform = true;
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

/* Two members of the configuration at once. */
static void read_official_hosts(struct reader *rd, const json *j, void *config)
{
	struct varve_config *c = config;
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

static void read_official_library(struct reader *rd, const json *j, void *member)
{
	char **library = member;

	free(*library);
	*library = read_template(rd, j, true);
}

static const struct field official_fields[] = {
	{"library", FIELD_OTHER, offsetof(struct varve_config, official_library),
	 .read = read_official_library},
	{"hosts", FIELD_OTHER, 0, .read = read_official_hosts},
};

static void read_official(struct reader *rd, const json *j, void *config)
{
	read_object(rd, j, official_fields, VARVE_ARRAY_SIZE(official_fields), config);
}

#define AT(member) offsetof(struct varve_limits, member)
static const struct field limit_fields[] = {
	{"max_layer_size", FIELD_SIZE, AT(max_layer_bytes)},
	{"max_layer_entries", FIELD_COUNT64, AT(max_layer_entries), 1, ENTRIES_MAX},
	{"max_entries", FIELD_COUNT64, AT(max_entries), 1, ENTRIES_MAX},
	{"max_path", FIELD_COUNT, AT(max_path), 1, PATH_BYTES_MAX},
	{"max_depth", FIELD_COUNT, AT(max_depth), 1, DEPTH_MAX},
	{"max_ratio", FIELD_COUNT, AT(max_ratio), 1, RATIO_MAX},
	{"max_link_work", FIELD_COUNT64, AT(max_link_work), 1, LINK_WORK_MAX},
	{"max_documents", FIELD_SIZE, AT(max_documents)},
};
#undef AT

static void read_limits(struct reader *rd, const json *j, void *limits)
{
	read_object(rd, j, limit_fields, VARVE_ARRAY_SIZE(limit_fields), limits);
}

static void read_hooks(struct reader *rd, const json *j, void *member)
{
	char **hooks = member;

	read_copy(rd, j, hooks);
	if (*hooks && **hooks != '/' && strcmp(*hooks, ".") != 0)
		say(rd, true,
		    "must be an absolute path, or \".\" for the directory of the command");
}

#define AT(member) offsetof(struct varve_config, member)
static const struct field config_fields[] = {
	{"registries", FIELD_OTHER, 0, .read = read_registries},
	{"insecure", FIELD_OTHER, AT(insecure), .read = read_insecure},
	{"lower", FIELD_OTHER, AT(lower), .read = read_lower},
	{"trusted_owners", FIELD_OTHER, 0, .read = read_trusted},
	{"platform", FIELD_OTHER, 0, .read = read_platform},
	{"hooks", FIELD_OTHER, AT(hooks), .read = read_hooks},
	{"official", FIELD_OTHER, 0, .read = read_official},
	{"limits", FIELD_OTHER, AT(limits), .read = read_limits},
	{"jobs", FIELD_COUNT, AT(jobs), 1, JOBS_MAX},
	{"retries", FIELD_COUNT, AT(retries), 0, RETRIES_MAX},
	{"connect_timeout", FIELD_DURATION, AT(connect_ms)},
	{"header_timeout", FIELD_DURATION, AT(header_ms)},
	{"stall_timeout", FIELD_DURATION, AT(stall_ms)},
	{"max_blob_size", FIELD_SIZE, AT(max_blob)},
};
#undef AT

int config_read(struct varve_config *c, const void *p, size_t n, config_finding finding, void *user,
		struct varve_err *e)
{
	struct reader rd = {.finding = finding, .user = user};
	JSON_FREE json *doc = NULL;
	struct varve_err own = VARVE_ERR_INIT;
	int r = json_parse(&doc, p, n, CONFIG_MAX, &own);

	if (r < 0 || !json_is_object(doc)) {
		char why[400] = "not a JSON object";

		if (r < 0)
			(void)varve_err_text(&own, why, sizeof(why));
		return varve_fail(e, VARVE_E_CONFIG, "%s", why);
	}
	read_object(&rd, doc, config_fields, VARVE_ARRAY_SIZE(config_fields), c);
	return rd.oom ? varve_fail_oom(e) : 0;
}
