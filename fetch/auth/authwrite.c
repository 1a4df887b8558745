/* SPDX-License-Identifier: Apache-2.0 */
/* Change the entry of one registry in an auth file, locked against other logins. */
#include "fetch/auth/authwrite.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"

#define LINKS_MAX 16

/* Where a chain of symlinks ends; that need not exist yet. */
static int follow_links(char path[4096], struct varve_err *e)
{
	for (int i = 0; i < LINKS_MAX; i++) {
		char to[2048], next[4096];
		const char *slash = strrchr(path, '/');
		ssize_t n = readlink(path, to, sizeof(to) - 1);

		if (n < 0)
			return 0;
		to[n] = 0;
		if ((size_t)snprintf(next, sizeof(next), "%.*s%s",
				     to[0] != '/' && slash ? (int)(slash + 1 - path) : 0, path,
				     to) >= sizeof(next))
			break;
		memcpy(path, next, sizeof(next));
	}
	return varve_fail(e, VARVE_E_CONFIG, "%s: too many symbolic links", TEXT_SAFE(path));
}

static const char *name_of(const struct authwrite *w)
{
	const char *slash = strrchr(w->path, '/');

	return slash ? slash + 1 : w->path;
}

static int lock_directory(struct authwrite *w, bool create, const struct varve_ctx *ctx,
			  struct varve_err *e)
{
	size_t n = (size_t)(name_of(w) - w->path);
	VARVE_FREE char *dir = n ? strndup(w->path, n) : strdup(".");
	int r;

	if (!dir)
		return varve_fail_oom(e);
	r = create ? fsx_make_path(dir, 0700, e) : 0;
	if (r < 0)
		return r;
	w->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir < 0 && !create)
		return 0;
	if (w->dir < 0 || fsx_flock_wait(w->dir, LOCK_EX, ctx) < 0)
		return varve_fail_errno(e, "%s", dir);
	return 1;
}

static int read_locked(struct authwrite *w, struct varve_err *e)
{
	VARVE_CLOSE int fd = openat(w->dir, name_of(w), O_RDONLY | O_CLOEXEC);
	const json *auths;
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : varve_fail_errno(e, "%s", w->path);
	r = fsx_read_file(fd, NULL, &w->text, e);
	if (r == 0)
		r = json_parse(&w->doc, w->text.p, w->text.n, AUTHFILE_MAX, e);
	if (r == 0 && !json_is_object(w->doc))
		r = varve_fail(e, VARVE_E_FORMAT, "not a JSON object");
	/* What is not understood is not written over. */
	if (r == 0)
		r = authfile_member(&auths, w->doc, "auths", e);
	return r < 0 ? varve_wrap(e, r, "%s", w->path) : 1;
}

int authwrite_open(struct authwrite *w, const char *path, bool create, const struct varve_ctx *ctx,
		   struct varve_err *e)
{
	int r;

	*w = (struct authwrite){.dir = -1};
	buf_init_secret(&w->text, AUTHFILE_MAX);
	if ((size_t)snprintf(w->path, sizeof(w->path), "%s", path) >= sizeof(w->path))
		return varve_fail(e, VARVE_E_LIMIT, "the path of the auth file is too long");
	r = follow_links(w->path, e);
	if (r == 0)
		r = lock_directory(w, create, ctx, e);
	return r > 0 ? read_locked(w, e) : r;
}

void authwrite_done(struct authwrite *w)
{
	json_free_secret(w->doc);
	buf_done(&w->text);
	if (w->dir >= 0)
		(void)close(w->dir);
	*w = (struct authwrite){.dir = -1};
}

/* The document again, without the entries of the registry, with the new one. */
static bool rewrite(const struct authwrite *w, const char *registry, const struct buf *auth,
		    struct buf *out)
{
	const char *name = authfile_host(registry);
	struct jsonw j;
	bool had = false;

	jsonw_init(&j, out, true);
	jsonw_object(&j, NULL);
	for (const json *m = json_first(w->doc); m; m = json_next(m))
		if (strcmp(json_key(m), "auths") != 0)
			jsonw_node(&j, json_key(m), m);
	jsonw_object(&j, "auths");
	for (const json *m = json_first(json_get(w->doc, "auths")); m; m = json_next(m)) {
		char key[AUTHFILE_KEY_MAX];

		authfile_normalise_key(json_key(m), key);
		if (!strcmp(key, name))
			had = true;
		else
			jsonw_node(&j, json_key(m), m);
	}
	if (auth) {
		jsonw_object(&j, name);
		jsonw_strn(&j, "auth", auth->p, auth->n);
		jsonw_end_object(&j);
	}
	jsonw_end_object(&j);
	jsonw_end_object(&j);
	buf_addc(out, '\n');
	return had;
}

int authwrite_entry(struct authwrite *w, const char *registry, const struct buf *auth,
		    struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf out = {0};
	int r;

	buf_init_secret(&out, AUTHFILE_MAX);
	if (!rewrite(w, registry, auth, &out) && !auth)
		return 0;
	if (buf_error(&out) < 0)
		return buf_fail(&out, e, "%s: the auth file gets too large", w->path);
	r = fsx_replace_file(w->dir, name_of(w), out.p, out.n, 0600, e);
	return r < 0 ? varve_wrap(e, r, "%s", w->path) : 1;
}
