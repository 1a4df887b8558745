/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer to a call means: routing by status, redirects, refusals, waits
 * (docs/requirements.md 4.11 to 4.20, R-1 to R-5). */
#include "fetch/registry/exchange_internal.h"

#include <string.h>
#include <time.h>

#include "fetch/registry/ratelimit.h"
#include "fetch/registry/regerror.h"
#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define HOPS_MAX        10u
#define CDN_TRIES_MAX   2u
#define SCHEME_TRIES    2u
#define BREAKER_MS      60000u
#define PAUSE_JITTER_MS 1000u

static int network_code(const struct http_request *rq)
{
	switch (rq->failure) {
	case HTTP_TLS_TRUST:
	case HTTP_TLS_SETUP:
	case HTTP_TLS_ALERT:
		return VARVE_E_TLS;
	case HTTP_TOO_LARGE:
		return VARVE_E_LIMIT;
	case HTTP_BLOCKED:
		return VARVE_E_UNSAFE;
	default:
		return VARVE_E_NETWORK;
	}
}

static const char *network_advice(const struct http_request *rq)
{
	switch (rq->failure) {
	case HTTP_DNS:
		return "no such host; check the name";
	case HTTP_CONNECT:
		return "cannot connect; is it running, and is the port right";
	case HTTP_TIMEOUT:
		return "no answer in time";
	case HTTP_STALL:
		return "the transfer has stalled";
	case HTTP_TLS_SETUP:
		return "no TLS there; for a plain http registry list it as insecure";
	case HTTP_TLS_ALERT:
		return "it speaks TLS but refuses ours; check its TLS versions, and whether it "
		       "wants a client certificate";
	case HTTP_TLS_BROKEN:
		return "the connection broke while TLS was being set up";
	case HTTP_TLS_TRUST:
		return "its certificate is not accepted; put its CA into certs.d";
	case HTTP_PROXY:
		return "the proxy refuses; check the proxy variables";
	case HTTP_BLOCKED:
		return "the name leads to an internal address, which is refused";
	case HTTP_TOO_LARGE:
		return "the answer is larger than allowed";
	default:
		return "the connection broke";
	}
}

/* Loopback and insecure places: http where TLS is not spoken. True: sent again. */
static bool try_http(struct call *c)
{
	struct endpoint *p = c->targets[c->at].endpoint;
	bool own_port = p && strchr(p->key.authority[0] == '[' ? strchr(p->key.authority, ']')
							       : p->key.authority,
				    ':');

	if (!p || !p->key.may_http || p->scheme_known || p->speaks_tls || c->redirected ||
	    !c->host->url.https || ++c->scheme_tries > SCHEME_TRIES)
		return false;
	/* A host that is listed as insecure may be reached by http in any case but that of a
	 * certificate. A handshake that breaks off is tried again first. */
	if (c->rq.failure != HTTP_TLS_SETUP &&
	    !(c->rq.failure == HTTP_TLS_BROKEN && c->scheme_tries > 1) &&
	    !(c->rq.failure == HTTP_CONNECT && !own_port) &&
	    !(p->key.insecure && (c->rq.failure == HTTP_DNS || c->rq.failure == HTTP_PROXY)))
		return false;
	p->plain = true;
	exchange_send(c);
	return true;
}

/* Now that a certificate is to be judged, or by more roots. True: sent again. */
static bool try_with_roots(struct call *c)
{
	struct endpoint *p = c->targets[c->at].endpoint;

	if (c->rq.failure != HTTP_TLS_TRUST ||
	    !(c->rq.no_roots || (c->rq.few_roots && c->rq.unknown_root)))
		return false;
	if (c->rq.no_roots)
		p->speaks_tls = true;
	else
		c->host->all_roots = true;
	exchange_send(c);
	return true;
}

static void network_failed(struct call *c)
{
	struct http_request *rq = &c->rq;
	bool transient = rq->failure == HTTP_DNS || rq->failure == HTTP_CONNECT ||
			 rq->failure == HTTP_TIMEOUT || rq->failure == HTTP_STALL ||
			 rq->failure == HTTP_BROKEN || rq->failure == HTTP_TLS_BROKEN;

	if (try_http(c) || try_with_roots(c))
		return;
	(void)varve_fail(&c->err, network_code(rq), "%s: %s (%s)", call_place(c),
			 network_advice(rq), TEXT_SAFE(rq->error));
	if (c->targets[c->at].mirror && !rq->status)
		c->host->broken_until_ms = clock_now_ms() + BREAKER_MS;
	if (transient)
		exchange_try_later(c);
	else
		exchange_next_place(c);
}

/* Where the registry itself is: what it may lead to depends on that (R-4). Behind a proxy only its
 * name tells. */
static void note_home(struct call *c)
{
	const struct target *t = &c->targets[c->at];

	if (c->redirected || !(t->endpoint || t->configured))
		return;
	c->home = url_name_class(c->host->url.host);
	if (c->home == ADDR_NAME && !c->rq.proxied)
		c->home = url_host_class(c->rq.address);
}

