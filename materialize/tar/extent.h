/* SPDX-License-Identifier: Apache-2.0 */
/* Where the bytes of a sparse file belong. */
#pragma once

#include <stdint.h>

/* An extent of a sparse file: n bytes of the stored body, in order, belong at offset off of the
 * file. */
struct file_extent {
	uint64_t off, n;
};
