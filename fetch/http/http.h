/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One libcurl multi loop in the caller's thread: single HTTP exchanges with limits, timers,
 * cancellation.
 *
 * Nothing here follows a redirect, adds a credential or tries again: exchange.h does. Completion
 * callbacks run from http_run() and may start further requests; they may free the request.
 */
#pragma once

#include "fetch/http/headers.h"
#include "store/base/buf.h"

struct http;
struct varve_ctx;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT };

/* Why an exchange ended without a whole answer. */
enum http_failure {
	HTTP_OK = 0,
	HTTP_DNS,        /* no such host */
	HTTP_CONNECT,    /* refused, unreachable */
	HTTP_TIMEOUT,    /* connecting or waiting for the headers took too long */
	HTTP_STALL,      /* the body came too slowly */
	HTTP_BROKEN,     /* the connection ended early */
	HTTP_TLS_SETUP,  /* the other side does not speak TLS */
	HTTP_TLS_ALERT,  /* it speaks TLS and refuses ours: no common version, a missing certificate
			  */
	HTTP_TLS_BROKEN, /* the connection ended while TLS was being set up */
	HTTP_TLS_TRUST, /* certificate not trusted, expired, wrong host; client certificate unusable
			 */
	HTTP_PROXY,     /* the proxy refused */
	HTTP_BLOCKED,   /* the address is not allowed for this request */
	HTTP_TOO_LARGE, /* header block or document over its limit */
	HTTP_REFUSED,   /* on_response or on_body said no */
	HTTP_PERMANENT, /* not even a request could be made of it */
};

/* TLS settings of a host; shared by its requests. */
struct http_tls {
	bool skip_verify;
	char *ca_pem;               /* trusted beside the system's; NULL: none */
	char *cert_file, *key_file; /* client pair; NULL: none */
};

/* connecting, whole header block, and the window in which a body must make HTTP_MIN_RATE bytes a
 * second */
struct http_limits {
	unsigned connect_ms, header_ms, stall_ms;
};
#define HTTP_MIN_RATE 1024u

struct http_request {
	/* --- set by the caller; borrowed until done --- */
	enum http_method method;
	const char *url;
	const char *range;         /* "0-99"; NULL: none */
	const char *authorization; /* value; NULL: none */
	const char *accept;
	const char *form; /* body of a POST */
	/* Body of a PUT: of upload_fd if it is >= 0,
	 * else at upload. Read again for each attempt. */
	const void *upload;
	int upload_fd;
	uint64_t upload_size;
	const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
	const char *proxy;          /* URL; "" none */
	const struct http_tls *tls;
	struct http_limits limits;
	unsigned refused; /* never connect to addresses of these classes: 1u << enum addr_class */
	bool no_roots;    /* trust nobody: only to find out whether TLS is spoken there */
	/* Trust only those of the system's directory of roots by hash: read one by one, when they
	 * are asked for. Cleared when there is no such directory, and all are read. */
	bool few_roots;
	bool unknown_root; /* set with HTTP_TLS_TRUST: more roots may help */
	bool bulk;         /* HTTP/1.1, a connection of its own */
	uint64_t body_max; /* of what is collected in body */
	/*
	 * The headers of a 200 or 206 are there; <0 ends the exchange with HTTP_REFUSED. NULL: the
	 * body is collected in body. Bodies of other statuses are always collected (64 KiB at
	 * most).
	 */
	int (*on_response)(struct http_request *rq);
	int (*on_body)(struct http_request *rq, const void *p, size_t n);
	void (*on_done)(struct http_request *rq);
	void *user;
	/* --- results --- */
	enum http_failure failure;
	long status; /* 0: no whole header block came */
	struct headers answer;
	struct buf body;
	char *redirect;   /* absolute, of a 3xx; NULL if there is none */
	char address[64]; /* of the peer */
	char error[256];  /* words for failure; not escaped */
	bool proxied;
	/* --- of http.c --- */
	struct http *loop;
	struct http_request *next;
	void *easy, *list;
	uint64_t sent; /* of the upload */
	uint64_t started_ms, window_ms, window_bytes, bytes;
	bool response_seen, headers_done, blocked, body_cut;
	size_t trailers; /* bytes */
};

struct http_timer {
	void (*fire)(struct http_timer *t);
	void *user;
	/* --- of http.c --- */
	uint64_t at_ms;
	bool armed;
	struct http_timer *next;
};

int http_new(struct http **ret, const struct varve_ctx *ctx, unsigned jobs, struct varve_err *e);
void http_free(struct http *h); /* requests under way are dropped without a callback */

void http_request_init(struct http_request *rq);
/* Ends it if it is under way; no callback. */
void http_request_done(struct http_request *rq);
/* May be started again after it was done: results are cleared. */
int http_start(struct http *h, struct http_request *rq, struct varve_err *e);

void http_timer_set(struct http *h, struct http_timer *t, uint64_t at_ms);
void http_timer_stop(struct http *h, struct http_timer *t);

/* Run until *until; VARVE_E_INTERRUPTED within 100 ms of a cancellation. */
int http_run(struct http *h, const bool *until, struct varve_err *e);
