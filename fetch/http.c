/* SPDX-License-Identifier: Apache-2.0 */
/* One libcurl multi loop in the caller's thread. */
#include "fetch/http.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "fetch/curl_load.h"
#include "fetch/url.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#define ERROR_BODY_MAX  (64u << 10)
#define CONNECTS_HOST   6L
#define CONNECTS_TOTAL  16L
#define POLL_MS         50u /* how late a cancellation may be seen */
#define BUFFER_SIZE     (256L << 10)
#define USER_AGENT      "varve/" VARVE_VERSION
#define SYSTEM_BUNDLE   "/etc/ssl/certs/ca-certificates.crt"
#define SYSTEM_PEM_MAX  (16u << 20)
#define WATCHDOG_MS     200u
#define LOOP_BLOCKED_MS 200u

struct http {
	CURLM *multi;
	const struct varve_ctx *ctx;
	struct http_request *active;
	struct http_timer *timers;
	uint64_t watched_ms;
	struct buf system_pem; /* read when the first host has a CA of its own */
};

uint64_t http_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

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
	buf_init(&h->system_pem, SYSTEM_PEM_MAX);
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
	*rq = (struct http_request){.proxy = "", .body_max = ERROR_BODY_MAX, .upload_fd = -1};
	headers_init(&rq->answer);
	buf_init(&rq->body, ERROR_BODY_MAX);
}

