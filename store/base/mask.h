/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that may be URLs, shown without the secrets in them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Behind "scheme://" of any scheme, or the text itself. */
const char *mask_behind_scheme(const char *text);
/*
 * The '@' that ends a user and a password in what is behind the scheme, NULL: there is none. People
 * forget to encode what a password may have: behind a ':' a '/', '?', '#' or '@' does not end it.
 */
const char *mask_userinfo_end(const char *p);
/*
 * Userinfo and everything behind '?' become dots, control bytes are escaped. With is_url the text
 * is meant to be a URL, be it ever so wrong; else it may be a file name or a reference as well and
 * is masked only when it has a scheme or begins with "user:password@". A digest behind the last '@'
 * is shown. The one place where this is decided.
 */
const char *mask_text(const char *text, bool is_url, char *out, size_t size);
