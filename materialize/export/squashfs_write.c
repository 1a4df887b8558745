/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan as squashfs. Bodies go to the block processor in the order of the layers' streams, so that
 * every layer is read once; the tree follows from the deepest directory up.
 */
#include "materialize/export/squashfs_write.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "materialize/layer/squashfs_internal.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"

#include <sqfs/block_processor.h>
#include <sqfs/block_writer.h>
#include <sqfs/dir_writer.h>
#include <sqfs/meta_writer.h>
#include <sqfs/xattr_writer.h>

#define BLOCK_SIZE  (128u << 10)
#define DEVICE_SIZE 4096u
#define NO_XATTR    0xffffffffu
#define CHUNK       (256u << 10)
/* Chosen so that the image is not larger than that of mksquashfs with its own defaults (zstd 15,
 * gzip 9), which put files in another order (docs/performance.md). */
#define ZSTD_LEVEL 14
#define GZIP_LEVEL 7

struct out_file {
	sqfs_file_t base;
	int fd;
	uint64_t size;
	int err; /* errno of a write that failed */
};
struct writing {
	const struct varve_plan *p;
	const char *name;
	struct out_file file;
	sqfs_super_t super;
	sqfs_compressor_t *cmp;
	sqfs_frag_table_t *frags;
	sqfs_block_writer_t *blocks;
	sqfs_block_processor_t *proc;
	sqfs_id_table_t *ids;
	sqfs_xattr_writer_t *xattrs;
	sqfs_meta_writer_t *inode_meta, *dir_meta;
	sqfs_dir_writer_t *dirs;
	sqfs_inode_generic_t **files; /* per plan inode: of regular files with content */
	uint64_t *refs;               /* per plan inode: where its inode was written; 0: not yet */
	uint32_t *numbers;            /* per plan inode: its number; 0: none yet */
	uint32_t next_number;
	uint64_t bytes;
	struct squashfs_write_result *ret;
};

static int out_read(sqfs_file_t *file, sqfs_u64 offset, void *buffer, size_t size)
{
	struct out_file *f = (struct out_file *)file;

	return fsx_pread_full(f->fd, buffer, size, offset) == (ssize_t)size ? 0 : SQFS_ERROR_IO;
}

static int out_write(sqfs_file_t *file, sqfs_u64 offset, const void *buffer, size_t size)
{
	struct out_file *f = (struct out_file *)file;

	if (fsx_pwrite_all(f->fd, buffer, size, offset) < 0) {
		f->err = errno;
		return SQFS_ERROR_IO;
	}
	if (offset + size > f->size)
		f->size = offset + size;
	return 0;
}

static sqfs_u64 out_size(const sqfs_file_t *file)
{
	return ((const struct out_file *)file)->size;
}

static int out_truncate(sqfs_file_t *file, sqfs_u64 size)
{
	struct out_file *f = (struct out_file *)file;

	if (ftruncate(f->fd, (off_t)size) < 0) {
		f->err = errno;
		return SQFS_ERROR_IO;
	}
	f->size = size;
	return 0;
}

static void out_destroy(sqfs_object_t *obj)
{
	(void)obj; /* part of struct writing */
}

static int fail_write(struct writing *w, int code, struct varve_err *e)
{
	if (code == SQFS_ERROR_IO && w->file.err) {
		errno = w->file.err;
		return varve_fail_errno(e, "%s", TEXT_SAFE(w->name));
	}
	if (code == SQFS_ERROR_ALLOC)
		return varve_fail_oom(e);
	return varve_fail(e, VARVE_E_UNSUPPORTED,
			  "%s: squashfs cannot hold this tree (libsquashfs error %d)",
			  TEXT_SAFE(w->name), code);
}

static int open_compressor(struct writing *w, const struct squashfs_write_options *opt,
			   struct varve_err *e)
{
	const char *name = opt->compressor ? opt->compressor : "zstd";
	int id = sqfs_compressor_id_from_name(name), r;
	sqfs_compressor_config_t cfg;
	sqfs_compressor_t *guarded;

