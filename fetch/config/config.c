/* SPDX-License-Identifier: Apache-2.0 */
/* Read the configuration file and look things up in it (docs/varve-config.5). */
#include "fetch/config/config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/config/config_read.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"

#define CONFIG_MAX    (1u << 20)
#define SYSTEM_CONFIG "/etc/varve/config.json"
#define CONNECT_MS    30000u
#define HEADER_MS     60000u
#define STALL_MS      20000u
#define MAX_BLOB      (64ull << 30)

void config_defaults(struct varve_config *c)
{
	*c = (struct varve_config){
		.connect_ms = CONNECT_MS,
		.header_ms = HEADER_MS,
		.stall_ms = STALL_MS,
		.retries = 5,
		.max_blob = MAX_BLOB,
	};
}

static void free_strings(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

static void free_registry(struct config_registry *r)
{
	for (size_t i = 0; i < r->n_mirrors; i++) {
		free(r->mirrors[i].url);
		free(r->mirrors[i].repository);
		free_strings(r->mirrors[i].headers);
	}
	free(r->mirrors);
	free(r->prefix);
	free(r->location);
	free_strings(r->token_hosts);
}

void varve_config_free(struct varve_config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_registries; i++)
		free_registry(&c->registries[i]);
	free(c->registries);
	free_strings(c->insecure);
	free_strings(c->lower);
	free(c->trusted);
	free(c->hooks);
	free(c->official_library);
	for (size_t i = 0; i < c->n_official_hosts; i++) {
		free(UNCONST(c->official_hosts[i].host));
		free(UNCONST(c->official_hosts[i].url));
	}
	free(c->official_hosts);
	free(c->path);
	free(c);
}

const char *varve_config_hooks(const struct varve_config *c)
{
	return c ? c->hooks : NULL;
}

const char *const *varve_config_lower(const struct varve_config *c)
{
	return c ? (const char *const *)c->lower : NULL;
}

const uint32_t *varve_config_trusted_owners(const struct varve_config *c, size_t *ret_n)
{
	*ret_n = c ? c->n_trusted : 0;
	return c ? c->trusted : NULL;
}

void varve_config_limits(const struct varve_config *c, struct varve_limits *ret)
{
	*ret = c ? c->limits : (struct varve_limits){0};
	ret->size = sizeof(*ret);
}

/* Length of the match of an entry's prefix with domain/path; 0: none. */
static size_t prefix_match(const char *prefix, const char *domain, const char *name)
{
	size_t n = strlen(prefix);

	if (!strncmp(prefix, "*.", 2)) {
		size_t d = strlen(domain);

		/* Hosts only: "*.example.com" is any host below it. */
		return d > n - 1 && !strcmp(domain + d - (n - 1), prefix + 1) ? n : 0;
	}
	if (strncmp(prefix, name, n) != 0 || (name[n] && name[n] != '/'))
		return 0;
	return n;
}

const struct config_registry *config_registry_for(const struct varve_config *c, const char *domain,
						  const char *path)
{
	const struct config_registry *best = NULL;
	size_t best_n = 0;
	char name[600];

	(void)snprintf(name, sizeof(name), "%s/%s", domain, path);
	for (size_t i = 0; i < c->n_registries; i++) {
		size_t n = prefix_match(c->registries[i].prefix, domain, name);

		if (n > best_n) {
			best = &c->registries[i];
			best_n = n;
		}
	}
	return best;
}

bool config_host_insecure(const struct varve_config *c, const char *host)
{
	for (char **s = c->insecure; s && *s; s++)
		if (!strcasecmp(*s, host) || !strcasecmp(url_api_host(*s), host))
			return true;
	return false;
}

/* --- files --- */

