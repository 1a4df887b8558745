/* SPDX-License-Identifier: Apache-2.0 */
/* Where the store and the rootfs trees are: option, environment, default of the user. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "/var/lib/varve/WHAT" for root, below the data directory of the user otherwise. */
static int default_path(const char *what, char **ret, struct varve_err *e)
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n;

	if (geteuid() == 0)
		n = asprintf(ret, "/var/lib/varve/%s", what);
	else if (data && data[0] == '/') /* basedir-spec: relative ones are invalid */
		n = asprintf(ret, "%s/varve/%s", data, what);
	else if (home && home[0] == '/')
		n = asprintf(ret, "%s/.local/share/varve/%s", home, what);
	else
		return varve_fail(e, VARVE_E_USAGE,
				  "HOME is not set, so there is no default: give --%s DIR", what);
	return n < 0 ? varve_fail(e, ENOMEM, "out of memory") : 0;
}

static int choose(const char *option, const char *variable, const char *what, char **ret,
		  struct varve_err *e)
{
	const char *path = option ? option : getenv(variable), *scheme;
	char shown[256], plain[256];

	if (!path || !path[0])
		return default_path(what, ret, e);
	/* A directory "http:" would be made, and its name, with a password in it, shown. */
	scheme = strstr(path, "://");
	if (scheme && scheme == path + strcspn(path, ":/"))
		return varve_fail(e, VARVE_E_USAGE, "%s: --%s wants a directory, and this is a URL",
				  VARVE_TEXT_SAFE(path), what);
	if (strcmp(varve_text_show(path, shown, sizeof(shown)),
		   varve_text_escape_str(path, plain, sizeof(plain))) != 0)
		return varve_fail(e, VARVE_E_USAGE,
				  "%s: --%s wants a directory, and this looks like a user and a "
				  "password; a directory of that name is written with ./",
				  shown, what);
	*ret = strdup(path);
	return *ret ? 0 : varve_fail(e, ENOMEM, "out of memory");
}

/* base/rest without empty and "." components; ".." below what does not exist is ENOENT. */
static int append(const char *base, const char *rest, char **ret)
{
	char *joined = malloc(strlen(base) + strlen(rest) + 2);
	size_t n = strcmp(base, "/") == 0 ? 0 : strlen(base);

	if (!joined)
		return ENOMEM;
	memcpy(joined, base, n);
	while (*rest) {
		size_t len = strcspn(rest, "/");

		if (len == 2 && memcmp(rest, "..", 2) == 0) {
			free(joined);
			return ENOENT;
		}
		if (len && !(len == 1 && rest[0] == '.')) {
			joined[n++] = '/';
			memcpy(joined + n, rest, len);
			n += len;
		}
		rest += len + strspn(rest + len, "/");
	}
	if (n == 0)
		joined[n++] = '/';
	joined[n] = '\0';
	*ret = joined;
	return 0;
}

/*
 * Records name a roots dir by its path, so the same directory must always give the same text: what
 * exists is resolved, the rest is appended.
 */
static int make_absolute(char **path, struct varve_err *e)
{
	char *copy = strdup(*path), *resolved = NULL, *joined = NULL, *slash;
	size_t n = strlen(*path);
	int code = copy ? 0 : ENOMEM;

	/* Cut names off the end until what is left is there. */
	while (code == 0 && !resolved) {
		while (n > 1 && copy[n - 1] == '/')
			copy[--n] = '\0';
		resolved = realpath(n ? copy : ".", NULL);
		if (resolved)
			break;
		if (errno != ENOENT) {
			code = errno;
			break;
		}
		slash = strrchr(copy, '/');
		n = slash ? (size_t)(slash - copy) + (slash == copy) : 0;
		copy[n] = '\0';
	}
	if (resolved)
		code = append(resolved, *path + n, &joined);
	free(copy);
	free(resolved);
	if (code)
		return varve_fail(e, code, "%s: %s", VARVE_TEXT_SAFE(*path), strerror(code));
	free(*path);
	*path = joined;
	return 0;
}

int cli_store_path(struct cli *c, const char **ret, struct varve_err *e)
{
	int r = c->store_path ? 0 : choose(c->g.store, "VARVE_STORE", "store", &c->store_path, e);

	*ret = c->store_path;
	return r;
}

int cli_roots_path(struct cli *c, const char **ret, struct varve_err *e)
{
	int r = 0;

	if (!c->roots_path) {
		r = choose(c->g.roots, "VARVE_ROOTS", "roots", &c->roots_path, e);
		if (r == 0)
			r = make_absolute(&c->roots_path, e);
		if (r < 0)
			return varve_wrap(e, r, "roots directory");
	}
	*ret = c->roots_path;
	return 0;
}
