/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people and from people. */
#include "store/base/text.h"

#include "store/base/compiler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* RFC 3629: no overlong forms, no surrogates, nothing over U+10FFFF. Length of the sequence, 0 if
 * invalid. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
	uint32_t c;
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (len > n)
		return 0;
	c = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if ((len == 3 && c < 0x800) || (len == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return len;
}

bool text_utf8_valid(const void *text, size_t n)
{
	const unsigned char *p = text;

	while (n > 0) {
		size_t len = utf8_sequence(p, n);

		if (len == 0)
			return false;
		p += len;
		n -= len;
	}
	return true;
}

static bool drives_display(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

size_t text_sequence(const void *text, size_t n, bool *ret_drives, uint32_t *ret_code)
{
	const unsigned char *p = text;
	size_t len = n ? utf8_sequence(p, n) : 0;
	uint32_t c = len > 1 ? p[0] & (0x7fu >> len) : len ? p[0] : 0;

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (p[i] & 0x3fu);
	*ret_drives = len && drives_display(c);
	*ret_code = c;
	return len;
}

/* What is one character at p, shown safely: at most four bytes of four characters each. Returns how
 * many bytes it has. */
static size_t escape_character(const unsigned char *p, size_t n, char ret[17], size_t *ret_n)
{
	bool drives;
	uint32_t code;
	size_t len = text_sequence(p, n, &drives, &code);

	if (len && !drives && code != '\\') {
		memcpy(ret, p, len);
		*ret_n = len;
		return len;
	}
	len = len ? len : 1;
	*ret_n = 4 * len;
	for (size_t i = 0; i < len; i++)
		(void)snprintf(ret + 4 * i, 5, "\\x%02x", p[i]);
	return len;
}

void text_escape(struct buf *b, const void *text, size_t n)
{
	const unsigned char *p = text;
	char piece[17];

	while (n > 0) {
		size_t piece_n, len = escape_character(p, n, piece, &piece_n);

		buf_add(b, piece, piece_n);
		p += len;
		n -= len;
	}
}

/* Error messages are made of it: it needs no memory. */
const char *text_escape_str(const char *s, char *out, size_t size)
{
	const unsigned char *p = (const unsigned char *)(s ? s : "(none)");
	size_t n = strlen((const char *)p), used = 0;
	char piece[17];

	while (n > 0) {
		size_t piece_n, len = escape_character(p, n, piece, &piece_n);
		size_t part = VARVE_MIN(piece_n, size - 1 - used);

		memcpy(out + used, piece, part);
		used += part;
		if (part < piece_n) {
			if (size > 4)
				memcpy(out + size - 4, "...", 3);
			break;
		}
		p += len;
		n -= len;
	}
	out[used] = '\0';
	return out;
}

const char *text_size(uint64_t bytes, char buf[16])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1024 && u + 1 < VARVE_ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	if (v >= 1023.95 && u > 0 && u + 1 < VARVE_ARRAY_SIZE(units)) { /* would print as 1024.0 */
		v /= 1024;
		u++;
	}
	(void)snprintf(buf, 16, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

bool text_parse_size(const char *s, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} units[] = {
		{"", 1},
		{"B", 1},
		{"K", 1ull << 10},
		{"KiB", 1ull << 10},
		{"KB", 1000ull},
		{"M", 1ull << 20},
		{"MiB", 1ull << 20},
		{"MB", 1000000ull},
		{"G", 1ull << 30},
		{"GiB", 1ull << 30},
		{"GB", 1000000000ull},
		{"T", 1ull << 40},
		{"TiB", 1ull << 40},
		{"TB", 1000000000000ull},
	};
	size_t whole = strspn(s, "0123456789"), frac = 0;
	uint64_t v, f = 0, scale = 1;

	if (!span_u64(span_of(s, whole), UINT64_MAX, &v))
		return false;
	s += whole;
	if (*s == '.') {
		frac = strspn(s + 1, "0123456789");
		if (frac == 0 || frac > 3 || !span_u64(span_of(s + 1, frac), 999, &f))
			return false;
		for (size_t i = 0; i < frac; i++)
			scale *= 10;
		s += 1 + frac;
	}
	if (*s == ' ')
		s++;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(units); i++) {
		if (!span_eq_nocase(span_str(s), units[i].name))
			continue;
		if (__builtin_mul_overflow(v, units[i].factor, &v) ||
		    __builtin_add_overflow(v, f * units[i].factor / scale, &v))
			return false;
		*ret = v;
		return true;
	}
	return false;
}

bool text_parse_duration(const char *s, uint64_t *ret)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}, {"", 1}};
	size_t n = strspn(s, "0123456789");
	uint64_t v;

	if (!span_u64(span_of(s, n), UINT64_MAX / 604800, &v))
		return false;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(units); i++)
		if (strcmp(s + n, units[i].name) == 0) {
			*ret = v * units[i].factor;
			return true;
		}
	return false;
}

