/* SPDX-License-Identifier: Apache-2.0 */
/* Files derived from layers (aux/). */
#pragma once

#include "varve-base.h"
#include "varve-store.h"

#include <pthread.h>
#include <sys/stat.h>

void aux_memory_free(struct varve_store *s);

/* Derived data: aux/<kind>/<diffid hex>. May vanish at any time; kind is "toc" or "zran". */
int aux_open(struct varve_store *s, const char *kind, const struct varve_digest *diff_id,
	     int *ret_fd, struct varve_err *e); /* VARVE_E_NOTFOUND if absent, or not to be trusted
						   (trust.h); lower stores are searched */
/* A private file to write; published under its final name by aux_commit (fsync is not needed: it is
 * a cache with a checksum of its own), dropped by aux_abort. The diffID need not be known before
 * the commit. */
struct aux_file {
	int fd;
	char name[32];
	struct varve_store *s;
};
int aux_create(struct varve_store *s, struct aux_file *ret, struct varve_err *e);
int aux_commit(struct aux_file *f, const char *kind, const struct varve_digest *diff_id,
	       struct varve_err *e);
void aux_abort(struct aux_file *f);
