/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs to a registry: is it there, can it be mounted, else begin a session and send it
 * (docs/protocol.md). */
#include "fetch/push.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/blob_copy.h"

#define TRIES_MAX 3u

static void start_more(struct push *p);
static void on_call_done(struct call *c);
static int start_step(struct upload *u, enum upload_step step);

static void finish(struct upload *u, int r)
{
	struct push *p = u->push;

	if (r < 0 && p->result == 0) {
		p->result = r;
		p->err = u->call.err;
		(void)varve_wrap(&p->err, r, "blob %s", DIGEST_STR(&u->digest));
	}
	call_done(&u->call);
	free(VARVE_TAKE(u->target.url));
	if (u->fd >= 0)
		(void)close(VARVE_TAKE_FD(u->fd));
	progress_emit(p->ctx, &(struct varve_progress){.stage = VARVE_STAGE_UPLOAD,
						       .object = DIGEST_STR(&u->digest),
						       .done = u->size,
						       .total = u->size,
						       .finished = true});
	p->n_running--;
	start_more(p);
}

/* The session's URL with the digest: its own query stays as it is (6.4). */
static int session_url(struct upload *u, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	const struct url *from = &u->call.host->url;
	struct span location;
	struct url to;
	char *url;
	int r;

	buf_init(&b, URL_MAX);
	if (!headers_get(&u->call.rq.answer, "Location", 0, &location))
		return varve_fail(e, VARVE_E_HTTP, "%s: gives no place to upload to",
				  call_place(&u->call));
	if (location.n && location.p[0] == '/')
		url_origin(from, &b);
	buf_add(&b, location.p, location.n);
	r = buf_error(&b) ? buf_fail(&b, e, "upload URL is too long") : url_parse(&to, b.p, e);
	if (r < 0)
		return varve_wrap(e, r, "%s: place to upload to", call_place(&u->call));
	/* Behind a proxy that ends TLS registries think they speak http (6.7). */
	if (from->https && !to.https && !strcmp(from->host, to.host)) {
		memmove(b.p, b.p + 4, b.n - 4 + 1);
		b.n -= 4;
		if (asprintf(&url, "https%s", b.p) < 0)
			return varve_fail_oom(e);
		buf_reset(&b);
		buf_adds(&b, url);
		free(url);
		r = url_parse(&to, b.p, e);
		if (r < 0)
			return r;
	}
	buf_printf(&b, "%cdigest=", strchr(b.p, '?') ? '&' : '?');
	url_encode(&b, span_str(DIGEST_STR(&u->digest)));
	/* Elsewhere, be it another port of this host, nobody gets our credentials. */
	u->target = *u->push->place;
	if (!url_same_origin(from, &to))
		u->target.endpoint = NULL;
	u->target.url = buf_take(&b);
	return u->target.url ? 0 : varve_fail_oom(e);
}

static void new_call(struct upload *u)
{
	enum addr_class home = u->call.home; /* of the registry: it says where it lets us upload */

	call_done(&u->call);
	call_init(&u->call, u->push->client);
	u->call.home = home;
	u->call.repo = u->push->repo;
	u->call.targets = &u->target;
	u->call.n_targets = 1;
	u->call.writes = true;
	u->call.user = u;
	u->call.done = on_call_done;
}

static int set_resource(struct upload *u, enum upload_step step)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};

	buf_init(&b, URL_MAX);
	if (step == UPLOAD_HEAD)
		buf_printf(&b, "blobs/%s", DIGEST_STR(&u->digest));
	else
		buf_adds(&b, "blobs/uploads/");
	if (step == UPLOAD_MOUNT) {
		buf_adds(&b, "?mount=");
		url_encode(&b, span_str(DIGEST_STR(&u->digest)));
		buf_adds(&b, "&from=");
		url_encode(&b, span_str(u->push->mount_from));
	}
	u->call.resource = buf_take(&b);
	u->call.optional = step == UPLOAD_MOUNT; /* without it the blob is sent */
	u->call.form = step == UPLOAD_HEAD ? NULL : strdup("");
	return u->call.resource && (step == UPLOAD_HEAD || u->call.form)
		       ? 0
		       : varve_fail_oom(&u->call.err);
}

/* What another user can change is copied first, so that what is sent is what its name says. */
static int open_blob(struct upload *u, struct varve_err *e)
{
	struct blob_file f = {.fd = -1};
	int r = blob_open_file(u->push->store, &u->digest, &f, e);

	if (r < 0)
		return r;
	r = blob_check_size(u->push->store, &u->digest, &f, u->size, e);
	if (r == 0 && !f.proven)
		r = blob_copy(u->push->store, &u->digest, &f, e);
	u->fd = f.fd;
	return r;
}

