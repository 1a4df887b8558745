/* SPDX-License-Identifier: Apache-2.0 */
/* Pulling, as pull and install both do it. */
#pragma once

#include "cli/cli.h"

/* The options that both have; sources in the order of the choice "registry|official". */
struct pulling {
	struct varve_platform platform;
	unsigned source, jobs;
	bool wait;
};
extern const struct opt_rows pulling_rows;

/* The options of the library from those of the command and the globals; borrows from both. */
void pulling_options(const struct cli *c, const struct pulling *p, struct varve_pull_options *ret);
/* c->store must be open. results has n items. spool:
 * where layers are unpacked on the way, or NULL. */
int pulling_run(struct cli *c, const struct varve_reference *refs, size_t n,
		const struct pulling *p, struct varve_spool *spool,
		struct varve_pull_result *results, struct varve_err *e);
/* Members of one result, into an open object. */
void pulling_json(struct varve_json *j, const struct varve_reference *ref,
		  const struct varve_pull_result *res);
/* "debian:sid  0123456789ab  3 layers, 45.1 MiB fetched in 3 blobs, 12.0 MiB were there" */
void pulling_line(const struct cli *c, const struct varve_reference *ref,
		  const struct varve_pull_result *res);
