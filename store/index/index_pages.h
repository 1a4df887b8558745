/* SPDX-License-Identifier: Apache-2.0 */
/* Is the page structure of an LMDB file sound? LMDB
 * believes every number in a page, and crashes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct pages_file {
	uint64_t size;     /* of the file */
	uint64_t map_size; /* no page number may lie beyond it */
	/* n bytes at offset: 0, or -errno. */
	int (*read)(void *user, uint64_t offset, void *buf, size_t n);
	void *user;
};

/*
 * Walk every page that the newest state uses: kinds, numbers, bounds of entries, order of keys, and
 * that no page has two uses, be it in a tree or in the free list. What is sound LMDB can read and
 * write without a crash; values are checked where they are read. 0 sound; 1 damaged, *ret_why says
 * how; < 0 it could not be read (-errno, -ENOMEM).
 */
int pages_check(const struct pages_file *f, const char **ret_why);
