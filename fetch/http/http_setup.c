/* SPDX-License-Identifier: Apache-2.0 */
/* One request in libcurl's terms: its options, its callbacks, and what its result codes mean. */
#include "fetch/http/http_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "fetch/http/url.h"
#include "store/base/clock.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

#define BUFFER_SIZE   (256L << 10)
#define USER_AGENT    "varve/" VARVE_VERSION
#define SYSTEM_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

/* --- callbacks of libcurl --- */

/* Every socket is CLOEXEC, and the address that a name led to is looked at (DNS rebinding). */
static curl_socket_t on_socket(void *user, curlsocktype purpose, struct curl_sockaddr *sa)
{
	struct http_request *rq = user;

	(void)purpose;
	if (!*rq->proxy && (rq->refused & 1u << url_sockaddr_class(&sa->addr))) {
		rq->blocked = true;
		return CURL_SOCKET_BAD;
	}
	return socket(sa->family, sa->socktype | SOCK_CLOEXEC, sa->protocol);
}

static size_t on_header(char *p, size_t one, size_t n, void *user)
{
	struct http_request *rq = user;
	long status = 0;

	(void)one;
	if (n <= 2 && (p[0] == '\r' || p[0] == '\n')) {
		(void)curl_easy_getinfo(rq->easy, CURLINFO_RESPONSE_CODE, &status);
		/* Trailers of a chunked body end with an empty line, too. */
		if (status >= 200) {
			rq->headers_done = true;
			rq->status = status;
		}
		return n;
	}
	/* Behind the body of chunks come more of them. Nobody reads those, but libcurl keeps them.
	 */
	if (rq->headers_done)
		rq->trailers += n;
	if (rq->headers_done ? rq->trailers > HEADERS_MAX : headers_line(&rq->answer, p, n) < 0) {
		rq->failure = HTTP_TOO_LARGE;
		return 0;
	}
	return n;
}

bool http_see_response(struct http_request *rq)
{
	if (rq->response_seen)
		return true;
	rq->response_seen = true;
	rq->window_ms = clock_now_ms();
	rq->window_bytes = 0;
	if (rq->status != 200 && rq->status != 206) {
		rq->body.max = VARVE_MIN(rq->body_max, (size_t)HTTP_ERROR_BODY_MAX);
		return true;
	}
	if (!rq->on_response)
		return true;
	if (rq->on_response(rq) >= 0)
		return true;
	rq->failure = HTTP_REFUSED;
	return false;
}

static size_t on_write(char *p, size_t one, size_t n, void *user)
{
	struct http_request *rq = user;

	(void)one;
	if (!http_see_response(rq))
		return 0;
	rq->bytes += n;
	if (rq->on_body && (rq->status == 200 || rq->status == 206)) {
		if (rq->on_body(rq, p, n) >= 0)
			return n;
		rq->failure = HTTP_REFUSED;
		return 0;
	}
	buf_add(&rq->body, p, n);
	if (buf_error(&rq->body) < 0) {
		/* Of an error page the start is enough; a document must be whole. */
		rq->body_cut = true;
		if (rq->status == 200 || rq->status == 206)
			rq->failure = HTTP_TOO_LARGE;
		return 0;
	}
	return n;
}

/* The time limits count from the last byte that was taken from us. */
static size_t on_read(char *p, size_t one, size_t n, void *user)
{
	struct http_request *rq = user;
	size_t want = (size_t)VARVE_MIN(rq->upload_size - rq->sent, (uint64_t)(one * n));

	if (rq->upload_fd >= 0 && fsx_pread_full(rq->upload_fd, p, want, rq->sent) != (ssize_t)want)
		return CURL_READFUNC_ABORT;
	if (rq->upload_fd < 0)
		memcpy(p, (const char *)rq->upload + rq->sent, want);
	rq->sent += want;
	rq->window_ms = clock_now_ms();
	return want;
}

