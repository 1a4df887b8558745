/* SPDX-License-Identifier: Apache-2.0 */
/* Keep and forget credentials: in a helper, or in the containers auth file. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/authfile.h"
#include "fetch/exchange.h"
#include "fetch/helper.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"

#define HELPER_OUT_MAX 65536u
#define AUTH_MAX       16384u

static void client_cleanup(struct client **c)
{
	client_free(*c);
}

/* --- trying it --- */

/* GET /v2/ with the credential: what the registry says to it is all that counts. */
static int try_credential(const struct varve_ctx *ctx, const char *registry,
			  const struct varve_login_options *opt, struct varve_err *e)
{
	VARVE_CLEANUP(client_cleanup) struct client *c = NULL;
	VARVE_CLEANUP(call_done) struct call call = {0};
	struct target t = {0};
	int r = client_new(&c, ctx, opt->config, 1, e);

	if (r == 0)
		r = client_endpoint(c, url_api_host(registry), "/v2",
				    config_host_insecure(c->config, registry), &t.endpoint, e);
	if (r < 0)
		return r;
	t.limits = (struct http_limits){c->config->connect_ms, c->config->header_ms,
					c->config->stall_ms};
	t.endpoint->credential.kind = CREDENTIAL_PASSWORD;
	t.endpoint->credential.user = strdup(opt->user);
	t.endpoint->credential.secret = strdup(opt->password);
	t.endpoint->credential.source = strdup("the command line");
	t.endpoint->credential_path = strdup("");
	t.endpoint->credential_known = true;
	if (!t.endpoint->credential.user || !t.endpoint->credential.secret ||
	    !t.endpoint->credential.source || !t.endpoint->credential_path)
		return varve_fail_oom(e);
	t.resolve = t.pull = true;
	t.path = t.endpoint->credential_path;
	call_init(&call, c);
	call.targets = &t;
	call.n_targets = 1;
	call.api_root = true;
	return call_run(&call, e);
}

/* --- the file --- */

static int choose_file(const char *auth_file, char out[4096], struct varve_err *e)
{
	bool legacy;

	out[0] = 0;
	if (auth_file)
		(void)snprintf(out, 4096, "%s", auth_file);
	for (unsigned i = 0; !*out && credentials_file(i, out, 4096, &legacy); i++)
		;
	return *out ? 0 : varve_fail(e, VARVE_E_CONFIG, "no place for credentials: set HOME");
}

static int read_file(const char *path, json **ret, struct buf *text, struct varve_err *e)
{
	VARVE_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	*ret = NULL;
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : varve_fail_errno(e, "%s", path);
	r = fsx_read_file(fd, NULL, text, e);
	if (r == 0)
		r = json_parse(ret, text->p, text->n, AUTHFILE_MAX, e);
	if (r == 0 && !json_is_object(*ret))
		r = varve_fail(e, VARVE_E_FORMAT, "not a JSON object");
	return r < 0 ? varve_wrap(e, r, "%s", path) : 0;
}

static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + (slash == path)) : strdup(".");
}

static int write_file(const char *path, const struct buf *text, struct varve_err *e)
{
	VARVE_FREE char *dir = directory_of(path);
	const char *slash = strrchr(path, '/');
	VARVE_CLOSE int fd = -1;
	int r;

	if (!dir || buf_error(text) < 0)
		return varve_fail_oom(e);
	r = fsx_make_path(dir, 0700, e);
	if (r < 0)
		return r;
	/* The user's own directory: symlinks in it are as he wants them. */
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return varve_fail_errno(e, "%s", dir);
	r = fsx_replace_file(fd, slash ? slash + 1 : path, text->p, text->n, 0600, e);
	return r < 0 ? varve_wrap(e, r, "%s", path) : 0;
}

static bool same_registry(const char *key, const char *registry)
{
	return !strcmp(key, registry) || !strcmp(key, authfile_server_name(registry)) ||
	       !strcmp(key, authfile_host(registry));
}

/* The document again, with the registry's entry replaced by entry (NULL: without it). */
static bool rewrite(const json *doc, const char *registry, const struct buf *entry, struct buf *out)
{
	const char *name =
		strcmp(authfile_host(registry), "docker.io") == 0 ? "docker.io" : registry;
	struct jsonw w;
	bool had = false;

	jsonw_init(&w, out, true);
	jsonw_object(&w, NULL);
	for (const json *j = json_first(doc); j; j = json_next(j))
		if (strcmp(json_key(j), "auths") != 0)
			jsonw_node(&w, json_key(j), j);
	jsonw_object(&w, "auths");
	for (const json *j = json_first(json_get(doc, "auths")); j; j = json_next(j)) {
		if (same_registry(json_key(j), registry))
			had = true;
		else
			jsonw_node(&w, json_key(j), j);
	}
	if (entry) {
		jsonw_object(&w, name);
		jsonw_strn(&w, "auth", entry->p, entry->n);
		jsonw_end_object(&w);
	}
	jsonw_end_object(&w);
	jsonw_end_object(&w);
	buf_addc(out, '\n');
	return had;
}

/* The helper that the file names for the registry, or NULL. */
static int named_helper(const struct buf *text, const char *registry, char **ret,
			struct varve_err *e)
{
	struct authfile_answer a = {0};
	int r;

