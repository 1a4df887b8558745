/* SPDX-License-Identifier: Apache-2.0 */
/* Open a squashfs image: its tables, and its files in the order of their data on disk. */
#include "materialize/layer/squashfs_internal.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/codec/inflate.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"

#include <sqfs/block.h>

#define WINDOW     (1u << 20)
#define INODES_MAX 10000000u

static void source_destroy(sqfs_object_t *obj)
{
	(void)obj; /* part of struct squashfs */
}

static int source_read(sqfs_file_t *file, sqfs_u64 offset, void *buffer, size_t size)
{
	struct squashfs_source *s = (struct squashfs_source *)file;
	ssize_t n;

	if (offset > s->size || size > s->size - offset)
		return SQFS_ERROR_OUT_OF_BOUNDS;
	n = fsx_pread_full(s->fd, buffer, size, offset);
	return n >= 0 && (size_t)n == size ? 0 : SQFS_ERROR_IO;
}

static int source_write(sqfs_file_t *file, sqfs_u64 offset, const void *buffer, size_t size)
{
	(void)file, (void)offset, (void)buffer, (void)size;
	return SQFS_ERROR_IO;
}

static sqfs_u64 source_size(const sqfs_file_t *file)
{
	return ((const struct squashfs_source *)file)->size;
}

static int source_truncate(sqfs_file_t *file, sqfs_u64 size)
{
	(void)file, (void)size;
	return SQFS_ERROR_IO;
}

static int open_super(struct squashfs *q, struct varve_err *e)
{
	sqfs_compressor_config_t cfg;
	uint8_t version[2];
	int r;

	/* At that place since version 1; before anything else of what only version 4 has. */
	if (fsx_pread_full(q->source.fd, version, sizeof(version), 28) == sizeof(version) &&
	    version[1] == 0 && version[0] > 0 && version[0] < 4)
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"squashfs: version %u, which Linux has not written since 2009; "
			"unsquashfs -d DIR FILE reads it, mksquashfs DIR NEW makes one of "
			"version 4",
			version[0]);
	r = sqfs_super_read(&q->super, &q->source.base);

	if (r)
		return squashfs_fail(e, r, "super block");
	if (q->super.bytes_used > q->source.size)
		return varve_fail(e, VARVE_E_FORMAT,
				  "squashfs: cut off: it has %llu bytes and says %llu",
				  (unsigned long long)q->source.size,
				  (unsigned long long)q->super.bytes_used);
	if (q->super.inode_count > INODES_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "squashfs: more than %u inodes", INODES_MAX);
	r = sqfs_compressor_config_init(&cfg, (SQFS_COMPRESSOR)q->super.compression_id,
					q->super.block_size, SQFS_COMP_FLAG_UNCOMPRESS);
	if (r == 0)
		r = sqfs_compressor_create(&cfg, &q->cmp);
	if (r == SQFS_ERROR_UNSUPPORTED)
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"squashfs: compressed by %s, which this libsquashfs cannot read",
			sqfs_compressor_name_from_id((SQFS_COMPRESSOR)q->super.compression_id)
				?: "an unknown compressor");
	return r ? squashfs_fail(e, r, "compressor") : 0;
}

static int open_tables(struct squashfs *q, struct varve_err *e)
{
	sqfs_file_t *f = &q->source.base;
	int r;

	q->ids = sqfs_id_table_create(0);
	q->frags = sqfs_frag_table_create(0);
	q->dirs = sqfs_dir_reader_create(&q->super, q->cmp, f, 0);
	q->data = sqfs_data_reader_create(f, q->super.block_size, q->cmp, 0);
	q->xattrs = sqfs_xattr_reader_create(0);
	if (!q->ids || !q->frags || !q->dirs || !q->data || !q->xattrs)
		return varve_fail_oom(e);
	r = sqfs_id_table_read(q->ids, f, &q->super, q->cmp);
	if (r)
		return squashfs_fail(e, r, "table of owners");
	r = sqfs_frag_table_read(q->frags, f, &q->super, q->cmp);
	if (r == 0)
		r = sqfs_data_reader_load_fragment_table(q->data, &q->super);
	if (r)
		return squashfs_fail(e, r, "table of fragments");
	if (q->super.flags & SQFS_FLAG_NO_XATTRS) {
		sqfs_destroy(q->xattrs);
		q->xattrs = NULL;
		return 0;
	}
	r = sqfs_xattr_reader_load(q->xattrs, &q->super, f, q->cmp);
	return r ? squashfs_fail(e, r, "table of xattrs") : 0;
}

static int add_extent(struct squashfs_file *f, uint64_t off, uint64_t n, struct varve_err *e)
{
	struct file_extent *x = f->n_extents ? &f->extents[f->n_extents - 1] : NULL;

	f->body_len += n;
	if (x && x->off + x->n == off) {
		x->n += n;
		return 0;
	}
	if ((f->n_extents & (f->n_extents - 1)) == 0) {
		x = reallocarray(f->extents, f->n_extents ? 2 * (size_t)f->n_extents : 1,
				 sizeof(*x));
		if (!x)
			return varve_fail_oom(e);
		f->extents = x;
	}
	f->extents[f->n_extents++] = (struct file_extent){off, n};
	return 0;
}

