/* SPDX-License-Identifier: Apache-2.0 */
/* Open directories of a tree that is being made, one cache a thread: no path is resolved twice, and
 * none through a link. */
#pragma once

#include "varve-base.h"

/* Directories by number; 0 is the root. */
struct dir_names {
	int root; /* its fd, borrowed */
	/* The name of one below its parent, which has been made. */
	const char *(*name)(const void *user, uint32_t id, uint32_t *ret_parent);
	const void *user;
};
struct dir_cache {
	const struct dir_names *names; /* borrowed */
	struct {
		uint32_t id;
		int fd; /* -1: empty */
	} * slots;
	unsigned n;
};
int dir_cache_init(struct dir_cache *c, unsigned slots, const struct dir_names *names,
		   struct varve_err *e);
void dir_cache_done(struct dir_cache *c);
/* A borrowed fd, valid until the next call. -1 with errno. */
int dir_cache_get(struct dir_cache *c, uint32_t id);