	if (id < 0)
		return varve_fail(e, VARVE_E_UNSUPPORTED, "compressor %s: libsquashfs has none",
				  TEXT_SAFE(name));
	r = sqfs_compressor_config_init(&cfg, (SQFS_COMPRESSOR)id, BLOCK_SIZE, 0);
	if (r == 0 && id == SQFS_COMP_ZSTD)
		cfg.level = ZSTD_LEVEL;
	if (r == 0 && id == SQFS_COMP_GZIP)
		cfg.level = GZIP_LEVEL;
	if (r == 0 && opt->level > 0)
		cfg.level = (sqfs_u32)opt->level;
	if (r == 0)
		r = sqfs_compressor_create(&cfg, &w->cmp);
	/* The latter: its library could not begin. */
	if (r == SQFS_ERROR_ALLOC || r == SQFS_ERROR_COMPRESSOR)
		return varve_fail_oom(e);
	if (r)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "compressor %s: not in this libsquashfs, or the level %d is not "
				  "one of its levels",
				  name, opt->level);
	guarded = squashfs_guard(w->cmp);
	if (!guarded)
		return varve_fail_oom(e);
	w->cmp = guarded;
	/* The time of the newest file would do as well; 0 says that nobody knows. */
	r = sqfs_super_init(&w->super, BLOCK_SIZE, 0, (SQFS_COMPRESSOR)id);
	if (r == 0)
		r = sqfs_super_write(&w->super, &w->file.base);
	if (r == 0)
		r = w->cmp->write_options(w->cmp, &w->file.base);
	if (r > 0)
		w->super.flags |= SQFS_FLAG_COMPRESSOR_OPTIONS;
	return r < 0 ? fail_write(w, r, e) : 0;
}

static int open_writers(struct writing *w, unsigned threads, struct varve_err *e)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	sqfs_file_t *f = &w->file.base;

	if (!threads)
		threads = cores > 0 ? (unsigned)cores : 1;
	w->frags = sqfs_frag_table_create(0);
	w->blocks = sqfs_block_writer_create(f, DEVICE_SIZE, 0);
	w->ids = sqfs_id_table_create(0);
	w->xattrs = sqfs_xattr_writer_create(0);
	w->inode_meta = sqfs_meta_writer_create(f, w->cmp, 0);
	w->dir_meta = sqfs_meta_writer_create(f, w->cmp, SQFS_META_WRITER_KEEP_IN_MEMORY);
	if (w->frags && w->blocks)
		w->proc = sqfs_block_processor_create(BLOCK_SIZE, w->cmp, threads, 10 * threads,
						      w->blocks, w->frags);
	if (w->dir_meta)
		w->dirs = sqfs_dir_writer_create(w->dir_meta, SQFS_DIR_WRITER_CREATE_EXPORT_TABLE);
	w->files = calloc((size_t)w->p->n_inodes + 1, sizeof(*w->files));
	w->refs = malloc(((size_t)w->p->n_inodes + 1) * sizeof(*w->refs));
	w->numbers = calloc((size_t)w->p->n_inodes + 1, sizeof(*w->numbers));
	if (!w->ids || !w->xattrs || !w->inode_meta || !w->proc || !w->dirs || !w->files ||
	    !w->refs || !w->numbers)
		return varve_fail_oom(e);
	return 0;
}

static void close_writers(struct writing *w)
{
	uint32_t i;

	sqfs_destroy(w->proc);
	for (i = 0; w->files && i < w->p->n_inodes; i++)
		sqfs_free(w->files[i]);
	free(w->files);
	free(w->refs);
	free(w->numbers);
	sqfs_destroy(w->dirs);
	sqfs_destroy(w->dir_meta);
	sqfs_destroy(w->inode_meta);
	sqfs_destroy(w->xattrs);
	sqfs_destroy(w->ids);
	sqfs_destroy(w->blocks);
	sqfs_destroy(w->frags);
	sqfs_destroy(w->cmp);
}

/* --- bodies --- */

static int append_zeros(struct writing *w, uint64_t n)
{
	static const char zeros[CHUNK];
	int r = 0;

	for (; r == 0 && n > 0; n -= VARVE_MIN(n, CHUNK))
		r = sqfs_block_processor_append(w->proc, zeros, (size_t)VARVE_MIN(n, CHUNK));
	return r;
}

static int append_stream(struct writing *w, struct layer_stream *ls, uint64_t n, bool keep,
			 struct varve_err *e)
{
	while (n > 0) {
		const void *p;
		size_t got;
		int r = layer_stream_next(ls, (size_t)VARVE_MIN(n, CHUNK), &p, &got, e);

		if (r == 0 && !got)
			r = varve_fail(e, VARVE_E_CORRUPT,
				       "layer ends before its table of contents does; run 'varve "
				       "check --repair'");
		if (r < 0)
			return r;
		n -= got;
		if (!keep)
			continue;
		r = sqfs_block_processor_append(w->proc, p, got);
		if (r)
			return fail_write(w, r, e);
		w->bytes += got;
	}
	return 0;
}

