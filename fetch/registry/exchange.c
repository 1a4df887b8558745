/* SPDX-License-Identifier: Apache-2.0 */
/* One resource of a repository, from whichever place has it: which place is asked, and when. */
#include "fetch/registry/exchange_internal.h"

#include <stdlib.h>
#include <string.h>

#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define TRIED_MAX     2000u
#define DOCUMENT_MAX  (4u << 20)
#define CONNECT_TRIES 2u

void call_init(struct call *c, struct client *client)
{
	*c = (struct call){.client = client, .body_max = DOCUMENT_MAX, .upload_fd = -1};
	http_request_init(&c->rq);
	buf_init(&c->url, URL_MAX);
	buf_init(&c->tried, TRIED_MAX);
}

void call_done(struct call *c)
{
	if (!c->client)
		return;
	c->client->exchange->forget(c);
	http_timer_stop(c->client->http, &c->timer);
	http_request_done(&c->rq);
	buf_done(&c->url);
	buf_done(&c->tried);
	free(c->resource);
	text_forget(&c->sent_auth);
	text_forget(&c->authorization);
	text_forget(&c->form);
	c->client = NULL;
}

const char *call_place(const struct call *c)
{
	const char *sep;

	if (!c->host)
		return c->repo ? c->repo->domain : "";
	sep = strstr(c->host->origin, "://");
	return sep ? sep + 3 : c->host->origin;
}

static void conclude(struct call *c, int r)
{
	c->finished = true;
	c->result = r;
	if (c->done)
		c->done(c);
}

void call_fail(struct call *c, int r)
{
	if (c->tried.n)
		(void)varve_wrap(&c->err, r, "after other places failed (%s)", c->tried.p);
	conclude(c, r);
}

/* --- places --- */

static bool usable(const struct call *c, size_t i, bool breaker)
{
	const struct target *t = &c->targets[i];
	uint64_t now = clock_now_ms();

	if (c->by_tag ? !t->resolve : !t->pull && t->endpoint)
		return false;
	if (!breaker || !t->mirror)
		return true;
	for (const struct host *h = c->client->hosts; h; h = h->next)
		if (h->broken_until_ms > now && t->endpoint && endpoint_is(t->endpoint, &h->url))
			return false;
	return true;
}

/* The first usable place from i on; a mirror that is known to be down only when nothing else is
 * left. */
static bool choose_place(struct call *c, size_t i)
{
	for (int breaker = 1; breaker >= 0; breaker--)
		for (size_t k = i; k < c->n_targets; k++)
			if (usable(c, k, breaker)) {
				c->at = k;
				return true;
			}
	return false;
}

static void begin_place(struct call *c)
{
	c->redirected = c->pinging = false;
	c->hops = c->auth_tries = c->cdn_tries = c->scheme_tries = 0;
	c->budget = (struct retry_budget){.bytes = c->budget.bytes};
	exchange_send(c);
}

/* c->at is the next place; c->err says why the one before failed. */
static void move_on(struct call *c)
{
	char text[300];

	(void)varve_err_text(&c->err, text, sizeof(text));
	log_info(c->client->ctx, "fetch", "%s; trying the next place", text);
	buf_printf(&c->tried, "%s%s", c->tried.n ? "; " : "", text);
	varve_err_reset(&c->err);
	begin_place(c);
}

/* c->err says why this one failed. */
void exchange_next_place(struct call *c)
{
	if (choose_place(c, c->at + 1))
		move_on(c);
	else
		call_fail(c, -c->err.code);
}

/* --- when --- */

static void on_timer(struct http_timer *t)
{
	exchange_send(t->user);
}

void exchange_pause(struct host *h, uint64_t ms)
{
	uint64_t at = clock_now_ms() + ms;

	h->not_before_ms = VARVE_MAX(h->not_before_ms, at);
}

