/* SPDX-License-Identifier: Apache-2.0 */
/* The entries of a squashfs image as records of a table of contents. */
#include "materialize/layer/squashfs_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/text.h"

#define TARGET_MAX 65535u

struct making {
	struct toc_writer *w;
	uint8_t *seen; /* a bit for each inode that was met and is no directory */
	char **first;  /* inode number -> first path of what has several; NULL: not met yet */
	struct varve_xattr *xattrs;
	void **owned; /* keys and values to free */
	uint32_t n_xattrs;
};

static void drop_xattrs(struct making *m)
{
	uint32_t i;

	for (i = 0; i < m->n_xattrs; i++) {
		sqfs_free(m->owned[2 * (size_t)i]);
		sqfs_free(m->owned[2 * (size_t)i + 1]);
	}
	free(m->xattrs);
	free(m->owned);
	m->xattrs = NULL;
	m->owned = NULL;
	m->n_xattrs = 0;
}

static int read_xattr(struct squashfs *q, struct making *m, struct varve_err *e)
{
	sqfs_xattr_entry_t *key = NULL;
	sqfs_xattr_value_t *value = NULL;
	int r = sqfs_xattr_reader_read_key(q->xattrs, &key);

	if (r == 0)
		r = sqfs_xattr_reader_read_value(q->xattrs, key, &value);
	m->owned[2 * (size_t)m->n_xattrs] = key;
	m->owned[2 * (size_t)m->n_xattrs + 1] = value;
	if (r) {
		m->n_xattrs++;
		return squashfs_fail(e, r, "xattr");
	}
	m->xattrs[m->n_xattrs++] =
		(struct varve_xattr){(const char *)key->key, value->value, value->size};
	return value->size > TAR_XATTR_MAX
		       ? varve_fail(e, VARVE_E_LIMIT, "an xattr is larger than %u bytes",
				    TAR_XATTR_MAX)
		       : 0;
}

static int read_xattrs(struct squashfs *q, struct making *m, const sqfs_inode_generic_t *inode,
		       struct varve_err *e)
{
	sqfs_xattr_id_t desc;
	sqfs_u32 idx, i;
	int r = sqfs_inode_get_xattr_index(inode, &idx);

