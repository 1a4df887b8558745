/* SPDX-License-Identifier: Apache-2.0 */
/* What the requests of one run share: hosts, places that serve a repository, connections. */
#include "fetch/registry/client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fetch/http/certs.h"
#include "fetch/registry/exchange.h"
#include "store/base/compiler.h"
#include "store/base/err.h"

#define WARNED_MAX 65536

int client_new(struct client **ret, const struct varve_ctx *ctx, const struct varve_config *config,
	       const struct exchange_ops *exchange, unsigned jobs, struct varve_err *e)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return varve_fail_oom(e);
	c->ctx = ctx;
	c->exchange = exchange;
	config_defaults(&c->defaults);
	c->config = config ? config : &c->defaults;
	buf_init(&c->warned, WARNED_MAX);
	proxy_env_read(&c->proxy);
	r = http_new(&c->http, ctx, jobs, e);
	if (r < 0) {
		client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static void free_host(struct host *h)
{
	free(h->origin);
	free(h->tls.ca_pem);
	free(h->tls.cert_file);
	free(h->tls.key_file);
	free(h);
}

static void free_endpoint(struct endpoint *p)
{
	free((void *)(uintptr_t)p->key.authority);
	free((void *)(uintptr_t)p->key.prefix);
	free(p->credential_path);
	credential_done(&p->credential);
	free(p);
}

static void free_repo(struct repo *r)
{
	for (size_t i = 0; i < r->n_targets; i++) {
		free(r->targets[i].url);
		free(r->targets[i].path);
	}
	free(r->targets);
	free(r->domain);
	free(r->path);
	free(r);
}

#define FREE_LIST(head, fn)                                                                        \
	while (head) {                                                                             \
		__typeof__(head) next_ = (head)->next;                                             \
		fn(head);                                                                          \
		(head) = next_;                                                                    \
	}

void client_free(struct client *c)
{
	if (!c)
		return;
	c->exchange->end(c);
	FREE_LIST(c->repos, free_repo);
	FREE_LIST(c->endpoints, free_endpoint);
	http_free(c->http);
	FREE_LIST(c->hosts, free_host);
	buf_done(&c->warned);
	free(c);
}

int client_host(struct client *c, const struct url *u, bool insecure, struct host **ret,
		struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf origin = {0};
	struct host *h;
	int r;

	buf_init(&origin, 512);
	url_origin(u, &origin);
	for (h = c->hosts; h; h = h->next)
		/* It may be a registry of the list and where another one redirects to. */
		if (!strcmp(h->origin, origin.p) && h->tls.skip_verify == insecure) {
			*ret = h;
			return 0;
		}
	h = calloc(1, sizeof(*h));
	if (!h)
		return varve_fail_oom(e);
	h->url = *u;
	h->url.target = "";
	h->origin = buf_take(&origin);
	h->tls.skip_verify = insecure;
	r = h->origin ? certs_load(&h->tls, u, e) : varve_fail_oom(e);
	if (r < 0) {
		free_host(h);
		return r;
	}
	h->next = c->hosts;
	c->hosts = h;
	*ret = h;
	return 0;
}

bool client_listed_insecure(const struct client *c, const struct url *u)
{
	VARVE_CLEANUP(buf_done) struct buf origin = {0};
	char with_port[300];

	buf_init(&origin, 512);
	url_origin(u, &origin);
	(void)snprintf(with_port, sizeof(with_port), "%s:%u", u->host, u->port);
	return config_host_insecure(c->config, strstr(origin.p, "://") + 3) ||
	       config_host_insecure(c->config, with_port);
}

bool endpoint_is(const struct endpoint *p, const struct url *u)
{
	char text[600];
	struct url own;

	(void)snprintf(text, sizeof(text), "%s://%s/", endpoint_https(p) ? "https" : "http",
		       p->key.authority);
	return url_parse(&own, text, NULL) == 0 && url_same_origin(&own, u);
}

struct endpoint_key endpoint_key_registry(const char *authority, bool insecure)
{
	return (struct endpoint_key){
		.authority = authority,
		.prefix = "/v2",
		.https = true,
		.may_http = insecure || url_domain_is_loopback(authority),
		.insecure = insecure,
	};
}

static bool same_key(const struct endpoint_key *a, const struct endpoint_key *b)
{
	return a->https == b->https && a->may_http == b->may_http && a->insecure == b->insecure &&
	       !strcmp(a->authority, b->authority) && !strcmp(a->prefix, b->prefix);
}

int client_endpoint(struct client *c, const struct endpoint_key *key, struct endpoint **ret,
		    struct varve_err *e)
{
	struct endpoint *p;

	for (p = c->endpoints; p; p = p->next)
		if (same_key(&p->key, key)) {
			*ret = p;
			return 0;
		}
	p = calloc(1, sizeof(*p));
	if (!p)
		return varve_fail_oom(e);
	p->key = *key;
	p->key.authority = strdup(key->authority);
	p->key.prefix = strdup(key->prefix);
	if (!p->key.authority || !p->key.prefix) {
		free_endpoint(p);
		return varve_fail_oom(e);
	}
	p->next = c->endpoints;
	c->endpoints = p;
	*ret = p;
	return 0;
}

static struct http_limits limits_of(const struct varve_config *c, const struct config_mirror *m)
{
	struct http_limits l = {c->connect_ms, c->header_ms, c->stall_ms};

	if (m && m->connect_ms)
		l.connect_ms = m->connect_ms;
	if (m && m->header_ms)
		l.header_ms = m->header_ms;
	return l;
}

/* The repository at another place: PREFIX/rest becomes REPLACEMENT/rest. */
static char *rewrite_path(const struct repo *repo, const char *replacement)
{
	const char *prefix = repo->registry ? repo->registry->prefix : "", *slash,
		   *rest = repo->path;
	char *out = NULL;

	if (!replacement)
		return strdup(repo->path);
	slash = strchr(prefix, '/');
	if (slash) {
		rest += strlen(slash + 1);
		rest += *rest == '/';
	}
	if (asprintf(&out, "%s%s%s", replacement, *replacement && *rest ? "/" : "", rest) < 0)
		return NULL;
	return out;
}

static int add_mirror(struct client *c, struct repo *repo, const struct config_mirror *m,
		      struct varve_err *e)
{
	struct target *t = &repo->targets[repo->n_targets];
	VARVE_FREE char *authority = NULL, *prefix = NULL;
	struct endpoint_key key;
	struct url u;
	int r = url_parse(&u, m->url, e);

	if (r < 0)
		return r;
	authority = strndup(m->url + (u.https ? 8 : 7),
			    (size_t)(u.target - m->url) - (u.https ? 8 : 7));
	if (asprintf(&prefix, "%s%s", u.target, m->override_path ? "" : "/v2") < 0)
		prefix = NULL;
	if (!authority || !prefix)
		return varve_fail_oom(e);
	/* The URL of a mirror says which scheme is meant. */
	key = (struct endpoint_key){.authority = authority,
				    .prefix = prefix,
				    .https = u.https,
				    .insecure = m->insecure};
	r = client_endpoint(c, &key, &t->endpoint, e);
	if (r < 0)
		return r;
	t->path = rewrite_path(repo, m->repository);
	if (!t->path)
		return varve_fail_oom(e);
	t->ns = m->ns && strcmp(authority, url_api_host(repo->domain)) != 0 ? repo->domain : NULL;
	t->headers = (const char *const *)m->headers;
	t->mirror = true;
	t->resolve = m->resolve;
	t->pull = m->pull;
	t->limits = limits_of(c->config, m);
	repo->n_targets++;
	return 0;
}

static int add_origin(struct client *c, struct repo *repo, struct varve_err *e)
{
	struct target *t = &repo->targets[repo->n_targets];
	const struct config_registry *reg = repo->registry;
	const char *location = reg ? reg->location : NULL, *slash = NULL;
	VARVE_FREE char *authority = NULL;
	bool insecure = reg && reg->insecure;
	struct endpoint_key key;
	int r;

	if (location) {
		slash = strchr(location, '/');
		authority =
			slash ? strndup(location, (size_t)(slash - location)) : strdup(location);
	} else {
		authority = strdup(url_api_host(repo->domain));
	}
	t->path = location ? rewrite_path(repo, slash ? slash + 1 : "") : strdup(repo->path);
	if (!authority || !t->path)
		return varve_fail_oom(e);
	insecure |= config_host_insecure(c->config, authority);
	key = endpoint_key_registry(authority, insecure);
	r = client_endpoint(c, &key, &t->endpoint, e);
	if (r < 0)
		return r;
	t->resolve = t->pull = true;
	t->limits = limits_of(c->config, NULL);
	repo->n_targets++;
	return 0;
}

static int fill_repo(struct client *c, struct repo *repo, struct varve_err *e)
{
	const struct config_registry *reg = repo->registry;
	size_t n = reg ? reg->n_mirrors : 0;
	int r = 0;

	if (reg && reg->blocked)
		return varve_fail(e, VARVE_E_CONFIG, "%s/%s: blocked by the entry '%s' of %s",
				  repo->domain, repo->path, reg->prefix,
				  c->config->path ? c->config->path : "the configuration");
	repo->targets = calloc(n + 1, sizeof(*repo->targets));
	if (!repo->targets)
		return varve_fail_oom(e);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_mirror(c, repo, &reg->mirrors[i], e);
	if (r == 0 && (!reg || reg->fallback || !n))
		r = add_origin(c, repo, e);
	return r;
}

int client_repo(struct client *c, const char *domain, const char *path, struct repo **ret,
		struct varve_err *e)
{
	struct repo *repo;
	int r;

	for (repo = c->repos; repo; repo = repo->next)
		if (!strcmp(repo->domain, domain) && !strcmp(repo->path, path)) {
			*ret = repo;
			return 0;
		}
	repo = calloc(1, sizeof(*repo));
	if (!repo)
		return varve_fail_oom(e);
	repo->domain = strdup(domain);
	repo->path = strdup(path);
	repo->registry = config_registry_for(c->config, domain, path);
	r = repo->domain && repo->path ? fill_repo(c, repo, e) : varve_fail_oom(e);
	if (r < 0) {
		free_repo(repo);
		return r;
	}
	repo->next = c->repos;
	c->repos = repo;
	*ret = repo;
	return 0;
}
