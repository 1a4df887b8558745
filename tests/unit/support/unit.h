/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka with the headers it wants before it. */
#pragma once

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include "varve-base.h"

/* Assert success and show the whole chain otherwise. */
#define assert_ok(r, e)                                                                            \
	do {                                                                                       \
		int r_ = (r);                                                                      \
		if (r_ < 0) {                                                                      \
			char t_[2048];                                                             \
			fail_msg("%s: %d: %s", #r, r_, varve_err_text((e), t_, sizeof(t_)));       \
		}                                                                                  \
	} while (0)