	if (r || idx == 0xffffffffu || !q->xattrs)
		return 0;
	r = sqfs_xattr_reader_get_desc(q->xattrs, idx, &desc);
	if (r == 0 && desc.count > TAR_XATTRS_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "more than %u xattrs", TAR_XATTRS_MAX);
	if (r == 0 && desc.count)
		r = sqfs_xattr_reader_seek_kv(q->xattrs, &desc);
	if (r)
		return squashfs_fail(e, r, "xattrs");
	m->xattrs = calloc(desc.count + 1, sizeof(*m->xattrs));
	m->owned = calloc(2 * ((size_t)desc.count + 1), sizeof(*m->owned));
	if (!m->xattrs || !m->owned)
		return varve_fail_oom(e);
	for (i = 0; i < desc.count; i++) {
		r = read_xattr(q, m, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint32_t type_bits(uint16_t type)
{
	switch (type) {
	case SQFS_INODE_DIR:
	case SQFS_INODE_EXT_DIR:
		return S_IFDIR;
	case SQFS_INODE_SLINK:
	case SQFS_INODE_EXT_SLINK:
		return S_IFLNK;
	case SQFS_INODE_BDEV:
	case SQFS_INODE_EXT_BDEV:
		return S_IFBLK;
	case SQFS_INODE_CDEV:
	case SQFS_INODE_EXT_CDEV:
		return S_IFCHR;
	case SQFS_INODE_FIFO:
	case SQFS_INODE_EXT_FIFO:
		return S_IFIFO;
	case SQFS_INODE_SOCKET:
	case SQFS_INODE_EXT_SOCKET:
		return S_IFSOCK;
	default:
		return S_IFREG;
	}
}

static int get_target(const sqfs_inode_generic_t *inode, struct span *ret, struct varve_err *e)
{
	uint32_t n = inode->base.type == SQFS_INODE_SLINK ? inode->data.slink.target_size
							  : inode->data.slink_ext.target_size;
	const char *p = (const char *)inode->extra;

	if (n == 0 || n > TARGET_MAX || memchr(p, '\0', n))
		return varve_fail(e, VARVE_E_FORMAT, "squashfs: target of a symlink");
	*ret = span_of(p, n);
	return 0;
}

static int fill_owner(struct squashfs *q, const sqfs_inode_generic_t *inode, struct tar_entry *t,
		      struct varve_err *e)
{
	int r = sqfs_id_table_index_to_id(q->ids, inode->base.uid_idx, &t->uid);

	if (r == 0)
		r = sqfs_id_table_index_to_id(q->ids, inode->base.gid_idx, &t->gid);
	return r ? squashfs_fail(e, r, "owner") : 0;
}

static int fill(struct squashfs *q, const sqfs_inode_generic_t *inode, struct tar_entry *t,
		struct varve_err *e)
{
	uint32_t index, dev;
	int r = fill_owner(q, inode, t, e);

	t->mode = type_bits(inode->base.type) | (inode->base.mode & 07777u);
	t->mtime = inode->base.mod_time;
	if (r == 0 && S_ISLNK(t->mode))
		r = get_target(inode, &t->link, e);
	if (S_ISBLK(t->mode) || S_ISCHR(t->mode)) {
		dev = inode->base.type >= SQFS_INODE_EXT_DIR ? inode->data.dev_ext.devno
							     : inode->data.dev.devno;
		/* the kernel's new_encode_dev() */
		t->rdev_major = (dev & 0xfff00u) >> 8;
		t->rdev_minor = (dev & 0xffu) | ((dev >> 12) & 0xfff00u);
	}
	index = S_ISREG(t->mode) ? q->by_number[inode->base.inode_number] : 0;
	if (index) {
		const struct squashfs_file *f = &q->files[index - 1];

		t->size = f->size;
		t->body_off = f->off;
		t->body_len = f->body_len;
		t->extents = f->extents;
		t->n_extents = f->n_extents;
	}
	return r;
}

static int put(struct squashfs *q, const char *path, sqfs_inode_generic_t *inode, void *user,
	       struct varve_err *e)
{
	struct making *m = user;
	uint32_t number = inode->base.inode_number;
	struct tar_entry t = {.path = span_str(path), .link = span_of("", 0)};
	bool again = squashfs_nlink(inode) > 1 && m->first[number];
	int r = 0;

	if (!S_ISDIR(type_bits(inode->base.type)) && !again) {
		/* Its body would be that of two files, and a tar has no such thing. Inodes that
		 * differ may claim one number. */
		if (m->seen[number / 8] & 1u << number % 8)
			return varve_fail(
				e, VARVE_E_UNSAFE,
				"squashfs: \"%s\" is a second name of a file that has one",
				TEXT_SAFE(path));
		m->seen[number / 8] |= (uint8_t)(1u << number % 8);
	}
	if (again) {
		t.flags = TAR_HARDLINK;
		t.link = span_str(m->first[number]);
		t.mode = S_IFREG;
	} else {
		r = fill(q, inode, &t, e);
		if (r == 0)
			r = read_xattrs(q, m, inode, e);
		t.xattrs = m->xattrs;
		t.n_xattrs = m->n_xattrs;
		if (r == 0 && squashfs_nlink(inode) > 1) {
			m->first[number] = strdup(path);
			if (!m->first[number])
				r = varve_fail_oom(e);
		}
	}
	if (r == 0)
		r = toc_writer_add(m->w, &t, e);
	drop_xattrs(m);
	return r < 0 ? varve_wrap(e, r, "entry %s", TEXT_SAFE(path)) : 0;
}

int squashfs_toc(struct squashfs *q, struct toc_writer *w, struct varve_err *e)
{
	struct making m = {.w = w};
	uint32_t i;
	int r;

	m.first = calloc((size_t)q->super.inode_count + 1, sizeof(*m.first));
	m.seen = calloc((size_t)q->super.inode_count / 8 + 1, 1);
	if (!m.first || !m.seen)
		r = varve_fail_oom(e);
	else
		r = squashfs_walk(q, put, &m, e);
	for (i = 0; m.first && i <= q->super.inode_count; i++)
		free(m.first[i]);
	free(m.seen);
	free(m.first);
	return r;
}
