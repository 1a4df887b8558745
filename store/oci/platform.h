/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms: normalise, compare, rank (docs/requirements.md
 * 3.14-3.18). Pure but for platform_host. */
#pragma once

#include "store/base/buf.h"
#include "varve-store.h"

/*
 * Fill ret from the three members of a document or of an option, normalised: x86_64 is amd64,
 * aarch64 is arm64, armhf is arm/v7, amd64/v1 and arm64/v8 have no variant. False if a member is
 * too long or has unusual bytes.
 */
bool platform_set(struct varve_platform *ret, const char *os, const char *arch,
		  const char *variant);
/* How well have serves want: 0 is best, larger is worse, -1 not at all. A variant falls back down,
 * never up. */
int platform_rank(const struct varve_platform *want, const struct varve_platform *have);
bool platform_equal(const struct varve_platform *a, const struct varve_platform *b);
