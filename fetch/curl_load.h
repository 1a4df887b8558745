/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl, loaded by the first request: it and the thirty libraries that it needs take longer to
 * load than most commands take to run (docs/performance.md). Its functions have their own names in
 * this library, and may be called once this has returned 0.
 */
#pragma once

#include "store/base/err.h"

int curl_load(struct varve_err *e);
