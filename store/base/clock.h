/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock, and chance for waits that must not coincide. */
#pragma once

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC: for distances, never for dates. */
uint64_t clock_now_ms(void);
/* Any number, for spreading waits; no secret is made of it. */
uint32_t clock_random(void);
