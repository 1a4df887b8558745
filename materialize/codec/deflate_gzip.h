/* SPDX-License-Identifier: Apache-2.0 */
/* gzip, reproducible, as a sink. */
#pragma once

#include "varve-base.h"

struct sink;

/*
 * Compressors in front of another sink (borrowed). threads 0: as many as cores; the bytes do not
 * depend on it. level 0: the default.
 */
int sink_gzip_new(struct sink **ret, struct sink *below, int level, unsigned threads,
		  struct varve_err *e);
