/* SPDX-License-Identifier: Apache-2.0 */
/* certs.d directories: CAs and client certificates per registry (docs/requirements.md 5.15). */
#include "fetch/http/certs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"

#define PEM_MAX (4u << 20)

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);

	return n > s && !strcmp(name + n - s, suffix);
}

static int add_ca(struct http_tls *tls, int dirfd, const char *name, struct varve_err *e)
{
	VARVE_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	VARVE_CLEANUP(buf_done) struct buf b = {0};
	int r;

	if (fd < 0)
		return varve_fail_errno(e, "%s", TEXT_SAFE(name));
	buf_init(&b, PEM_MAX);
	if (tls->ca_pem)
		buf_printf(&b, "%s\n", tls->ca_pem);
	{
		VARVE_CLEANUP(buf_done) struct buf one = {0};

		buf_init(&one, PEM_MAX);
		r = fsx_read_file(fd, NULL, &one, e);
		if (r < 0)
			return r;
		buf_add(&b, one.p, one.n);
	}
	if (buf_error(&b) < 0)
		return buf_fail(&b, e, "%s: the CA files are too large", TEXT_SAFE(name));
	free(tls->ca_pem);
	tls->ca_pem = buf_take(&b);
	return 0;
}

static int add_pair(struct http_tls *tls, const char *dir, int dirfd, const char *cert,
		    struct varve_err *e)
{
	VARVE_FREE char *key = NULL;
	size_t stem = strlen(cert) - strlen(".cert");

	if (asprintf(&key, "%.*s.key", (int)stem, cert) < 0) {
		key = NULL;
		return varve_fail_oom(e);
	}
	if (faccessat(dirfd, key, R_OK, 0) < 0)
		return varve_fail(e, VARVE_E_TLS,
				  "%s: the client certificate has no readable key %s beside it",
				  TEXT_SAFE(cert), TEXT_SAFE(key));
	free(tls->cert_file);
	free(tls->key_file);
	tls->cert_file = tls->key_file = NULL;
	if (asprintf(&tls->cert_file, "%s/%s", dir, cert) < 0) {
		tls->cert_file = NULL;
		return varve_fail_oom(e);
	}
	if (asprintf(&tls->key_file, "%s/%s", dir, key) < 0) {
		tls->key_file = NULL;
		return varve_fail_oom(e);
	}
	return 0;
}

/* 1: the directory exists and was read. */
static int load_dir(struct http_tls *tls, const char *dir, struct varve_err *e)
{
	VARVE_CLOSEDIR DIR *d = opendir(dir);
	struct dirent *de;
	int r = 0;

	if (!d)
		return 0;
	while (r == 0 && (de = readdir(d))) {
		VARVE_FREE char *cert = NULL;

		if (has_suffix(de->d_name, ".crt"))
			r = add_ca(tls, dirfd(d), de->d_name, e);
		else if (has_suffix(de->d_name, ".cert"))
			r = add_pair(tls, dir, dirfd(d), de->d_name, e);
		else if (has_suffix(de->d_name, ".key") &&
			 asprintf(&cert, "%.*s.cert", (int)strlen(de->d_name) - 4, de->d_name) >
				 0 &&
			 faccessat(dirfd(d), cert, F_OK, 0) < 0)
			r = varve_fail(e, VARVE_E_TLS,
				       "%s: the key has no certificate %s beside it",
				       TEXT_SAFE(de->d_name), TEXT_SAFE(cert));
	}
	return r < 0 ? varve_wrap(e, r, "%s", dir) : 1;
}

/* The directory of a host below one base; 1: read. */
static int load_host(struct http_tls *tls, const char *base, const char *host, unsigned port,
		     struct varve_err *e)
{
	char dir[4096];
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/certs.d/%s:%u", base, host, port);
	r = load_dir(tls, dir, e);
	if (r != 0 || port != 443)
		return r;
	(void)snprintf(dir, sizeof(dir), "%s/certs.d/%s", base, host);
	return load_dir(tls, dir, e);
}

int certs_load(struct http_tls *tls, const struct url *u, struct varve_err *e)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char bases[3][1024] = {"", "/etc/containers", "/etc/docker"};
	int r = 0;

	if (!u->https)
		return 0;
	if (config && *config)
		(void)snprintf(bases[0], sizeof(bases[0]), "%s/containers", config);
	else if (home && *home)
		(void)snprintf(bases[0], sizeof(bases[0]), "%s/.config/containers", home);
	for (size_t i = 0; r == 0 && i < VARVE_ARRAY_SIZE(bases); i++) {
		if (!*bases[i])
			continue;
		r = load_host(tls, bases[i], u->host, u->port, e);
		/* Docker Hub's name in such directories is that of references (1.10). */
		if (r == 0 && !strcmp(u->host, url_api_host("docker.io")))
			r = load_host(tls, bases[i], "docker.io", u->port, e);
	}
	return r < 0 ? r : 0;
}
