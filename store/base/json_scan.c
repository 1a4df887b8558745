/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar of RFC 8259, and less: no "\u0000", no long numbers, no deep nesting. Whatever passes
 * here, cJSON parses too; when it does not, memory was short, which it cannot say itself.
 */
#include "store/base/json_scan.h"

#include <string.h>

enum {
	DEPTH_MAX = 64,
	NUMBER_MAX = 63, /* cJSON would cut a longer one */
};

static const char syntax[] = "syntax error";

struct scan {
	const char *p, *end;
	uint64_t objects; /* a bit for each open bracket, the innermost lowest: it is a brace */
	unsigned depth;
};

static bool take(struct scan *s, char c)
{
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static void skip_blanks(struct scan *s)
{
	while (s->p < s->end && memchr(" \t\r\n", *s->p, 4))
		s->p++;
}

static size_t skip_digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - from);
}

/* The four digits behind "\u"; -1: they are none. */
static int take_hex(struct scan *s)
{
	int v = 0;

	if (s->end - s->p < 4)
		return -1;
	for (int i = 0; i < 4; i++, s->p++) {
		char c = *s->p | 0x20;

		if (*s->p >= '0' && *s->p <= '9')
			v = v * 16 + (*s->p - '0');
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + (c - 'a' + 10);
		else
			return -1;
	}
	return v;
}

/* Behind a backslash. */
static const char *scan_escape(struct scan *s)
{
	int code;

	if (s->p == s->end)
		return "an unterminated string";
	if (!take(s, 'u'))
		return memchr("\"\\/bfnrt", *s->p++, 8) ? NULL : syntax;
	code = take_hex(s);
	if (code == 0)
		return "\\u0000 in a string";
	if (code < 0 || (code >= 0xdc00 && code <= 0xdfff))
		return syntax;
	if (code < 0xd800 || code > 0xdbff)
		return NULL;
	if (!take(s, '\\') || !take(s, 'u'))
		return syntax;
	code = take_hex(s);
	return code >= 0xdc00 && code <= 0xdfff ? NULL : syntax;
}

static const char *scan_string(struct scan *s)
{
	const char *why = NULL;

	if (!take(s, '"'))
		return syntax;
	while (!why && s->p < s->end) {
		unsigned char c = (unsigned char)*s->p++;

		if (c == '"')
			return NULL;
		if (c < 0x20)
			why = "a control character in a string";
		else if (c == '\\')
			why = scan_escape(s);
	}
	return why ? why : "an unterminated string";
}

static const char *scan_number(struct scan *s)
{
	const char *from = s->p;
	bool zero;

	(void)take(s, '-');
	zero = s->p < s->end && *s->p == '0';
	switch (skip_digits(s)) {
	case 0:
		return syntax;
	case 1:
		break;
	default:
		if (zero)
			return "a number with a leading zero";
	}
	if (take(s, '.') && skip_digits(s) == 0)
		return syntax;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '-'))
			(void)take(s, '+');
		if (skip_digits(s) == 0)
			return syntax;
	}
	return s->p - from > NUMBER_MAX ? "a number of more than 63 characters" : NULL;
}

static const char *scan_word(struct scan *s)
{
	static const char *const words[] = {"true", "false", "null"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
			s->p += n;
			return NULL;
		}
	}
	return syntax;
}

static const char *scan_key(struct scan *s)
{
	const char *why = scan_string(s);

	if (why)
		return why;
	skip_blanks(s);
	if (!take(s, ':'))
		return syntax;
	skip_blanks(s);
	return NULL;
}

/* Behind a value: closes what ends here. *ret_more: another value follows. */
static const char *scan_after(struct scan *s, bool *ret_more)
{
	for (;;) {
		bool object = s->objects & 1;

		skip_blanks(s);
		*ret_more = s->depth && take(s, ',');
		if (*ret_more) {
			skip_blanks(s);
			return object ? scan_key(s) : NULL;
		}
		if (s->depth == 0)
			return NULL;
		if (!take(s, object ? '}' : ']'))
			return syntax;
		s->objects >>= 1;
		s->depth--;
	}
}

/* *ret_whole: no; its first member or element is next. */
static const char *scan_open(struct scan *s, bool object, bool *ret_whole)
{
	skip_blanks(s);
	*ret_whole = take(s, object ? '}' : ']');
	if (*ret_whole)
		return NULL;
	s->objects = s->objects << 1 | object;
	s->depth++;
	return object ? scan_key(s) : NULL;
}

static const char *scan_value(struct scan *s, bool *ret_whole)
{
	char c = s->p < s->end ? *s->p : '\0';

	*ret_whole = true;
	switch (c) {
	case '{':
	case '[':
		if (s->depth == DEPTH_MAX)
			return "nesting deeper than 64";
		s->p++;
		return scan_open(s, c == '{', ret_whole);
	case '"':
		return scan_string(s);
	case 't':
	case 'f':
	case 'n':
		return scan_word(s);
	default:
		return scan_number(s);
	}
}

const char *json_scan(struct span text, size_t *ret_at)
{
	struct scan s = {.p = text.p, .end = text.p + text.n};
	bool more = true, whole;
	const char *why = NULL;

	skip_blanks(&s);
	while (!why && more) {
		why = scan_value(&s, &whole);
		if (!why && whole)
			why = scan_after(&s, &more);
	}
	if (!why && s.p < s.end)
		why = "text behind the document";
	*ret_at = (size_t)(s.p - text.p);
	return why;
}
