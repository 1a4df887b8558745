/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes per second over the last few seconds, and what is left. Pure. */
#pragma once

#include <stdint.h>

struct rate {
	uint64_t since_ms, since_bytes; /* start of the current slice */
	double per_second;              /* smoothed; 0: not known yet */
};

void rate_begin(struct rate *r, uint64_t now_ms, uint64_t bytes);
void rate_add(struct rate *r, uint64_t now_ms, uint64_t bytes);
uint64_t rate_per_second(const struct rate *r);
/* 0 to 100; 100 only when all is done. */
unsigned rate_percent(uint64_t done, uint64_t total);
/* "12s left", "3m05s left", "2h10m left", or "" when it cannot be said. */
const char *rate_left(const struct rate *r, uint64_t done, uint64_t total, char buf[32]);
