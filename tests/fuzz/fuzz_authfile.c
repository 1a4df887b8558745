/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as files and answers that hold credentials. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/auth/authfile.h"
#include "fetch/registry/regerror.h"
#include "fetch/registry/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void as_authfile(const uint8_t *data, size_t n, bool legacy)
{
	struct authfile_answer a;

	(void)authfile_find(&a, data, n, legacy, "docker.io", "library/x", NULL);
	if (a.helper && !helper_name_ok(a.helper))
		abort();
	authfile_answer_done(&a);
}

static void as_token(const uint8_t *data, size_t n)
{
	struct token_answer a = {0};

	if (token_answer_parse(&a, data, n, 1700000000, NULL) == 0) {
		if (strpbrk(a.value, "\r\n ") || a.lifetime_s > 86400)
			abort();
		free(a.value);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct credential c = {0};
	struct registry_error re;

	as_authfile(data, n, false);
	as_authfile(data, n, true);
	if (helper_answer_parse(&c, data, n, NULL) == 0)
		credential_done(&c);
	credential_done(&c);
	if (netrc_find(data, n, "q.io", &c))
		credential_done(&c);
	as_token(data, n);
	registry_error_parse(&re, data, n);
	return 0;
}
