/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded buffer and the borrowed slice. */
#include "store/base/buf.h"

#include "store/base/err.h"
#include "store/base/invariant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char empty[1];

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.p = empty, .max = max};
}

void buf_init_secret(struct buf *b, size_t max)
{
	buf_init(b, max);
	b->secret = true;
}

void buf_done(struct buf *b)
{
	if (b->cap && b->secret)
		explicit_bzero(b->p, b->cap);
	if (b->cap)
		free(b->p);
	*b = (struct buf){.p = empty};
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->error = 0;
	if (b->cap)
		b->p[0] = '\0';
}

static char *grow(struct buf *b, size_t cap)
{
	char *p;

	if (!b->cap || !b->secret)
		return realloc(b->cap ? b->p : NULL, cap);
	p = malloc(cap);
	if (!p)
		return NULL;
	memcpy(p, b->p, b->n + 1);
	explicit_bzero(b->p, b->cap);
	free(b->p);
	return p;
}

char *buf_room(struct buf *b, size_t n)
{
	size_t want, cap;
	char *p;

	if (b->error)
		return NULL;
	assert(b->p && (!b->cap || b->n < b->cap));
	if (n > b->max || b->n > b->max - n) {
		b->error = -VARVE_E_LIMIT;
		return NULL;
	}
	want = b->n + n + 1;
	if (want <= b->cap)
		return b->p + b->n;
	cap = b->cap ? b->cap : 64;
	while (cap < want)
		cap = cap > SIZE_MAX / 2 ? want : cap * 2;
	p = grow(b, cap);
	if (!p) {
		b->error = -ENOMEM;
		return NULL;
	}
	if (!b->cap)
		p[0] = '\0';
	b->p = p;
	b->cap = cap;
	return p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *to;

	if (n == 0)
		return;
	to = buf_room(b, n);
	if (!to)
		return;
	memcpy(to, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char *to;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		b->error = -EINVAL;
		return;
	}
	to = buf_room(b, (size_t)n);
	if (!to)
		return;
	(void)vsnprintf(to, (size_t)n + 1, fmt, ap);
	b->n += (size_t)n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

int buf_error(const struct buf *b)
{
	return b->error;
}

int buf_fail(const struct buf *b, struct varve_err *e, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	assert(b->error);
	if (b->error == -ENOMEM)
		return varve_fail_oom(e);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return varve_fail(e, VARVE_E_LIMIT, "%s", text);
}

char *buf_take(struct buf *b)
{
	size_t max = b->max;
	char *p;

	if (b->error || !buf_room(b, 0)) /* room: an empty buffer hands over an empty string */
		return NULL;
	p = b->p;
	buf_init(b, max);
	return p;
}

struct span span_str(const char *s)
{
	return span_of(s, strlen(s));
}

bool span_eq(struct span s, const char *text)
{
	return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

bool span_eq_nocase(struct span s, const char *text)
{
	return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

bool span_starts(struct span s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

bool span_cut(struct span *s, char c, struct span *ret_head)
{
	const char *at = s->n ? memchr(s->p, c, s->n) : NULL;

	if (!at) {
		*ret_head = *s;
		*s = span_of(s->p + s->n, 0);
		return false;
	}
	*ret_head = span_of(s->p, (size_t)(at - s->p));
	*s = span_of(at + 1, s->n - ret_head->n - 1);
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span s)
{
	while (s.n && blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool span_u64(struct span s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned)(s.p[i] - '0');

		if (d > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, d, &v))
			return false;
	}
	if (v > max)
		return false;
	*ret = v;
	return true;
}

char *span_dup(struct span s)
{
	char *p = malloc(s.n + 1);

	if (!p)
		return NULL;
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}