static int put_body(struct writing *w, struct layer_stream *ls, const struct plan_inode *in,
		    struct varve_err *e)
{
	uint64_t at = 0;
	uint32_t i;
	int r = 0;

	if (!in->n_extents)
		return append_stream(w, ls, in->body_len, true, e);
	for (i = 0; r == 0 && i < in->n_extents; i++) {
		r = append_zeros(w, in->extents[i].off - at);
		if (r)
			return fail_write(w, r, e);
		r = append_stream(w, ls, in->extents[i].n, true, e);
		at = in->extents[i].off + in->extents[i].n;
	}
	if (r == 0 && (r = append_zeros(w, in->size - at)) != 0)
		return fail_write(w, r, e);
	return r;
}

static int put_file(struct writing *w, struct layer_stream *ls, uint32_t inode, struct varve_err *e)
{
	int r = ctx_check(store_ctx(w->p->store), e), code;

	if (r < 0)
		return r;
	code = sqfs_block_processor_begin_file(w->proc, &w->files[inode], NULL, 0);
	if (code)
		return fail_write(w, code, e);
	r = ls ? put_body(w, ls, &w->p->inodes[inode], e) : 0;
	if (r == 0 && !ls && (code = append_zeros(w, w->p->inodes[inode].size)) != 0)
		return fail_write(w, code, e);
	if (r == 0 && (code = sqfs_block_processor_end_file(w->proc)) != 0)
		return fail_write(w, code, e);
	progress_emit(store_ctx(w->p->store),
		      &(struct varve_progress){.stage = VARVE_STAGE_WRITE,
					       .done = w->bytes,
					       .total = w->p->summary.bytes});
	return r;
}

static int put_layer(struct writing *w, size_t layer, struct varve_err *e)
{
	const struct plan_body_list *list = &w->p->bodies[layer];
	struct layer_stream *ls = NULL;
	uint64_t at = 0;
	uint32_t i;
	int r;

	if (!list->n)
		return 0;
	r = layer_stream_open(&ls, w->p->store, &w->p->summary.layers[layer].digest, e);
	for (i = 0; r == 0 && i < list->n; i++) {
		const struct plan_inode *in = &w->p->inodes[list->inodes[i]];

		r = append_stream(w, ls, in->body_off - at, false, e);
		if (r == 0)
			r = put_file(w, ls, list->inodes[i], e);
		at = in->body_off + in->body_len;
	}
	if (r == 0)
		r = layer_stream_end(ls, e);
	layer_stream_free(ls);
	return r;
}

/* Files without stored bytes but with a size: one hole. Empty files need no data. */
static int put_bodies(struct writing *w, struct varve_err *e)
{
	size_t layer;
	uint32_t i;
	int r = 0;

	for (layer = 0; r == 0 && layer < w->p->summary.n_layers; layer++)
		r = put_layer(w, layer, e);
	for (i = 0; r == 0 && i < w->p->n_inodes; i++)
		if (S_ISREG(w->p->inodes[i].mode) && w->p->inodes[i].size &&
		    !w->p->inodes[i].body_len)
			r = put_file(w, NULL, i, e);
	if (r < 0)
		return r;
	r = sqfs_block_processor_finish(w->proc);
	return r ? fail_write(w, r, e) : 0;
}

/* --- inodes --- */

static int put_xattrs(struct writing *w, const struct plan_inode *in, sqfs_u32 *ret)
{
	uint32_t i;
	int r;

	*ret = NO_XATTR;
	if (!in->n_xattrs)
		return 0;
	r = sqfs_xattr_writer_begin(w->xattrs, 0);
	for (i = 0; r == 0 && i < in->n_xattrs; i++) {
		const struct varve_xattr *x = &in->xattrs[i];

		if (sqfs_get_xattr_prefix_id(x->name) < 0)
			w->ret->lost_xattrs++;
		else
			r = sqfs_xattr_writer_add(w->xattrs, x->name, x->value, x->size);
	}
	return r ? r : sqfs_xattr_writer_end(w->xattrs, ret);
}

