/* SPDX-License-Identifier: Apache-2.0 */
/* Bearer tokens: obtained once per scope however many calls want one, kept in memory only
 * (docs/requirements.md 2). */
#pragma once

#include "fetch/auth/challenge.h"
#include "fetch/registry/exchange.h"

enum token_state { TOKEN_EMPTY, TOKEN_PENDING, TOKEN_READY };
struct token {
	struct token *next;
	struct endpoint *endpoint;
	char *path; /* repository at the endpoint */
	char *realm, *service;
	char **scopes; /* a set, in the order in which they are asked for */
	size_t n_scopes;
	enum token_state state;
	char *value;
	uint64_t refresh_ms; /* when to ask for another one */
	struct call *waiters;
	struct call *fetch; /* while pending */
	bool tried_post, started;
	enum addr_class home; /* where the registry is: its token server may be there, too */
	struct client *client;
	struct repo *repo; /* for messages and its token_hosts */
};

/* What a token server answered; pure. now: seconds since the epoch. VARVE_E_FORMAT. */
struct token_answer {
	char *value; /* malloc'ed */
	uint64_t lifetime_s;
};
int token_answer_parse(struct token_answer *ret, const void *p, size_t n, int64_t now,
		       struct varve_err *e);
/* May credentials of registry go to realm (2.8, 2.9)? <0: the realm itself is refused. 1 yes, 0
 * only anonymously. */
int token_realm_check(const struct url *realm, const struct url *registry, char *const *token_hosts,
		      struct varve_err *e);

/* The token for an endpoint's repository, or NULL if none was ever asked for. */
struct token *token_find(struct client *c, const struct endpoint *p, const char *path);
/* Make or extend it by a challenge. */
int token_describe(struct client *c, struct endpoint *p, const char *path,
		   const struct challenge *ch, struct token **ret, struct varve_err *e);
bool token_usable(const struct token *t);
/* What was sent was refused. */
void token_drop(struct token *t, const char *authorization);
/* Queue the call; the fetch is started if none is under way. call_resume() tells the end. <0: not
 * started, c->err. */
int token_wait(struct token *t, struct call *c);
void token_forget_waiter(struct token *t, struct call *c);
void tokens_free(struct client *c);
