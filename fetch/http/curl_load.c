/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/http/curl_load.h"

#include <pthread.h>
#include <stdarg.h>

#include "store/base/compiler.h"
#include "store/base/library.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct varve_err error;
static int result;

#ifdef VARVE_LAZY_LIBRARIES
static struct {
#define FIELD(name) __typeof__(&(curl_##name)) name;
	CURL_FUNCTIONS(FIELD)
#undef FIELD
} api;

static int load(struct varve_err *e)
{
#define ROW(name) {"curl_" #name, &api.name},
	static const struct library_function rows[] = {CURL_FUNCTIONS(ROW)};
#undef ROW

	return library_load("libcurl.so.4", rows, VARVE_ARRAY_SIZE(rows), e);
}

void curl_easy_cleanup(CURL *h)
{
	api.easy_cleanup(h);
}

CURLcode(curl_easy_getinfo)(CURL *h, CURLINFO info, ...)
{
	va_list ap;
	CURLcode r;

	va_start(ap, info);
	r = api.easy_getinfo(h, info, va_arg(ap, void *));
	va_end(ap);
	return r;
}

CURL *curl_easy_init(void)
{
	return api.easy_init();
}

/* The number of an option tells the type of its value. */
CURLcode(curl_easy_setopt)(CURL *h, CURLoption o, ...)
{
	unsigned type = (unsigned)o / 10000 * 10000;
	va_list ap;
	CURLcode r;

	va_start(ap, o);
	if (type == CURLOPTTYPE_LONG)
		r = api.easy_setopt(h, o, va_arg(ap, long));
	else if (type == CURLOPTTYPE_FUNCTIONPOINT)
		r = api.easy_setopt(h, o, va_arg(ap, void (*)(void)));
	else if (type == CURLOPTTYPE_OFF_T)
		r = api.easy_setopt(h, o, va_arg(ap, curl_off_t));
	else
		r = api.easy_setopt(h, o, va_arg(ap, void *));
	va_end(ap);
	return r;
}

const char *curl_easy_strerror(CURLcode c)
{
	return api.easy_strerror(c);
}

CURLcode curl_global_init(long flags)
{
	return api.global_init(flags);
}

CURLMcode curl_multi_add_handle(CURLM *m, CURL *h)
{
	return api.multi_add_handle(m, h);
}

CURLMcode curl_multi_cleanup(CURLM *m)
{
	return api.multi_cleanup(m);
}

CURLMsg *curl_multi_info_read(CURLM *m, int *left)
{
	return api.multi_info_read(m, left);
}

CURLM *curl_multi_init(void)
{
	return api.multi_init();
}

CURLMcode curl_multi_perform(CURLM *m, int *running)
{
	return api.multi_perform(m, running);
}

CURLMcode curl_multi_poll(CURLM *m, struct curl_waitfd fds[], unsigned n, int ms, int *ret)
{
	return api.multi_poll(m, fds, n, ms, ret);
}

CURLMcode curl_multi_remove_handle(CURLM *m, CURL *h)
{
	return api.multi_remove_handle(m, h);
}

CURLMcode(curl_multi_setopt)(CURLM *m, CURLMoption o, ...)
{
	unsigned type = (unsigned)o / 10000 * 10000;
	va_list ap;
	CURLMcode r;

	va_start(ap, o);
	if (type == CURLOPTTYPE_LONG)
		r = api.multi_setopt(m, o, va_arg(ap, long));
	else if (type == CURLOPTTYPE_FUNCTIONPOINT)
		r = api.multi_setopt(m, o, va_arg(ap, void (*)(void)));
	else
		r = api.multi_setopt(m, o, va_arg(ap, void *));
	va_end(ap);
	return r;
}

struct curl_slist *curl_slist_append(struct curl_slist *list, const char *text)
{
	return api.slist_append(list, text);
}

void curl_slist_free_all(struct curl_slist *list)
{
	api.slist_free_all(list);
}

curl_version_info_data *curl_version_info(CURLversion age)
{
	return api.version_info(age);
}
#else
static int load(struct varve_err *e)
{
	(void)e;
	return 0;
}
#endif

static void start(void)
{
	CURLcode r;

	result = load(&error);
	if (result < 0)
		return;
	r = curl_global_init(CURL_GLOBAL_DEFAULT);
	if (r != CURLE_OK)
		result = varve_fail(&error, VARVE_E_NETWORK, "libcurl does not start: %s",
				    curl_easy_strerror(r));
}

int curl_load(struct varve_err *e)
{
	(void)pthread_once(&once, start);
	if (result < 0 && e)
		*e = error;
	return result;
}