bool http_active(const struct http_request *rq)
{
	return rq->easy != NULL;
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

/* --- callbacks of libcurl --- */

/* Every socket is CLOEXEC, and the address that a name led to is looked at (DNS rebinding). */
static curl_socket_t on_socket(void *user, curlsocktype purpose, struct curl_sockaddr *sa)
{
	struct http_request *rq = user;

	(void)purpose;
	if (!*rq->proxy && (rq->refused & 1u << url_sockaddr_class(&sa->addr))) {
		rq->blocked = true;
		return CURL_SOCKET_BAD;
	}
	return socket(sa->family, sa->socktype | SOCK_CLOEXEC, sa->protocol);
}

static size_t on_header(char *p, size_t one, size_t n, void *user)
{
	struct http_request *rq = user;
	long status = 0;

	(void)one;
	if (n <= 2 && (p[0] == '\r' || p[0] == '\n')) {
		(void)curl_easy_getinfo(rq->easy, CURLINFO_RESPONSE_CODE, &status);
		/* Trailers of a chunked body end with an empty line, too. */
		if (status >= 200) {
			rq->headers_done = true;
			rq->status = status;
		}
		return n;
	}
	if (rq->headers_done)
		return n;
	if (headers_line(&rq->answer, p, n) < 0) {
		rq->failure = HTTP_TOO_LARGE;
		return 0;
	}
	return n;
}

static bool see_response(struct http_request *rq)
{
	if (rq->response_seen)
		return true;
	rq->response_seen = true;
	rq->window_ms = http_now_ms();
	rq->window_bytes = 0;
	if (rq->status != 200 && rq->status != 206) {
		rq->body.max = VARVE_MIN(rq->body_max, (size_t)ERROR_BODY_MAX);
		return true;
	}
	if (!rq->on_response)
		return true;
	if (rq->on_response(rq) >= 0)
		return true;
	rq->failure = HTTP_REFUSED;
	return false;
}

static size_t on_write(char *p, size_t one, size_t n, void *user)
{
	struct http_request *rq = user;

	(void)one;
	if (!see_response(rq))
		return 0;
	rq->bytes += n;
	if (rq->on_body && (rq->status == 200 || rq->status == 206)) {
		if (rq->on_body(rq, p, n) >= 0)
			return n;
		rq->failure = HTTP_REFUSED;
		return 0;
	}
	buf_add(&rq->body, p, n);
	if (buf_error(&rq->body) < 0) {
		/* Of an error page the start is enough; a document must be whole. */
		rq->body_cut = true;
		if (rq->status == 200 || rq->status == 206)
			rq->failure = HTTP_TOO_LARGE;
		return 0;
	}
	return n;
}

/* The time limits count from the last byte that was taken from us. */
static size_t on_read(char *p, size_t one, size_t n, void *user)
{
	struct http_request *rq = user;
	size_t want = (size_t)VARVE_MIN(rq->upload_size - rq->sent, (uint64_t)(one * n));

	if (rq->upload_fd >= 0 && fsx_pread_full(rq->upload_fd, p, want, rq->sent) != (ssize_t)want)
		return CURL_READFUNC_ABORT;
	if (rq->upload_fd < 0)
		memcpy(p, (const char *)rq->upload + rq->sent, want);
	rq->sent += want;
	rq->window_ms = http_now_ms();
	return want;
}

static int on_seek(void *user, curl_off_t off, int whence)
{
	struct http_request *rq = user;

	if (whence != SEEK_SET || off < 0 || (uint64_t)off > rq->upload_size)
		return CURL_SEEKFUNC_FAIL;
	rq->sent = (uint64_t)off;
	return CURL_SEEKFUNC_OK;
}

/* --- setting up --- */

static bool add_header(struct http_request *rq, const char *line)
{
	struct curl_slist *l = curl_slist_append(rq->list, line);

	if (l)
		rq->list = l;
	return l != NULL;
}

static bool add_header_value(struct http_request *rq, const char *name, const char *value)
{
	VARVE_FREE char *line = NULL;

	if (!value)
		return true;
	if (asprintf(&line, "%s: %s", name, value) < 0) {
		line = NULL;
		return false;
	}
	return add_header(rq, line);
}

static bool set_headers(struct http_request *rq)
{
	bool ok = add_header(rq, "Accept-Encoding: identity") && add_header(rq, "Expect:") &&
		  add_header_value(rq, "Accept", rq->accept ? rq->accept : "*/*") &&
		  add_header_value(rq, "Authorization", rq->authorization);

	for (const char *const *h = rq->headers; ok && h && *h; h++)
		ok = add_header(rq, *h);
	return ok && curl_easy_setopt(rq->easy, CURLOPT_HTTPHEADER, rq->list) == CURLE_OK;
}

static void read_system_pem(struct buf *pem)
{
	FILE *f = fopen(SYSTEM_BUNDLE, "re");
	char *room;
	size_t n;

	if (!f)
		return;
	while ((room = buf_room(pem, 65536)) && (n = fread(room, 1, 65536, f)) > 0)
		pem->n += n;
	buf_addc(pem, '\n');
	(void)fclose(f);
}

/* Additive: the system's roots and the host's own in one blob, so that the result does not depend
 * on how libcurl was built (PROTOCOL 5.16). */
static bool set_ca(struct http *h, struct http_request *rq)
{
	VARVE_CLEANUP(buf_done) struct buf pem = {0};
	struct curl_blob blob = {.flags = CURL_BLOB_COPY};

	if (!rq->tls->ca_pem)
		return true;
	if (!h->system_pem.n)
		read_system_pem(&h->system_pem);
	buf_init(&pem, 2 * SYSTEM_PEM_MAX);
	buf_add(&pem, h->system_pem.p, h->system_pem.n);
	buf_adds(&pem, rq->tls->ca_pem);
	if (buf_error(&pem) < 0)
		return false;
	blob.data = pem.p;
	blob.len = pem.n;
	return curl_easy_setopt(rq->easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK;
}

static bool set_tls(struct http *h, struct http_request *rq)
{
	CURL *c = rq->easy;

	(void)curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (!rq->tls)
		return true;
	if (rq->tls->skip_verify) {
		(void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	/* Reading the roots takes longer than most requests. */
	if (rq->tls->skip_verify || rq->no_roots) {
		(void)curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
		(void)curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	if (rq->tls->cert_file) {
		/* CVE-2026-8932: a connection with a client certificate is never shared. */
		(void)curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
		(void)curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
		if (curl_easy_setopt(c, CURLOPT_SSLCERT, rq->tls->cert_file) != CURLE_OK ||
		    curl_easy_setopt(c, CURLOPT_SSLKEY, rq->tls->key_file) != CURLE_OK)
			return false;
	}
	return rq->no_roots || set_ca(h, rq);
}

static bool set_method(struct http_request *rq)
{
	CURL *c = rq->easy;

	if (rq->method == HTTP_HEAD)
		return curl_easy_setopt(c, CURLOPT_NOBODY, 1L) == CURLE_OK;
	if (rq->method == HTTP_POST)
		return curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
					(curl_off_t)strlen(rq->form)) == CURLE_OK &&
		       curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, rq->form) == CURLE_OK;
	if (rq->method != HTTP_PUT)
		return true;
	return curl_easy_setopt(c, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->upload_size) ==
		       CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_READDATA, rq) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SEEKDATA, rq) == CURLE_OK;
}

static bool set_options(struct http *h, struct http_request *rq)
{
	CURL *c = rq->easy;
	bool ok = curl_easy_setopt(c, CURLOPT_URL, rq->url) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_USERAGENT, USER_AGENT) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_PROXY, rq->proxy) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_NOPROXY, "") == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_RANGE, rq->range) == CURLE_OK;

	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
	(void)curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)rq->limits.connect_ms);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 30L);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, 15L);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, rq->error);
	(void)curl_easy_setopt(c, CURLOPT_PRIVATE, rq);
	(void)curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	(void)curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, rq);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, rq);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, rq);
	(void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION,
			       rq->bulk ? (long)CURL_HTTP_VERSION_1_1
					: (long)CURL_HTTP_VERSION_2TLS);
	(void)curl_easy_setopt(c, CURLOPT_PIPEWAIT, rq->bulk ? 0L : 1L);
	return ok && set_method(rq) && set_tls(h, rq) && set_headers(rq);
}

