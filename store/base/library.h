/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared libraries that are opened when something of them is needed: with all that they need in
 * their turn, loading them takes longer than most commands run (docs/performance.md).
 */
#pragma once

#include "store/base/err.h"

struct library_function {
	const char *name;
	void *at; /* where its address goes: a pointer to a pointer to the function */
};
/* Opened for good. VARVE_E_UNSUPPORTED: it is not there, or has not all of the functions. */
int library_load(const char *soname, const struct library_function *f, size_t n,
		 struct varve_err *e);
