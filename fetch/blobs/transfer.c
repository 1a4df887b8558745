/* SPDX-License-Identifier: Apache-2.0 */
/* One descriptor becomes one verified blob of the store (docs/requirements.md 4): how answers are
 * taken. */
#include "fetch/blobs/transfer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fetch/http/encoding.h"
#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define WAIT_POLL_MS      100u
#define TELL_MS           100u
#define WHOLE_ANSWERS_MAX 2u /* answers that begin at 0 again although much is there (4.10) */
#define SKIP_FREE         (4u << 20)
#define ODDITIES_MAX      4u

/* --- telling --- */

static void tell(struct transfer *t, bool finished)
{
	char name[VARVE_DIGEST_STR_MAX];
	struct varve_progress ev = {
		.stage = t->waiting ? VARVE_STAGE_WAIT : VARVE_STAGE_DOWNLOAD,
		.object = t->need->key ? t->need->key : varve_digest_str(&t->need->digest, name),
		.done = t->off,
		.total = t->total == UINT64_MAX ? 0 : t->total,
		.resumed = t->resumed,
		.finished = finished,
	};
	uint64_t now = clock_now_ms();

	if (!finished && now < t->told_ms + TELL_MS)
		return;
	t->told_ms = now;
	progress_emit(t->pull->ctx, &ev);
}

/* --- the follower --- */

static int start_follower(struct transfer *t)
{
	const struct varve_layer_ops *ops = t->pull->layers;
	int r;

	if (!t->need->follow || !ops || !ops->follow)
		return 0;
	/* A descriptor of its own: it reads on when the ingest is committed and gone. */
	t->follower_fd = fcntl(ingest_fd(t->in), F_DUPFD_CLOEXEC, 3);
	if (t->follower_fd < 0)
		return varve_fail_errno(&t->err, "%s", DIGEST_STR(&t->need->digest));
	r = ops->follow(ops, &t->follower, t->pull->store, &t->need->digest, t->follower_fd,
			&t->err);
	if (r < 0) {
		(void)close(t->follower_fd);
		t->follower_fd = -1;
		t->follower = NULL;
		return r;
	}
	if (t->off)
		ops->advance(t->follower, t->off, false);
	return 0;
}

static void drop_follower(struct transfer *t)
{
	if (t->follower)
		(void)t->pull->layers->finish(VARVE_TAKE(t->follower), true, NULL, NULL);
	if (t->follower_fd >= 0)
		(void)close(VARVE_TAKE_FD(t->follower_fd));
}

/* --- ending --- */

static void conclude(struct transfer *t, int r)
{
	t->result = r;
	encoding_free(VARVE_TAKE(t->decoder));
	if (r < 0) {
		drop_follower(t);
		ingest_close(VARVE_TAKE(t->in), true);
		(void)varve_wrap(&t->err, r, "%s",
				 t->need->key ? URL_SAFE(t->need->key)
					      : DIGEST_STR(&t->need->digest));
	} else {
		if (t->follower)
			t->pull->layers->advance(t->follower, t->off, true);
		tell(t, true);
	}
	t->done(t);
}

void transfer_stop(struct transfer *t)
{
	if (t->call.client)
		call_done(&t->call);
	http_timer_stop(t->pull->client->http, &t->poll);
	drop_follower(t);
	encoding_free(VARVE_TAKE(t->decoder));
	ingest_close(VARVE_TAKE(t->in), true);
	free(VARVE_TAKE(t->targets));
}

/* Everything is void: begin at 0. */
static int begin_again(struct transfer *t, struct varve_err *e)
{
	int r = ingest_restart(t->in, e);

	if (r < 0)
		return r;
	t->off = t->resumed = t->skip = 0;
	t->continued = false;
	if (t->follower)
		t->pull->layers->restart(t->follower);
	return 0;
}

/* --- ops of the call --- */

static const char *on_range(struct call *c, char buf[64])
{
	struct transfer *t = c->user;

	if (!t->off || c->host->range_broken || t->decode == DECODE_ALWAYS)
		return NULL;
	/* With an end, because open ranges are refused or served wastefully by some (4.7). */
	if (t->total != UINT64_MAX)
		(void)snprintf(buf, 64, "%llu-%llu", (unsigned long long)t->off,
			       (unsigned long long)t->total - 1);
	else
		(void)snprintf(buf, 64, "%llu-", (unsigned long long)t->off);
	return buf;
}

static uint64_t on_progress(struct call *c)
{
	const struct transfer *t = c->user;

	return t->off;
}