	*ret = NULL;
	if (!text->n)
		return 0;
	r = authfile_find(&a, text->p, text->n, false, registry, NULL, e);
	if (r == 0)
		*ret = VARVE_TAKE(a.helper);
	authfile_answer_done(&a);
	return r;
}

static int run_helper(const char *name, const char *verb, const char *input,
		      const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf out = {0};
	int status, r;

	buf_init(&out, HELPER_OUT_MAX);
	r = helper_run(name, verb, input, &out, &status, ctx, e);
	if (r < 0)
		return r;
	if (status != 0)
		return varve_fail(e, VARVE_E_AUTH, "docker-credential-%s %s failed: %s", name, verb,
				  TEXT_SAFE(out.p));
	return 0;
}

static int store_in_helper(const char *helper, const char *registry,
			   const struct varve_login_options *opt, const struct varve_ctx *ctx,
			   struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	struct jsonw w;
	int r;

	buf_init(&b, AUTH_MAX);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	jsonw_str(&w, "ServerURL", authfile_server_name(registry));
	jsonw_str(&w, "Username", opt->user);
	jsonw_str(&w, "Secret", opt->password);
	jsonw_end_object(&w);
	r = buf_error(&b) < 0 ? varve_fail(e, VARVE_E_LIMIT, "the password is too long")
			      : run_helper(helper, "store", b.p, ctx, e);
	explicit_bzero(b.p, b.n);
	return r;
}

static int store_in_file(const char *path, const json *doc, const char *registry,
			 const struct varve_login_options *opt, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf raw = {0}, auth = {0}, out = {0};
	int r;

	buf_init(&raw, AUTH_MAX);
	buf_init(&auth, AUTH_MAX);
	buf_init(&out, AUTHFILE_MAX);
	buf_printf(&raw, "%s:%s", opt->user, opt->password);
	text_base64_encode(raw.p, raw.n, &auth);
	if (buf_error(&raw) < 0 || buf_error(&auth) < 0)
		return varve_fail(e, VARVE_E_LIMIT, "the password is too long");
	(void)rewrite(doc, registry, &auth, &out);
	r = write_file(path, &out, e);
	explicit_bzero(raw.p, raw.n);
	explicit_bzero(auth.p, auth.n);
	explicit_bzero(out.p, out.n);
	return r;
}

static int check_registry(const char *registry, struct varve_err *e)
{
	struct varve_reference ref;
	char text[600];

	/* The grammar of a reference knows what a registry may be called. */
	(void)snprintf(text, sizeof(text), "%s/x", registry);
	if (strlen(registry) > 255 || varve_reference_parse(&ref, text, NULL) < 0 ||
	    strcmp(authfile_host(ref.domain), authfile_host(registry)) != 0)
		return varve_fail(
			e, VARVE_E_USAGE,
			"'%s' is not a registry; write HOST[:PORT], for example docker.io",
			TEXT_SAFE(registry));
	return 0;
}

int varve_login(const struct varve_ctx *ctx, const char *registry,
		const struct varve_login_options *opt, char ret_where[4096], struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf text = {0};
	VARVE_FREE char *helper = NULL;
	JSON_FREE json *doc = NULL;
	int r = check_registry(registry, e);

	if (r == 0 && (!opt->user || !*opt->user || !opt->password || strchr(opt->user, ':')))
		r = varve_fail(e, VARVE_E_USAGE,
			       "a user name (without ':') and a password are needed");
	if (r == 0 && !opt->no_check)
		r = try_credential(ctx, registry, opt, e);
	if (r == 0)
		r = choose_file(opt->auth_file, ret_where, e);
	if (r < 0)
		return r;
	buf_init(&text, AUTHFILE_MAX);
	r = read_file(ret_where, &doc, &text, e);
	if (r == 0)
		r = named_helper(&text, registry, &helper, e);
	if (r < 0)
		return r;
	if (!helper)
		return store_in_file(ret_where, doc, registry, opt, e);
	(void)snprintf(ret_where, 4096, "docker-credential-%s", helper);
	return store_in_helper(helper, registry, opt, ctx, e);
}

int varve_logout(const struct varve_ctx *ctx, const char *registry, const char *auth_file,
		 char ret_where[4096], struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf text = {0}, out = {0};
	VARVE_FREE char *helper = NULL;
	JSON_FREE json *doc = NULL;
	int r = check_registry(registry, e);

	if (r == 0)
		r = choose_file(auth_file, ret_where, e);
	if (r < 0)
		return r;
	buf_init(&text, AUTHFILE_MAX);
	buf_init(&out, AUTHFILE_MAX);
	r = read_file(ret_where, &doc, &text, e);
	if (r == 0)
		r = named_helper(&text, registry, &helper, e);
	if (r < 0)
		return r;
	if (helper) {
		(void)snprintf(ret_where, 4096, "docker-credential-%s", helper);
		return run_helper(helper, "erase", authfile_server_name(registry), ctx, e);
	}
	if (!rewrite(doc, registry, NULL, &out))
		return varve_fail(e, VARVE_E_NOTFOUND, "%s has no login for %s",
				  TEXT_SAFE(ret_where), TEXT_SAFE(registry));
	return write_file(ret_where, &out, e);
}
