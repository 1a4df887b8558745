/* SPDX-License-Identifier: Apache-2.0 */
/* Change the entry of one registry in an auth file, locked against other logins. */
#pragma once

#include "fetch/auth/authfile.h"

struct authwrite {
	char path[4096]; /* behind all symlinks */
	int dir;         /* its directory, locked */
	struct buf text; /* as it is now; empty: there is none */
	json *doc;
};

/*
 * Lock and read. A symlink is written through, so that it stays one. create: make the directory.
 * 1: the file exists, 0: it does not. Until authwrite_done() other processes wait here.
 */
int authwrite_open(struct authwrite *w, const char *path, bool create, const struct varve_ctx *ctx,
		   struct varve_err *e);
/*
 * Put the entry of a registry in place of all that mean the same; auth: base64 of user:password,
 * NULL: only remove. 1: done, 0: there was nothing to remove.
 */
int authwrite_entry(struct authwrite *w, const char *registry, const struct buf *auth,
		    struct varve_err *e);
void authwrite_done(struct authwrite *w);