static sqfs_inode_generic_t *new_inode(const struct plan_inode *in, uint32_t nlink)
{
	size_t n = S_ISLNK(in->mode) ? strlen(in->target) : 0;
	sqfs_inode_generic_t *g = calloc(1, sizeof(*g) + n + 1);

	if (!g)
		return NULL;
	switch (in->mode & S_IFMT) {
	case S_IFLNK:
		g->base.type = SQFS_INODE_SLINK;
		g->data.slink.nlink = nlink;
		g->data.slink.target_size = (sqfs_u32)n;
		memcpy(g->extra, in->target, n);
		g->payload_bytes_available = g->payload_bytes_used = (sqfs_u32)n;
		break;
	case S_IFBLK:
	case S_IFCHR:
		g->base.type = S_ISBLK(in->mode) ? SQFS_INODE_BDEV : SQFS_INODE_CDEV;
		g->data.dev.nlink = nlink;
		/* the kernel's new_encode_dev() */
		g->data.dev.devno = (in->rdev_minor & 0xff) | (in->rdev_major & 0xfff) << 8 |
				    (in->rdev_minor & ~0xffu) << 12;
		break;
	case S_IFIFO:
	case S_IFSOCK:
		g->base.type = S_ISFIFO(in->mode) ? SQFS_INODE_FIFO : SQFS_INODE_SOCKET;
		g->data.ipc.nlink = nlink;
		break;
	default:
		g->base.type = SQFS_INODE_FILE;
		g->data.file.fragment_index = NO_XATTR;
		g->data.file.fragment_offset = NO_XATTR;
		break;
	}
	return g;
}

static int fill_base(struct writing *w, sqfs_inode_generic_t *g, const struct plan_inode *in,
		     uint32_t number)
{
	int64_t t = in->mtime;
	int r;

	if (t < 0 || t > (int64_t)UINT32_MAX) {
		t = t < 0 ? 0 : (int64_t)UINT32_MAX;
		w->ret->lost_times++;
	}
	g->base.mode = (sqfs_u16)((in->mode & S_IFMT) | (in->mode & 07777));
	g->base.mod_time = (sqfs_u32)t;
	g->base.inode_number = number;
	r = sqfs_id_table_id_to_index(w->ids, in->uid, &g->base.uid_idx);
	return r ? r : sqfs_id_table_id_to_index(w->ids, in->gid, &g->base.gid_idx);
}

static int set_file_links(sqfs_inode_generic_t *g, uint32_t nlink)
{
	int r = nlink > 1 && g->base.type == SQFS_INODE_FILE ? sqfs_inode_make_extended(g) : 0;

	if (r == 0 && g->base.type == SQFS_INODE_EXT_FILE)
		g->data.file_ext.nlink = nlink;
	return r;
}

static int write_inode(struct writing *w, sqfs_inode_generic_t *g, uint32_t inode)
{
	sqfs_u64 block;
	sqfs_u32 offset;

	sqfs_meta_writer_get_position(w->inode_meta, &block, &offset);
	w->refs[inode] = block << 16 | offset;
	return sqfs_meta_writer_write_inode(w->inode_meta, g);
}

static int put_inode(struct writing *w, uint32_t inode)
{
	const struct plan_inode *in = &w->p->inodes[inode];
	sqfs_inode_generic_t *g = w->files[inode];
	sqfs_u32 xattr;
	int r;

	if (!g)
		w->files[inode] = g = new_inode(in, in->n_names);
	if (!g)
		return SQFS_ERROR_ALLOC;
	w->numbers[inode] = w->next_number++;
	r = fill_base(w, g, in, w->numbers[inode]);
	if (r == 0)
		r = put_xattrs(w, in, &xattr);
	if (r == 0 && xattr != NO_XATTR) {
		r = sqfs_inode_make_extended(g);
		if (r == 0)
			r = sqfs_inode_set_xattr_index(g, xattr);
	}
	if (r == 0)
		r = set_file_links(g, in->n_names);
	if (r == 0)
		r = write_inode(w, g, inode);
	sqfs_free(g);
	w->files[inode] = NULL;
	return r;
}

/* All children have their inodes: list them, then write the directory's own. */
static int put_dir(struct writing *w, uint32_t name)
{
	const struct plan_name *n = &w->p->names[name];
	const struct plan_inode *in = &w->p->inodes[n->inode];
	/* Of the root: one more than the last number, as the kernel and mksquashfs have it. */
	uint32_t parent =
		name == PLAN_ROOT ? w->next_number + 1 : w->numbers[w->p->names[n->parent].inode];
	sqfs_inode_generic_t *g;
	uint32_t child, links = 2;
	sqfs_u32 xattr;
	int r = sqfs_dir_writer_begin(w->dirs, 0);

	for (child = n->first_child; r == 0 && child != PLAN_NONE;
	     child = w->p->names[child].next_sibling) {
		uint32_t inode = w->p->names[child].inode;

		links += S_ISDIR(w->p->inodes[inode].mode) ? 1 : 0;
		r = sqfs_dir_writer_add_entry(w->dirs, w->p->names[child].name, w->numbers[inode],
					      w->refs[inode], (sqfs_u16)w->p->inodes[inode].mode);
	}
	if (r == 0)
		r = sqfs_dir_writer_end(w->dirs);
	if (r == 0)
		r = put_xattrs(w, in, &xattr);
	if (r)
		return r;
	g = sqfs_dir_writer_create_inode(w->dirs, links, xattr, parent);
	if (!g)
		return SQFS_ERROR_ALLOC;
	r = fill_base(w, g, in, w->numbers[n->inode]);
	if (r == 0)
		r = write_inode(w, g, n->inode);
	sqfs_free(g);
	return r;
}

