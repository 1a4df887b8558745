/* SPDX-License-Identifier: Apache-2.0 */
/* Owner, mode, attributes and times of what is in a tree. */
#pragma once

#include "varve-base.h"
#include <sys/types.h>

#include <pthread.h>
#include <stdatomic.h>

struct apply_shared;
struct plan_inode;

/* Owner, mode, xattrs, times, in this order (docs/layers.md M01). created: the mode it was made
 * with. */
int meta_set_fd(struct apply_shared *a, int fd, uint32_t name, const struct plan_inode *in,
		mode_t created, struct varve_err *e);
/* The same for what cannot be opened (symlinks, devices): one name below dirfd. */
int meta_set_at(struct apply_shared *a, int dirfd, const char *base, uint32_t name,
		const struct plan_inode *in, mode_t created, struct varve_err *e);
/* Owner, mode and xattrs, but no times, of a file that was moved into place. */
int meta_set_moved(struct apply_shared *a, int dirfd, const char *base, uint32_t name,
		   const struct plan_inode *in, mode_t created, struct varve_err *e);
/* chmod of the inode that one name below dirfd is now: no link is followed. -1 with errno. */
int meta_chmod_at(int dirfd, const char *base, mode_t mode);
/* True if an xattr must never reach the disk (docs/layers.md M14, W25). */
bool meta_xattr_is_filtered(const char *name);
