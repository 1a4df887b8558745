/* SPDX-License-Identifier: Apache-2.0 */
/* Files derived from layers (aux/). */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

#include <pthread.h>
#include <sys/stat.h>

void aux_memory_free(struct varve_store *s);
