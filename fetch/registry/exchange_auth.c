/* SPDX-License-Identifier: Apache-2.0 */
/* What a call sends as Authorization, and what it does with a 401 (docs/requirements.md 2.18). */
#include "fetch/registry/exchange_auth.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/registry/exchange_internal.h"
#include "fetch/registry/regerror.h"
#include "fetch/registry/token.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define AUTH_TRIES_MAX 1u /* refused answers to what we did send */

/* The credential of the place for this repository; looked up once, helpers are asked then. */
static int find_credential(struct call *c)
{
	const struct target *t = &c->targets[c->at];
	struct endpoint *p = t->endpoint;
	int r;

	if (p->credential_known && !strcmp(p->credential_path, t->path))
		return 0;
	credential_done(&p->credential);
	free(p->credential_path);
	p->credential_known = false;
	p->credential_path = strdup(t->path);
	if (!p->credential_path)
		return varve_fail_oom(&c->err);
	r = credentials_find(&p->credential, p->key.authority, t->path, endpoint_https(p),
			     c->client->ctx, &c->err);
	p->credential_known = r == 0;
	return r;
}

static char *bearer_value(const char *token)
{
	char *out = NULL;

	return asprintf(&out, "Bearer %s", token) < 0 ? NULL : out;
}

/* Is the request that is about to go out addressed to the registry itself? */
static bool at_home(const struct call *c)
{
	const struct endpoint *p = c->targets[c->at].endpoint;

	return !c->redirected || endpoint_is(p, &c->host->url);
}

static int authorize(struct call *c)
{
	const struct target *t = &c->targets[c->at];
	struct token *token;
	int r;

	text_forget(&c->sent_auth);
	if (c->auth == CALL_AUTH_FIXED) {
		/* Its redirects stay on one host (redirect_check). */
		c->sent_auth = c->authorization ? strdup(c->authorization) : NULL;
		return c->authorization && !c->sent_auth ? varve_fail_oom(&c->err) : 0;
	}
	if (c->pinging || !t->endpoint || !at_home(c))
		return 0;
	if (t->endpoint->wants_basic) {
		r = find_credential(c);
		if (r < 0 || t->endpoint->credential.kind != CREDENTIAL_PASSWORD)
			return r;
		c->sent_auth = credential_basic(&t->endpoint->credential);
		return c->sent_auth ? 0 : varve_fail_oom(&c->err);
	}
	token = token_find(c->client, t->endpoint, t->path);
	if (!token)
		return 0;
	if (!token_usable(token)) {
		c->fresh_token = true;
		r = token_wait(token, c);
		if (r != 0)
			return r;
	}
	c->sent_auth = bearer_value(token->value);
	return c->sent_auth ? 0 : varve_fail_oom(&c->err);
}

static int denied(struct call *c, const char *why)
{
	struct registry_error re;
	const struct credential *cr = &c->targets[c->at].endpoint->credential;

	registry_error_parse(&re, c->rq.body.p, c->rq.body.n);
	return varve_fail(&c->err, VARVE_E_AUTH, "%s: %s%s%s (%ld%s%s)", call_place(c), why,
			  cr->kind != CREDENTIAL_NONE ? "; the credential came from " : "",
			  cr->kind != CREDENTIAL_NONE ? cr->source : "", c->rq.status,
			  *re.message ? ": " : "", re.message);
}

/* Passwords of helpers may be short-lived (ECR: 12 hours): ask again, once. */
static bool ask_helper_again(struct call *c)
{
	struct endpoint *p = c->targets[c->at].endpoint;

	if (!p->credential.from_helper || p->credential_refreshed)
		return false;
	p->credential_refreshed = true;
	p->credential_known = false;
	return true;
}

static bool forbidden(struct call *c)
{
	const struct target *t = &c->targets[c->at];

	return c->auth == CALL_AUTH_REGISTRY && t->endpoint && t->endpoint->wants_basic &&
	       !c->redirected && c->sent_auth && ask_helper_again(c);
}

static int answer_basic(struct call *c)
{
	struct endpoint *p = c->targets[c->at].endpoint;
	int r;

	if (c->sent_auth && !ask_helper_again(c))
		return denied(c, "the user name or the password is wrong; varve login again");
	r = find_credential(c);
	if (r < 0)
		return r;
	if (p->credential.kind != CREDENTIAL_PASSWORD) {
		VARVE_CLEANUP(buf_done) struct buf why = {0};

		buf_init(&why, 1024);
		buf_printf(&why, "needs a login: varve login %s",
			   c->targets[c->at].mirror || !c->repo ? p->key.authority
								: c->repo->domain);
		return denied(c, why.p);
	}
	p->wants_basic = true;
	return 0;
}

static int answer_bearer(struct call *c, const struct challenge *ch)
{
	const struct target *t = &c->targets[c->at];
	struct token *token;
	bool scope = ch->error && !strcmp(ch->error, "insufficient_scope");
	bool invalid = ch->error && !strcmp(ch->error, "invalid_token");
	int r;

	if (c->sent_auth &&
	    (c->auth_tries++ >= AUTH_TRIES_MAX || (c->fresh_token && !scope && !invalid)))
		return denied(c, c->writes ? "refuses access; the user may not write to the "
					     "repository, or has to log in"
					   : "refuses access; the repository may not exist, or the "
					     "user may not read it");
	r = find_credential(c);
	if (r == 0)
		r = token_describe(c->client, t->endpoint, t->path, ch, &token, &c->err);
	if (r < 0)
		return r;
	if (c->sent_auth)
		token_drop(token, c->sent_auth);
	if (token_usable(token))
		return 0;
	c->fresh_token = true;
	return token_wait(token, c);
}

static int challenged(struct call *c)
{
	struct challenge_list l = {0};
	const struct challenge *ch;
	struct span value;
	int r = 0;

	for (unsigned i = 0; r == 0 && headers_get(&c->rq.answer, "WWW-Authenticate", i, &value);
	     i++)
		r = challenge_parse(&l, value);
	if (r < 0) {
		challenge_done(&l);
		return varve_fail_oom(&c->err);
	}
	if (!l.n && !c->pinging) {
		/* GCR: the answer to /v2/ has the challenge that this one lacks (2.1). */
		c->pinging = true;
		return 0;
	}
	c->pinging = false;
	ch = challenge_find(&l, CHALLENGE_BEARER);
	if (ch && ch->realm)
		r = answer_bearer(c, ch);
	else if (challenge_find(&l, CHALLENGE_BASIC))
		r = answer_basic(c);
	else
		r = denied(c, "refuses access and offers no way to log in that varve knows");
	challenge_done(&l);
	return r;
}

static void forget(struct call *c)
{
	if (c->token)
		token_forget_waiter(c->token, c);
}

const struct exchange_ops registry_exchange = {
	.answered = exchange_answered,
	.authorize = authorize,
	.challenged = challenged,
	.forbidden = forbidden,
	.forget = forget,
	.end = tokens_free,
};
