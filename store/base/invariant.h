/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is always so, however hostile the input: said by assert() where a reader would have to
 * believe a comment otherwise. Checked in every build but release.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <pthread.h>

/* The caller holds the mutex. POSIX tells only that somebody does, which finds a call without. */
static inline void assert_locked(pthread_mutex_t *m)
{
#ifdef NDEBUG
	(void)m;
#else
	assert(pthread_mutex_trylock(m) == EBUSY);
#endif
}