static int prepare_send(struct upload *u)
{
	static const char type[] = "Content-Type: application/octet-stream";
	struct varve_err e = VARVE_ERR_INIT;
	int r = session_url(u, &e);

	if (r == 0 && u->fd < 0)
		r = open_blob(u, &e);
	new_call(u);
	if (r < 0) {
		u->call.err = e;
		return r;
	}
	u->headers[0] = type;
	u->target.headers = u->headers;
	u->call.method = HTTP_PUT;
	u->call.bulk = true;
	u->call.upload_fd = u->fd;
	u->call.upload_size = u->size;
	return 0;
}

static int start_step(struct upload *u, enum upload_step step)
{
	int r;

	u->step = step;
	if (step == UPLOAD_SEND) {
		r = prepare_send(u);
	} else {
		new_call(u);
		free(VARVE_TAKE(u->target.url));
		u->target = *u->push->place;
		u->call.method = step == UPLOAD_HEAD ? HTTP_HEAD : HTTP_POST;
		r = set_resource(u, step);
	}
	if (r == 0)
		call_start(&u->call);
	return r;
}

static void count(struct upload *u, uint64_t *which)
{
	(*which)++;
	finish(u, 0);
}

/* A blob that is there with another size is not there. */
static bool is_there(const struct call *c, uint64_t size)
{
	uint64_t length;

	return c->result == 0 &&
	       (!headers_u64(&c->rq.answer, "Content-Length", &length) || length == size);
}

static void after(struct upload *u, enum upload_step next)
{
	int r = start_step(u, next);

	if (r < 0)
		finish(u, r);
}

/* A session may have died, or another push was faster (6.9): look again, then anew. */
static void send_failed(struct upload *u)
{
	struct call *c = &u->call;

	if (c->result == -VARVE_E_AUTH || c->result == -VARVE_E_INTERRUPTED ||
	    ++u->tries >= TRIES_MAX) {
		finish(u, c->result);
		return;
	}
	log_info(u->push->ctx, "push", "blob %s: the upload failed and is begun again",
		 DIGEST_STR(&u->digest));
	after(u, UPLOAD_HEAD);
}

static void on_call_done(struct call *c)
{
	struct upload *u = c->user;
	struct varve_push_result *ret = u->push->ret;

	switch (u->step) {
	case UPLOAD_HEAD:
		if (is_there(c, u->size))
			count(u, &ret->n_present);
		else if (c->result < 0 && c->result != -VARVE_E_NOTFOUND)
			finish(u, c->result);
		else
			after(u, *u->push->mount_from && !u->tries ? UPLOAD_MOUNT : UPLOAD_BEGIN);
		return;
	case UPLOAD_MOUNT:
		if (c->result == 0 && c->rq.status == 201)
			count(u, &ret->n_mounted);
		else /* 202: a session was begun instead; whatever else: without a mount */
			after(u,
			      c->result == 0 && c->rq.status == 202 ? UPLOAD_SEND : UPLOAD_BEGIN);
		return;
	case UPLOAD_BEGIN:
		if (c->result < 0)
			finish(u, c->result);
		else
			after(u, UPLOAD_SEND);
		return;
	case UPLOAD_SEND:
		if (c->result < 0) {
			send_failed(u);
			return;
		}
		ret->bytes_uploaded += u->size;
		count(u, &ret->n_uploaded);
		return;
	}
}

static void start_more(struct push *p)
{
	while (p->result == 0 && p->n_running < p->jobs && p->next_upload < p->n_uploads) {
		struct upload *u = &p->uploads[p->next_upload++];

		p->n_running++;
		after(u, UPLOAD_HEAD);
	}
	p->idle = p->n_running == 0 || p->result < 0;
}

int push_uploads(struct push *p, struct varve_err *e)
{
	size_t i;
	int r;

	start_more(p);
	r = p->idle ? 0 : http_run(p->client->http, &p->idle, e);
	for (i = 0; i < p->n_uploads; i++) {
		call_done(&p->uploads[i].call);
		free(VARVE_TAKE(p->uploads[i].target.url));
		if (p->uploads[i].fd >= 0)
			(void)close(VARVE_TAKE_FD(p->uploads[i].fd));
	}
	if (r < 0)
		return r;
	if (p->result < 0 && e)
		*e = p->err;
	return p->result;
}