const char *text_time(int64_t seconds, char buf[32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(buf, 32, "1970-01-01T00:00:00Z");
	return buf;
}

static bool digits(struct span *s, size_t n, int *ret, char behind)
{
	uint64_t v;

	if (s->n < n || !span_u64(span_of(s->p, n), 9999, &v))
		return false;
	*ret = (int)v;
	*s = span_of(s->p + n, s->n - n);
	if (behind) {
		if (s->n == 0 || (s->p[0] != behind && !(behind == 'T' && s->p[0] == 't')))
			return false;
		*s = span_of(s->p + 1, s->n - 1);
	}
	return true;
}

bool text_parse_time(struct span s, int64_t *ret)
{
	int y, mo, d, h, mi, se, oh = 0, om = 0, sign = 0;
	struct tm tm;

	if (!digits(&s, 4, &y, '-') || !digits(&s, 2, &mo, '-') || !digits(&s, 2, &d, 'T') ||
	    !digits(&s, 2, &h, ':') || !digits(&s, 2, &mi, ':') || !digits(&s, 2, &se, 0))
		return false;
	if (mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || se > 60)
		return false;
	if (s.n && s.p[0] == '.') {
		size_t n = 1;

		while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
			n++;
		s = span_of(s.p + n, s.n - n);
	}
	if (s.n && (s.p[0] == '+' || s.p[0] == '-')) {
		sign = s.p[0] == '+' ? 1 : -1;
		s = span_of(s.p + 1, s.n - 1);
		if (!digits(&s, 2, &oh, ':') || !digits(&s, 2, &om, 0) || s.n)
			return false;
	} else if (!span_eq_nocase(s, "Z")) {
		return false;
	}
	tm = (struct tm){.tm_year = y - 1900,
			 .tm_mon = mo - 1,
			 .tm_mday = d,
			 .tm_hour = h,
			 .tm_min = mi,
			 .tm_sec = se};
	*ret = (int64_t)timegm(&tm) - sign * (oh * 3600 + om * 60);
	return true;
}

static const char b64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char b64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool decode(struct span s, const char *alphabet, struct buf *out)
{
	uint32_t acc = 0;
	unsigned bits = 0;

	for (unsigned pad = 0; pad < 2 && s.n && s.p[s.n - 1] == '='; pad++)
		s.n--;
	if (s.n % 4 == 1)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		const char *at = s.p[i] ? strchr(alphabet, s.p[i]) : NULL;

		if (!at)
			return false;
		acc = acc << 6 | (uint32_t)(at - alphabet);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(out, (char)(acc >> bits));
		}
	}
	return buf_error(out) == 0;
}

void text_forget(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

bool text_base64_decode(struct span s, struct buf *out)
{
	return decode(s, b64_std, out);
}

bool text_base64url_decode(struct span s, struct buf *out)
{
	return decode(s, b64_url, out);
}

void text_base64_encode(const void *text, size_t n, struct buf *out)
{
	const unsigned char *p = text;

	for (size_t i = 0; i < n; i += 3) {
		size_t have = VARVE_MIN(n - i, (size_t)3);
		uint32_t v = (uint32_t)p[i] << 16 | (have > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (have > 2 ? p[i + 2] : 0);

		for (unsigned k = 0; k < 4; k++)
			buf_addc(out, k <= have ? b64_std[v >> (18 - 6 * k) & 63] : '=');
	}
}

unsigned text_distance(const char *a, const char *b)
{
	unsigned row[65];
	size_t na = strlen(a), nb = strlen(b);

	if (na > 64 || nb > 64)
		return strcmp(a, b) ? 64 : 0;
	for (unsigned j = 0; j <= nb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= na; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= nb; j++) {
			unsigned above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);

			best = VARVE_MIN(best, above + 1);
			best = VARVE_MIN(best, row[j - 1] + 1);
			row[j] = best;
			diagonal = above;
		}
	}
	return row[nb];
}
