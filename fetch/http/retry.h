/* SPDX-License-Identifier: Apache-2.0 */
/* Whether and when to try again (docs/requirements.md 4.18 to 4.21). Pure: clock and randomness are
 * passed in. */
#pragma once

#include "store/base/buf.h"

#define RETRY_NO_PROGRESS_MAX 5u
#define RETRY_PROGRESS_BYTES  (1u << 20)
#define RETRY_PROGRESS_MS     60000u
#define RETRY_AFTER_MAX       60u /* seconds waited without being asked to */

/* Strict Retry-After: whole seconds or an HTTP-date (RFC 9110 10.2.3); "985.86us" is neither. now:
 * seconds since the epoch. A date of the past gives 0. */
bool retry_after_parse(struct span value, int64_t now, uint64_t *ret_seconds);
/* The three forms of RFC 9110 5.6.7, seconds since the epoch. */
bool http_date_parse(struct span s, int64_t *ret);

/* A status that may be gone the next time. */
bool retry_status(long status);
/* An error code of a registry's JSON body: 1 transient, 0 permanent, -1 not known. */
int retry_error_code(const char *code);

/* Full jitter: random in [0, 2^32) scales min(30 s, 0.25 s * 2^n). At least 10 ms. */
uint32_t retry_backoff_ms(unsigned n, uint32_t random);

/* One per blob or document: free tries as long as bytes move. */
struct retry_budget {
	unsigned tries; /* without progress */
	uint64_t bytes; /* at the last try */
	uint64_t at_ms;
};
/* Count a failure with so many bytes there. False: give up. */
bool retry_allowed(struct retry_budget *b, uint64_t bytes, uint64_t now_ms, unsigned max_tries);