/*
 * Post-order without recursion. A directory needs its parent's number before the parent is written,
 * so directories are numbered on the way down.
 */
static int put_tree(struct writing *w, struct varve_err *e)
{
	uint32_t name = PLAN_ROOT;
	int r = 0;

	w->next_number = 1;
	memset(w->refs, 0xff, ((size_t)w->p->n_inodes + 1) * sizeof(*w->refs));
	w->numbers[w->p->names[PLAN_ROOT].inode] = w->next_number++;
	for (;;) {
		const struct plan_name *n = &w->p->names[name];

		w->ret->entries++;
		if (S_ISDIR(w->p->inodes[n->inode].mode)) {
			if (name != PLAN_ROOT)
				w->numbers[n->inode] = w->next_number++;
			if (n->first_child != PLAN_NONE) {
				name = n->first_child;
				continue;
			}
			r = put_dir(w, name);
		} else if (!w->numbers[n->inode]) {
			r = put_inode(w, n->inode);
		}
		while (r == 0 && name != PLAN_ROOT && w->p->names[name].next_sibling == PLAN_NONE) {
			name = w->p->names[name].parent;
			r = put_dir(w, name);
		}
		if (r)
			return fail_write(w, r, e);
		if (name == PLAN_ROOT)
			return 0;
		name = w->p->names[name].next_sibling;
	}
}

static int put_tables(struct writing *w, struct varve_err *e)
{
	sqfs_file_t *f = &w->file.base;
	uint32_t root = w->p->names[PLAN_ROOT].inode;
	int r = sqfs_meta_writer_flush(w->inode_meta);

	w->super.root_inode_ref = w->refs[root];
	w->super.inode_count = w->next_number - 1;
	w->super.directory_table_start = w->file.size;
	if (r == 0)
		r = sqfs_meta_writer_flush(w->dir_meta);
	if (r == 0)
		r = sqfs_meta_write_write_to_file(w->dir_meta);
	if (r == 0)
		r = sqfs_frag_table_write(w->frags, f, &w->super, w->cmp);
	if (r == 0)
		r = sqfs_dir_writer_write_export_table(w->dirs, f, w->cmp, w->numbers[root],
						       w->refs[root], &w->super);
	if (r == 0)
		r = sqfs_id_table_write(w->ids, f, &w->super, w->cmp);
	if (r == 0)
		r = sqfs_xattr_writer_flush(w->xattrs, f, &w->super, w->cmp);
	w->super.bytes_used = w->file.size;
	if (r == 0)
		r = sqfs_super_write(&w->super, f);
	/* Loop devices need whole blocks. */
	if (r == 0 && w->file.size % DEVICE_SIZE)
		r = out_truncate(f, w->file.size + DEVICE_SIZE - w->file.size % DEVICE_SIZE);
	w->ret->size = w->file.size;
	return r ? fail_write(w, r, e) : 0;
}

int squashfs_write(const struct varve_plan *p, int fd, const char *name,
		   const struct squashfs_write_options *opt, struct squashfs_write_result *ret,
		   struct varve_err *e)
{
	struct writing w = {.p = p, .name = name, .ret = ret};
	int r;

	*ret = (struct squashfs_write_result){0};
	w.file.base = (sqfs_file_t){
		.base = {.destroy = out_destroy},
		.read_at = out_read,
		.write_at = out_write,
		.get_size = out_size,
		.truncate = out_truncate,
	};
	w.file.fd = fd;
	r = open_compressor(&w, opt, e);
	if (r == 0)
		r = open_writers(&w, opt->threads, e);
	if (r == 0)
		r = put_bodies(&w, e);
	w.super.inode_table_start = w.file.size;
	if (r == 0)
		r = put_tree(&w, e);
	if (r == 0)
		r = put_tables(&w, e);
	close_writers(&w);
	return r;
}