/* On one host only. With a secret also to no other port of it, but from http to https (2.17). */
static bool token_redirect_ok(const struct call *c, const struct url *from, const struct url *to)
{
	bool secret = c->authorization || c->form;

	if (strcmp(to->host, from->host) != 0 || (from->https && !to->https))
		return false;
	return !secret || to->port == from->port || (from->port == 80 && to->port == 443);
}

/* May the answer of "from" send us to "to"? (R-3, R-4) */
static int redirect_check(const struct call *c, const struct url *to, struct varve_err *e)
{
	const struct url *from = &c->host->url;
	const struct endpoint *p = c->targets[c->at].endpoint;

	if (c->auth == CALL_AUTH_FIXED && !token_redirect_ok(c, from, to))
		return varve_fail(e, VARVE_E_UNSAFE,
				  "%s redirects a token request to %s:%u, which is refused",
				  call_place(c), to->host, to->port);
	if (from->https && !to->https && !(p && p->key.insecure))
		return varve_fail(e, VARVE_E_TLS,
				  "%s redirects from https to http, which is refused",
				  call_place(c));
	if (!strcmp(to->host, from->host) || url_may_lead(c->home, url_name_class(to->host)))
		return 0;
	return varve_fail(e, VARVE_E_UNSAFE,
			  "%s redirects to the internal address %s, which is refused",
			  call_place(c), to->host);
}

static void redirected(struct call *c)
{
	VARVE_CLEANUP(buf_done) struct buf url = {0};
	struct url to;
	int r = 0;

	if (++c->hops > HOPS_MAX)
		r = varve_fail(&c->err, VARVE_E_HTTP, "%s: more than %u redirects", call_place(c),
			       HOPS_MAX);
	else if (!c->rq.redirect)
		r = varve_fail(&c->err, VARVE_E_HTTP, "%s: a redirect (%ld) that leads nowhere",
			       call_place(c), c->rq.status);
	else
		r = url_parse(&to, c->rq.redirect, &c->err);
	if (r < 0) {
		(void)varve_wrap(&c->err, r, "%s: redirect", call_place(c));
		exchange_next_place(c);
		return;
	}
	r = redirect_check(c, &to, &c->err);
	if (r < 0) {
		exchange_next_place(c);
		return;
	}
	/* Built anew: userinfo and fragment of a Location are not taken over. */
	buf_init(&url, URL_MAX);
	url_origin(&to, &url);
	buf_add(&url, to.target, strcspn(to.target, "#"));
	buf_reset(&c->url);
	buf_add(&c->url, url.p, url.n);
	c->guard_redirect =
		(c->redirected && c->guard_redirect) || strcmp(to.host, c->host->url.host) != 0;
	c->redirected = true;
	exchange_send(c);
}

/* Seconds that Retry-After asks for; false if it does not. */
static bool asked_to_wait(const struct call *c, uint64_t *ret)
{
	struct span value;

	return headers_get(&c->rq.answer, "Retry-After", 0, &value) &&
	       retry_after_parse(value, (int64_t)time(NULL), ret);
}

static void fail_status(struct call *c, int code, const char *what)
{
	struct registry_error re;

	registry_error_parse(&re, c->rq.body.p, c->rq.body.n);
	(void)varve_fail(&c->err, code, "%s: %s (%ld%s%s%s%s)", call_place(c), what, c->rq.status,
			 *re.code ? " " : "", re.code, *re.message ? ": " : "", re.message);
}

static void too_busy(struct call *c)
{
	uint64_t wait = 0;
	bool asked = asked_to_wait(c, &wait);
	bool limited = c->rq.status == 429;
	char quota[128] = "", what[256];

	if (limited)
		ratelimit_words(&c->rq.answer, quota, sizeof(quota));
	if (asked && wait > RETRY_AFTER_MAX && !c->client->wait) {
		(void)snprintf(what, sizeof(what), "asks to come back in %llu s%s%s",
			       (unsigned long long)wait, quota,
			       c->client->offer_wait ? "; use --wait to wait for it" : "");
		fail_status(c, VARVE_E_RATELIMIT, what);
		exchange_next_place(c);
		return;
	}
	(void)snprintf(what, sizeof(what), "%s%s",
		       limited ? "too many requests" : "the server has trouble", quota);
	fail_status(c, limited ? VARVE_E_RATELIMIT : VARVE_E_HTTP, what);
	if (asked && wait) {
		/* Not all of a fleet at the same moment. */
		exchange_pause(c->host, wait * 1000 + clock_random() % PAUSE_JITTER_MS);
		if (!c->host->pause_told)
			log_warn(c->client->ctx, "fetch", "%s asks to wait %llu s%s", call_place(c),
				 (unsigned long long)wait, quota);
		c->host->pause_told = true;
	}
	exchange_try_later(c);
}

