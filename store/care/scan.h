/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of the store, and what in them belongs to a living process. */
#pragma once

#include "store/store.h"

struct scan_entry {
	const char *dir; /* relative to the store */
	const char *name;
	char path[300]; /* relative to the store */
	struct stat st;
};
/*
 * Each entry of a directory of the store; a missing directory is empty, entries that vanish
 * meanwhile are skipped. fn non-zero ends with that value.
 */
int scan_dir(struct varve_store *s, const char *dir,
	     int (*fn)(void *user, const struct scan_entry *entry, struct varve_err *e), void *user,
	     struct varve_err *e);

/* Nobody holds the file's flock: then *ret_fd holds it until closed. False if somebody does, or it
 * is gone. */
bool scan_claim(struct varve_store *s, const char *path, int *ret_fd);

/* Digests of all leases that a process holds. Dead ones are given to dead (may be NULL). */
int scan_leases(struct varve_store *s, int (*fn)(void *user, const struct varve_digest *d),
		void (*dead)(void *user, const struct scan_entry *entry), void *user,
		struct varve_err *e);
/* Digests of a manifest or index and of all below it, as far as the documents are there. */
int scan_document(struct varve_store *s, const struct varve_digest *d,
		  int (*fn)(void *user, const struct varve_digest *d, const char *name), void *user,
		  struct varve_err *e);
/*
 * Digests that entries of other tools in index.json need, as far as the documents are there: the
 * entry itself, and all below it. name: of the entry, for the reason.
 */
int scan_foreign(struct varve_store *s,
		 int (*fn)(void *user, const struct varve_digest *d, const char *name), void *user,
		 struct varve_err *e);
