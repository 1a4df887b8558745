/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a script is the caller's own, and nobody else can change it. */
#pragma once

#include "varve-base.h"

/*
 * Open a script for reading. 1: *ret_fd, a regular file; 0: there is none. VARVE_E_UNSAFE: the
 * script, or a directory on its way from the root, belongs to somebody else than the caller or
 * root, or others may write to it (a directory with the sticky bit may be written by all: what is
 * in it is judged by its owner).
 */
int hook_open_trusted(const char *path, int *ret_fd, struct varve_err *e);
