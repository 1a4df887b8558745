/* SPDX-License-Identifier: Apache-2.0 */
/* Whose directories and files are believed: those of the caller, of root and of trusted owners. */
#pragma once

#include "store/store.h"

/*
 * Nobody but the caller, root and the trusted owners of s can have written what looks like this: it
 * is theirs, and neither its group nor others may write to it.
 */
bool trust_stat(const struct varve_store *s, const struct stat *st);
/* The owner alone. */
bool trust_owner(const struct varve_store *s, uid_t uid);
/*
 * Judge the directory of s, those in it and its database. s->foreign becomes NULL, or says what is
 * the matter: "it belongs to user 1000". A foreign store is never written, its database and what it
 * derived from layers are not looked at, and its blobs are proven by their digests as they are
 * read.
 */
int trust_find(struct varve_store *s, struct varve_err *e);
