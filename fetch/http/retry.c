/* SPDX-License-Identifier: Apache-2.0 */
/* Whether and when to try again (docs/requirements.md 4.18 to 4.21). Pure: clock and randomness are
 * passed in.
 */
#include "fetch/http/retry.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#include "store/base/compiler.h"

#define BACKOFF_FIRST_MS 250u
#define BACKOFF_MAX_MS   30000u

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
				   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static bool take_number(struct span *s, size_t digits, int *ret)
{
	uint64_t v;

	if (s->n < digits || !span_u64(span_of(s->p, digits), 9999, &v))
		return false;
	*s = span_of(s->p + digits, s->n - digits);
	*ret = (int)v;
	return true;
}

static bool take_char(struct span *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	*s = span_of(s->p + 1, s->n - 1);
	return true;
}

static bool take_month(struct span *s, int *ret)
{
	for (int i = 0; i < 12; i++)
		if (s->n >= 3 && !memcmp(s->p, months[i], 3)) {
			*s = span_of(s->p + 3, s->n - 3);
			*ret = i;
			return true;
		}
	return false;
}

static bool take_clock(struct span *s, struct tm *tm)
{
	return take_number(s, 2, &tm->tm_hour) && take_char(s, ':') &&
	       take_number(s, 2, &tm->tm_min) && take_char(s, ':') &&
	       take_number(s, 2, &tm->tm_sec) && tm->tm_hour < 24 && tm->tm_min < 60 &&
	       tm->tm_sec <= 60;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" and "Sunday, 06-Nov-94 08:49:37 GMT", behind the comma. */
static bool parse_comma_form(struct span s, struct tm *tm)
{
	char sep = s.n > 3 && s.p[3] == '-' ? '-' : ' ';

	if (!take_char(&s, ' ') || !take_number(&s, 2, &tm->tm_mday) || !take_char(&s, sep) ||
	    !take_month(&s, &tm->tm_mon) || !take_char(&s, sep) ||
	    !take_number(&s, sep == '-' ? 2 : 4, &tm->tm_year))
		return false;
	if (sep == '-')
		tm->tm_year += tm->tm_year < 70 ? 2000 : 1900;
	return take_char(&s, ' ') && take_clock(&s, tm) && span_eq(s, " GMT");
}

/* "Sun Nov  6 08:49:37 1994", behind the day's name. */
static bool parse_asctime(struct span s, struct tm *tm)
{
	if (!take_char(&s, ' ') || !take_month(&s, &tm->tm_mon) || !take_char(&s, ' '))
		return false;
	if (!take_number(&s, 2, &tm->tm_mday) &&
	    (!take_char(&s, ' ') || !take_number(&s, 1, &tm->tm_mday)))
		return false;
	return take_char(&s, ' ') && take_clock(&s, tm) && take_char(&s, ' ') &&
	       take_number(&s, 4, &tm->tm_year) && !s.n;
}

bool http_date_parse(struct span s, int64_t *ret)
{
	struct tm tm = {0};
	struct span day, rest = s;
	bool ok;

	if (span_cut(&rest, ',', &day))
		ok = day.n >= 3 && parse_comma_form(rest, &tm);
	else
		ok = s.n > 3 && parse_asctime(span_of(s.p + 3, s.n - 3), &tm);
	if (!ok || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_year < 1970)
		return false;
	tm.tm_year -= 1900;
	*ret = timegm(&tm);
	return true;
}

bool retry_after_parse(struct span value, int64_t now, uint64_t *ret_seconds)
{
	int64_t at;

	value = span_trim(value);
	if (span_u64(value, 100ull * 366 * 86400, ret_seconds))
		return true;
	if (!http_date_parse(value, &at))
		return false;
	*ret_seconds = at > now ? (uint64_t)(at - now) : 0;
	return true;
}

bool retry_status(long status)
{
	static const short transient[] = {408, 425, 429, 499, 500, 502, 503,
					  504, 520, 521, 522, 523, 524};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(transient); i++)
		if (status == transient[i])
			return true;
	return false;
}

int retry_error_code(const char *code)
{
	static const char *const transient[] = {"TOOMANYREQUESTS", "UNAVAILABLE", "UNKNOWN"};
	static const char *const permanent[] = {"DENIED",           "UNAUTHORIZED", "NAME_UNKNOWN",
						"MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NAME_INVALID",
						"UNSUPPORTED"};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(transient); i++)
		if (!strcmp(code, transient[i]))
			return 1;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(permanent); i++)
		if (!strcmp(code, permanent[i]))
			return 0;
	return -1;
}

uint32_t retry_backoff_ms(unsigned n, uint32_t random)
{
	uint64_t ceiling = n > 7 ? BACKOFF_MAX_MS : (uint64_t)BACKOFF_FIRST_MS << n;

	ceiling = VARVE_MIN(ceiling, BACKOFF_MAX_MS);
	return (uint32_t)VARVE_MAX(ceiling * random >> 32, 10);
}

bool retry_allowed(struct retry_budget *b, uint64_t bytes, uint64_t now_ms, unsigned max_tries)
{
	if (bytes >= b->bytes + RETRY_PROGRESS_BYTES ||
	    (bytes > b->bytes && now_ms >= b->at_ms + RETRY_PROGRESS_MS))
		b->tries = 0;
	b->bytes = bytes;
	b->at_ms = now_ms;
	return ++b->tries <= max_tries;
}