/* The place cannot do ranges: ask it for the whole. */
static enum call_verdict range_broken(struct transfer *t, const char *what)
{
	log_info(t->pull->ctx, "fetch", "%s: %s; no more ranges from there", call_place(&t->call),
		 what);
	t->call.host->range_broken = true;
	if (++t->oddities <= ODDITIES_MAX)
		return CALL_AGAIN;
	(void)varve_fail(&t->call.err, VARVE_E_HTTP, "%s: %s", call_place(&t->call), what);
	return CALL_NEXT;
}

/* 206: exactly the range that was asked for (4.9). */
static enum call_verdict take_part(struct transfer *t)
{
	const struct headers *h = &t->call.rq.answer;
	struct content_range cr;
	struct span value, second;
	char type[64];

	if (!t->call.rq.range)
		return range_broken(t, "answers with a part although the whole was asked for");
	if (!headers_get(h, "Content-Range", 0, &value) ||
	    headers_get(h, "Content-Range", 1, &second) || !content_range_parse(value, &cr) ||
	    cr.unsatisfied ||
	    !strcmp(headers_media_type(h, type, sizeof(type)), "multipart/byteranges") ||
	    encoding_declared(h))
		return range_broken(t, "a partial answer that does not say which part it is");
	if (cr.first != t->off || (t->total != UINT64_MAX && cr.last >= t->total) ||
	    (t->need->size != VARVE_SIZE_UNKNOWN && cr.complete != UINT64_MAX &&
	     cr.complete != t->need->size))
		return range_broken(t, "another part than was asked for");
	if (t->total == UINT64_MAX)
		t->total = cr.complete;
	t->skip = 0;
	t->continued = true;
	return CALL_OK;
}

static enum call_verdict wrong_length(struct transfer *t, uint64_t length)
{
	(void)varve_fail(&t->call.err, VARVE_E_SIZE,
			 "%s: the blob has %llu bytes there, the manifest says %llu",
			 call_place(&t->call), (unsigned long long)length,
			 (unsigned long long)t->need->size);
	return CALL_NEXT;
}

/* Does the declared encoding have to be undone, or is it a false label? (4.37) */
static bool must_decode(const struct transfer *t, bool has_length, uint64_t length)
{
	if (!t->encoded || t->decode == DECODE_NEVER)
		return false;
	if (t->decode == DECODE_ALWAYS)
		return true;
	return t->need->size != VARVE_SIZE_UNKNOWN && (!has_length || length != t->need->size);
}

static enum call_verdict take_whole(struct transfer *t)
{
	const struct headers *h = &t->call.rq.answer;
	uint64_t length = 0, max = t->pull->client->config->max_blob;
	bool has_length = headers_u64(h, "Content-Length", &length);

	t->encoded = encoding_declared(h);
	encoding_free(VARVE_TAKE(t->decoder));
	if (must_decode(t, has_length, length)) {
		t->decoder = encoding_new();
		if (!t->decoder) {
			(void)varve_fail_oom(&t->call.err);
			return CALL_FATAL;
		}
	} else if (has_length) {
		if (t->need->size != VARVE_SIZE_UNKNOWN && length != t->need->size)
			return wrong_length(t, length);
		if (length > max) {
			(void)varve_fail(&t->call.err, VARVE_E_LIMIT,
					 "%s: a blob of %s, at most %s are taken",
					 call_place(&t->call), TEXT_SIZE(length), TEXT_SIZE(max));
			return CALL_NEXT;
		}
		if (t->need->size == VARVE_SIZE_UNKNOWN)
			t->total = length;
	}
	/* The range was ignored. What is there is skipped; the digest at the end covers both. But
	 * not for ever: each such answer costs the whole blob again. */
	if (t->off > SKIP_FREE && t->total != UINT64_MAX && t->off > t->total / 10 &&
	    ++t->whole_answers > WHOLE_ANSWERS_MAX) {
		(void)varve_fail(&t->call.err, VARVE_E_HTTP,
				 "%s: begins the blob anew each time the connection breaks",
				 call_place(&t->call));
		return CALL_NEXT;
	}
	t->skip = t->off;
	t->continued = t->off > 0;
	return CALL_OK;
}

static enum call_verdict on_response(struct call *c)
{
	struct transfer *t = c->user;

	return c->rq.status == 206 ? take_part(t) : take_whole(t);
}

static int put_bytes(void *user, const void *p, size_t n)
{
	struct transfer *t = user;
	size_t skip = (size_t)VARVE_MIN(t->skip, n);
	int r;

	t->skip -= skip;
	n -= skip;
	if (!n)
		return 0;
	r = ingest_write(t->in, (const char *)p + skip, n, &t->call.err);
	if (r < 0)
		return r;
	t->off += n;
	if (t->follower)
		t->pull->layers->advance(t->follower, t->off, false);
	tell(t, false);
	return 0;
}

/* What is there cannot be right: the second chance
 * after a resume, then the next place (4.4, 4.5). */
