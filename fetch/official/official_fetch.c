/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a git tree from a raw-file host, and blobs that are links in it. */
#include "fetch/official/official.h"

#include <stdlib.h>
#include <string.h>

#include "fetch/config/official_path.h"
#include "fetch/registry/exchange.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/text.h"

#define LINK_MAX 1024u /* bytes of a link's text; what is longer is the blob itself */

static struct http_limits limits(const struct pull *p)
{
	const struct varve_config *c = p->client->config;

	return (struct http_limits){c->connect_ms, c->header_ms, c->stall_ms};
}

int official_get(struct pull *p, const char *url, uint64_t max, struct buf *out,
		 struct varve_err *e)
{
	struct target target = {
		.pull = true, .resolve = true, .configured = true, .limits = limits(p)};
	VARVE_FREE char *copy = strdup(url);
	struct call c;
	int r;

	if (!copy)
		return varve_fail_oom(e);
	target.url = copy;
	call_init(&c, p->client);
	c.targets = &target;
	c.n_targets = 1;
	c.method = HTTP_GET;
	c.body_max = max;
	r = call_run(&c, e);
	buf_reset(out);
	if (r == 0) {
		buf_add(out, c.rq.body.p, c.rq.body.n);
		r = buf_error(out) ? varve_fail_oom(e) : 0;
	}
	call_done(&c);
	return r < 0 ? varve_wrap(e, r, "%s", URL_SAFE(url)) : 0;
}

int official_file_url(const struct official *o, const char *path, struct buf *out,
		      struct varve_err *e)
{
	const struct varve_config *c = o->p->client->config;

	return official_url(out, c->official_hosts, c->n_official_hosts, o->place.repo,
			    o->place.commit, path, e);
}

static bool has_digest(const struct buf *b, const struct varve_digest *d, uint64_t size)
{
	struct varve_digest got;

	return b->n == size && hash_bytes((enum varve_algo)d->algo, b->p, b->n, &got, NULL) == 0 &&
	       varve_digest_equal(&got, d);
}

/* The text of a symlink as git stores it: one path, with no newline or one. */
static bool is_link(const struct buf *b, struct span *ret)
{
	struct span s = span_of(b->p, b->n);

	if (s.n && s.p[s.n - 1] == '\n')
		s.n--;
	*ret = s;
	return s.n && s.n < LINK_MAX && !memchr(s.p, '\0', s.n) && !memchr(s.p, '\n', s.n) &&
	       text_utf8_valid(s.p, s.n);
}

static int follow_link(const struct official *o, const char *blob_dir, struct span link,
		       const struct varve_digest *d, uint64_t size, struct buf *out,
		       struct buf *ret_url, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf path = {0};
	int r;

	buf_init(&path, 4096);
	r = official_path_join(&path, o->place.directory, blob_dir, link, e);
	if (r == 0)
		r = official_file_url(o, path.p, ret_url, e);
	if (r < 0)
		return varve_wrap(e, r, "link text of blob %s", DIGEST_STR(d));
	if (size > out->max)
		return 0;
	r = official_get(o->p, ret_url->p, size, out, e);
	if (r == 0 && !has_digest(out, d, size))
		r = varve_fail(e, VARVE_E_DIGEST, "%s: is not the blob %s", URL_SAFE(ret_url->p),
			       DIGEST_STR(d));
	return r;
}

int official_find_blob(const struct official *o, const struct varve_digest *d, uint64_t size,
		       struct buf *out, struct buf *ret_url, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf dir = {0};
	VARVE_CLEANUP(buf_done) struct buf path = {0};
	VARVE_CLEANUP(buf_done) struct buf probe = {0};
	struct varve_err why = VARVE_ERR_INIT;
	struct span link;
	int r;

	buf_init(&dir, 4096);
	buf_init(&path, 4096);
	buf_init(&probe, LINK_MAX);
	buf_printf(&dir, "%s/blobs/%s", o->place.directory,
		   d->algo == VARVE_SHA512 ? "sha512" : "sha256");
	r = official_path_join(&path, o->place.directory, dir.p, span_str(DIGEST_HEX(d)), e);
	if (r == 0)
		r = official_file_url(o, path.p, ret_url, e);
	if (r < 0)
		return r;
	r = official_get(o->p, ret_url->p, LINK_MAX, &probe, &why);
	if (r == -VARVE_E_LIMIT) { /* longer than any link: the blob itself */
		if (size > out->max)
			return 0;
		r = official_get(o->p, ret_url->p, size, out, e);
		if (r == 0 && !has_digest(out, d, size))
			r = varve_fail(e, VARVE_E_DIGEST, "%s: is not the blob %s",
				       URL_SAFE(ret_url->p), DIGEST_STR(d));
		return r;
	}
	if (r < 0) {
		if (e)
			*e = why;
		return r;
	}
	if (has_digest(&probe, d, size)) {
		buf_reset(out);
		buf_add(out, probe.p, probe.n);
		return buf_error(out) ? varve_fail_oom(e) : 0;
	}
	if (!is_link(&probe, &link))
		return varve_fail(e, VARVE_E_DIGEST, "%s: is neither the blob %s nor a link to it",
				  URL_SAFE(ret_url->p), DIGEST_STR(d));
	return follow_link(o, dir.p, link, d, size, out, ret_url, e);
}

int official_add_need(struct official *o, const char *url, const struct need *n,
		      struct varve_err *e)
{
	struct pull *p = o->p;
	struct repo *repo = calloc(1, sizeof(*repo)), **repos;
	struct need *needs;

	repos = reallocarray(o->repos, o->n_repos + 1, sizeof(*repos));
	if (repos)
		o->repos = repos;
	needs = reallocarray(p->needs, p->n_needs + 1, sizeof(*needs));
	if (needs)
		p->needs = needs;
	if (!repo || !repos || !needs) {
		free(repo);
		return varve_fail_oom(e);
	}
	o->repos[o->n_repos++] = repo;
	repo->domain = strdup("official images");
	repo->targets = calloc(1, sizeof(*repo->targets));
	if (!repo->domain || !repo->targets)
		return varve_fail_oom(e);
	repo->n_targets = 1;
	repo->targets[0] = (struct target){.pull = true, .configured = true, .limits = limits(p)};
	repo->targets[0].url = strdup(url);
	if (!repo->targets[0].url)
		return varve_fail_oom(e);
	p->needs[p->n_needs] = *n;
	p->needs[p->n_needs].repo = repo;
	if (n->key)
		p->needs[p->n_needs].key = repo->targets[0].url;
	p->n_needs++;
	return 0;
}
