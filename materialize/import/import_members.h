/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an OCI layout or docker-archive by name, in a directory or in a tar. */
#pragma once

#include "materialize/import/import.h"

struct members;

/* The fds are borrowed and must outlive it. */
int members_open_dir(struct members **ret, int dirfd, const char *path, struct varve_err *e);
/* An uncompressed tar: its headers are read once. */
int members_open_tar(struct members **ret, const struct import_range *tar, const char *path,
		     struct varve_err *e);
void members_free(struct members *m);
static inline void members_cleanup(struct members **m)
{
	members_free(*m);
}
/*
 * 1 found, 0 not. The range's fd belongs to m and is valid until the next call. Links are followed
 * inside the archive.
 */
int members_find(struct members *m, const char *name, struct import_range *ret,
		 struct varve_err *e);
/* The first file of a tar whose name ends so; NULL: none, or a directory. Lives as long as m. */
const char *members_ending(const struct members *m, const char *end);
/* A tar of which each name is like that; false for a folder. */
bool members_all(const struct members *m, bool (*like)(const char *name));
/* A whole document (the ceiling of b applies). 1 found, 0 not. */
int members_read(struct members *m, const char *name, struct buf *b, struct varve_err *e);
