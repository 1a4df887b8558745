/* SPDX-License-Identifier: Apache-2.0 */
/* Which proxy a URL goes through, by the rules of
 * Go's httpproxy (docs/requirements.md 5.13); pure. */
#pragma once

#include "fetch/http/url.h"

/* The values of the environment; any may be NULL. */
struct proxy_env {
	const char *http, *https, *all, *no;
	bool cgi; /* REQUEST_METHOD is set: HTTP_PROXY could be a client's header (httpoxy) */
};
void proxy_env_read(struct proxy_env *ret);
/*
 * VARVE_E_NETWORK: this is no URL of a proxy, or one whose password is not encoded, so that each
 * parser would cut it elsewhere.
 */
int proxy_check(const char *proxy, struct varve_err *e);
/* "" for none. The result is one of the strings of env. */
const char *proxy_for(const struct proxy_env *env, const struct url *u);
