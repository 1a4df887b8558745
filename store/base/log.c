/* SPDX-License-Identifier: Apache-2.0 */
/* Messages, progress and cancellation through the caller's context. */
#include "store/base/log.h"

#include "store/base/err.h"

#include <stdarg.h>
#include <stdio.h>

void log_msg(const struct varve_ctx *ctx, enum varve_log_level level, const char *module,
	     const char *fmt, ...)
{
	int saved = errno;
	char text[2048];
	va_list ap;

	if (!ctx || !ctx->log || level > ctx->log_level)
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) >= 0)
		ctx->log(ctx->log_user, level, module, text);
	va_end(ap);
	errno = saved;
}

void progress_emit(const struct varve_ctx *ctx, const struct varve_progress *p)
{
	int saved = errno;

	if (ctx && ctx->progress)
		ctx->progress(ctx->progress_user, p);
	errno = saved;
}

int ctx_check(const struct varve_ctx *ctx, struct varve_err *e)
{
	if (ctx_cancelled(ctx))
		return varve_fail(e, VARVE_E_INTERRUPTED, "interrupted");
	return 0;
}
