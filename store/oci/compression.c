/* SPDX-License-Identifier: Apache-2.0 */
/* The names of compressions, as --json prints them. */
#include "varve-store.h"

const char *varve_compression_str(enum varve_compression c)
{
	static const char *const names[] = {
		[VARVE_COMP_UNKNOWN] = "unknown",
		[VARVE_COMP_NONE] = "none",
		[VARVE_COMP_GZIP] = "gzip",
		[VARVE_COMP_ZSTD] = "zstd",
		[VARVE_COMP_XZ] = "xz",
		[VARVE_COMP_BZIP2] = "bzip2",
		[VARVE_COMP_SQUASHFS] = "squashfs",
	};

	return (size_t)c < sizeof(names) / sizeof(names[0]) ? names[c] : "unknown";
}
