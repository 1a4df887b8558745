/* SPDX-License-Identifier: Apache-2.0 */
/* The words of a registry's or token server's error body (dist-spec "Error Codes"); pure. */
#pragma once

#include "store/base/buf.h"

struct registry_error {
	char code[64];     /* "" if none */
	char message[400]; /* escaped, one line; "" if none */
};
/* Never fails: what is no error document gives empty strings. */
void registry_error_parse(struct registry_error *ret, const void *p, size_t n);
