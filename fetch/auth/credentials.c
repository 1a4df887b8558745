/* SPDX-License-Identifier: Apache-2.0 */
/* Find the credential for a registry: auth files, helpers, netrc (docs/requirements.md 2.21
 * to 2.27). */
#include "fetch/auth/credentials.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/auth/authfile.h"
#include "fetch/auth/helper.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"

#define BASIC_MAX 16384u

#define HELPER_OUT_MAX (64u << 10)
#define NOT_FOUND      "credentials not found in native keychain"

static bool env_path(char *out, size_t size, const char *var, const char *rest)
{
	const char *v = getenv(var);

	return v && *v && snprintf(out, size, "%s%s", v, rest) < (int)size;
}

/* The files in the order of containers-auth.json(5); false behind the last one. *ret_legacy:
 * .dockercfg. */
bool credentials_file(unsigned i, char *out, size_t size, bool *ret_legacy)
{
	*ret_legacy = i == 4;
	out[0] = 0;
	switch (i) {
	case 0:
		(void)env_path(out, size, "REGISTRY_AUTH_FILE", "");
		return true;
	case 1:
		if (!env_path(out, size, "XDG_RUNTIME_DIR", "/containers/auth.json"))
			(void)snprintf(out, size, "/run/containers/%u/auth.json", getuid());
		return true;
	case 2:
		if (!env_path(out, size, "XDG_CONFIG_HOME", "/containers/auth.json"))
			(void)env_path(out, size, "HOME", "/.config/containers/auth.json");
		return true;
	case 3:
		if (!env_path(out, size, "DOCKER_CONFIG", "/config.json"))
			(void)env_path(out, size, "HOME", "/.docker/config.json");
		return true;
	case 4:
		(void)env_path(out, size, "HOME", "/.dockercfg");
		return true;
	default:
		return false;
	}
}

/* 1: read, 0: not there or not readable. The user's own files may be symlinks. */
static int read_user_file(const char *path, struct buf *b, struct varve_err *e)
{
	VARVE_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return 0;
	r = fsx_read_file(fd, NULL, b, e);
	return r < 0 ? varve_wrap(e, r, "%s", path) : 1;
}

int credentials_ask_helper(struct credential *ret, const char *name, const char *host,
			   const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf out = {0};
	int status, r;

	buf_init_secret(&out, HELPER_OUT_MAX);
	r = helper_run(name, "get", authfile_server_name(host), &out, &status, ctx, e);
	if (r < 0)
		return r;
	if (status != 0) {
		struct span words = span_trim(span_of(out.p, out.n));

		if (span_eq(words, NOT_FOUND))
			return 0;
		return varve_fail(e, VARVE_E_AUTH, "docker-credential-%s failed (exit status %d)",
				  name, status);
	}
	r = helper_answer_parse(ret, out.p, out.n, e);
	ret->from_helper = r == 0;
	return r < 0 ? varve_wrap(e, r, "docker-credential-%s", name) : 0;
}

static int use_helper(struct credential *ret, const struct authfile_answer *a, const char *host,
		      const struct varve_ctx *ctx, struct varve_err *e)
{
	struct varve_err own = VARVE_ERR_INIT;
	char text[512];
	int r = credentials_ask_helper(ret, a->helper, host, ctx, &own);

	if (r < 0 && (a->helper_specific || r == -VARVE_E_INTERRUPTED)) {
		if (e)
			*e = own;
		return r;
	}
	if (r < 0)
		log_warn(ctx, "fetch", "%s; going on without a login",
			 varve_err_text(&own, text, sizeof(text)));
	else if (ret->kind != CREDENTIAL_NONE &&
		 asprintf(&ret->source, "docker-credential-%s", a->helper) < 0)
		return varve_fail_oom(e);
	return 0;
}

static int look_into(struct credential *ret, const char *file, bool legacy, const char *host,
		     const char *path, const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	VARVE_CLEANUP(authfile_answer_done) struct authfile_answer a = {0};
	int r;

	buf_init_secret(&b, AUTHFILE_MAX);
	r = read_user_file(file, &b, e);
	if (r <= 0)
		return r;
	r = authfile_find(&a, b.p, b.n, legacy, host, path, e);
	if (r < 0)
		return varve_wrap(e, r, "%s", file);
	if (a.helper)
		return use_helper(ret, &a, host, ctx, e);
	if (a.credential.kind == CREDENTIAL_NONE)
		return 0;
	*ret = a.credential;
	a.credential = (struct credential){0};
	ret->source = strdup(file);
	return ret->source ? 0 : varve_fail_oom(e);
}

bool credentials_file_has(const char *file, bool legacy, const char *host)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	VARVE_CLEANUP(authfile_answer_done) struct authfile_answer a = {0};

	buf_init_secret(&b, AUTHFILE_MAX);
	return read_user_file(file, &b, NULL) > 0 &&
	       authfile_find(&a, b.p, b.n, legacy, host, NULL, NULL) == 0 &&
	       a.credential.kind != CREDENTIAL_NONE;
}

/* Parsed here, because libcurl's own reading has leaked (docs/requirements.md 2.27). */
static int look_into_netrc(struct credential *ret, const char *host, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	char file[4096], machine[256];
	int r;

	(void)snprintf(machine, sizeof(machine), "%.*s", (int)strcspn(host, ":"), host);
	if (!env_path(file, sizeof(file), "NETRC", "") &&
	    !env_path(file, sizeof(file), "HOME", "/.netrc"))
		return 0;
	buf_init_secret(&b, AUTHFILE_MAX);
	r = read_user_file(file, &b, e);
	if (r <= 0)
		return r;
	if (netrc_find(b.p, b.n, machine, ret)) {
		ret->source = strdup(file);
		if (!ret->source)
			r = varve_fail_oom(e);
	}
	return r < 0 ? r : 0;
}

int credentials_find(struct credential *ret, const char *host, const char *path, bool https,
		     const struct varve_ctx *ctx, struct varve_err *e)
{
	char file[4096];
	bool legacy;
	int r = 0;

	*ret = (struct credential){0};
	for (unsigned i = 0; credentials_file(i, file, sizeof(file), &legacy); i++) {
		if (!*file)
			continue;
		r = look_into(ret, file, legacy, host, path, ctx, e);
		if (r < 0 || ret->kind != CREDENTIAL_NONE)
			return r;
	}
	return https ? look_into_netrc(ret, host, e) : 0;
}

char *credential_basic(const struct credential *cr)
{
	VARVE_CLEANUP(buf_done) struct buf raw = {0}, out = {0};

	buf_init_secret(&raw, BASIC_MAX);
	buf_init_secret(&out, BASIC_MAX);
	buf_printf(&raw, "%s:%s", cr->user ? cr->user : "", cr->secret);
	buf_adds(&out, "Basic ");
	text_base64_encode(raw.p, raw.n, &out);
	return buf_take(&out);
}