/* Blocks that are not stored are holes. A file with
 * very many is taken as it reads, zeros and all. */
static int find_extents(struct squashfs *q, struct squashfs_file *f, struct varve_err *e)
{
	size_t n = sqfs_inode_get_file_block_count(f->inode), i;
	bool holes = false;
	int r = 0;

	for (i = 0; i < n; i++)
		holes = holes || SQFS_IS_SPARSE_BLOCK(f->inode->extra[i]);
	f->body_len = holes ? 0 : f->size;
	for (i = 0; r == 0 && holes && i < n && f->n_extents < TAR_EXTENTS_MAX; i++) {
		uint64_t off = (uint64_t)i * q->super.block_size;

		if (!SQFS_IS_SPARSE_BLOCK(f->inode->extra[i]) && off < f->size)
			r = add_extent(f, off, VARVE_MIN(f->size - off, q->super.block_size), e);
	}
	/* What lies behind the blocks is in a fragment. */
	if (r == 0 && holes && (uint64_t)n * q->super.block_size < f->size)
		r = add_extent(f, (uint64_t)n * q->super.block_size,
			       f->size - (uint64_t)n * q->super.block_size, e);
	/* A file that is all hole: an empty extent tells it from one without a map (tar.c). */
	if (r == 0 && holes && !f->n_extents)
		r = add_extent(f, 0, 0, e);
	if (r == 0 && f->n_extents >= TAR_EXTENTS_MAX) {
		free(f->extents);
		f->extents = NULL;
		f->n_extents = 0;
		f->body_len = f->size;
	}
	return r;
}

static int find_place(struct squashfs *q, struct squashfs_file *f, struct varve_err *e)
{
	sqfs_u32 index, offset;
	sqfs_fragment_t frag;
	sqfs_u64 start;
	int r;

	if (sqfs_inode_get_file_block_count(f->inode)) {
		r = sqfs_inode_get_file_block_start(f->inode, &start);
		f->disk = start;
		return r ? squashfs_fail(e, r, "inode") : 0;
	}
	r = sqfs_inode_get_frag_location(f->inode, &index, &offset);
	if (r == 0)
		r = sqfs_frag_table_lookup(q->frags, index, &frag);
	if (r)
		return squashfs_fail(e, r, "fragment of a file");
	f->disk = frag.start_offset;
	f->disk_off = offset;
	return 0;
}

/* The same inode under a second name, and not a number that is used for two. */
static int check_same(const struct squashfs_file *f, const sqfs_inode_generic_t *inode,
		      struct varve_err *e)
{
	const void *one = &f->inode->data, *two = &inode->data; /* read into zeroed memory */

	if (f->inode->base.type != inode->base.type ||
	    f->inode->payload_bytes_used != inode->payload_bytes_used ||
	    memcmp(one, two, sizeof(inode->data)) != 0)
		return varve_fail(e, VARVE_E_FORMAT,
				  "squashfs: two different files have the inode number %u",
				  f->number);
	return 0;
}

static int collect(struct squashfs *q, const char *path, sqfs_inode_generic_t *inode, void *user,
		   struct varve_err *e)
{
	struct squashfs_file *f;
	sqfs_u64 size;
	size_t bytes;
	int r;

	(void)path, (void)user;
	if ((inode->base.type != SQFS_INODE_FILE && inode->base.type != SQFS_INODE_EXT_FILE) ||
	    sqfs_inode_get_file_size(inode, &size) || !size)
		return 0;
	if (q->by_number[inode->base.inode_number])
		return check_same(&q->files[q->by_number[inode->base.inode_number] - 1], inode, e);
	if (q->n_files == q->cap_files) {
		size_t cap = q->cap_files ? 2 * q->cap_files : 1024;

		f = reallocarray(q->files, cap, sizeof(*f));
		if (!f)
			return varve_fail_oom(e);
		q->files = f;
		q->cap_files = cap;
	}
	f = &q->files[q->n_files];
	*f = (struct squashfs_file){.number = inode->base.inode_number, .size = size};
	bytes = sizeof(*inode) + inode->payload_bytes_used;
	f->inode = malloc(bytes);
	if (!f->inode)
		return varve_fail_oom(e);
	memcpy(f->inode, inode, bytes);
	q->by_number[f->number] = (uint32_t)++q->n_files;
	if (size > TAR_SIZE_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "squashfs: a file is larger than %llu bytes",
				  (unsigned long long)TAR_SIZE_MAX);
	r = find_extents(q, f, e);
	return r == 0 ? find_place(q, f, e) : r;
}

