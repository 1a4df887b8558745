/* SPDX-License-Identifier: Apache-2.0 */
/* Whether and when to try again (docs/requirements.md 4.18 to 4.21). Pure: clock and randomness are
 * passed in. */
#include "fetch/http/retry.h"

#include <locale.h>
#include <string.h>
#include <time.h>

#include "store/base/compiler.h"

#define BACKOFF_FIRST_MS 250u
#define BACKOFF_MAX_MS   30000u

/* The three forms of RFC 9110 5.6.7; the day of the week is not compared with the date. */
bool http_date_parse(struct span s, int64_t *ret)
{
	static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT",
					    "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
	locale_t c = newlocale(LC_TIME_MASK, "C", (locale_t)0);
	locale_t before = c ? uselocale(c) : (locale_t)0;
	char text[64] = "";
	bool ok = false;

	if (s.n < sizeof(text))
		memcpy(text, s.p, s.n);
	for (size_t i = 0; c && !ok && i < VARVE_ARRAY_SIZE(forms); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, forms[i], &tm);

		ok = end && !*end && tm.tm_year >= 70;
		if (ok)
			*ret = timegm(&tm);
	}
	if (c) {
		(void)uselocale(before);
		freelocale(c);
	}
	return ok;
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
