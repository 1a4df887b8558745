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
/* Every function of libcurl that is used. */
#define CURL_FUNCTIONS(X)                                                                          \
	X(easy_cleanup)                                                                            \
	X(easy_getinfo)                                                                            \
	X(easy_init)                                                                               \
	X(easy_setopt)                                                                             \
	X(easy_strerror)                                                                           \
	X(global_init)                                                                             \
	X(multi_add_handle)                                                                        \
	X(multi_cleanup)                                                                           \
	X(multi_info_read)                                                                         \
	X(multi_init)                                                                              \
	X(multi_perform)                                                                           \
	X(multi_poll)                                                                              \
	X(multi_remove_handle)                                                                     \
	X(multi_setopt)                                                                            \
	X(slist_append)                                                                            \
	X(slist_free_all)                                                                          \
	X(version_info)

/* Symbols of their own: a program may link this library statically and libcurl as well. */
#define RENAME(name) extern __typeof__(curl_##name) curl_##name __asm__("varve_curl_" #name);
CURL_FUNCTIONS(RENAME)
#undef RENAME
#endif

int curl_load(struct varve_err *e);
