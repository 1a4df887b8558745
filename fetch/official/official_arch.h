/* SPDX-License-Identifier: Apache-2.0 */
/* Architectures of official-images and platforms. */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

struct varve_platform;

/* "amd64" <-> linux/amd64, "arm32v7" <-> linux/arm/v7, … NULL / false if there is none. */
const char *official_arch(const struct varve_platform *p);
bool official_arch_platform(const char *arch, struct varve_platform *ret);
