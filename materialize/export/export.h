/* SPDX-License-Identifier: Apache-2.0 */
/* One run of export, between its forms. */
#pragma once

#include "materialize/codec/sink.h"
#include "materialize/export/tar_out.h"
#include "store/oci/oci.h"
#include "varve-materialize.h"

struct export
{
	struct varve_store *s;
	const struct varve_ctx *ctx;
	const struct varve_export_options *opt;
	struct varve_export_result *ret;
	const struct varve_image *images;
	size_t n;
	const char *name; /* of the output, for messages */
	char *file;     /* to be put in place; NULL: a stream, or a device or pipe that is there */
	bool directory; /* file is there and is one */
	char *spool_dir;
};

/* See what the output's name is, before any work. Undone by export_target_done. */
int export_target(struct export *x, struct varve_err *e);
void export_target_done(struct export *x);
/* Write the form that was chosen. */
int export_write(struct export *x, struct varve_err *e);
bool export_is_tree(enum varve_export_format f);

/* Trees: tar in all compressions, .wsl. */
int export_image_tar(struct export *x, struct sink *out, struct varve_err *e);
/* fd: an empty file that can be written by position. */
int export_image_squashfs(struct export *x, int fd, struct varve_err *e);

/* Where the files of a layout go: a directory or a tar. */
struct layout_out {
	struct export *x;
	int dir;             /* -1: tar */
	struct tar_out *tar; /* NULL: dir */
	struct varve_digest *done;
	size_t n_done;
};
void layout_out_done(struct layout_out *o);
int layout_out_bytes(struct layout_out *o, const char *name, const void *p, size_t n,
		     struct varve_err *e);
/* "blobs/sha256/<hex>", verified on the way, once each, unless the other side has it. */
int layout_out_blob(struct layout_out *o, const struct varve_digest *d, uint64_t size,
		    struct varve_err *e);
/* A whole OCI layout with all images. */
int export_layout(struct layout_out *o, struct varve_err *e);
/* A docker-archive with all images; tar only. */
int export_docker(struct layout_out *o, struct varve_err *e);

/* The files that a .wsl has beside the image's. Free with wsl_files_done. */
struct wsl_files {
	struct buf distribution, conf;
	struct export_extra *extras;
	size_t n;
};
struct varve_plan;
int wsl_files_make(struct wsl_files *ret, struct varve_plan *p, const struct varve_wsl_options *o,
		   struct varve_err *e);
void wsl_files_done(struct wsl_files *f);