static enum call_verdict bad_bytes(struct transfer *t)
{
	struct call *c = &t->call;
	bool last = true, continued = t->continued;

	if (t->in && begin_again(t, &c->err) < 0)
		return CALL_FATAL;
	if (t->encoded) {
		/* The label was taken at its word, or not: the other way, once. */
		bool decoded = t->decoder != NULL;

		encoding_free(VARVE_TAKE(t->decoder));
		if (t->decode == DECODE_AUTO) {
			t->decode = decoded ? DECODE_NEVER : DECODE_ALWAYS;
			return CALL_AGAIN;
		}
	}
	if (continued && !t->resume_failed) {
		t->resume_failed = true;
		return CALL_AGAIN;
	}
	for (size_t i = c->at + 1; i < c->n_targets; i++)
		last = last && !(c->targets[i].pull || !c->targets[i].endpoint);
	if (last && !t->origin_again) {
		t->origin_again = true;
		return CALL_AGAIN;
	}
	return CALL_NEXT;
}

static enum call_verdict on_body(struct call *c, const void *p, size_t n)
{
	struct transfer *t = c->user;
	int r;

	t->need->wire_bytes += n;
	if (t->decoder)
		r = encoding_feed(t->decoder, p, n, put_bytes, t, &c->err);
	else
		r = put_bytes(t, p, n);
	if (r >= 0)
		return CALL_OK;
	if (r == -VARVE_E_SIZE || r == -VARVE_E_FORMAT || r == -VARVE_E_LIMIT) {
		(void)varve_wrap(&c->err, r, "%s", call_place(c));
		return bad_bytes(t);
	}
	return CALL_FATAL;
}

/* All bytes are there: verify and publish. */
static enum call_verdict commit(struct transfer *t)
{
	struct call *c = &t->call;
	uint64_t size;
	int r = t->need->key ? ingest_commit_unnamed(VARVE_TAKE(t->in), t->pull->lease,
						     &t->need->digest, &size, &c->err)
			     : ingest_commit(&t->in, &size, &c->err);

	if (r >= 0) {
		t->off = t->total = size;
		return CALL_OK;
	}
	if ((r != -VARVE_E_DIGEST && r != -VARVE_E_SIZE) || !t->in)
		return CALL_FATAL;
	(void)varve_wrap(&c->err, r, "what %s sent", call_place(c));
	log_warn(t->pull->ctx, "fetch", "blob %s from %s does not match its digest",
		 DIGEST_STR(&t->need->digest), call_place(c));
	if (t->decoder)
		t->encoded = true;
	return bad_bytes(t);
}

static enum call_verdict on_complete(struct call *c, bool whole)
{
	struct transfer *t = c->user;

	if (t->off == t->need->size || (t->need->size == VARVE_SIZE_UNKNOWN && whole &&
					(t->total == UINT64_MAX || t->off >= t->total)))
		return commit(t);
	(void)varve_fail(&c->err, VARVE_E_NETWORK, "%s: the blob ended after %llu of %llu bytes",
			 call_place(c), (unsigned long long)t->off,
			 (unsigned long long)(t->total == UINT64_MAX ? 0 : t->total));
	return CALL_RETRY;
}

/* 416 (4.11): the place disagrees about the length. */
static enum call_verdict on_unsatisfied(struct call *c)
{
	struct transfer *t = c->user;
	struct content_range cr;
	struct span value;

	if (!headers_get(&c->rq.answer, "Content-Range", 0, &value) ||
	    !content_range_parse(value, &cr) || !cr.unsatisfied)
		return range_broken(t, "refuses the range (416)");
	if (t->need->size == VARVE_SIZE_UNKNOWN && cr.complete == t->off)
		return commit(t);
	if (cr.complete < t->off && t->need->size == VARVE_SIZE_UNKNOWN) {
		if (begin_again(t, &c->err) < 0)
			return CALL_FATAL;
		t->total = UINT64_MAX;
		if (++t->oddities <= ODDITIES_MAX)
			return CALL_AGAIN;
	}
	if (t->need->size != VARVE_SIZE_UNKNOWN && cr.complete != t->need->size)
		return wrong_length(t, cr.complete);
	return range_broken(t, "refuses the range (416)");
}

static void on_call_done(struct call *c)
{
	struct transfer *t = c->user;

	if (c->result < 0)
		t->err = c->err;
	else
		t->need->fetched = true;
	conclude(t, c->result);
}

/* --- starting --- */

/* Foreign layers: the registry first, then the URLs that the manifest names, without any credential
 * (3.29). */
