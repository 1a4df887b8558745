/* SPDX-License-Identifier: Apache-2.0 */
/* One libcurl multi loop in the caller's thread. */
#include "fetch/http/http_internal.h"

#include <string.h>
#include <time.h>

#include "fetch/http/url.h"
#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"

#define CONNECTS_HOST   6L
#define CONNECTS_TOTAL  16L
#define POLL_MS         50u /* how late a cancellation may be seen */
#define WATCHDOG_MS     200u
#define LOOP_BLOCKED_MS 200u

int http_new(struct http **ret, const struct varve_ctx *ctx, unsigned jobs, struct varve_err *e)
{
	struct http *h;
	int r = curl_load(e);

	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return varve_fail_oom(e);
	h->ctx = ctx;
	buf_init(&h->system_pem, HTTP_PEM_MAX);
	h->multi = curl_multi_init();
	if (!h->multi) {
		http_free(h);
		return varve_fail_oom(e);
	}
	(void)curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
				(long)VARVE_MAX(jobs, CONNECTS_HOST));
	(void)curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTS_TOTAL);
	(void)curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, CONNECTS_TOTAL);
	(void)curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	*ret = h;
	return 0;
}

static void unlink_request(struct http_request *rq)
{
	struct http_request **at = &rq->loop->active;

	while (*at != rq)
		at = &(*at)->next;
	*at = rq->next;
	(void)curl_multi_remove_handle(rq->loop->multi, rq->easy);
	curl_easy_cleanup(rq->easy);
	curl_slist_free_all(rq->list);
	rq->easy = NULL;
	rq->list = NULL;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	while (h->active) {
		struct http_request *rq = h->active;

		/* Without it, a resolver that hangs is waited for. */
		(void)curl_easy_setopt(rq->easy, CURLOPT_QUICK_EXIT, 1L);
		unlink_request(rq);
	}
	if (h->multi)
		(void)curl_multi_cleanup(h->multi);
	buf_done(&h->system_pem);
	free(h);
}

void http_request_init(struct http_request *rq)
{
	*rq = (struct http_request){.proxy = "", .body_max = HTTP_ERROR_BODY_MAX, .upload_fd = -1};
	headers_init(&rq->answer);
	buf_init(&rq->body, HTTP_ERROR_BODY_MAX);
}

void http_request_done(struct http_request *rq)
{
	if (rq->easy) {
		(void)curl_easy_setopt(rq->easy, CURLOPT_QUICK_EXIT, 1L);
		unlink_request(rq);
	}
	headers_done(&rq->answer);
	buf_done(&rq->body);
	free(rq->redirect);
	rq->redirect = NULL;
}

int http_start(struct http *h, struct http_request *rq, struct varve_err *e)
{
	rq->failure = HTTP_OK;
	rq->status = 0;
	rq->bytes = rq->window_bytes = rq->sent = 0;
	rq->response_seen = rq->headers_done = rq->blocked = rq->body_cut = false;
	rq->trailers = 0;
	rq->error[0] = rq->address[0] = 0;
	rq->proxied = *rq->proxy != 0;
	free(VARVE_TAKE(rq->redirect));
	buf_reset(&rq->answer.text);
	buf_reset(&rq->body);
	rq->body.max = rq->body_max;
	rq->loop = h;
	rq->started_ms = rq->window_ms = clock_now_ms();
	rq->list = NULL;
	rq->easy = curl_easy_init();
	if (!rq->easy)
		return varve_fail_oom(e);
	if (!http_set_options(h, rq) || curl_multi_add_handle(h->multi, rq->easy) != CURLM_OK) {
		curl_easy_cleanup(rq->easy);
		curl_slist_free_all(rq->list);
		rq->easy = NULL;
		rq->list = NULL;
		return varve_fail(e, VARVE_E_NETWORK, "%s: the request cannot be set up",
				  URL_SAFE(rq->url));
	}
	rq->next = h->active;
	h->active = rq;
	return 0;
}

/* --- ending --- */

static void collect(struct http_request *rq)
{
	char *text = NULL;

	if (curl_easy_getinfo(rq->easy, CURLINFO_PRIMARY_IP, &text) == CURLE_OK && text)
		(void)snprintf(rq->address, sizeof(rq->address), "%s", text);
	text = NULL;
	if (rq->status >= 300 && rq->status < 400 &&
	    curl_easy_getinfo(rq->easy, CURLINFO_REDIRECT_URL, &text) == CURLE_OK && text)
		rq->redirect = strdup(text);
}

static void finish(struct http_request *rq, enum http_failure failure, const char *words)
{
	collect(rq);
	if (rq->failure == HTTP_OK && !(rq->body_cut && rq->status != 200 && rq->status != 206))
		rq->failure = failure;
	/* libcurl's own words may quote what it did not understand. */
	if (url_told_by(rq->proxy, rq->error) || url_told_by(rq->url, rq->error))
		rq->error[0] = 0;
	if (rq->failure != HTTP_OK && !rq->error[0])
		(void)snprintf(rq->error, sizeof(rq->error), "%s", words);
	/* An answer without a body never came to on_write. */
	if (rq->failure == HTTP_OK)
		(void)http_see_response(rq);
	unlink_request(rq);
	rq->on_done(rq);
}

