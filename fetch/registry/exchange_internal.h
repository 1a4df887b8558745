/* SPDX-License-Identifier: Apache-2.0 */
/* Between exchange.c (where and when to ask) and exchange_answer.c (what an answer means). */
#pragma once

#include "fetch/registry/exchange.h"

/* Ask the place c->at, or the URL of a redirect; later if its host asked for a pause. */
void exchange_send(struct call *c);
/* c->err says why this place failed. */
void exchange_next_place(struct call *c);
/* c->err is filled. The place may do better the next time; another one may do so at once. */
void exchange_try_later(struct call *c);
void exchange_apply(struct call *c, enum call_verdict v);
void exchange_pause(struct host *h, uint64_t ms);
/* http_request.on_done of all calls. */
void exchange_answered(struct http_request *rq);
