/* SPDX-License-Identifier: Apache-2.0 */
/* Paths inside a git tree and the URLs under which a raw-file host serves them. Pure. */
#pragma once

#include "store/base/buf.h"
#include "varve-base.h"

/*
 * "a/./b//../c" -> "a/c", "" and "." -> "."; like Go's path.Clean. out (reset first) holds the
 * result. VARVE_E_UNSAFE: absolute, climbs out of the tree, control bytes, over 1023 bytes.
 */
int official_path_clean(struct buf *out, struct span path, struct varve_err *e);
/* Clean(dir "/" name), which must stay inside root (a cleaned directory of the tree). */
int official_path_join(struct buf *out, const char *root, const char *dir, struct span name,
		       struct varve_err *e);

/* How the files of a git host are fetched: "{repo}", "{commit}" and "{path}" are filled in. */
struct official_host {
	const char *host; /* "github.com" */
	const char *url;  /* "https://raw.githubusercontent.com/{repo}/{commit}/{path}" */
};
/* For owners of such strings: free() takes no const. */
#define UNCONST(p) ((void *)(uintptr_t)(p))
/*
 * The URL of a file of a repository at a commit. own (n_own): configured hosts, consulted before
 * the built-in ones; a host that nobody knows is asked as GitLab if its name starts with "gitlab.",
 * else as cgit. VARVE_E_UNSUPPORTED: the repository's URL names no host.
 */
int official_url(struct buf *out, const struct official_host *own, size_t n_own, const char *repo,
		 const char *commit, const char *path, struct varve_err *e);
/* "{image}" of a library URL template is filled in. */
int official_library_url(struct buf *out, const char *url, const char *image, struct varve_err *e);