/* Of OpenSSL's verdicts (X509_V_ERR_...) those that another root may change: the issuer is missing,
 * or is one that nobody vouches for. */
static bool is_unknown_root(CURL *easy, CURLcode code)
{
	static const long verdicts[] = {2, 18, 19, 20, 21};
	long verdict = 0;

	if (code != CURLE_PEER_FAILED_VERIFICATION ||
	    curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verdict) != CURLE_OK)
		return false;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(verdicts); i++)
		if (verdict == verdicts[i])
			return true;
	return false;
}

static void drain(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		struct http_request *rq = NULL;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&rq);
		rq->unknown_root = is_unknown_root(m->easy_handle, code);
		finish(rq, http_classify(rq, code), curl_easy_strerror(code));
	}
}

/* The connection stands, the request is on its way. */
static bool sent(const struct http_request *rq)
{
	curl_off_t us = 0;

	return curl_easy_getinfo(rq->easy, CURLINFO_PRETRANSFER_TIME_T, &us) == CURLE_OK && us > 0;
}

/* The rate counts, not "any byte": a trickle is a stall (docs/requirements.md 4.25). */
static bool overdue(struct http_request *rq, uint64_t now, enum http_failure *why)
{
	uint64_t need = (uint64_t)HTTP_MIN_RATE * rq->limits.stall_ms / 1000;

	if (!rq->headers_done) {
		*why = HTTP_TIMEOUT;
		if (!sent(rq))
			return now > rq->window_ms + rq->limits.connect_ms + rq->limits.header_ms;
		/* The time for the answer begins when it could be asked. */
		if (!rq->window_bytes) {
			rq->window_bytes = 1;
			rq->window_ms = now;
		}
		return now > rq->window_ms + rq->limits.header_ms;
	}
	if (now < rq->window_ms + rq->limits.stall_ms)
		return false;
	*why = HTTP_STALL;
	if (rq->bytes < rq->window_bytes + need)
		return true;
	rq->window_ms = now;
	rq->window_bytes = rq->bytes;
	return false;
}

static void watch(struct http *h)
{
	uint64_t now = clock_now_ms();
	enum http_failure why;
	bool again = true;

	if (now < h->watched_ms + WATCHDOG_MS)
		return;
	h->watched_ms = now;
	while (again) {
		again = false;
		for (struct http_request *rq = h->active; rq; rq = rq->next) {
			if (!overdue(rq, now, &why))
				continue;
			finish(rq, why,
			       why == HTTP_STALL ? "the transfer has stalled"
						 : "no answer within the time limit");
			again = true; /* the list may have changed in any way */
			break;
		}
	}
}

/* Time that we spent ourselves (fsync, hashing, a helper) is not the server's. Returns the time. */
static uint64_t forgive(struct http *h, uint64_t since)
{
	uint64_t now = clock_now_ms();

	if (now < since + LOOP_BLOCKED_MS)
		return now;
	for (struct http_request *rq = h->active; rq; rq = rq->next)
		rq->window_ms += now - since;
	return now;
}

/* --- timers --- */

void http_timer_stop(struct http *h, struct http_timer *t)
{
	struct http_timer **at = &h->timers;

	if (!t->armed)
		return;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->armed = false;
}

void http_timer_set(struct http *h, struct http_timer *t, uint64_t at_ms)
{
	http_timer_stop(h, t);
	t->at_ms = at_ms;
	t->next = h->timers;
	t->armed = true;
	h->timers = t;
}

/* Returns the time until the next one, at most POLL_MS. */
static unsigned fire_timers(struct http *h)
{
	uint64_t now = clock_now_ms(), wait = POLL_MS;
	bool again = true;

	while (again) {
		again = false;
		for (struct http_timer *t = h->timers; t; t = t->next)
			if (t->at_ms <= now) {
				http_timer_stop(h, t);
				t->fire(t); /* may free it, and change the list */
				again = true;
				break;
			}
	}
	for (const struct http_timer *t = h->timers; t; t = t->next)
		wait = VARVE_MIN(wait, t->at_ms > now ? t->at_ms - now : 0);
	return (unsigned)wait;
}

int http_run(struct http *h, const bool *until, struct varve_err *e)
{
	int running, r;

	while (!*until) {
		uint64_t begin = clock_now_ms();
		unsigned wait;

		r = ctx_check(h->ctx, e);
		if (r < 0)
			return r;
		if (curl_multi_perform(h->multi, &running) != CURLM_OK)
			return varve_fail(e, VARVE_E_NETWORK, "libcurl's event loop failed");
		drain(h);
		begin = forgive(h, begin); /* before the watchdog looks */
		watch(h);
		wait = fire_timers(h);
		(void)forgive(h, begin);
		if (*until)
			break;
		if (!h->active && !h->timers)
			return varve_fail(e, VARVE_E_NETWORK, "nothing is left to wait for");
		(void)curl_multi_poll(h->multi, NULL, 0, (int)wait, NULL);
	}
	return 0;
}
