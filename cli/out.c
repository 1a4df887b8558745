/* SPDX-License-Identifier: Apache-2.0 */
/* The one writer of stdout. */
#include "cli/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/signals.h"

static struct {
	char p[65536];
	size_t n;
	int error; /* errno of the first failed write */
	bool used;
	bool colour;
} out;

static void flush(void)
{
	size_t done = 0;

	while (done < out.n && !out.error) {
		ssize_t r = signals_write(STDOUT_FILENO, out.p + done, out.n - done);

		if (r >= 0)
			done += (size_t)r;
		else if (errno != EAGAIN && (errno != EINTR || signals_heard()))
			out.error = errno;
	}
	out.n = 0;
}

void out_write(const void *p, size_t n)
{
	const char *s = p;

	out.used = true;
	while (n && !out.error) {
		size_t part = sizeof(out.p) - out.n;

		if (part > n)
			part = n;
		memcpy(out.p + out.n, s, part);
		out.n += part;
		s += part;
		n -= part;
		if (out.n == sizeof(out.p))
			flush();
	}
}

void out_no_memory(void)
{
	if (!out.error)
		out.error = ENOMEM;
}

void out_printf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		out_no_memory();
		return;
	}
	out_write(text, (size_t)n);
	free(text);
}

void out_safe(const char *s)
{
	char part[65], safe[4 * sizeof(part)];

	/* By parts, so that nothing is cut; a multi-byte character may not be split. */
	while (*s) {
		size_t n = strnlen(s, sizeof(part) - 1);

		while (n > 4 && s[n] && ((unsigned char)s[n] & 0xc0) == 0x80)
			n--;
		memcpy(part, s, n);
		part[n] = '\0';
		varve_text_escape_str(part, safe, sizeof(safe));
		out_write(safe, strlen(safe));
		s += n;
	}
}

bool out_failed(void)
{
	return out.error != 0;
}

bool out_used(void)
{
	return out.used;
}

int out_finish(struct varve_err *e)
{
	flush();
	/* Who sent a signal knows why the rest is missing. */
	if (!out.error || out.error == EPIPE || out.error == EINTR)
		return 0;
	if (out.error == ENOMEM)
		return varve_fail(e, ENOMEM, "out of memory: the output is not whole");
	return varve_fail(e, out.error == ENOSPC ? VARVE_E_NOSPACE : out.error,
			  "standard output: %s", strerror(out.error));
}

void out_set_colour(bool on)
{
	out.colour = on;
}

const char *out_bold(void)
{
	return out.colour ? "\033[1m" : "";
}

const char *out_plain(void)
{
	return out.colour ? "\033[0m" : "";
}

const char *digest_text(const struct varve_digest *d, bool whole, char buf[VARVE_DIGEST_STR_MAX])
{
	char *hex;

	varve_digest_str(d, buf);
	hex = strchr(buf, ':');
	if (whole || !hex)
		return buf;
	memmove(buf, hex + 1, 12);
	buf[12] = '\0';
	return buf;
}

const char *count_text(uint64_t n, const char *what, char buf[64])
{
	size_t len = strlen(what);
	bool y = n != 1 && len > 1 && what[len - 1] == 'y';

	(void)snprintf(buf, 64, "%" PRIu64 " %.*s%s", n, (int)(y ? len - 1 : len), what,
		       y        ? "ies"
		       : n == 1 ? ""
				: "s");
	return buf;
}

const char *counts_text(const struct out_count *counts, size_t n, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n && at < size; i++)
		if (counts[i].n)
			at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "",
					       COUNT(counts[i].n, counts[i].what));
	return buf;
}

const char *age_text(int64_t seconds, char buf[32])
{
	static const struct {
		int64_t length;
		const char *one, *many;
	} units[] = {
		{365 * 86400, "year", "years"}, {30 * 86400, "month", "months"},
		{7 * 86400, "week", "weeks"},   {86400, "day", "days"},
		{3600, "hour", "hours"},        {60, "minute", "minutes"},
	};
	int64_t age = (int64_t)time(NULL) - seconds;

	if (seconds <= 0)
		return "-";
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		int64_t n = age / units[i].length;

		if (n < 1)
			continue;
		(void)snprintf(buf, 32, "%lld %s ago", (long long)n,
			       n == 1 ? units[i].one : units[i].many);
		return buf;
	}
	return "just now";
}
