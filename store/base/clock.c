/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/clock.h"

#include <sys/random.h>
#include <time.h>

uint64_t clock_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint32_t clock_random(void)
{
	uint32_t r = 0;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		r = (uint32_t)clock_now_ms() * 2654435761u;
	return r;
}
