/* SPDX-License-Identifier: Apache-2.0 */
/* Small trees on disk for tests, made and removed. */
#pragma once

#include "varve-base.h"

#include <sys/stat.h>

struct mktree {
	char dir[40];
	int fd;
};
void mktree_begin(struct mktree *t);
void mktree_end(struct mktree *t);
/* With the directories that lead to it. */
void mktree_put(const struct mktree *t, const char *path, const char *content, mode_t mode);
void mktree_dir(const struct mktree *t, const char *path, mode_t mode);
/* A file of the machine (busybox) into the tree. */
void mktree_copy(const struct mktree *t, const char *from, const char *path, mode_t mode);
/* Content, or NULL; free() it. */
char *mktree_get(const struct mktree *t, const char *path);
