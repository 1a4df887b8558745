/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, progress and cancellation through the caller's context, whose callbacks come one at a
 * time. */
#include "store/base/log.h"

#include "store/base/err.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

/* The context is the caller's and holds no lock of ours: its address chooses one. */
#define LOCKS 16u
static pthread_mutex_t locks[LOCKS] = {[0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER};
static _Thread_local uint32_t taken_here; /* a bit for each lock that this thread holds */

static unsigned lock_of(const struct varve_ctx *ctx)
{
	/* Fibonacci hashing: the low bits of an address are alike, its product's high ones not. */
	return (unsigned)(((uint64_t)(uintptr_t)ctx * 0x9e3779b97f4a7c15u) >> 60);
}

bool callback_begin(const struct varve_ctx *ctx)
{
	unsigned i = lock_of(ctx);

	if (taken_here & (1u << i))
		return false;
	(void)pthread_mutex_lock(&locks[i]);
	taken_here |= 1u << i;
	return true;
}

void callback_end(const struct varve_ctx *ctx, bool taken)
{
	unsigned i = lock_of(ctx);

	if (!taken)
		return;
	taken_here &= ~(1u << i);
	(void)pthread_mutex_unlock(&locks[i]);
}

void log_msg(const struct varve_ctx *ctx, enum varve_log_level level, const char *module,
	     const char *fmt, ...)
{
	int saved = errno;
	char text[2048];
	bool taken;
	va_list ap;

	if (!ctx || !ctx->log || level > ctx->log_level)
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) >= 0) {
		taken = callback_begin(ctx);
		ctx->log(ctx->log_user, level, module, text);
		callback_end(ctx, taken);
	}
	va_end(ap);
	errno = saved;
}

void progress_emit(const struct varve_ctx *ctx, const struct varve_progress *p)
{
	int saved = errno;
	bool taken;

	if (ctx && ctx->progress) {
		taken = callback_begin(ctx);
		ctx->progress(ctx->progress_user, p);
		callback_end(ctx, taken);
	}
	errno = saved;
}

int ctx_check(const struct varve_ctx *ctx, struct varve_err *e)
{
	if (ctx_cancelled(ctx))
		return varve_fail(e, VARVE_E_INTERRUPTED, "interrupted");
	return 0;
}