int http_start(struct http *h, struct http_request *rq, struct varve_err *e)
{
	rq->failure = HTTP_OK;
	rq->status = 0;
	rq->bytes = rq->window_bytes = rq->sent = 0;
	rq->response_seen = rq->headers_done = rq->blocked = rq->body_cut = false;
	rq->error[0] = rq->address[0] = 0;
	rq->proxied = *rq->proxy != 0;
	free(VARVE_TAKE(rq->redirect));
	buf_reset(&rq->answer.text);
	buf_reset(&rq->body);
	rq->body.max = rq->body_max;
	rq->loop = h;
	rq->started_ms = rq->window_ms = http_now_ms();
	rq->list = NULL;
	rq->easy = curl_easy_init();
	if (!rq->easy)
		return varve_fail_oom(e);
	if (!set_options(h, rq) || curl_multi_add_handle(h->multi, rq->easy) != CURLM_OK) {
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

/* libcurl has one code for all that ends a handshake; OpenSSL's words tell what it was. */
static enum http_failure classify_tls(const char *error)
{
	static const char *const no_tls[] = {"wrong version number", "packet length too long",
					     "http request", "unknown protocol",
					     "record layer failure"};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(no_tls); i++)
		if (strstr(error, no_tls[i]))
			return HTTP_TLS_SETUP;
	return strstr(error, "alert") || strstr(error, "unsupported protocol") ? HTTP_TLS_ALERT
									       : HTTP_TLS_BROKEN;
}

static enum http_failure classify(const struct http_request *rq, CURLcode code)
{
	long connect_status = 0;

	(void)curl_easy_getinfo(rq->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	if (connect_status >= 300)
		return HTTP_PROXY;
	switch (code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
		return HTTP_DNS;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return HTTP_PROXY;
	case CURLE_COULDNT_CONNECT:
		return rq->blocked ? HTTP_BLOCKED : HTTP_CONNECT;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_TIMEOUT;
	case CURLE_SSL_CONNECT_ERROR:
		return classify_tls(rq->error);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
		return HTTP_TLS_TRUST;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_OUT_OF_MEMORY:
		return HTTP_PERMANENT;
	case CURLE_FILESIZE_EXCEEDED:
		return HTTP_TOO_LARGE;
	default:
		return HTTP_BROKEN;
	}
}

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
	if (rq->failure != HTTP_OK && !rq->error[0])
		(void)snprintf(rq->error, sizeof(rq->error), "%s", words);
	/* An answer without a body never came to on_write. */
	if (rq->failure == HTTP_OK)
		(void)see_response(rq);
	unlink_request(rq);
	rq->on_done(rq);
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
		finish(rq, classify(rq, code), curl_easy_strerror(code));
	}
}

/* The connection stands, the request is on its way. */
static bool sent(const struct http_request *rq)
{
	curl_off_t us = 0;

	return curl_easy_getinfo(rq->easy, CURLINFO_PRETRANSFER_TIME_T, &us) == CURLE_OK && us > 0;
}

/* The rate counts, not "any byte": a trickle is a stall (PROTOCOL 4.25). */
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
	uint64_t now = http_now_ms();
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
	uint64_t now = http_now_ms();

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
	uint64_t now = http_now_ms(), wait = POLL_MS;
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
		uint64_t begin = http_now_ms();
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
