/* SPDX-License-Identifier: Apache-2.0 */
/* One run of import: from ranges of files to blobs, and from blobs to images. */
#pragma once

#include "store/base/hash.h"
#include "store/catalog.h"
#include "store/lease.h"
#include "store/oci/oci.h"
#include "varve-materialize.h"

struct import {
	struct varve_store *s;
	const struct varve_ctx *ctx;
	const struct varve_import_options *opt;
	struct lease *lease;
	const char *path; /* as the user gave it */
	char *origin;     /* "file:/absolute/path" */
	struct varve_platform platform;
	bool rootfs;        /* see import_blob */
	bool source_failed; /* what is imported could not be read */
	uint64_t documents; /* bytes of them that were read so far */
};
/* Bytes of an open file. */
struct import_range {
	int fd; /* borrowed */
	uint64_t off, size;
	uint64_t file; /* with off: the same for all names of a member */
};
/* Blobs of one image, as they became present. */
struct import_blobs {
	struct catalog_blob *items; /* only those that were not there before */
	size_t n;
	uint64_t n_all, bytes_new;
};
void import_blobs_done(struct import_blobs *b);

/*
 * A range becomes a blob: hashed, copied, a layer read on the way; published only if all of that
 * went well. want NULL: whatever its digest is. ret_facts is filled for layers. With im->rootfs the
 * layer must be one archive. 1: it is several in one file: nothing was published.
 */
int import_blob(struct import *im, struct import_blobs *blobs, enum varve_blob_kind kind,
		const struct import_range *range, const struct varve_digest *want,
		struct varve_digest *ret, struct varve_layer_facts *ret_facts, struct varve_err *e);
/* A document made or read by us. */
int import_document(struct import *im, struct import_blobs *blobs, enum varve_blob_kind kind,
		    const struct buf *doc, const struct varve_digest *want,
		    struct varve_digest *ret, struct varve_err *e);
/* Layers become an image of our own making: config and manifest are built. */
int import_build(struct import *im, struct import_blobs *blobs, const struct oci_layer_desc *layers,
		 size_t n, struct varve_digest *ret_manifest, struct varve_err *e);

/* What an image will be recorded as. */
struct import_image {
	const char *kind;
	const char *member; /* may be NULL */
	struct varve_digest manifest;
	struct varve_digest target; /* not set: the manifest */
	const struct varve_digest *parents;
	size_t n_parents;
	const char *const *names; /* found in the archive, NULL-terminated; may be NULL */
};
/* A document of n bytes is about to be read: VARVE_E_LIMIT when all together are too many. */
int import_charge(struct import *im, uint64_t n, struct varve_err *e);
/* One transaction, without index.json: varve_import() writes that at its end. The option's name
 * wins. Tells the caller. */
int import_commit(struct import *im, const struct import_blobs *blobs,
		  const struct import_image *image, struct varve_err *e);
/* "localhost/<image>:<tag>" by the name of the file; -VARVE_E_USAGE without one. */
int import_file_name(const struct import *im, char out[800], struct varve_err *e);

/* An unnamed file in the store. The fd, or <0. */
int import_scratch(struct import *im, struct varve_err *e);
/* Concatenated archives, rewritten as one, gzip, to out. */
int import_repack(struct import *im, const struct import_range *range, int out, uint64_t *ret_size,
		  struct varve_err *e);

/* --- the kinds --- */
struct members;
enum import_kind { IMPORT_NO_IMAGES, IMPORT_LAYOUT, IMPORT_DOCKER };
/*
 * What an archive or directory with such names is. An archive of images that cannot be read as one
 * is an error that says what to do: nobody wants a root filesystem of blobs.
 */
int import_kind(struct import *im, struct members *m, enum import_kind *ret, bool *ret_docker_too,
		struct varve_err *e);
int import_rootfs(struct import *im, const struct import_range *range, const char *kind,
		  const char *member, struct varve_err *e);
int import_layout(struct import *im, struct members *m, struct varve_err *e);
int import_docker(struct import *im, struct members *m, struct varve_err *e);
int import_iso(struct import *im, int fd, uint64_t size, struct varve_err *e);
bool iso_looks_like(int fd);
/* VARVE_E_FORMAT, with what to do, if the file (inflated, too) is a known disk image or file
 * system. */
int import_refuse_known(const struct import *im, int fd, struct varve_err *e);
