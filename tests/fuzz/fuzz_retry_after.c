/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as Retry-After: refused, or a number of seconds that is not absurd. */
#include <stdint.h>
#include <stdlib.h>

#include "fetch/http/retry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint64_t seconds;

	if (retry_after_parse(span_of(data, n), 1700000000, &seconds) &&
	    seconds > 9000ull * 366 * 86400)
		abort();
	return 0;
}
