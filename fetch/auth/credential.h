/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry is told to let us in. */
#pragma once

#include <stdbool.h>

enum credential_kind {
	CREDENTIAL_NONE,
	CREDENTIAL_PASSWORD,
	CREDENTIAL_IDENTITY, /* secret is a refresh token */
	CREDENTIAL_BEARER,   /* secret is sent as it is */
};
struct credential {
	enum credential_kind kind;
	char *user, *secret;
	char *source;     /* for messages: a file or a helper */
	bool from_helper; /* may give another answer later (ECR: 12 hours) */
};
/* Wipes the secret; accepts a zeroed struct. */
void credential_done(struct credential *c);
