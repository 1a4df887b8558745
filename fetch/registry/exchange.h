/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One resource of a repository, from whichever place has it: authentication, redirects, retries,
 * failover (docs/requirements.md 2, 4.14 to 4.24, 5). What to do with a body is the caller's.
 */
#pragma once

#include "fetch/auth/challenge.h"
#include "fetch/http/retry.h"
#include "fetch/registry/client.h"

/* What the caller says about an answer. */
enum call_verdict {
	CALL_OK,
	CALL_AGAIN, /* ask the same place at once: what is asked for has changed */
	CALL_RETRY, /* a failure that may pass; counts */
	CALL_NEXT,  /* this place cannot serve it */
	CALL_FATAL, /* nobody can (disk full) */
};

struct call;
struct call_ops {
	/* For each attempt; NULL: no Range. May be NULL. */
	const char *(*range)(struct call *c, char buf[64]);
	/* Headers of a 200 or 206. Anything but CALL_OK needs c->err filled, except CALL_AGAIN. May
	 * be NULL. */
	enum call_verdict (*response)(struct call *c);
	/* NULL: collected in rq.body. */
	enum call_verdict (*body)(struct call *c, const void *p, size_t n);
	/* The answer to a 200 or 206 ended; whole: as far as HTTP can tell. */
	enum call_verdict (*complete)(struct call *c, bool whole);
	/* 416. NULL: an unexpected status. */
	enum call_verdict (*unsatisfied)(struct call *c);
	/* Bytes there so far, for the retry budget. May be NULL. */
	uint64_t (*progress)(struct call *c);
};

enum call_auth {
	CALL_AUTH_REGISTRY, /* answer the challenges of endpoints; places that are a mere URL get
			       nothing */
	CALL_AUTH_FIXED, /* token requests: authorization as given, redirects only http -> https of
			    one host */
};

struct call {
	/* --- set by the caller after call_init() --- */
	struct client *client;
	struct repo *repo;      /* may be NULL for CALL_AUTH_FIXED */
	struct target *targets; /* in order */
	size_t n_targets;
	enum http_method method;
	char *resource; /* "manifests/latest"; owned */
	bool by_tag;    /* only from places that may resolve */
	bool bulk;
	bool writes;   /* also 201, 202 and 204 are success */
	bool optional; /* an error of the server is an answer: it is not tried again */
	bool api_root; /* /v2/ itself: to try a credential */
	const char *accept;
	uint64_t body_max;
	enum call_auth auth;
	char *authorization; /* CALL_AUTH_FIXED; owned */
	char *form;          /* POST; owned */
	/* PUT: as in struct http_request; borrowed. */
	const void *upload;
	int upload_fd;
	uint64_t upload_size;
	const struct call_ops *ops; /* NULL: a document in rq.body */
	void (*done)(struct call *c);
	void *user;
	/* --- results --- */
	bool finished;
	int result; /* 0 or -code */
	struct varve_err err;
	struct http_request rq; /* the last answer */
	/* --- state --- */
	size_t at;
	struct host *host; /* of the request under way */
	struct buf url;
	char range[64];
	bool redirected, guard_redirect;
	enum addr_class home; /* where the registry itself is; ADDR_NAME: not known */
	unsigned hops, auth_tries, cdn_tries, scheme_tries;
	uint64_t cdn_bytes;
	bool pinging, fresh_token;
	enum call_verdict verdict;
	char *sent_auth;
	struct token *token; /* the one in use, or waited for */
	struct call *next_waiter;
	struct retry_budget budget;
	struct http_timer timer;
	struct buf tried; /* "place: reason; " of the places that failed */
};

void call_init(struct call *c, struct client *client);
void call_done(struct call *c);
/* c->done runs from http_run(), or from here when there is nowhere to ask. */
void call_start(struct call *c);
/* Start and run the loop until it is finished. Returns c->result with the chain copied to e. */
int call_run(struct call *c, struct varve_err *e);
/* "host" of the place that answered, for messages. */
const char *call_place(const struct call *c);

/*
 * What an exchange leaves to rooms above it: the client names them (registry_exchange in
 * exchange_auth.h), so that asking knows neither tokens nor the meaning of answers.
 */
struct exchange_ops {
	/* http_request.on_done of all calls. */
	void (*answered)(struct http_request *rq);
	/* Fill c->sent_auth for the request that is about to go out. 1: wait, call_resume() comes;
	 * <0: c->err. */
	int (*authorize)(struct call *c);
	/* A 401 came. 1: wait (a token is fetched), 0: send again, <0: denied, c->err says why. */
	int (*challenged)(struct call *c);
	/* A 403 came. True: the helper that gave the credential has to be asked again
	 * (docs/requirements.md 2.19): send again. */
	bool (*forbidden)(struct call *c);
	/* c ends: it waits for no token any more. */
	void (*forget)(struct call *c);
	/* The client ends. */
	void (*end)(struct client *c);
};
/* Go on with what authorize() or challenged() interrupted. r < 0: c->err is filled. */
void call_resume(struct call *c, int r);
/* The places of c are through or the failure is final. */
void call_fail(struct call *c, int r);
