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
#define FIELD(name)                                    __typeof__(&(curl_##name)) name;
#define FIELD_PLAIN(type, name, parameters, arguments) FIELD(name)
	CURL_VARIADIC(FIELD)
	CURL_PLAIN(FIELD_PLAIN)
#undef FIELD_PLAIN
#undef FIELD
} api;

static int load(struct varve_err *e)
{
#define ROW(name)                                    {"curl_" #name, &api.name},
#define ROW_PLAIN(type, name, parameters, arguments) ROW(name)
	static const struct library_function rows[] = {CURL_VARIADIC(ROW) CURL_PLAIN(ROW_PLAIN)};
#undef ROW_PLAIN
#undef ROW

	return library_load("libcurl.so.4", rows, VARVE_ARRAY_SIZE(rows), e);
}

#define CALL(type, name, parameters, arguments)                                                    \
	type curl_##name parameters                                                                \
	{                                                                                          \
		return api.name arguments;                                                         \
	}
CURL_PLAIN(CALL)
#undef CALL

CURLcode(curl_easy_getinfo)(CURL *h, CURLINFO info, ...)
{
	va_list ap;
	CURLcode r;

	va_start(ap, info);
	r = api.easy_getinfo(h, info, va_arg(ap, void *));
	va_end(ap);
	return r;
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
