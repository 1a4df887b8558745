/* SPDX-License-Identifier: Apache-2.0 */
/* Bearer tokens: obtained once per scope however many calls want one, kept in memory only
 * (docs/requirements.md 2). */
#include "fetch/registry/token.h"
#include "fetch/http/site.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/json.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define ANSWER_MAX       (128u << 10)
#define LIFETIME_DEFAULT 60u
#define LIFETIME_MAX     (24u * 3600)
#define CLOCK_SKEW_MAX   3600
#define SCOPES_MAX       32u
#define CLIENT_ID        "varve"
#define REQUEST_MAX      (32u << 10)

static int start_fetch(struct token *t, struct client *c, struct repo *repo, struct varve_err *e);

/* --- pure parts --- */

static bool header_safe(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (s[n] <= ' ' || s[n] >= 127)
			return false;
	return n > 0;
}

int token_answer_parse(struct token_answer *ret, const void *p, size_t n, int64_t now,
		       struct varve_err *e)
{
	JSON_FREE_SECRET json *doc = NULL;
	const char *value, *issued;
	uint64_t lifetime = LIFETIME_DEFAULT;
	int64_t at;
	int r = json_parse(&doc, p, n, ANSWER_MAX, e);

	if (r < 0)
		return varve_wrap(e, r, "the answer of the token server");
	value = json_str(json_get(doc, "token"));
	if (!value || !*value)
		value = json_str(json_get(doc, "access_token"));
	if (!value || !header_safe(value))
		return varve_fail(e, VARVE_E_FORMAT,
				  "the answer of the token server has no usable token");
	/* Absent, zero or below a minute: a minute. */
	if (json_u64(json_get(doc, "expires_in"), &lifetime))
		lifetime = VARVE_MAX(lifetime, LIFETIME_DEFAULT);
	lifetime = VARVE_MIN(lifetime, LIFETIME_MAX);
	/* issued_at counts only if both clocks agree more or less. */
	issued = json_str(json_get(doc, "issued_at"));
	if (issued && text_parse_time(span_str(issued), &at) && at <= now &&
	    now - at < CLOCK_SKEW_MAX && now - at < (int64_t)lifetime)
		lifetime -= (uint64_t)(now - at);
	ret->value = strdup(value);
	ret->lifetime_s = lifetime;
	return ret->value ? 0 : varve_fail_oom(e);
}

static bool known_pair(const char *registry, const char *realm)
{
	return !strcmp(registry, "registry-1.docker.io") && !strcmp(realm, "auth.docker.io");
}

int token_realm_check(const struct url *realm, const struct url *registry, char *const *token_hosts,
		      struct varve_err *e)
{
	enum addr_class there = url_host_class(realm->host);
	bool both_local =
		url_domain_is_loopback(realm->host) && url_domain_is_loopback(registry->host);
	bool same = !strcmp(realm->host, registry->host) || both_local;

	if (realm->has_userinfo || realm->has_fragment)
		return varve_fail(
			e, VARVE_E_UNSAFE,
			"%s names a token server with a user name or a fragment in its URL, "
			"which is refused",
			registry->host);
	if (!same && (there == ADDR_LOOPBACK || there == ADDR_LINK_LOCAL ||
		      there == ADDR_UNSPECIFIED || url_domain_is_loopback(realm->host)))
		return varve_fail(e, VARVE_E_UNSAFE,
				  "%s names the internal address %s as its token server, which is "
				  "refused",
				  registry->host, realm->host);
	if (!realm->https && registry->https)
		return varve_fail(e, VARVE_E_TLS,
				  "%s names a token server without TLS (%s), which is refused",
				  registry->host, realm->host);
	for (size_t i = 0; token_hosts && token_hosts[i]; i++)
		if (!strcasecmp(token_hosts[i], realm->host))
			return 1;
	return same || known_pair(registry->host, realm->host) ||
	       url_same_site(realm->host, registry->host);
}

/* --- tokens of a client --- */

struct token *token_find(struct client *c, const struct endpoint *p, const char *path)
{
	for (struct token *t = c->tokens; t; t = t->next)
		if (t->endpoint == p && !strcmp(t->path, path))
			return t;
	return NULL;
}

bool token_usable(const struct token *t)
{
	return t->state == TOKEN_READY && clock_now_ms() < t->refresh_ms;
}

void token_drop(struct token *t, const char *authorization)
{
	/* Another call may have got a new one meanwhile. */
	if (t->state != TOKEN_READY || strcmp(authorization + strlen("Bearer "), t->value) != 0)
		return;
	text_forget(&t->value);
	t->state = TOKEN_EMPTY;
}

