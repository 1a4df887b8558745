/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as WWW-Authenticate header values, one a line: never more than the limit, never control
 * bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "fetch/auth/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const char *s)
{
	for (; s && *s; s++)
		if ((unsigned char)*s < ' ' || *s == 127)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct challenge_list l = {0};
	struct span rest = span_of(data, n), line;
	bool more;

	do {
		more = span_cut(&rest, '\n', &line);
		if (challenge_parse(&l, line) < 0)
			abort();
	} while (more);
	if (l.n > CHALLENGE_MAX)
		abort();
	for (size_t i = 0; i < l.n; i++) {
		check(l.items[i].realm);
		check(l.items[i].service);
		check(l.items[i].scope);
		check(l.items[i].error);
	}
	challenge_done(&l);
	return 0;
}
