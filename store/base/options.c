/* SPDX-License-Identifier: Apache-2.0 */
/* Option structs of callers that were compiled with another version of the headers. */
#include "store/base/options.h"

#include "store/base/compiler.h"

#include <string.h>

int options_copy(void *own, size_t own_size, size_t first, const void *theirs, struct varve_err *e)
{
	size_t size = 0;

	if (theirs)
		memcpy(&size, theirs, sizeof(size));
	if (size < first)
		return varve_fail(e, VARVE_E_USAGE,
				  "options of %zu bytes, where there are %zu at least: an option "
				  "struct begins with its own size, as its initialiser sets it",
				  size, first);
	memset(own, 0, own_size);
	memcpy(own, theirs, VARVE_MIN(size, own_size));
	memcpy(own, &own_size, sizeof(own_size));
	return 0;
}