static bool foreign_allowed(const struct transfer *t, const char *text)
{
	enum addr_class c, here;
	struct url u;

	if (url_parse(&u, text, NULL) < 0 || u.has_userinfo)
		return false;
	c = url_host_class(u.host);
	if (c == ADDR_NAME || c == ADDR_PUBLIC)
		return true;
	here = url_domain_is_loopback(t->need->repo->domain)
		       ? ADDR_LOOPBACK
		       : url_host_class(t->need->repo->domain);
	return c != ADDR_LINK_LOCAL && c != ADDR_UNSPECIFIED && here != ADDR_NAME &&
	       here != ADDR_PUBLIC;
}

static int fill_targets(struct transfer *t)
{
	const struct repo *repo = t->need->repo;
	size_t n = 0;

	while (t->need->urls && t->need->urls[n])
		n++;
	t->targets = calloc(repo->n_targets + n, sizeof(*t->targets));
	if (!t->targets)
		return varve_fail_oom(&t->err);
	memcpy(t->targets, repo->targets, repo->n_targets * sizeof(*t->targets));
	t->n_targets = repo->n_targets;
	for (size_t i = 0; i < n; i++) {
		struct target *f = &t->targets[t->n_targets];

		if (!foreign_allowed(t, t->need->urls[i])) {
			log_warn(t->pull->ctx, "fetch", "the layer URL %s is not allowed",
				 URL_SAFE(t->need->urls[i]));
			continue;
		}
		f->url = t->need->urls[i];
		f->pull = true;
		f->limits = repo->targets[0].limits;
		t->n_targets++;
	}
	return 0;
}

static void poll_again(struct http_timer *timer)
{
	transfer_start(timer->user);
}

/* 0: t->in is ours; 1: there (or waiting: t->waiting); <0 t->err. */
static int open_ingest(struct transfer *t)
{
	struct ingest_want want = {
		.digest = t->need->digest,
		.size = t->need->size,
		.kind = t->need->kind,
		.max_size = t->pull->client->config->max_blob,
	};
	struct varve_err e = VARVE_ERR_INIT;
	int r = t->need->key ? ingest_open_unnamed(&t->in, t->pull->store, t->need->key, want.kind,
						   want.max_size, &e)
			     : ingest_open(&t->in, t->pull->store, t->pull->lease, &want, &e);

	if (r == -VARVE_E_BUSY) {
		t->waiting = true;
		t->total = t->need->size;
		t->off = t->need->key ? 0 : ingest_partial_size(t->pull->store, &t->need->digest);
		tell(t, false);
		t->poll.fire = poll_again;
		t->poll.user = t;
		http_timer_set(t->pull->client->http, &t->poll, clock_now_ms() + WAIT_POLL_MS);
		return 1;
	}
	if (t->waiting) {
		tell(t, true);
		t->waiting = false;
	}
	if (r != 0) {
		t->err = e;
		return r;
	}
	t->off = t->resumed = ingest_offset(t->in);
	t->total = t->need->size == VARVE_SIZE_UNKNOWN ? UINT64_MAX : t->need->size;
	t->continued = t->off > 0;
	return start_follower(t);
}

static int start_call(struct transfer *t)
{
	static const struct call_ops ops = {
		.range = on_range,
		.response = on_response,
		.body = on_body,
		.complete = on_complete,
		.unsatisfied = on_unsatisfied,
		.progress = on_progress,
	};
	int r = fill_targets(t);

	if (r < 0)
		return r;
	call_init(&t->call, t->pull->client);
	t->call.repo = t->need->repo;
	t->call.targets = t->targets;
	t->call.n_targets = t->n_targets;
	t->call.bulk = true;
	t->call.ops = &ops;
	t->call.user = t;
	t->call.done = on_call_done;
	if (asprintf(&t->call.resource, "blobs/%s", DIGEST_STR(&t->need->digest)) < 0) {
		t->call.resource = NULL;
		return varve_fail_oom(&t->err);
	}
	return 0;
}

void transfer_start(struct transfer *t)
{
	enum call_verdict v;
	int r;

	t->follower_fd = -1;
	r = open_ingest(t);
	if (r > 0 && t->waiting)
		return;
	if (r > 0) {
		t->off = t->total = t->need->size;
		conclude(t, 0);
		return;
	}
	if (r == 0)
		r = start_call(t);
	if (r < 0) {
		conclude(t, r);
		return;
	}
	tell(t, false);
	/* Nothing is asked for that is there: a partial that was cut behind its last byte, the
	 * empty blob. */
	v = t->off == t->need->size ? commit(t) : CALL_AGAIN;
	if (v == CALL_OK || v == CALL_FATAL) {
		t->err = t->call.err;
		conclude(t, v == CALL_OK ? 0 : -t->err.code);
		return;
	}
	varve_err_reset(&t->call.err);
	call_start(&t->call);
}