/* "TYPE:NAME:ACTIONS": where the actions begin; 0 for a scope of another form. */
static size_t scope_actions(struct span scope)
{
	size_t n = scope.n;

	while (n && scope.p[n - 1] != ':' && scope.p[n - 1] != '/')
		n--;
	if (n < 2 || n == scope.n || scope.p[n - 1] == '/')
		return 0;
	return memchr(scope.p, ':', n - 1) ? n : 0;
}

/* The actions of "scope" that the one at *held lacks are added to it. 1: it has grown. */
static int merge_actions(char **held, struct span scope, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	size_t head = scope_actions(scope);
	struct span more = span_of(scope.p + head, scope.n - head), action, had;
	bool grown = false, again;

	buf_init(&b, REQUEST_MAX);
	buf_adds(&b, *held);
	do {
		struct span rest = span_str(*held + head);
		bool found = false, next;

		again = span_cut(&more, ',', &action);
		do {
			next = span_cut(&rest, ',', &had);
			found = found || (had.n == action.n && !memcmp(had.p, action.p, had.n));
		} while (next && !found);
		if (found || !action.n)
			continue;
		buf_addc(&b, ',');
		buf_add(&b, action.p, action.n);
		grown = true;
	} while (again);
	if (!grown)
		return 0;
	if (buf_error(&b) < 0)
		return buf_fail(&b, e, "a scope of a challenge is too long");
	free(*held);
	*held = buf_take(&b);
	return 1;
}

/* The scope that is asked for the same resource: its name may hold colons (2.5). */
static char **scope_for(const struct token *t, struct span scope)
{
	size_t head = scope_actions(scope);

	for (size_t i = 0; i < t->n_scopes; i++) {
		struct span held = span_str(t->scopes[i]);

		if (span_eq(scope, t->scopes[i]) ||
		    (head && scope_actions(held) == head && !memcmp(held.p, scope.p, head)))
			return &t->scopes[i];
	}
	return NULL;
}

static int append_scope(struct token *t, struct span scope, struct varve_err *e)
{
	char **grown;

	if (t->n_scopes >= SCOPES_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "more than %u scopes in a challenge",
				  SCOPES_MAX);
	grown = realloc(t->scopes, (t->n_scopes + 1) * sizeof(*grown));
	if (!grown)
		return varve_fail_oom(e);
	t->scopes = grown;
	t->scopes[t->n_scopes] = span_dup(scope);
	if (!t->scopes[t->n_scopes])
		return varve_fail_oom(e);
	t->n_scopes++;
	return 1;
}

/* One scope for each resource: registries name its actions in any order, and fewer for a read. */
static int add_scope(struct token *t, struct span scope, struct varve_err *e)
{
	char **held = scope_for(t, scope);
	int r = !scope.n ? 0 : held ? merge_actions(held, scope, e) : append_scope(t, scope, e);

	/* A token for less than is wanted now. */
	if (r > 0 && t->state == TOKEN_READY)
		t->refresh_ms = 0;
	return r < 0 ? r : 0;
}

static int add_scopes(struct token *t, const struct challenge *ch, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf own = {0};
	struct span rest = span_str(ch->scope ? ch->scope : ""), one;
	bool more;
	int r;

	/* The challenged ones come first: Docker Hub wants it (ggcr#1312). */
	do {
		more = span_cut(&rest, ' ', &one);
		r = add_scope(t, one, e);
	} while (more && r == 0);
	if (r < 0 || !*t->path)
		return r;
	buf_init(&own, 1024);
	buf_printf(&own, "repository:%s:pull", t->path);
	return add_scope(t, span_of(own.p, own.n), e);
}

static int set_text(char **slot, const char *text)
{
	char *copy = strdup(text ? text : "");

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

int token_describe(struct client *c, struct endpoint *p, const char *path,
		   const struct challenge *ch, struct token **ret, struct varve_err *e)
{
	struct token *t = token_find(c, p, path);

	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return varve_fail_oom(e);
		t->endpoint = p;
		t->client = c;
		t->next = c->tokens;
		c->tokens = t;
		if (set_text(&t->path, path) < 0)
			return varve_fail_oom(e);
	}
	if (set_text(&t->realm, ch->realm) < 0 || set_text(&t->service, ch->service) < 0)
		return varve_fail_oom(e);
	*ret = t;
	return add_scopes(t, ch, e);
}