static void refused(struct call *c)
{
	struct registry_error re;
	VARVE_CLEANUP(buf_done) struct buf what = {0};

	registry_error_parse(&re, c->rq.body.p, c->rq.body.n);
	if (retry_error_code(re.code) == 1) {
		too_busy(c);
		return;
	}
	buf_init(&what, 1024);
	if (c->rq.status == 404) {
		fail_status(c, VARVE_E_NOTFOUND,
			    c->by_tag
				    ? "has no such repository or tag; check both names, a private "
				      "repository may need varve login"
				    : "has nothing of this name");
		exchange_next_place(c);
		return;
	}
	buf_printf(&what,
		   "refuses access; the repository may not exist, or it needs a login: "
		   "varve login %s",
		   c->repo ? c->repo->domain : call_place(c));
	fail_status(c, VARVE_E_AUTH, what.p);
	exchange_next_place(c);
}

/* A signed URL that is no longer valid is not a refusal by the registry (4.16). */
static bool refetch_redirect(struct call *c)
{
	uint64_t bytes = c->ops && c->ops->progress ? c->ops->progress(c) : 0;

	if (!c->redirected)
		return false;
	if (bytes > c->cdn_bytes)
		c->cdn_tries = 0;
	c->cdn_bytes = bytes;
	if (++c->cdn_tries > CDN_TRIES_MAX)
		return false;
	c->redirected = false;
	c->hops = 0;
	exchange_send(c);
	return true;
}

static void unauthorized(struct call *c)
{
	int r;

	if (c->redirected && refetch_redirect(c))
		return;
	if (c->redirected || c->auth == CALL_AUTH_FIXED || !c->targets[c->at].endpoint) {
		refused(c);
		return;
	}
	r = c->client->exchange->challenged(c);
	if (r == 0)
		exchange_send(c);
	else if (r < 0)
		exchange_next_place(c);
}

static void fetched(struct call *c)
{
	struct http_request *rq = &c->rq;
	enum call_verdict v;

	c->auth_tries = 0;
	if (rq->failure == HTTP_REFUSED) {
		exchange_apply(c, c->verdict);
		return;
	}
	if (rq->failure == HTTP_TOO_LARGE) {
		network_failed(c);
		return;
	}
	if (c->ops) {
		v = c->ops->complete(c, rq->failure == HTTP_OK);
		if (v == CALL_RETRY && rq->failure != HTTP_OK) {
			varve_err_reset(&c->err);
			network_failed(c);
			return;
		}
		exchange_apply(c, v);
		return;
	}
	if (rq->failure != HTTP_OK)
		network_failed(c);
	else
		exchange_apply(c, CALL_OK);
}

static void other_status(struct call *c)
{
	if (retry_status(c->rq.status)) {
		too_busy(c);
		return;
	}
	if (c->rq.status == 400 && refetch_redirect(c))
		return;
	fail_status(c, VARVE_E_HTTP,
		    c->rq.status == 407 ? "the proxy refuses; check the proxy variables"
					: "an unexpected answer");
	exchange_next_place(c);
}

/* The registry that an answer's limits are about; NULL: none, a CDN or a token server says it. */
static const char *limits_of_whom(const struct call *c)
{
	const struct target *t = &c->targets[c->at];

	if (c->redirected || !t->endpoint || !c->repo)
		return NULL;
	return t->mirror ? t->endpoint->key.authority : c->repo->domain;
}

static void tell_warnings(struct call *c)
{
	struct span value, code;

	for (unsigned i = 0; headers_get(&c->rq.answer, "Warning", i, &value); i++) {
		VARVE_FREE char *text = NULL;

		if (!span_cut(&value, ' ', &code) || !span_eq(code, "299"))
			continue;
		text = span_dup(value);
		if (!text || strstr(c->client->warned.p, text))
			continue;
		buf_printf(&c->client->warned, "%s\n", text);
		log_warn(c->client->ctx, "fetch", "%s says: %s", call_place(c), TEXT_SAFE(text));
	}
}

/* The status first, then the transport: libcurl reports an error for a 416 whose Content-Length
 * lies (4.11). */
static void route(struct call *c)
{
	long status = c->rq.status;

	if (!status) {
		network_failed(c);
		return;
	}
	if (c->targets[c->at].endpoint && !c->redirected)
		c->targets[c->at].endpoint->scheme_known = true;
	c->host->broken_until_ms = 0;
	note_home(c);
	tell_warnings(c);
	ratelimit_note(c->client, limits_of_whom(c), &c->rq.answer);
	if (c->pinging) {
		unauthorized(c);
		return;
	}
	switch (status) {
	case 200:
	case 206:
		fetched(c);
		return;
	case 201:
	case 202:
	case 204:
		if (c->writes)
			fetched(c);
		else
			other_status(c);
		return;
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		redirected(c);
		return;
	case 401:
		unauthorized(c);
		return;
	case 403:
	case 404:
		if (refetch_redirect(c))
			return;
		if (status == 403 && c->client->exchange->forbidden(c))
			exchange_send(c);
		else
			refused(c);
		return;
	case 416:
		if (c->ops && c->ops->unsatisfied) {
			exchange_apply(c, c->ops->unsatisfied(c));
			return;
		}
		break;
	default:
		break;
	}
	other_status(c);
}

void exchange_answered(struct http_request *rq)
{
	route(rq->user);
}
