/* SPDX-License-Identifier: Apache-2.0 */
/* Error helpers for inside the library; the type is public (varve-base.h). */
#pragma once

#include "varve-base.h"

#include <errno.h>

/* Start a chain from errno: "<object>: <strerror>". ENOSPC/EDQUOT become VARVE_E_NOSPACE. Returns
 * -code. */
int varve_fail_errno(struct varve_err *e, const char *fmt, ...) VARVE_PRINTF(2, 3);
int varve_fail_oom(struct varve_err *e);
/* The error tells nothing of what was looked at, which may be whole: no memory, no descriptors, no
 * room, interrupted. Whoever goes on past damage ends here. */
bool err_is_passing(int code);
void varve_err_reset(struct varve_err *e);
