/* SPDX-License-Identifier: Apache-2.0 */
/* Keep and forget credentials: in a helper, or in the containers auth file. */
#include <stdlib.h>
#include <string.h>

#include "fetch/auth/authwrite.h"
#include "fetch/auth/helper.h"
#include "fetch/registry/exchange.h"
#include "fetch/registry/exchange_auth.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "store/base/options.h"
#include "store/base/text.h"

#define HELPER_OUT_MAX 65536u
#define AUTH_MAX       16384u

static void client_cleanup(struct client **c)
{
	client_free(*c);
}

/* --- trying it --- */

/* Where the configuration says that a registry is: pull looks for credentials under this name. */
static void real_host(const struct varve_config *config, const char *registry, char out[256])
{
	const struct config_registry *reg =
		config ? config_registry_for(config, authfile_host(registry), "") : NULL;
	const char *location = reg && reg->location ? reg->location : registry;

	(void)snprintf(out, 256, "%.*s", (int)strcspn(location, "/"), location);
}

static int set_credential(struct endpoint *p, const struct varve_login_options *opt,
			  struct varve_err *e)
{
	p->credential.kind = CREDENTIAL_PASSWORD;
	p->credential.user = strdup(opt->user);
	p->credential.secret = strdup(opt->password);
	p->credential.source = strdup("the command line");
	p->credential_path = strdup("");
	p->credential_known = true;
	if (!p->credential.user || !p->credential.secret || !p->credential.source ||
	    !p->credential_path)
		return varve_fail_oom(e);
	return 0;
}

/* What the registry says to GET /v2/ with the credential is all that counts. */
static int try_credential(const struct varve_ctx *ctx, const char *registry, const char *host,
			  const struct varve_login_options *opt, struct varve_err *e)
{
	VARVE_CLEANUP(client_cleanup) struct client *c = NULL;
	VARVE_CLEANUP(call_done) struct call call = {0};
	struct repo repo = {0};
	struct target t = {0};
	struct endpoint_key key;
	int r = client_new(&c, ctx, opt->config, &registry_exchange, 1, e);

	if (r < 0)
		return r;
	repo.domain = (char *)(uintptr_t)registry;
	repo.registry = config_registry_for(c->config, authfile_host(registry), "");
	key = endpoint_key_registry(url_api_host(authfile_host(host)),
				    (repo.registry && repo.registry->insecure) ||
					    config_host_insecure(c->config, host));
	r = client_endpoint(c, &key, &t.endpoint, e);
	if (r == 0)
		r = set_credential(t.endpoint, opt, e);
	if (r < 0)
		return r;
	t.limits = (struct http_limits){c->config->connect_ms, c->config->header_ms,
					c->config->stall_ms};
	t.resolve = t.pull = true;
	t.path = t.endpoint->credential_path;
	call_init(&call, c);
	call.repo = &repo;
	call.targets = &t;
	call.n_targets = 1;
	call.api_root = true;
	r = call_run(&call, e);
	if ((r == 0 || r == -VARVE_E_AUTH) && t.endpoint->credential_withheld) {
		varve_err_reset(e);
		return varve_fail(
			e, VARVE_E_AUTH,
			"the token server of %s looks foreign, so the credential was not "
			"tried; list that server as token_hosts of %s in the configuration",
			host, TEXT_SAFE(registry));
	}
	if (r == 0 && !call.sent_auth)
		log_warn(ctx, "fetch", "%s asks for no login: the credential is kept untried",
			 host);
	return r;
}

/* --- the file --- */

/* A session's directory where there is one, for root the one that lasts until the next boot, else
 * what is in the home. */
static int choose_file(const char *auth_file, char out[4096], struct varve_err *e)
{
	const char *session = getenv("XDG_RUNTIME_DIR");
	bool legacy, usable = session && *session ? access(session, W_OK) == 0 : getuid() == 0;

	out[0] = 0;
	if (auth_file)
		(void)snprintf(out, 4096, "%s", auth_file);
	for (unsigned i = 0; !*out && i < CREDENTIALS_OWN_FILES; i++)
		if (i != 1 || usable)
			(void)credentials_file(i, out, 4096, &legacy);
	return *out ? 0 : varve_fail(e, VARVE_E_CONFIG, "no place for credentials: set HOME");
}

/* The helper that the file names for the registry, or NULL. */
static int named_helper(const struct authwrite *w, const char *registry, char **ret,
			struct varve_err *e)
{
	struct authfile_answer a = {0};
	int r;

	*ret = NULL;
	if (!w->text.n)
		return 0;
	r = authfile_find(&a, w->text.p, w->text.n, false, registry, NULL, e);
	if (r == 0)
		*ret = VARVE_TAKE(a.helper);
	authfile_answer_done(&a);
	return r < 0 ? varve_wrap(e, r, "%s", w->path) : 0;
}

static int run_helper(const char *name, const char *verb, const char *input,
		      const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf out = {0};
	int status, r;

	buf_init_secret(&out, HELPER_OUT_MAX);
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

	buf_init_secret(&b, AUTH_MAX);
	jsonw_init(&w, &b, false);
	jsonw_object(&w, NULL);
	jsonw_str(&w, "ServerURL", authfile_server_name(registry));
	jsonw_str(&w, "Username", opt->user);
	jsonw_str(&w, "Secret", opt->password);
	jsonw_end_object(&w);
	r = buf_error(&b) < 0 ? buf_fail(&b, e, "the password is too long")
			      : run_helper(helper, "store", b.p, ctx, e);
	return r;
}

