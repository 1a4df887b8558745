/* SPDX-License-Identifier: Apache-2.0 */
/* One descriptor becomes one verified blob of the store: resume, verification, a follower that
 * reads along. */
#pragma once

#include "fetch/blobs/pull.h"
#include "fetch/registry/exchange.h"
#include "store/ingest.h"

struct encoding;

struct transfer {
	struct transfer *next;
	struct pull *pull;
	struct need *need;
	void (*done)(struct transfer *t); /* may free it */
	/* --- results --- */
	int result; /* 0 or -code; then err */
	struct varve_err err;
	/* The reader of a layer, if there was one: the caller ends it. */
	void *follower;
	int follower_fd;
	/* --- state --- */
	struct call call;
	struct http_timer poll;
	struct target *targets; /* those of the repository, then foreign URLs */
	size_t n_targets;
	struct ingest *in;
	uint64_t off, total; /* total UINT64_MAX: unknown */
	uint64_t resumed;
	uint64_t skip; /* bytes of a whole answer that are there already */
	struct encoding *decoder;
	enum { DECODE_AUTO, DECODE_NEVER, DECODE_ALWAYS } decode;
	bool encoded;   /* the answer declared an encoding */
	bool continued; /* off > 0 when an answer came: older bytes are part of the blob */
	bool waiting;   /* another process has it */
	bool resume_failed, origin_again;
	unsigned whole_answers, oddities;
	uint64_t told_ms;
};

/* done may run before this returns. */
void transfer_start(struct transfer *t);
/* Ends it wherever it is; the partial file stays. The struct itself is the caller's. */
void transfer_stop(struct transfer *t);
