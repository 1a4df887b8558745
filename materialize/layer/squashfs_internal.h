/* SPDX-License-Identifier: Apache-2.0 */
/* An open squashfs image, between its parts. */
#pragma once

#include "materialize/layer/squashfs.h"

#include <sqfs/compressor.h>
#include <sqfs/data_reader.h>
#include <sqfs/dir.h>
#include <sqfs/dir_reader.h>
#include <sqfs/error.h>
#include <sqfs/frag_table.h>
#include <sqfs/id_table.h>
#include <sqfs/inode.h>
#include <sqfs/io.h>
#include <sqfs/predef.h>
#include <sqfs/super.h>
#include <sqfs/xattr.h>
#include <sqfs/xattr_reader.h>

/* A regular file with content. */
struct squashfs_file {
	uint64_t disk;     /* where its first data is: of its own blocks or of its fragment */
	uint32_t disk_off; /* within the fragment */
	uint32_t number;   /* of the inode */
	uint64_t off, size, body_len;
	struct file_extent *extents; /* NULL: not sparse */
	uint32_t n_extents;
	sqfs_inode_generic_t *inode;
};
struct squashfs_source {
	sqfs_file_t base;
	int fd;
	uint64_t size;
};
struct squashfs {
	struct squashfs_source source;
	sqfs_super_t super;
	sqfs_compressor_t *cmp;
	sqfs_id_table_t *ids;
	sqfs_frag_table_t *frags;
	sqfs_dir_reader_t *dirs;
	sqfs_data_reader_t *data;
	sqfs_xattr_reader_t *xattrs; /* NULL: none */
	struct squashfs_file *files; /* sorted by place on disk */
	size_t n_files, cap_files;
	uint32_t *by_number; /* inode number -> index in files + 1; 0: no content */
	uint64_t n_entries, stream_size;
	/* of the stream */
	size_t cur_file;
	uint32_t cur_extent;
	uint64_t cur_done; /* bytes of the extent (or of the file, if not sparse) */
	uint8_t *window;
};

/* An error of libsquashfs as ours; what: the part that was read. */
int squashfs_fail(struct varve_err *e, int sqfs_code, const char *what);
/*
 * Depth first, parents first, the root as ".". fn <0 ends it. Refuses what no tree can hold: loops,
 * names with '/', duplicate names.
 */
int squashfs_walk(struct squashfs *q,
		  int (*fn)(struct squashfs *q, const char *path, sqfs_inode_generic_t *inode,
			    void *user, struct varve_err *e),
		  void *user, struct varve_err *e);
/* Takes inner; NULL without memory (inner is then still the caller's). See squashfs_guard.c. */
sqfs_compressor_t *squashfs_guard(sqfs_compressor_t *inner);
uint32_t squashfs_nlink(const sqfs_inode_generic_t *inode);
