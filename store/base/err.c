/* SPDX-License-Identifier: Apache-2.0 */
/* The error chain and the one table of codes. */
#include "store/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int code;
	const char *slug, *text;
	enum varve_exit status;
} codes[] = {
#define ROW(symbol, number, slug, text, status) {symbol, slug, text, status},
	VARVE_CODES(ROW)
#undef ROW
};

/* errno values whose exit status is not just "failed". */
static const struct {
	int code;
	enum varve_exit status;
} errno_exits[] = {
	{ENOSPC, VARVE_EXIT_NOSPACE},  {EDQUOT, VARVE_EXIT_NOSPACE},
	{ENOENT, VARVE_EXIT_NOTFOUND}, {EINTR, VARVE_EXIT_INTERRUPTED},
	{EBUSY, VARVE_EXIT_BUSY},      {EMEDIUMTYPE, VARVE_EXIT_INTEGRITY},
};

static void add_frame(struct varve_err *e, const char *fmt, va_list ap) VARVE_PRINTF(2, 0);

static void add_frame(struct varve_err *e, const char *fmt, va_list ap)
{
	size_t room = sizeof(e->text) - e->used;
	int n;

	if (room < 2 || e->truncated) {
		e->truncated = true;
		return;
	}
	n = vsnprintf(e->text + e->used, room, fmt, ap);
	if (n < 0)
		n = 0;
	if ((size_t)n >= room) {
		if (e->n_frames > 0) { /* a whole outer frame is dropped, the cause is cut */
			e->text[e->used] = '\0';
			e->truncated = true;
			return;
		}
		n = (int)room - 1;
	}
	e->used = (uint16_t)(e->used + n + 1);
	e->n_frames++;
}

void varve_err_reset(struct varve_err *e)
{
	if (!e)
		return;
	e->code = 0;
	e->n_frames = e->used = 0;
	e->truncated = false;
	e->text[0] = '\0';
}

int varve_fail(struct varve_err *e, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (code < 0)
		code = -code;
	if (e) {
		varve_err_reset(e);
		e->code = code;
		va_start(ap, fmt);
		add_frame(e, fmt, ap);
		va_end(ap);
	}
	errno = saved;
	return -code;
}

int varve_wrap(struct varve_err *e, int r, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (e) {
		if (e->n_frames == 0) {
			e->code = r < 0 ? -r : r;
			(void)varve_fail(e, e->code, "%s", varve_code_text(e->code));
		}
		va_start(ap, fmt);
		add_frame(e, fmt, ap);
		va_end(ap);
	}
	errno = saved;
	return r;
}

int varve_fail_errno(struct varve_err *e, const char *fmt, ...)
{
	int saved = errno;
	int code = saved == ENOSPC || saved == EDQUOT ? VARVE_E_NOSPACE
		   : saved == EINTR                   ? VARVE_E_INTERRUPTED
						      : saved;
	char object[1024];
	va_list ap;

	if (saved == 0)
		code = EIO;
	va_start(ap, fmt);
	if (vsnprintf(object, sizeof(object), fmt, ap) < 0)
		object[0] = '\0';
	va_end(ap);
	(void)varve_fail(e, code, "%s: %s", object,
			 saved == EINTR ? "interrupted" : varve_code_text(saved ? saved : EIO));
	errno = saved;
	return -code;
}

int varve_fail_oom(struct varve_err *e)
{
	return varve_fail(e, ENOMEM, "out of memory");
}

bool err_is_passing(int code)
{
	switch (code < 0 ? -code : code) {
	case ENOMEM:
	case ENOBUFS:
	case EMFILE:
	case ENFILE:
	case EAGAIN:
	case EINTR:
	case VARVE_E_INTERRUPTED:
	case VARVE_E_NOSPACE:
		return true;
	default:
		return false;
	}
}

const char *varve_err_frame(const struct varve_err *e, unsigned i)
{
	const char *p = e->text;

	if (i >= e->n_frames)
		return NULL;
	while (i-- > 0)
		p += strlen(p) + 1;
	return p;
}

const char *varve_err_text(const struct varve_err *e, char *buf, size_t size)
{
	size_t n = 0;

	if (size == 0)
		return buf;
	buf[0] = '\0';
	for (unsigned i = e->n_frames; i-- > 0 && n < size;) {
		int w = snprintf(buf + n, size - n, "%s%s", n ? ": " : "", varve_err_frame(e, i));

		if (w < 0)
			break;
		n += (size_t)w;
	}
	return buf;
}

const char *varve_code_slug(int code)
{
	code = code < 0 ? -code : code;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].slug;
	return code == 0 ? "ok" : "system";
}

const char *varve_code_text(int code)
{
	code = code < 0 ? -code : code;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].text;
	if (code == 0)
		return "success";
	if (code == EMEDIUMTYPE) /* of fsx_open_plain() */
		return "is not a regular file";
	/* strerrordesc_np: thread-safe, never NULL for a known errno. */
	return strerrordesc_np(code) ? strerrordesc_np(code) : "unknown error";
}

enum varve_exit varve_code_exit(int code)
{
	code = code < 0 ? -code : code;
	if (code == 0)
		return VARVE_EXIT_OK;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].status;
	for (size_t i = 0; i < sizeof(errno_exits) / sizeof(errno_exits[0]); i++)
		if (errno_exits[i].code == code)
			return errno_exits[i].status;
	return VARVE_EXIT_FAILED;
}

const char *varve_version(void)
{
	return VARVE_VERSION;
}
