/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a Dockerfile, and as a library file of official-images. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/official/dockerfile.h"
#include "fetch/official/official_library.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	const struct official_library *l;
	unsigned n;
};

static int on_tag(void *user, const char *tag)
{
	struct seen *seen = user;
	struct official_place p;

	if (official_library_find(seen->l, tag, "arm64v8", &p, NULL) == 0 &&
	    (!*p.commit || !*p.repo || p.directory[0] == '/' ||
	     strncmp(p.directory, "..", 3) == 0 || strncmp(p.directory, "../", 3) == 0))
		abort();
	return ++seen->n == 20;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct official_library *l = NULL;
	struct official_place p;
	struct dockerfile_add a = {0};

	if (dockerfile_parse(&a, data, n, NULL) == 0) {
		if (!a.n_sources)
			abort();
		dockerfile_add_done(&a);
	}
	if (official_library_parse(&l, data, n, NULL) == 0) {
		(void)official_library_find(l, "latest", "amd64", &p, NULL);
		(void)official_library_each(l, on_tag, &(struct seen){.l = l});
		official_library_free(l);
	}
	return 0;
}
