/* SPDX-License-Identifier: Apache-2.0 */
/* Names of files on disk (docs/store-format.md);
 * everything is relative to the store's directory. */
#pragma once

#include "store/index/index.h"
#include "varve-store.h"

#define LAYOUT_VERSION_FILE "VERSION"
#define LAYOUT_OCI          "oci-layout"
#define LAYOUT_INDEX        "index.json"
#define LAYOUT_INDEX_BAD    "index.json.bad" /* a damaged one, kept for its reader */
#define LAYOUT_INSTALLS     "installs.json"
#define LAYOUT_LOCK         "lock"
#define LAYOUT_GATE         "gate"
#define LAYOUT_BALLAST      INDEX_DIR "/ballast"
#define LAYOUT_MIRROR_LOCK  INDEX_DIR "/mirror"
#define LAYOUT_BLOBS        "blobs"
#define LAYOUT_AUX          "aux"
#define LAYOUT_TMP          "tmp"
#define LAYOUT_PARTIAL      "tmp/partial"
#define LAYOUT_LEASES       "leases"
#define LAYOUT_TRASH        "trash"

#define LAYOUT_PATH_MAX 192

/* "blobs/sha256/<hex>" */
const char *layout_blob(const struct varve_digest *d, char buf[LAYOUT_PATH_MAX]);
/* "blobs/sha256" */
const char *layout_blob_dir(enum varve_algo algo);
/* "tmp/partial/<hex>" */
const char *layout_partial(const struct varve_digest *d, char buf[LAYOUT_PATH_MAX]);
/* "aux/<kind>/<hex>" */
const char *layout_aux(const char *kind, const struct varve_digest *d, char buf[LAYOUT_PATH_MAX]);
/* "trash/<random>-<hex>" */
const char *layout_trash(const char *name, char buf[LAYOUT_PATH_MAX]);
/* A digest from a file name of 64 or 128 hex characters. */
bool layout_digest_of(const char *name, struct varve_digest *ret);

/*
 * Make what is missing of a store in an empty directory, or finish making one. VERSION comes last:
 * with it the store is whole. VARVE_E_NOSTORE if something else is in the directory.
 */
int layout_create(int root, const char *path, const struct varve_ctx *ctx, struct varve_err *e);
/*
 * The directories and locks that every store has are made again where they are missing (invariant
 * I6). What cannot be made now fails where it is needed.
 */
void layout_complete(int root);
/*
 * A backup (index.json of ours or installs.json, and blobs) becomes a store whose database is
 * missing. Nothing happens to any other directory.
 */
int layout_restore(int root, struct varve_err *e);
/*
 * For who would not make a store: 0 if one is here, or is being made by another process just now
 * (waits for that); VARVE_E_NOTFOUND if there is none yet, VARVE_E_NOSTORE if something else is in
 * the directory. wait false: whoever holds the lock may hold it for ever.
 */
int layout_absent(int root, const char *path, const struct varve_ctx *ctx, bool wait,
		  struct varve_err *e);
/* VARVE_E_NOSTORE without VERSION; VARVE_E_VERSION if it asks for what we do not know.
 * ret_read_only: may only be read. */
int layout_check(int root, const char *path, bool *ret_read_only, struct varve_err *e);
/* 1 MiB that gc can give up when the disk is so
 * full that not even its own records can be written. */
void layout_make_ballast(int root);
/* Write oci-layout again. */
int layout_write_oci(int root, struct varve_err *e);
