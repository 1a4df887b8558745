/* SPDX-License-Identifier: Apache-2.0 */
/* What the requests of one run share: hosts, places that serve a repository, connections. */
#pragma once

#include "fetch/auth/credentials.h"
#include "fetch/config/config.h"
#include "fetch/http/http.h"
#include "fetch/http/proxy.h"

struct token;

/* One scheme://host[:port] that was talked to. Lives as long as the client. */
struct host {
	struct host *next;
	char *origin;
	struct url url;
	struct http_tls tls;      /* skip_verify tells apart what else has the same origin */
	uint64_t not_before_ms;   /* shared pause: nobody asks earlier */
	unsigned failures;        /* in a row */
	uint64_t broken_until_ms; /* circuit breaker */
	bool range_broken;
	bool all_roots; /* those found by hash were not enough */
	bool pause_told;
};

/*
 * A registry API: where its /v2 is, and how far to trust it. Shared by all that mean the very same
 * (endpoint_key); what was configured never changes, or one's trust would become another's.
 */
struct endpoint_key {
	const char *authority; /* host[:port] as configured: also the key of credentials */
	const char *prefix;    /* path in front of the repository: "/v2", "/proxy/v2" */
	bool https;
	bool may_http; /* loopback, insecure: try http when TLS is not spoken */
	bool insecure;
};
struct endpoint {
	struct endpoint *next;
	struct endpoint_key key; /* owns its texts */
	/* Learned. */
	bool plain;      /* TLS is not spoken there, and need not be */
	bool speaks_tls; /* found out without roots to trust */
	bool scheme_known;
	/* What it asked for; learned from the first 401. */
	bool wants_basic;
	struct credential credential;
	bool credential_known, credential_refreshed;
	bool credential_withheld; /* its token server looks foreign: it got no credential */
	char *credential_path;    /* repository the credential was looked up for */
};

/* One place for a repository. */
struct target {
	struct endpoint *endpoint; /* NULL: url is the whole address (foreign layers, tokens) */
	char *url;  /* with an endpoint: the whole address instead of path and resource */
	char *path; /* the repository there */
	const char *ns;
	const char *const *headers;
	bool mirror, resolve, pull;
	bool configured; /* without an endpoint: the place is one of the user's choice */
	struct http_limits limits;
};

/* An image repository with its places, mirrors first. */
struct repo {
	struct repo *next;
	char *domain, *path;
	struct target *targets;
	size_t n_targets;
	const struct config_registry *registry; /* may be NULL */
};

struct exchange_ops;

struct client {
	const struct exchange_ops *exchange;
	const struct varve_ctx *ctx;
	const struct varve_config *config;
	struct varve_config defaults;
	struct varve_store *store; /* to keep rate limits; may be NULL */
	struct http *http;
	struct proxy_env proxy;
	struct host *hosts;
	struct endpoint *endpoints;
	struct repo *repos;
	struct token *tokens;
	struct buf warned; /* texts of Warning headers that were shown */
	bool wait;
	bool offer_wait; /* the command has an option --wait */
};

/* exchange: registry_exchange. */
int client_new(struct client **ret, const struct varve_ctx *ctx, const struct varve_config *config,
	       const struct exchange_ops *exchange, unsigned jobs, struct varve_err *e);
void client_free(struct client *c);
/* The shared state of a URL's origin, apart for
 * those who do and who do not trust its certificate. */
int client_host(struct client *c, const struct url *u, bool insecure, struct host **ret,
		struct varve_err *e);
/* Borrowed; made once per repository. VARVE_E_CONFIG: the registry is blocked. */
int client_repo(struct client *c, const char *domain, const char *path, struct repo **ret,
		struct varve_err *e);
/* Does the configuration list this host (and port, if it is not the default) as insecure? */
bool client_listed_insecure(const struct client *c, const struct url *u);
/* Is u at the same scheme, host and port? */
bool endpoint_is(const struct endpoint *p, const struct url *u);
/* Is it asked by https, as far as is known? */
static inline bool endpoint_https(const struct endpoint *p)
{
	return p->key.https && !p->plain;
}
/* The endpoint that is equal in all members of the key; made if new. */
int client_endpoint(struct client *c, const struct endpoint_key *key, struct endpoint **ret,
		    struct varve_err *e);
/* The key of a registry that no scheme is given for: https, http only as a last resort. */
struct endpoint_key endpoint_key_registry(const char *authority, bool insecure);