int token_wait(struct token *t, struct call *c)
{
	int r;

	if (c->home != ADDR_NAME)
		t->home = c->home;
	r = t->state == TOKEN_PENDING ? 0 : start_fetch(t, c->client, c->repo, &c->err);
	if (r < 0 || token_usable(t))
		return r;
	c->token = t;
	c->next_waiter = t->waiters;
	t->waiters = c;
	/* Only now: it may be over at once, when the request cannot be made. */
	if (!t->started) {
		t->started = true;
		call_start(t->fetch);
	}
	return 1;
}

void token_forget_waiter(struct token *t, struct call *c)
{
	struct call **at = &t->waiters;

	while (*at && *at != c)
		at = &(*at)->next_waiter;
	if (*at)
		*at = c->next_waiter;
	c->token = NULL;
}

static void wake_waiters(struct token *t, int r, const struct varve_err *e)
{
	while (t->waiters) {
		struct call *c = t->waiters;

		t->waiters = c->next_waiter;
		c->token = NULL;
		if (r < 0)
			c->err = *e;
		call_resume(c, r);
	}
}

static void free_fetch(struct call *f)
{
	if (!f)
		return;
	free(f->targets[0].url);
	free(f->targets);
	call_done(f);
	free(f);
}

/* --- one request to the token server --- */

static void add_param(struct buf *b, const char *name, const char *value)
{
	if (b->n && b->p[b->n - 1] != '?' && b->p[b->n - 1] != '&')
		buf_addc(b, '&');
	buf_printf(b, "%s=", name);
	url_encode(b, span_str(value));
}

static void put_form(const struct token *t, struct buf *form)
{
	const struct credential *cr = &t->endpoint->credential;

	add_param(form, "grant_type", "refresh_token");
	add_param(form, "refresh_token", cr->secret);
	add_param(form, "service", t->service);
	add_param(form, "client_id", CLIENT_ID);
	buf_adds(form, "&scope=");
	for (size_t i = 0; i < t->n_scopes; i++) {
		if (i)
			buf_adds(form, "%20");
		url_encode(form, span_str(t->scopes[i]));
	}
}

static void put_query(const struct token *t, bool with_user, struct buf *url)
{
	const struct credential *cr = &t->endpoint->credential;

	buf_addc(url, strchr(url->p, '?') ? '&' : '?');
	if (*t->service)
		add_param(url, "service", t->service);
	for (size_t i = 0; i < t->n_scopes; i++)
		add_param(url, "scope", t->scopes[i]);
	if (with_user)
		add_param(url, "account", cr->user);
}

/* The realm as it will be asked, and whether our credential may go there. */
static int check_realm(const struct token *t, struct buf *url, bool *ret_trusted,
		       const struct repo *repo, struct varve_err *e)
{
	char registry_text[600];
	struct url realm, registry;
	int r;

	(void)snprintf(registry_text, sizeof(registry_text), "%s://%s/",
		       endpoint_https(t->endpoint) ? "https" : "http", t->endpoint->key.authority);
	r = url_parse(&realm, t->realm, e);
	if (r == 0)
		r = url_parse(&registry, registry_text, e);
	if (r < 0)
		return varve_wrap(e, r, "token server of %s", t->endpoint->key.authority);
	/* Behind a TLS proxy some registries advertise http (dockhand#1428): ask by https, as we
	 * came. */
	if (!realm.https && registry.https && !strcmp(realm.host, registry.host) &&
	    (realm.port == 80 || realm.port == registry.port)) {
		realm.https = true;
		realm.port = registry.port;
	}
	r = token_realm_check(&realm, &registry,
			      repo && repo->registry ? repo->registry->token_hosts : NULL, e);
	if (r < 0)
		return r;
	*ret_trusted = r > 0;
	url_origin(&realm, url);
	buf_adds(url, realm.target);
	return 0;
}

static void fetch_done(struct call *f);

static int new_fetch(struct token *t, struct client *c, struct repo *repo, bool trusted, bool post,
		     struct buf *url, struct varve_err *e)
{
	const struct credential *cr = &t->endpoint->credential;
	VARVE_CLEANUP(buf_done) struct buf form = {0};
	bool basic = trusted && !post && cr->kind != CREDENTIAL_NONE && cr->user && *cr->user;
	struct call *f = calloc(1, sizeof(*f));

