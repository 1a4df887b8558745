/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, progress and cancellation through the caller's context. The library logs WARN and
 * below. */
#pragma once

#include "varve-base.h"

void log_msg(const struct varve_ctx *ctx, enum varve_log_level level, const char *module,
	     const char *fmt, ...) VARVE_PRINTF(4, 5);
#define log_warn(ctx, module, ...)  log_msg(ctx, VARVE_LOG_WARN, module, __VA_ARGS__)
#define log_info(ctx, module, ...)  log_msg(ctx, VARVE_LOG_INFO, module, __VA_ARGS__)
#define log_debug(ctx, module, ...) log_msg(ctx, VARVE_LOG_DEBUG, module, __VA_ARGS__)

void progress_emit(const struct varve_ctx *ctx, const struct varve_progress *p);

/*
 * Around a call of the caller's code from a thread that may not be the only one: all callbacks of
 * one context come one at a time. A thread that is in such a callback already just goes on. Give to
 * callback_end() what callback_begin() returned.
 */
bool callback_begin(const struct varve_ctx *ctx);
void callback_end(const struct varve_ctx *ctx, bool taken);

static inline bool ctx_cancelled(const struct varve_ctx *ctx)
{
	return ctx && ctx->cancel && __atomic_load_n(ctx->cancel, __ATOMIC_RELAXED);
}
/* 0, or a started chain with VARVE_E_INTERRUPTED. */
int ctx_check(const struct varve_ctx *ctx, struct varve_err *e);
