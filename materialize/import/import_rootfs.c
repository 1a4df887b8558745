/* SPDX-License-Identifier: Apache-2.0 */
/* A root filesystem as an archive or squashfs becomes an image of one layer. */

#include "materialize/codec/inflate.h"
#include "materialize/confine/cage.h"
#include "materialize/import/import.h"
#include "materialize/import/import_members.h"
#include "materialize/layer/squashfs.h"
#include "materialize/layer/toc.h"
#include "materialize/tar/tar.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/care/discard.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* The file's bytes as a layer, or what they become when they are several archives. */
static int rootfs_layer(struct import *im, struct import_blobs *blobs,
			const struct import_range *range, struct oci_layer_desc *layer,
			struct varve_layer_facts *facts, struct varve_err *e)
{
	struct import_range one = {0};
	VARVE_CLOSE int out = -1;
	int r;

	im->rootfs = true;
	layer->size = range->size;
	r = import_blob(im, blobs, VARVE_BLOB_LAYER, range, NULL, &layer->digest, facts, e);
	im->rootfs = false;
	if (r <= 0)
		return r;
	out = import_scratch(im, e);
	r = out < 0 ? out : import_repack(im, range, out, &one.size, e);
	one.fd = out;
	layer->size = one.size;
	return r == 0 ? import_blob(im, blobs, VARVE_BLOB_LAYER, &one, NULL, &layer->digest, facts,
				    e)
		      : r;
}

static bool is_disk_image(const struct toc_entry *t)
{
	static const char *const suffixes[] = {".img", ".ext2", ".ext3", ".ext4", ".erofs", ".xfs"};
	size_t i;

	for (i = 0; i < VARVE_ARRAY_SIZE(suffixes); i++) {
		size_t n = strlen(suffixes[i]);

		if (t->path_len > n && !strcasecmp(t->path + t->path_len - n, suffixes[i]))
			return true;
	}
	return false;
}

/* Some live systems put one disk image into their squashfs: of that no tree can be made. */
static int check_squashfs(struct import *im, const struct varve_layer_facts *f, struct varve_err *e)
{
	struct toc_entry entry, image = {0};
	struct toc *t = NULL;
	size_t at = 0, others = 0;

	if (f->compression != VARVE_COMP_SQUASHFS || toc_open(&t, im->s, &f->diff_id, NULL) < 0)
		return 0;
	while (toc_next(t, &at, &entry)) {
		if (S_ISREG(entry.mode) && is_disk_image(&entry) && !image.path)
			image = entry;
		else if (!S_ISDIR(entry.mode))
			others++;
	}
	if (!image.path || others) {
		toc_free(t);
		return 0;
	}
	(void)varve_fail(e, VARVE_E_UNSUPPORTED,
			 "the squashfs holds no tree but one disk image, %s (%s): take it out with "
			 "unsquashfs, mount it, and import a tar of what is in it",
			 TEXT_SAFE(image.path), TEXT_SIZE(image.size));
	toc_free(t);
	return -VARVE_E_UNSUPPORTED;
}

/*
 * Anything that begins with zeros looks like a tar that ends at once. An archive of nothing is made
 * of zeros alone, and of no more of them than tar writes.
 */
static int check_entries(const struct varve_layer_facts *f, struct varve_err *e)
{
	static const char zeros[10240];
	struct varve_digest d;
	int r;

	if (f->entries || f->compression == VARVE_COMP_SQUASHFS)
		return 0;
	if (f->size >= 1024 && f->size <= sizeof(zeros) && f->size % 512 == 0) {
		r = hash_bytes(f->diff_id.algo, zeros, (size_t)f->size, &d, e);
		if (r < 0 || varve_digest_equal(&d, &f->diff_id))
			return r;
	}
	return varve_fail(
		e, VARVE_E_FORMAT,
		"holds no entry, and is not an empty tar either: it begins with zeros, as "
		"disk images do; import a tar of the tree that is in it");
}

int import_rootfs(struct import *im, const struct import_range *range, const char *kind,
		  const char *member, struct varve_err *e)
{
	VARVE_CLEANUP(import_blobs_done) struct import_blobs blobs = {0};
	const char *names[2] = {NULL, NULL};
	struct import_image image = {.kind = kind, .member = member, .names = names};
	struct oci_layer_desc layer = {0};
	struct varve_layer_facts facts;
	char name[800];
	int r = 0;

	/* Before the work: that a file has no usable name must not cost minutes to find out. */
	if (!im->opt->name) {
		r = import_file_name(im, name, e);
		names[0] = name;
	}
	if (r == 0)
		r = rootfs_layer(im, &blobs, range, &layer, &facts, e);
	if (r == 0)
		r = check_entries(&facts, e);
	if (r == 0)
		r = check_squashfs(im, &facts, e);
	if (r < 0)
		return varve_wrap(e, r, "%s", TEXT_SAFE(im->path));
	if (!member && facts.compression == VARVE_COMP_SQUASHFS)
		image.kind = "squashfs";
	layer.diff_id = facts.diff_id;
	layer.media_type = oci_layer_media_type(facts.compression);
	r = import_build(im, &blobs, &layer, 1, &image.manifest, e);
	return r == 0 ? import_commit(im, &blobs, &image, e) : r;
}
