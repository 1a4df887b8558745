/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file to import into an empty store. */
#include <stdint.h>

#include "place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	place_make();
	place_write(place_fd, "input", data, n);
	place_import();
	return 0;
}
