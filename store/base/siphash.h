/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012): without the key nobody
 * can choose inputs that collide. For tables whose keys come from outside.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k[2];
};

/* From the kernel. any: an address that stands in for it where the kernel has none to give. */
void siphash_key_new(struct siphash_key *ret, const void *any);
/* SipHash-1-3 of the eight bytes of first, little-endian, and the n bytes behind them. */
uint64_t siphash13(const struct siphash_key *key, uint64_t first, const void *p, size_t n);
/* SipHash-2-4 of the same: what the authors publish vectors of. */
uint64_t siphash24(const struct siphash_key *key, uint64_t first, const void *p, size_t n);