static unsigned tries_allowed(const struct call *c)
{
	unsigned max = c->client->config->retries;

	if (c->optional && c->rq.status)
		return 0;
	/* Nobody waits long to hear that a name was mistyped. */
	if (c->rq.failure == HTTP_DNS)
		return VARVE_MIN(max, 1);
	if (c->rq.failure == HTTP_CONNECT && !c->budget.bytes)
		return VARVE_MIN(max, CONNECT_TRIES);
	return max;
}

/* c->err is filled. The place may do better the next time; another one may do so at once. */
void exchange_try_later(struct call *c)
{
	uint64_t bytes = c->ops && c->ops->progress ? c->ops->progress(c) : 0;
	struct host *h = c->host;

	if (c->targets[c->at].mirror && choose_place(c, c->at + 1)) {
		move_on(c);
		return;
	}
	if (!retry_allowed(&c->budget, bytes, clock_now_ms(), tries_allowed(c))) {
		exchange_next_place(c);
		return;
	}
	exchange_pause(h, retry_backoff_ms(h->failures, clock_random()));
	h->failures++;
	varve_err_reset(&c->err);
	c->redirected = false;
	c->hops = 0;
	exchange_send(c);
}

void exchange_apply(struct call *c, enum call_verdict v)
{
	switch (v) {
	case CALL_OK:
		c->host->failures = 0;
		c->host->pause_told = false;
		conclude(c, 0);
		return;
	case CALL_AGAIN:
		varve_err_reset(&c->err);
		c->redirected = false;
		c->hops = 0;
		exchange_send(c);
		return;
	case CALL_RETRY:
		exchange_try_later(c);
		return;
	case CALL_NEXT:
		exchange_next_place(c);
		return;
	case CALL_FATAL:
		break;
	}
	call_fail(c, -c->err.code);
}

/* --- sending --- */

static void put_target_url(struct call *c, bool https)
{
	const struct target *t = &c->targets[c->at];
	const struct endpoint *p = t->endpoint;

	buf_reset(&c->url);
	/* A mere URL, or one that an endpoint gave for itself (the session of an upload). */
	if (!p || (t->url && !c->pinging)) {
		buf_adds(&c->url, t->url);
		return;
	}
	buf_printf(&c->url, "%s://%s%s/", https ? "https" : "http", p->key.authority,
		   p->key.prefix);
	if (c->pinging || c->api_root)
		return;
	buf_printf(&c->url, "%s/%s", t->path, c->resource);
	if (t->ns) {
		buf_adds(&c->url, "?ns=");
		url_encode(&c->url, span_str(t->ns));
	}
}

static int on_response(struct http_request *rq)
{
	struct call *c = rq->user;
	uint64_t length;

	if (c->ops && c->ops->response) {
		c->verdict = c->ops->response(c);
		return c->verdict == CALL_OK ? 0 : -1;
	}
	/* Nothing of a document that is too long is read. */
	if (rq->method != HTTP_HEAD && headers_u64(&rq->answer, "Content-Length", &length) &&
	    length > c->body_max) {
		(void)varve_fail(&c->err, VARVE_E_LIMIT,
				 "%s: a document of %s, at most %s are taken", call_place(c),
				 TEXT_SIZE(length), TEXT_SIZE(c->body_max));
		c->verdict = CALL_NEXT;
		return -1;
	}
	return 0;
}

static int on_body(struct http_request *rq, const void *p, size_t n)
{
	struct call *c = rq->user;

	c->verdict = c->ops->body(c, p, n);
	return c->verdict == CALL_OK ? 0 : -1;
}

/* Classes of addresses that the request must not end at, whatever its name leads to. */
static unsigned refused_addresses(const struct call *c)
{
	const struct target *t = &c->targets[c->at];
	unsigned refused = 0;

	if ((t->endpoint || t->configured) && !(c->redirected && c->guard_redirect))
		return 0;
	for (enum addr_class k = ADDR_PRIVATE; k <= ADDR_UNSPECIFIED; k++)
		if (!url_may_lead(c->home, k))
			refused |= 1u << k;
	/* Token servers inside a company are common (2.8). */
	return c->auth == CALL_AUTH_FIXED ? refused & ~(1u << ADDR_PRIVATE) : refused;
}

