/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate headers (RFC 9110 11.6.1, docs/requirements.md 2.3); pure. */
#pragma once

#include "store/base/buf.h"

#define CHALLENGE_MAX 8

enum challenge_scheme { CHALLENGE_BASIC, CHALLENGE_BEARER };
struct challenge {
	enum challenge_scheme scheme;
	char *realm, *service, *scope, *error; /* unescaped; NULL if absent */
};
struct challenge_list {
	struct challenge items[CHALLENGE_MAX];
	size_t n;
};

/*
 * Append the challenges of one header value. Unknown schemes are skipped, what cannot be parsed
 * ends the value. Values with control bytes are dropped. -ENOMEM only.
 */
int challenge_parse(struct challenge_list *ret, struct span header);
/* The first of a scheme, or NULL. */
const struct challenge *challenge_find(const struct challenge_list *l,
				       enum challenge_scheme scheme);
void challenge_done(struct challenge_list *l);
