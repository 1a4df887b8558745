/* SPDX-License-Identifier: Apache-2.0 */
/* Find the credential for a registry: auth files, helpers, netrc (docs/requirements.md 2.21
 * to 2.27). */
#pragma once

#include "fetch/auth/credential.h"
#include "varve-fetch.h"

/*
 * host as in an image reference ("docker.io", "127.0.0.1:5000"), path may be NULL. 0 also when
 * there is none (CREDENTIAL_NONE). A malformed file or a failing host-specific helper: VARVE_E_AUTH
 * that names it.
 */
int credentials_find(struct credential *ret, const char *host, const char *path, bool https,
		     const struct varve_ctx *ctx, struct varve_err *e);

/* How many of the auth files are of the containers
 * tools: varve login and logout change no other. */
#define CREDENTIALS_OWN_FILES 3u
/* The i-th auth file ("" if its variable is not set); false behind the last one. */
bool credentials_file(unsigned i, char *out, size_t size, bool *ret_legacy);
/* Does the file itself hold a credential for the host? What its helpers know is not asked. */
bool credentials_file_has(const char *file, bool legacy, const char *host);
/* Ask one helper. 0 also when it knows nothing (CREDENTIAL_NONE). */
int credentials_ask_helper(struct credential *ret, const char *name, const char *host,
			   const struct varve_ctx *ctx, struct varve_err *e);
/* "Basic ..." of a user and a password; malloc'ed, NULL without memory. */
char *credential_basic(const struct credential *cr);