/* A redirect to another host gains nothing from the registry being listed as insecure. */
static bool listed_insecure(const struct call *c, const struct url *u)
{
	const struct endpoint *p = c->targets[c->at].endpoint;

	if (p && (!c->redirected || endpoint_is(p, u)))
		return p->key.insecure;
	return client_listed_insecure(c->client, u);
}

static void fill_request(struct call *c, const struct url *u)
{
	const struct target *t = &c->targets[c->at];
	struct http_request *rq = &c->rq;

	rq->method = c->pinging ? HTTP_GET : c->method;
	rq->url = c->url.p;
	rq->range = c->ops && c->ops->range && !c->pinging ? c->ops->range(c, c->range) : NULL;
	rq->authorization = c->sent_auth;
	rq->accept = c->accept;
	rq->form = c->form;
	rq->upload = c->upload;
	rq->upload_fd = c->upload_fd;
	rq->upload_size = c->upload_size;
	rq->headers = c->redirected ? NULL : t->headers;
	rq->proxy = proxy_for(&c->client->proxy, u);
	rq->tls = &c->host->tls;
	rq->no_roots = t->endpoint && t->endpoint->key.may_http && !t->endpoint->scheme_known &&
		       !t->endpoint->speaks_tls && !c->redirected;
	rq->few_roots = !c->host->all_roots;
	rq->limits = t->limits;
	rq->refused = refused_addresses(c);
	rq->bulk = c->bulk;
	rq->body_max = c->body_max;
	rq->on_response = on_response;
	rq->on_body = c->ops && c->ops->body && !c->pinging ? on_body : NULL;
	rq->on_done = c->client->exchange->answered;
	rq->user = c;
	if (c->pinging)
		rq->on_response = NULL;
}

static int check_proxy(struct call *c, const struct url *u)
{
	const char *proxy = proxy_for(&c->client->proxy, u);

	return *proxy ? proxy_check(proxy, &c->err) : 0;
}

void exchange_send(struct call *c)
{
	const struct target *t = &c->targets[c->at];
	struct url u;
	int r;

	if (!c->redirected)
		put_target_url(c, !t->endpoint || endpoint_https(t->endpoint));
	r = buf_error(&c->url) < 0 ? buf_fail(&c->url, &c->err, "a URL that is too long")
				   : url_parse(&u, c->url.p, &c->err);
	if (r == 0)
		r = check_proxy(c, &u);
	if (r == 0)
		r = client_host(c->client, &u, listed_insecure(c, &u), &c->host, &c->err);
	if (r < 0) {
		exchange_next_place(c);
		return;
	}
	if (c->host->not_before_ms > clock_now_ms()) {
		c->timer.fire = on_timer;
		c->timer.user = c;
		http_timer_set(c->client->http, &c->timer, c->host->not_before_ms);
		return;
	}
	r = c->client->exchange->authorize(c);
	if (r > 0)
		return;
	c->verdict = CALL_OK;
	fill_request(c, &u);
	if (r == 0)
		r = http_start(c->client->http, &c->rq, &c->err);
	if (r < 0)
		exchange_next_place(c);
}

void call_start(struct call *c)
{
	c->finished = false;
	if (!choose_place(c, 0)) {
		conclude(c,
			 varve_fail(&c->err, VARVE_E_CONFIG,
				    "%s/%s: no place in the configuration may %s", c->repo->domain,
				    c->repo->path, c->by_tag ? "resolve tags" : "serve it"));
		return;
	}
	begin_place(c);
}

void call_resume(struct call *c, int r)
{
	if (r < 0)
		exchange_next_place(c);
	else
		exchange_send(c);
}

int call_run(struct call *c, struct varve_err *e)
{
	int r;

	call_start(c);
	r = http_run(c->client->http, &c->finished, e);
	if (r < 0)
		return r;
	if (c->result < 0 && e)
		*e = c->err;
	return c->result;
}