static int open_first(const char *path, char *shown, size_t size, struct varve_err *e)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int fd;

	if (path) {
		(void)snprintf(shown, size, "%s", path);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? varve_fail(e, VARVE_E_CONFIG, "%s: %s", TEXT_SAFE(path),
					   strerror(errno))
			      : fd;
	}
	shown[0] = 0;
	if (xdg && *xdg)
		(void)snprintf(shown, size, "%s/varve/config.json", xdg);
	else if (home && *home)
		(void)snprintf(shown, size, "%s/.config/varve/config.json", home);
	for (int i = 0; i < 2; i++) {
		if (i)
			(void)snprintf(shown, size, "%s", SYSTEM_CONFIG);
		fd = *shown ? open(shown, O_RDONLY | O_CLOEXEC) : -1;
		if (fd >= 0)
			return fd;
		if (*shown && errno != ENOENT && errno != ENOTDIR)
			return varve_fail(e, VARVE_E_CONFIG, "%s: %s", TEXT_SAFE(shown),
					  strerror(errno));
	}
	shown[0] = 0;
	return -ENOENT;
}

/* Read and parse; every problem goes to finding. *ret is usable if there was no error. */
static int load(struct varve_config **ret, const char *path, config_finding finding, void *user,
		struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct varve_config *c = calloc(1, sizeof(*c));
	char shown[4096];
	VARVE_CLOSE int fd = -1;
	int r;

	if (!c)
		return varve_fail_oom(e);
	config_defaults(c);
	buf_init(&b, CONFIG_MAX);
	fd = open_first(path, shown, sizeof(shown), e);
	r = fd == -ENOENT ? 0 : fd < 0 ? fd : fsx_read_file(fd, NULL, &b, e);
	if (r == 0 && fd >= 0) {
		c->path = strdup(shown);
		r = c->path ? config_read(c, b.p, b.n, finding, user, e) : varve_fail_oom(e);
		if (r < 0)
			(void)varve_wrap(e, r, "%s", TEXT_SAFE(shown));
	}
	if (r < 0)
		varve_config_free(c);
	else
		*ret = c;
	return r < 0 ? r : 0;
}

/* An error ends the load, a warning is told and passed over. */
struct load_state {
	const struct varve_ctx *ctx;
	char first[512];
};

static void on_finding(void *user, bool error, const char *member, const char *message)
{
	struct load_state *s = user;

	if (!error)
		log_warn(s->ctx, "config", "%s: %s", member, message);
	else if (!*s->first)
		(void)snprintf(s->first, sizeof(s->first), "%s: %s", member, message);
}

int varve_config_load(struct varve_config **ret, const char *path, const struct varve_ctx *ctx,
		      struct varve_err *e)
{
	struct load_state s = {.ctx = ctx};
	struct varve_config *c = NULL;
	int r = load(&c, path, on_finding, &s, e);

	if (r == 0 && *s.first) {
		r = varve_fail(e, VARVE_E_CONFIG, "%s: %s", TEXT_SAFE(c->path), s.first);
		varve_config_free(c);
	} else if (r == 0) {
		*ret = c;
	}
	return r;
}

struct check_state {
	struct varve_config_check_options opt;
	struct varve_config_check_result *result;
};

static void on_check(void *user, bool error, const char *member, const char *message)
{
	struct check_state *s = user;

	(void)error; /* what a load only warns of is an error here */
	s->result->errors++;
	if (s->opt.finding)
		s->opt.finding(s->opt.user, member, message);
}

int varve_config_check(const char *path, const struct varve_config_check_options *opt,
		       struct varve_config_check_result *ret, struct varve_err *e)
{
	struct check_state s = {.result = ret};
	struct varve_config *c = NULL;
	int r = OPTIONS_COPY(&s.opt, opt, user, e);

	memset(ret, 0, sizeof(*ret));
	if (r == 0)
		r = load(&c, path, on_check, &s, e);
	if (r < 0)
		return r;
	if (c->path)
		(void)snprintf(ret->path, sizeof(ret->path), "%s", c->path);
	varve_config_free(c);
	return 0;
}