	if (!f)
		return varve_fail_oom(e);
	call_init(f, c);
	t->fetch = f;
	f->targets = calloc(1, sizeof(*f->targets));
	if (!f->targets)
		return varve_fail_oom(e);
	buf_init_secret(&form, REQUEST_MAX);
	f->rq.body.secret = true;
	if (post)
		put_form(t, &form);
	else
		put_query(t, basic, url);
	f->targets[0].limits = (struct http_limits){c->config->connect_ms, c->config->header_ms,
						    c->config->stall_ms};
	f->targets[0].url = strdup(url->p);
	f->n_targets = 1;
	f->repo = repo;
	f->auth = CALL_AUTH_FIXED;
	f->home = t->home;
	f->method = post ? HTTP_POST : HTTP_GET;
	f->form = post ? buf_take(&form) : NULL;
	f->authorization = basic ? credential_basic(cr) : NULL;
	f->body_max = ANSWER_MAX;
	f->user = t;
	f->done = fetch_done;
	if (buf_error(url) < 0 || !f->targets[0].url || (post && !f->form) ||
	    (basic && !f->authorization))
		return varve_fail(e, VARVE_E_LIMIT, "the request for a token is too long");
	return 0;
}

static int start_fetch(struct token *t, struct client *c, struct repo *repo, struct varve_err *e)
{
	const struct credential *cr = &t->endpoint->credential;
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	bool trusted = false, post;
	int r;

	if (cr->kind == CREDENTIAL_BEARER) {
		text_forget(&t->value);
		t->value = strdup(cr->secret);
		t->state = TOKEN_READY;
		t->refresh_ms = UINT64_MAX;
		return t->value ? 0 : varve_fail_oom(e);
	}
	buf_init(&url, URL_MAX);
	r = check_realm(t, &url, &trusted, repo, e);
	if (r < 0)
		return r;
	t->endpoint->credential_withheld = !trusted && cr->kind != CREDENTIAL_NONE;
	if (t->endpoint->credential_withheld)
		log_warn(c->ctx, "fetch",
			 "the credentials for %s are not sent to its token server %s, which looks "
			 "foreign; list it as token_hosts to allow it",
			 t->endpoint->key.authority, URL_SAFE(url.p));
	post = trusted && cr->kind == CREDENTIAL_IDENTITY && !t->tried_post;
	t->repo = repo;
	r = new_fetch(t, c, repo, trusted, post, &url, e);
	if (r < 0) {
		free_fetch(VARVE_TAKE(t->fetch));
		return r;
	}
	t->state = TOKEN_PENDING;
	t->tried_post |= post;
	t->started = false;
	return 0;
}

/* OAuth2 is not spoken everywhere: 404 by the spec, 405, 401 (Artifactory), 400 (ACR) (2.11). */
static bool try_get_instead(struct token *t, const struct call *f)
{
	long status = f->rq.status;
	struct varve_err e = VARVE_ERR_INIT;
	int r;

	if (f->method != HTTP_POST ||
	    (status != 404 && status != 405 && status != 401 && status != 400))
		return false;
	r = start_fetch(t, f->client, t->repo, &e);
	if (r < 0) {
		wake_waiters(t, r, &e);
	} else {
		t->started = true;
		call_start(t->fetch);
	}
	return true;
}

static void fetch_done(struct call *f)
{
	struct token *t = f->user;
	struct token_answer a = {0};
	struct varve_err e = f->err;
	int r = f->result;

	t->fetch = NULL;
	t->state = TOKEN_EMPTY;
	if (r < 0 && try_get_instead(t, f)) {
		free_fetch(f);
		return;
	}
	t->tried_post = false;
	if (r == 0)
		r = token_answer_parse(&a, f->rq.body.p, f->rq.body.n, (int64_t)time(NULL), &e);
	if (r < 0) {
		(void)varve_wrap(&e, r, "token for %s from %s", t->path, URL_SAFE(t->realm));
	} else {
		text_forget(&t->value);
		t->value = a.value;
		t->state = TOKEN_READY;
		/* At nine tenths of its life, so that it does not end on the way. */
		t->refresh_ms = clock_now_ms() + a.lifetime_s * 900;
	}
	free_fetch(f);
	wake_waiters(t, r, &e);
}

void tokens_free(struct client *c)
{
	while (c->tokens) {
		struct token *t = c->tokens;

		c->tokens = t->next;
		free_fetch(t->fetch);
		free(t->path);
		free(t->realm);
		free(t->service);
		for (size_t i = 0; i < t->n_scopes; i++)
			free(t->scopes[i]);
		free(t->scopes);
		text_forget(&t->value);
		free(t);
	}
}
