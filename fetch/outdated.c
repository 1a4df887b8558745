/* SPDX-License-Identifier: Apache-2.0 */
/* Does a tag still mean what is stored? HEAD only, where the registry serves it. */
#include <stdlib.h>
#include <string.h>

#include "fetch/pull.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"

static void client_cleanup(struct client **c)
{
	client_free(*c);
}

int varve_outdated(const struct varve_ctx *ctx, const struct varve_reference *ref,
		   const struct varve_digest *target, const struct varve_pull_options *opt,
		   bool *ret_changed, struct varve_digest *ret_now, struct varve_err *e)
{
	VARVE_CLEANUP(client_cleanup) struct client *c = NULL;
	char place[256], name[800];
	struct repo *repo;
	int r;

	(void)varve_reference_familiar(ref, name);
	if (opt->offline)
		return varve_fail(e, VARVE_E_OFFLINE,
				  "%s: only the registry knows what the tag means now", name);
	if (!*ref->tag || varve_digest_is_set(&ref->digest)) {
		/* A digest means the same for ever. */
		*ret_changed = false;
		*ret_now = *target;
		return 0;
	}
	r = client_new(&c, ctx, opt->config, 1, e);
	if (r < 0)
		return r;
	c->wait = opt->wait;
	r = client_repo(c, ref->domain, ref->path, &repo, e);
	if (r == 0)
		r = pull_head(c, repo, ref, ret_now, place, e);
	if (r < 0)
		return varve_wrap(e, r, "%s", name);
	*ret_changed = !varve_digest_equal(ret_now, target);
	return 0;
}
