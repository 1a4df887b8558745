/* SPDX-License-Identifier: Apache-2.0 */
/* Run docker-credential-<name>: the protocol of docker-credential-helpers
 * (docs/requirements.md 2.24, 2.25). */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

/*
 * Found in PATH only. input goes to its stdin, *ret_status is its exit status, out gets its stdout
 * (64 KiB at most). VARVE_E_AUTH: cannot be run, takes more than 30 s; VARVE_E_INTERRUPTED.
 */
int helper_run(const char *name, const char *verb, const char *input, struct buf *out,
	       int *ret_status, const struct varve_ctx *ctx, struct varve_err *e);
