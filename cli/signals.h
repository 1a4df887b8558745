/* SPDX-License-Identifier: Apache-2.0 */
/* Signals that ask a command to end, and the standard descriptors. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "varve-base.h"

/* Before anything else runs. ctx.cancel is set by the first signal. */
void signals_setup(struct varve_ctx *ctx);
/* From here on there are passwords and tokens in memory, which a core file would keep. */
void signals_no_core(void);
/* Has one come? */
bool signals_heard(void);
/* The exit status of the command: 128 + the signal that came, or else this one. The last thing
 * asked. */
int signals_status(int status);
/*
 * read() and write() of a descriptor that may make us wait, such as a pipe or a terminal: -1 with
 * EINTR once a signal came, whenever it came.
 */
ssize_t signals_read(int fd, void *p, size_t n);
ssize_t signals_write(int fd, const void *p, size_t n);
