/* SPDX-License-Identifier: Apache-2.0 */
/* Rates for progress. */
#include "cli/rate.h"

#include <inttypes.h>
#include <stdio.h>

enum { SLICE_MS = 250 };

void rate_begin(struct rate *r, uint64_t now_ms, uint64_t bytes)
{
	*r = (struct rate){.since_ms = now_ms, .since_bytes = bytes};
}

void rate_add(struct rate *r, uint64_t now_ms, uint64_t bytes)
{
	uint64_t ms = now_ms - r->since_ms;
	double slice;

	if (bytes < r->since_bytes) { /* began again */
		rate_begin(r, now_ms, bytes);
		return;
	}
	if (ms < SLICE_MS)
		return;
	slice = (double)(bytes - r->since_bytes) * 1000 / (double)ms;
	/* A slice of a second weighs a quarter; a long pause weighs more. */
	double weight = ms >= 4000 ? 1 : (double)ms / 4000;

	r->per_second =
		r->per_second > 0 ? r->per_second + weight * (slice - r->per_second) : slice;
	r->since_ms = now_ms;
	r->since_bytes = bytes;
}

uint64_t rate_per_second(const struct rate *r)
{
	return (uint64_t)r->per_second;
}

unsigned rate_percent(uint64_t done, uint64_t total)
{
	if (total == 0 || done >= total)
		return 100;
	return (unsigned)((double)done * 100 / (double)total);
}

const char *rate_left(const struct rate *r, uint64_t done, uint64_t total, char buf[32])
{
	uint64_t s;

	if (r->per_second < 1 || total <= done)
		return "";
	s = (uint64_t)((double)(total - done) / r->per_second) + 1;
	if (s < 60)
		(void)snprintf(buf, 32, "%" PRIu64 "s left", s);
	else if (s < 3600)
		(void)snprintf(buf, 32, "%" PRIu64 "m%02" PRIu64 "s left", s / 60, s % 60);
	else if (s < 360000)
		(void)snprintf(buf, 32, "%" PRIu64 "h%02" PRIu64 "m left", s / 3600, s % 3600 / 60);
	else
		return "";
	return buf;
}
