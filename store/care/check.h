/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of check share: the run, its findings, how a blob is judged and healed. */
#pragma once

#include "store/graph.h"

/* A blob that was hashed and right in this run, and how its file looked then. */
struct check_verified {
	struct varve_digest digest;
	int64_t mtime_ns;
};
struct check {
	struct varve_store *store;
	const struct varve_check_options *opt;
	struct varve_check_result *result;
	struct graph g;
	struct check_verified *verified;
	size_t n_verified, cap_verified;
	uint64_t done_bytes, total_bytes;
};

enum check_level { CHECK_NOTE, CHECK_ERROR, CHECK_REPAIRED };
void check_report(struct check *c, enum check_level level, const char *what, const char *name,
		  const char *fmt, ...) VARVE_PRINTF(5, 6);
/* Not a finding but the end of the run: no room to work in, or told to stop. code: positive. */
bool check_must_end(int code);
/* True if this run may change the store. */
bool check_repairs(const struct check *c);

/* check_blobs.c */
int check_blobs(struct check *c, struct varve_err *e);
int check_orphans(struct check *c, struct varve_err *e);
/* Damaged or missing: set aside, fetched again where that is possible. Reports either way. */
int check_heal(struct check *c, const struct varve_digest *d, uint64_t size, uint64_t ino,
	       const char *why, struct varve_err *e);

/* check_records.c */
int check_images(struct check *c, struct varve_err *e);
int check_tags(struct check *c, struct varve_err *e);
int check_installs(struct check *c, struct varve_err *e);
int check_mirror(struct check *c, struct varve_err *e);