static int store_in_file(struct authwrite *w, const char *registry,
			 const struct varve_login_options *opt, struct varve_err *e)
{
	VARVE_CLEANUP(buf_done) struct buf raw = {0}, auth = {0};
	int r;

	buf_init_secret(&raw, AUTH_MAX);
	buf_init_secret(&auth, AUTH_MAX);
	buf_printf(&raw, "%s:%s", opt->user, opt->password);
	text_base64_encode(raw.p, raw.n, &auth);
	if (buf_error(&raw) < 0 || buf_error(&auth) < 0)
		return varve_fail(e, VARVE_E_LIMIT, "the password is too long");
	r = authwrite_entry(w, registry, &auth, e);
	return r < 0 ? r : 0;
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
	VARVE_CLEANUP(authwrite_done) struct authwrite w = {.dir = -1};
	VARVE_FREE char *helper = NULL;
	struct varve_login_options own;
	char host[256];
	int r = OPTIONS_COPY(&own, opt, auth_file, e);

	if (r < 0)
		return r;
	opt = &own;
	r = check_registry(registry, e);
	if (r == 0 && (!opt->user || !*opt->user || !opt->password || strchr(opt->user, ':')))
		r = varve_fail(e, VARVE_E_USAGE,
			       "a user name (without ':') and a password are needed");
	real_host(opt->config, registry, host);
	if (r == 0 && !opt->no_check)
		r = try_credential(ctx, registry, host, opt, e);
	if (r == 0)
		r = choose_file(opt->auth_file, ret_where, e);
	if (r == 0)
		r = authwrite_open(&w, ret_where, true, ctx, e);
	if (r >= 0)
		r = named_helper(&w, host, &helper, e);
	if (r < 0)
		return r;
	if (strcmp(host, registry) != 0)
		log_warn(ctx, "fetch", "%s is at %s by the configuration: the login is kept for %s",
			 TEXT_SAFE(registry), host, host);
	if (!helper)
		return store_in_file(&w, host, opt, e);
	(void)snprintf(ret_where, 4096, "docker-credential-%s", helper);
	return store_in_helper(helper, host, opt, ctx, e);
}

/* --- forgetting --- */

/* 1: erased; 0: it knows nothing of the registry. */
static int erase_in_helper(const char *helper, const char *registry, const struct varve_ctx *ctx,
			   struct varve_err *e)
{
	VARVE_CLEANUP(credential_done) struct credential known = {0};
	int r = credentials_ask_helper(&known, helper, registry, ctx, NULL);

	if (r == 0 && known.kind == CREDENTIAL_NONE)
		return 0;
	r = run_helper(helper, "erase", authfile_server_name(registry), ctx, e);
	return r < 0 ? r : 1;
}

/* 1: forgotten, and ret_where says what kept it; 0: not there. */
static int forget_in(const char *path, const char *registry, const struct varve_ctx *ctx,
		     char ret_where[4096], struct varve_err *e)
{
	VARVE_CLEANUP(authwrite_done) struct authwrite w = {.dir = -1};
	VARVE_FREE char *helper = NULL;
	int r = authwrite_open(&w, path, false, ctx, e);

	if (r <= 0)
		return r;
	r = named_helper(&w, registry, &helper, e);
	if (r < 0)
		return r;
	if (helper)
		r = erase_in_helper(helper, registry, ctx, e);
	else
		r = authwrite_entry(&w, registry, NULL, e);
	if (r > 0 && helper)
		(void)snprintf(ret_where, 4096, "docker-credential-%s", helper);
	else if (r > 0)
		(void)snprintf(ret_where, 4096, "%s", path);
	return r;
}

/* A file of docker's that pull would read, too: ""
 * if none has a login. It is docker's to change. */
static void find_in_docker(const char *registry, char ret[4096])
{
	bool legacy;

	for (unsigned i = CREDENTIALS_OWN_FILES; credentials_file(i, ret, 4096, &legacy); i++)
		if (*ret && credentials_file_has(ret, legacy, registry))
			return;
	ret[0] = 0;
}

int varve_logout(const struct varve_ctx *ctx, const char *registry, const char *auth_file,
		 char ret_where[4096], struct varve_err *e)
{
	char path[4096], docker[4096];
	bool legacy, found = false;
	int r = check_registry(registry, e);

	if (r < 0)
		return r;
	if (auth_file)
		found = (r = forget_in(auth_file, registry, ctx, ret_where, e)) > 0;
	for (unsigned i = 0; !auth_file && r >= 0 && i < CREDENTIALS_OWN_FILES; i++) {
		char where[4096];

		(void)credentials_file(i, path, sizeof(path), &legacy);
		r = *path ? forget_in(path, registry, ctx, where, e) : 0;
		if (r > 0 && !found)
			memcpy(ret_where, where, sizeof(where));
		found = found || r > 0;
	}
	if (r < 0)
		return r;
	find_in_docker(registry, docker);
	if (found && !auth_file && *docker)
		log_warn(ctx, "fetch", "%s still has a login for %s: docker logout %s", docker,
			 TEXT_SAFE(registry), TEXT_SAFE(registry));
	if (found)
		return 0;
	if (!auth_file && *docker)
		return varve_fail(e, VARVE_E_NOTFOUND,
				  "varve keeps no login for %s; that in %s is docker's: docker "
				  "logout %s",
				  TEXT_SAFE(registry), docker, TEXT_SAFE(registry));
	r = choose_file(auth_file, path, e);
	return r < 0 ? r
		     : varve_fail(e, VARVE_E_NOTFOUND, "%s has no login for %s", TEXT_SAFE(path),
				  TEXT_SAFE(registry));
}
