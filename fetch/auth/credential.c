/* SPDX-License-Identifier: Apache-2.0 */
#include "fetch/auth/credential.h"

#include "store/base/text.h"

#include <stdlib.h>

void credential_done(struct credential *c)
{
	text_forget(&c->secret);
	free(c->user);
	free(c->source);
	*c = (struct credential){0};
}
