/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A digest that is computed in a thread of its own while its caller makes the next bytes: of what a
 * layer costs, a quarter is its diffID, and it would be the longest chain of a cold install.
 */
#pragma once

#include "varve-base.h"

struct hash_beside;

/* beside false, or no thread to be had: the caller hashes. */
int hash_beside_new(struct hash_beside **ret, enum varve_algo algo, bool beside,
		    struct varve_err *e);
/*
 * Hash p[0..n). They are borrowed until the next update has returned, or until final or free. What
 * the thread has not begun by then (all cores are busy) the caller hashes itself.
 */
void hash_beside_update(struct hash_beside *h, const void *p, size_t n);
int hash_beside_final(struct hash_beside *h, struct varve_digest *ret, struct varve_err *e);
void hash_beside_free(struct hash_beside *h);