static int by_place(const void *a, const void *b)
{
	const struct squashfs_file *x = a, *y = b;

	if (x->disk != y->disk)
		return x->disk < y->disk ? -1 : 1;
	if (x->disk_off != y->disk_off)
		return x->disk_off < y->disk_off ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

static int order_files(struct squashfs *q, const struct varve_limits *limits, struct varve_err *e)
{
	uint64_t off = 0;
	size_t i;

	if (q->n_files)
		qsort(q->files, q->n_files, sizeof(*q->files), by_place);
	for (i = 0; i < q->n_files; i++) {
		struct squashfs_file *f = &q->files[i];

		q->by_number[f->number] = (uint32_t)i + 1;
		f->off = off;
		off += f->body_len; /* at most 10^7 * 2^44: cannot wrap */
		if (off > limits->max_layer_bytes ||
		    (off > INFLATE_RATIO_FREE &&
		     (off - INFLATE_RATIO_FREE) / limits->max_ratio > q->source.size))
			return varve_fail(e, VARVE_E_LIMIT,
					  "squashfs: unpacks to more than %llu bytes "
					  "(limits.max_layer_size) or %u times its size "
					  "(limits.max_ratio)",
					  (unsigned long long)limits->max_layer_bytes,
					  limits->max_ratio);
	}
	q->stream_size = off;
	return 0;
}

int squashfs_open(struct squashfs **ret, int fd, uint64_t size, const struct varve_limits *limits,
		  struct varve_err *e)
{
	struct squashfs *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return varve_fail_oom(e);
	if (fd < 0) { /* it became one after layer_source_open() had looked */
		free(q);
		return varve_fail(e, VARVE_E_DIGEST, "the bytes changed while they were read");
	}
	q->source.base = (sqfs_file_t){
		.base = {.destroy = source_destroy},
		.read_at = source_read,
		.write_at = source_write,
		.get_size = source_size,
		.truncate = source_truncate,
	};
	q->source.fd = fd;
	q->source.size = size;
	r = open_super(q, e);
	if (r == 0)
		r = open_tables(q, e);
	if (r == 0) {
		q->by_number = calloc((size_t)q->super.inode_count + 1, sizeof(*q->by_number));
		q->window = malloc(WINDOW);
		if (!q->by_number || !q->window)
			r = varve_fail_oom(e);
	}
	if (r == 0)
		r = squashfs_walk(q, collect, NULL, e);
	if (r == 0)
		r = order_files(q, limits, e);
	if (r < 0) {
		squashfs_free(q);
		return r;
	}
	*ret = q;
	return 0;
}

void squashfs_free(struct squashfs *q)
{
	size_t i;

	if (!q)
		return;
	for (i = 0; i < q->n_files; i++) {
		free(q->files[i].extents);
		free(q->files[i].inode);
	}
	free(q->files);
	free(q->by_number);
	free(q->window);
	sqfs_destroy(q->xattrs);
	sqfs_destroy(q->data);
	sqfs_destroy(q->dirs);
	sqfs_destroy(q->frags);
	sqfs_destroy(q->ids);
	sqfs_destroy(q->cmp);
	free(q);
}

uint64_t squashfs_stream_size(const struct squashfs *q)
{
	return q->stream_size;
}

/* The part of the body at the present place: off in the file and what is left of it. */
static bool current_run(const struct squashfs *q, uint64_t *ret_off, uint64_t *ret_n)
{
	const struct squashfs_file *f = &q->files[q->cur_file];
	uint64_t off = 0, n = f->body_len;

	if (f->extents) {
		if (q->cur_extent == f->n_extents)
			return false;
		off = f->extents[q->cur_extent].off;
		n = f->extents[q->cur_extent].n;
	}
	*ret_off = off + q->cur_done;
	*ret_n = n - q->cur_done;
	return *ret_n > 0;
}

static void next_run(struct squashfs *q)
{
	const struct squashfs_file *f = &q->files[q->cur_file];

	q->cur_done = 0;
	if (f->extents && ++q->cur_extent < f->n_extents)
		return;
	q->cur_extent = 0;
	q->cur_file++;
}

int squashfs_next(struct squashfs *q, size_t max, const void **ret, size_t *ret_n,
		  struct varve_err *e)
{
	uint64_t off = 0, left = 0;
	sqfs_s32 n;

	*ret = q->window;
	*ret_n = 0;
	while (q->cur_file < q->n_files && !current_run(q, &off, &left))
		next_run(q);
	if (q->cur_file == q->n_files)
		return 0;
	/* Whole blocks where possible: the library keeps one decoded block. */
	n = (sqfs_s32)VARVE_MIN(
		left,
		VARVE_MIN((uint64_t)WINDOW - off % q->super.block_size % WINDOW, (uint64_t)max));
	n = sqfs_data_reader_read(q->data, q->files[q->cur_file].inode, off, q->window,
				  (sqfs_u32)n);
	if (n <= 0)
		return squashfs_fail(e, n, "content of a file");
	q->cur_done += (uint64_t)n;
	*ret_n = (size_t)n;
	return 0;
}
