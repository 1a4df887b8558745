/* SPDX-License-Identifier: Apache-2.0 */
/* The open store as its parts see it. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

#include <pthread.h>
#include <sys/stat.h>

/* VARVE_E_READONLY for a read-only store. */
int store_need_write(const struct varve_store *s, struct varve_err *e);
/* Now, in seconds. */
int64_t store_now(void);
const struct varve_ctx *store_ctx(const struct varve_store *s);
/* Of this handle; none is 0. */
const struct varve_limits *store_limits(const struct varve_store *s);
/* Of l (may be NULL), and where it says 0, of other. */
struct varve_limits limits_or(const struct varve_limits *l, const struct varve_limits *other);