static int on_seek(void *user, curl_off_t off, int whence)
{
	struct http_request *rq = user;

	if (whence != SEEK_SET || off < 0 || (uint64_t)off > rq->upload_size)
		return CURL_SEEKFUNC_FAIL;
	rq->sent = (uint64_t)off;
	return CURL_SEEKFUNC_OK;
}

/* --- setting up --- */

static bool add_header(struct http_request *rq, const char *line)
{
	struct curl_slist *l = curl_slist_append(rq->list, line);

	if (l)
		rq->list = l;
	return l != NULL;
}

static bool add_header_value(struct http_request *rq, const char *name, const char *value)
{
	VARVE_FREE char *line = NULL;

	if (!value)
		return true;
	if (asprintf(&line, "%s: %s", name, value) < 0) {
		line = NULL;
		return false;
	}
	return add_header(rq, line);
}

static bool set_headers(struct http_request *rq)
{
	bool ok = add_header(rq, "Accept-Encoding: identity") && add_header(rq, "Expect:") &&
		  add_header_value(rq, "Accept", rq->accept ? rq->accept : "*/*") &&
		  add_header_value(rq, "Authorization", rq->authorization);

	for (const char *const *h = rq->headers; ok && h && *h; h++)
		ok = add_header(rq, *h);
	return ok && curl_easy_setopt(rq->easy, CURLOPT_HTTPHEADER, rq->list) == CURLE_OK;
}

static void read_system_pem(struct buf *pem)
{
	FILE *f = fopen(SYSTEM_BUNDLE, "re");
	char *room;
	size_t n;

	if (!f)
		return;
	while ((room = buf_room(pem, 65536)) && (n = fread(room, 1, 65536, f)) > 0)
		pem->n += n;
	buf_addc(pem, '\n');
	(void)fclose(f);
}

/* xxxxxxxx.N, as openssl rehash and update-ca-certificates make them. */
static bool is_hashed_name(const char *name)
{
	return strspn(name, "0123456789abcdef") == 8 && name[8] == '.' &&
	       name[9 + strspn(name + 9, "0123456789")] == '\0' && name[9];
}

/* All roots of a system are 140 certificates, 28 ms, again for each connection; of those in a
 * directory by hash OpenSSL reads the one that it needs. */
static bool has_hashed_roots(struct http *h)
{
	const curl_version_info_data *info;
	VARVE_CLOSEDIR DIR *d = NULL;
	struct dirent *entry;

	if (h->roots_looked_at)
		return h->hashed_roots;
	h->roots_looked_at = true;
	info = curl_version_info(CURLVERSION_NOW);
	if (info->age >= CURLVERSION_SEVENTH && info->ssl_version && info->capath &&
	    strncmp(info->ssl_version, "OpenSSL", 7) == 0)
		d = opendir(info->capath);
	while (d && !h->hashed_roots && (entry = readdir(d)))
		h->hashed_roots = is_hashed_name(entry->d_name);
	return h->hashed_roots;
}

/* Additive: the host's own beside the system's, by hash or in one blob with them, so that the
 * result does not depend on how libcurl was built (docs/requirements.md 5.16). */
static bool set_ca(struct http *h, struct http_request *rq)
{
	VARVE_CLEANUP(buf_done) struct buf pem = {0};
	struct curl_blob blob = {.flags = CURL_BLOB_COPY};

	if (!rq->tls->ca_pem)
		return true;
	buf_init(&pem, 2 * HTTP_PEM_MAX);
	if (!rq->few_roots) {
		if (!h->system_pem.n)
			read_system_pem(&h->system_pem);
		buf_add(&pem, h->system_pem.p, h->system_pem.n);
	}
	buf_adds(&pem, rq->tls->ca_pem);
	if (buf_error(&pem) < 0)
		return false;
	blob.data = pem.p;
	blob.len = pem.n;
	return curl_easy_setopt(rq->easy, CURLOPT_CAINFO_BLOB, &blob) == CURLE_OK;
}

