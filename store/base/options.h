/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option structs of the installed headers, as a caller has them that was compiled with an older or
 * a newer header: their first member says how long they are.
 */
#pragma once

#include "store/base/err.h"

/*
 * Fill *own with what *theirs says, as far as both go, and with zeros beyond. first: the size that
 * the struct had in the first version that had it. VARVE_E_USAGE: theirs is shorter, or NULL.
 */
int options_copy(void *own, size_t own_size, size_t first, const void *theirs, struct varve_err *e);

/*
 * last: the last member of the first version, which never changes. A member is added at the end,
 * beyond what was padding there; 0 in it means what the library did before.
 */
#define OPTIONS_COPY(own, theirs, last, e)                                                         \
	options_copy((own), sizeof(*(own)) + 0 * sizeof((own) == (theirs)),                        \
		     offsetof(__typeof__(*(own)), last) + sizeof((own)->last), (theirs), (e))
