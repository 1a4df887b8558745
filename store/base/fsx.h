/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories by directory fd. Every fd is CLOEXEC; no helper follows a symlink unless it
 * says so. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

#include <sys/stat.h>
#include <sys/types.h>

/* All n bytes, or -1 with errno (short writes and EINTR are continued). */
int fsx_write_all(int fd, const void *p, size_t n);
int fsx_pwrite_all(int fd, const void *p, size_t n, uint64_t off);
/* Up to n bytes; short only at end of file. -1 with errno. */
ssize_t fsx_pread_full(int fd, void *p, size_t n, uint64_t off);

/*
 * Of a stream such as a pipe or a terminal, which may keep us waiting: all n bytes, or up to n as
 * soon as there are any. -1 with errno; EINTR once ctx is cancelled.
 */
int fsx_write_stream(int fd, const void *p, size_t n, const struct varve_ctx *ctx);
ssize_t fsx_read_stream(int fd, void *p, size_t n, const struct varve_ctx *ctx);

/*
 * The next bytes from off on, before end, that are no hole: 1, and where they are; 0: there are
 * none. Where holes cannot be asked for, all is data. -1 with errno.
 */
int fsx_next_data(int fd, uint64_t off, uint64_t end, uint64_t *ret_from, uint64_t *ret_to);

/* Whole small file into b (its ceiling applies: -VARVE_E_LIMIT). name NULL: fd itself from offset
 * 0. */
int fsx_read_file(int dirfd, const char *name, struct buf *b, struct varve_err *e);
/*
 * Open what must be a regular file, for whoever may not be the only one to write in dirfd: a FIFO
 * or a device neither keeps us waiting nor notices, a symlink is not followed. -1 with errno;
 * EMEDIUMTYPE: it is something else. ret may be NULL.
 */
int fsx_open_plain(int dirfd, const char *name, int flags, mode_t mode, struct stat *ret);
/* fsx_read_file() of such a file. */
int fsx_read_plain(int dirfd, const char *name, struct buf *b, struct varve_err *e);
/* tmp + write + fsync + rename + fsync of the
 * directory: the old file or the new one, never half. */
int fsx_replace_file(int dirfd, const char *name, const void *p, size_t n, mode_t mode,
		     struct varve_err *e);

/* A file in a directory (a path of the host) that has no name: gone with its last descriptor. -1
 * with errno. */
int fsx_open_unnamed(const char *dir);

/* Open a directory that must be one (O_DIRECTORY|O_NOFOLLOW). -1 with errno. */
int fsx_open_dir(int dirfd, const char *name);
/* mkdir if missing, then open. -1 with errno. */
int fsx_make_dir(int dirfd, const char *name, mode_t mode);
/* What a file takes on the disk: its size, or its blocks where more of them were reserved. */
uint64_t fsx_room(const struct stat *st);
/* All components of a host path given by the user
 * (symlinks are followed: it is the user's path). */
int fsx_make_path(const char *path, mode_t mode, struct varve_err *e);
/* Path below root without leaving it: RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS|NO_XDEV; walks by
 * component where openat2 is refused. -1 with errno. */
int fsx_open_beneath(int root, const char *path, int flags, mode_t mode);
/* Path as seen in root as "/": symlinks of the tree are followed inside it. -1 with errno. */
int fsx_open_in_root(int root, const char *path, int flags, mode_t mode);

/*
 * A new private directory (0700) named prefix + random, flocked by the fd that is returned. Who
 * sweeps the leftovers of dead processes takes what it can lock: one that was swept between its
 * mkdir and its lock is made again. -1 with errno.
 */
int fsx_make_locked_dir(int dirfd, const char *prefix, char *ret_name, size_t size);
/* 16 hex characters of getrandom(). */
void fsx_random_name(char buf[17]);
/* flock with LOCK_EX/LOCK_SH (| LOCK_NB), continued on EINTR. -1 with errno. */
int fsx_flock(int fd, int op);
/* flock with LOCK_EX or LOCK_SH, however long another process keeps us waiting; EINTR once ctx is
 * cancelled. -1 with errno. */
int fsx_flock_wait(int fd, int op, const struct varve_ctx *ctx);
int fsx_rename_noreplace(int olddir, const char *old, int newdir, const char *new_name);
int fsx_rename_exchange(int olddir, const char *old, int newdir, const char *new_name);
/* Remove a tree, name being one component below dirfd, without following links and without crossing
 * a mount (EXDEV). Directories that the owner cannot enter are made enterable. Missing is success.
 * Counts removed entries if ret is not NULL. */
int fsx_remove_tree(int dirfd, const char *name, const struct varve_ctx *ctx, uint64_t *ret_entries,
		    struct varve_err *e);
/* The same for what work leaves that has ended: once ctx is cancelled it is tried for FSX_CLEAR_MS,
 * and the rest stays for whoever sweeps (VARVE_E_INTERRUPTED). */
#define FSX_CLEAR_MS 80u
int fsx_clear_tree(int dirfd, const char *name, const struct varve_ctx *ctx, struct varve_err *e);

/* Mode 0700, the caller's group, and no ACL that new files would inherit: a roots dir with setgid
 * or a default ACL would leave its mark on every file. */
int fsx_plain_directory(int fd, struct varve_err *e);
