/* SPDX-License-Identifier: Apache-2.0 */
/* Do tags still mean what is stored? HEAD only, where the registry serves it. */
#include <stdlib.h>
#include <string.h>

#include "fetch/blobs/pull.h"
#include "fetch/official/official.h"
#include "fetch/registry/exchange_auth.h"
#include "fetch/resolve.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/options.h"
#include "store/blob.h"
#include "store/handle.h"

static void client_cleanup(struct client **c)
{
	client_free(*c);
}

/* The library file names another commit or file: the tag has moved. */
static int ask_official(struct client *c, const struct varve_ctx *ctx, struct varve_outdated *it,
			struct varve_err *e)
{
	struct pull p = {.ctx = ctx, .client = c, .platform = it->platform};
	char now[VARVE_ORIGIN_MAX];
	int r = official_origin(&p, &it->ref, now, e);

	if (r == 0)
		it->changed = strcmp(now, it->origin) != 0;
	return r;
}

static int ask(struct client *c, struct varve_outdated *it, struct varve_err *e)
{
	char place[256];
	struct repo *repo;
	int r;

	/* A digest means the same for ever. */
	if (!*it->ref.tag || varve_digest_is_set(&it->ref.digest)) {
		it->now = it->target;
		return 0;
	}
	r = client_repo(c, it->ref.domain, it->ref.path, &repo, e);
	if (r == 0)
		r = pull_head(c, repo, &it->ref, &it->now, place, e);
	if (r == 0)
		it->changed = !varve_digest_equal(&it->now, &it->target);
	return r;
}

int varve_outdated(struct varve_store *s, struct varve_outdated *items, size_t n,
		   const struct varve_pull_options *opt, struct varve_err *e)
{
	VARVE_CLEANUP(client_cleanup) struct client *c = NULL;
	struct varve_pull_options own;
	char name[800];
	int r = OPTIONS_COPY(&own, opt, source, e);

	if (r < 0)
		return r;
	opt = &own;
	if (opt->offline && n)
		return varve_fail(e, VARVE_E_OFFLINE,
				  "%s: only the registry knows what the tag means now",
				  varve_reference_familiar(&items[0].ref, name));
	r = client_new(&c, store_ctx(s), opt->config, &registry_exchange, 1, e);
	if (r < 0)
		return r;
	c->store = s;
	c->wait = opt->wait;
	c->offer_wait = true;
	for (size_t i = 0; i < n; i++) {
		struct varve_outdated *it = &items[i];
		struct varve_err why = VARVE_ERR_INIT;

		it->changed = false;
		it->error[0] = 0;
		it->result =
			it->origin ? ask_official(c, store_ctx(s), it, &why) : ask(c, it, &why);
		if (it->result == -VARVE_E_INTERRUPTED) {
			if (e)
				*e = why;
			return it->result;
		}
		if (it->result == 0)
			continue;
		(void)varve_wrap(&why, it->result, "%s", varve_reference_familiar(&it->ref, name));
		(void)varve_err_text(&why, it->error, sizeof(it->error));
	}
	return 0;
}