static bool set_tls(struct http *h, struct http_request *rq)
{
	CURL *c = rq->easy;

	(void)curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (!rq->tls)
		return true;
	if (rq->tls->skip_verify) {
		(void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	/* Reading the roots takes longer than most requests. */
	if (rq->tls->skip_verify || rq->no_roots) {
		(void)curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
		(void)curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
	rq->few_roots =
		rq->few_roots && !rq->tls->skip_verify && !rq->no_roots && has_hashed_roots(h);
	if (rq->few_roots)
		(void)curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
	if (rq->tls->cert_file) {
		/* CVE-2026-8932: a connection with a client certificate is never shared. */
		(void)curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
		(void)curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
		if (curl_easy_setopt(c, CURLOPT_SSLCERT, rq->tls->cert_file) != CURLE_OK ||
		    curl_easy_setopt(c, CURLOPT_SSLKEY, rq->tls->key_file) != CURLE_OK)
			return false;
	}
	return rq->no_roots || set_ca(h, rq);
}

static bool set_method(struct http_request *rq)
{
	CURL *c = rq->easy;

	if (rq->method == HTTP_HEAD)
		return curl_easy_setopt(c, CURLOPT_NOBODY, 1L) == CURLE_OK;
	if (rq->method == HTTP_POST)
		return curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
					(curl_off_t)strlen(rq->form)) == CURLE_OK &&
		       curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, rq->form) == CURLE_OK;
	if (rq->method != HTTP_PUT)
		return true;
	return curl_easy_setopt(c, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->upload_size) ==
		       CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_READDATA, rq) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SEEKDATA, rq) == CURLE_OK;
}

bool http_set_options(struct http *h, struct http_request *rq)
{
	CURL *c = rq->easy;
	bool ok = curl_easy_setopt(c, CURLOPT_URL, rq->url) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_USERAGENT, USER_AGENT) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_PROXY, rq->proxy) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_NOPROXY, "") == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_RANGE, rq->range) == CURLE_OK;

	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
	(void)curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)rq->limits.connect_ms);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 30L);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, 15L);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, rq->error);
	(void)curl_easy_setopt(c, CURLOPT_PRIVATE, rq);
	(void)curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	(void)curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, rq);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, rq);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_write);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, rq);
	(void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION,
			       rq->bulk ? (long)CURL_HTTP_VERSION_1_1
					: (long)CURL_HTTP_VERSION_2TLS);
	(void)curl_easy_setopt(c, CURLOPT_PIPEWAIT, rq->bulk ? 0L : 1L);
	return ok && set_method(rq) && set_tls(h, rq) && set_headers(rq);
}

/* --- results --- */

/* libcurl has one code for all that ends a handshake; OpenSSL's words tell what it was. */
static enum http_failure classify_tls(const char *error)
{
	static const char *const no_tls[] = {"wrong version number", "packet length too long",
					     "http request", "unknown protocol",
					     "record layer failure"};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(no_tls); i++)
		if (strstr(error, no_tls[i]))
			return HTTP_TLS_SETUP;
	return strstr(error, "alert") || strstr(error, "unsupported protocol") ? HTTP_TLS_ALERT
									       : HTTP_TLS_BROKEN;
}

enum http_failure http_classify(const struct http_request *rq, CURLcode code)
{
	long connect_status = 0;

	(void)curl_easy_getinfo(rq->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	if (connect_status >= 300)
		return HTTP_PROXY;
	switch (code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
		return HTTP_DNS;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return HTTP_PROXY;
	case CURLE_COULDNT_CONNECT:
		return rq->blocked ? HTTP_BLOCKED : HTTP_CONNECT;
	case CURLE_OPERATION_TIMEDOUT:
		return HTTP_TIMEOUT;
	case CURLE_SSL_CONNECT_ERROR:
		return classify_tls(rq->error);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
		return HTTP_TLS_TRUST;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_OUT_OF_MEMORY:
		return HTTP_PERMANENT;
	case CURLE_FILESIZE_EXCEEDED:
		return HTTP_TOO_LARGE;
	default:
		return HTTP_BROKEN;
	}
}
