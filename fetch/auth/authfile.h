/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that hold credentials: containers auth.json, docker config.json, .dockercfg, netrc.
 * Pure. */
#pragma once

#include "fetch/auth/credential.h"
#include "store/base/json.h"
#include "varve-base.h"

#define AUTHFILE_MAX     (1u << 20)
#define AUTHFILE_KEY_MAX 1024

/* What one auth file says about a registry. */
struct authfile_answer {
	struct credential credential;
	char *helper;         /* ask docker-credential-<helper>; NULL: none */
	bool helper_specific; /* from credHelpers: its failure is an error */
};
/*
 * A member of an auth file that names registries; NULL if there is none. VARVE_E_FORMAT: it is no
 * object.
 */
int authfile_member(const json **ret, const json *doc, const char *key, struct varve_err *e);
/*
 * legacy: .dockercfg has no "auths" around. path: repository, the most specific entry wins; may be
 * NULL. VARVE_E_FORMAT: not JSON, a helper name that is no file name, "auth" that is no base64.
 */
int authfile_find(struct authfile_answer *ret, const void *p, size_t n, bool legacy,
		  const char *host, const char *path, struct varve_err *e);
void authfile_answer_done(struct authfile_answer *a);

/* The server name that Docker's tools use for a host: Docker Hub's is a URL
 * (docs/requirements.md 1.10). */
const char *authfile_server_name(const char *host);
/* The host, or host and namespace, that a key of "auths" means: "https://h/v1/" is "h". */
void authfile_normalise_key(const char *key, char out[AUTHFILE_KEY_MAX]);
/* docker.io for each of its names, otherwise host. */
const char *authfile_host(const char *host);
/* What a helper prints on "get". VARVE_E_FORMAT. */
int helper_answer_parse(struct credential *ret, const void *p, size_t n, struct varve_err *e);
/* The password of a machine (the first match; "default" is for no registry). False: none. */
bool netrc_find(const void *p, size_t n, const char *machine, struct credential *ret);
/* A helper's name: [A-Za-z0-9_.-]+, no path. */
bool helper_name_ok(const char *name);
