/* SPDX-License-Identifier: Apache-2.0 */
/* What http.c (the loop) and http_setup.c (one request in libcurl's terms) share. */
#pragma once

#include "fetch/http/curl_load.h"
#include "fetch/http/http.h"

#define HTTP_ERROR_BODY_MAX (64u << 10) /* of the body of a refusal (docs/requirements.md 2.7) */
#define HTTP_PEM_MAX        (16u << 20) /* roots of the system */

struct http {
	CURLM *multi;
	const struct varve_ctx *ctx;
	struct http_request *active;
	struct http_timer *timers;
	uint64_t watched_ms;
	struct buf system_pem;              /* read when the first host has a CA of its own */
	bool roots_looked_at, hashed_roots; /* has the system a directory of them by hash? */
};

/* All that libcurl has to know of a request, callbacks included. False: it cannot be set up. */
bool http_set_options(struct http *h, struct http_request *rq);
/* Once for each answer, when its headers are there. False: the caller refuses it. */
bool http_see_response(struct http_request *rq);
enum http_failure http_classify(const struct http_request *rq, CURLcode code);
