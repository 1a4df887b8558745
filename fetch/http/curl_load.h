/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl, loaded by the first request: it and the thirty libraries that it needs take longer to
 * load than most commands take to run (docs/performance.md). Its functions have their own names in
 * this library, and may be called once this has returned 0.
 */
#pragma once

#include <curl/curl.h>

#include "store/base/err.h"

#ifdef VARVE_LAZY_LIBRARIES
/* Every function of libcurl that is used: those with "..." by hand in curl_load.c, of the others
 * the result, the parameters and the arguments. */
#define CURL_VARIADIC(X)                                                                           \
	X(easy_getinfo)                                                                            \
	X(easy_setopt)                                                                             \
	X(multi_setopt)
#define CURL_PLAIN(X)                                                                              \
	X(void, easy_cleanup, (CURL * h), (h))                                                     \
	X(CURL *, easy_init, (void), ())                                                           \
	X(const char *, easy_strerror, (CURLcode c), (c))                                          \
	X(CURLcode, global_init, (long flags), (flags))                                            \
	X(CURLMcode, multi_add_handle, (CURLM * m, CURL * h), (m, h))                              \
	X(CURLMcode, multi_cleanup, (CURLM * m), (m))                                              \
	X(CURLMsg *, multi_info_read, (CURLM * m, int *left), (m, left))                           \
	X(CURLM *, multi_init, (void), ())                                                         \
	X(CURLMcode, multi_perform, (CURLM * m, int *running), (m, running))                       \
	X(CURLMcode, multi_poll,                                                                   \
	  (CURLM * m, struct curl_waitfd fds[], unsigned n, int ms, int *ret),                     \
	  (m, fds, n, ms, ret))                                                                    \
	X(CURLMcode, multi_remove_handle, (CURLM * m, CURL * h), (m, h))                           \
	X(struct curl_slist *, slist_append, (struct curl_slist * list, const char *text),         \
	  (list, text))                                                                            \
	X(void, slist_free_all, (struct curl_slist * list), (list))                                \
	X(curl_version_info_data *, version_info, (CURLversion age), (age))

/* Symbols of their own: a program may link this library statically and libcurl as well. */
#define RENAME(name)                                    extern __typeof__(curl_##name) curl_##name __asm__("varve_curl_" #name);
#define RENAME_PLAIN(type, name, parameters, arguments) RENAME(name)
CURL_VARIADIC(RENAME)
CURL_PLAIN(RENAME_PLAIN)
#undef RENAME_PLAIN
#undef RENAME
#endif

int curl_load(struct varve_err *e);
