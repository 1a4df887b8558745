/* SPDX-License-Identifier: Apache-2.0 */
/* One run of push: what it sends, and the upload of one blob. */
#pragma once

#include "fetch/registry/exchange.h"
#include "store/oci/oci.h"

struct push;

/* A blob on its way; once however many manifests name it. */
struct upload {
	struct push *push;
	struct upload *next;
	struct varve_digest digest;
	uint64_t size;
	enum upload_step { UPLOAD_HEAD, UPLOAD_MOUNT, UPLOAD_BEGIN, UPLOAD_SEND } step;
	unsigned tries;
	int fd;
	struct call call;
	struct target target; /* a copy; url is owned */
	const char *headers[2];
};
/* A manifest or index; children before their parents. */
struct push_doc {
	struct varve_digest digest;
	char *bytes;
	size_t n;
	char type[128];
};
struct push {
	struct varve_store *store;
	const struct varve_ctx *ctx;
	struct client *client;
	struct lease *lease;
	struct repo *repo;
	const struct target *place; /* the registry itself, never a mirror */
	char mount_from[256]; /* a repository of the same registry that may have the blobs; or "" */
	struct push_doc *docs;
	size_t n_docs;
	struct upload *uploads;
	size_t n_uploads, next_upload;
	unsigned jobs, n_running;
	bool idle;
	int result;
	struct varve_err err;
	struct varve_push_result *ret;
};

/* push_upload.c: all of p->uploads, several at once. */
int push_uploads(struct push *p, struct varve_err *e);
