/* SPDX-License-Identifier: Apache-2.0 */
/* Print what each tag of library files means, for official_tables.py: official_dump ARCH FILE... */
#include <stdio.h>
#include <string.h>

#include "fetch/official/official_library.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

#include <fcntl.h>

struct dump {
	const struct official_library *l;
	const char *file, *arch;
};

static int print_tag(void *user, const char *tag)
{
	const struct dump *d = user;
	struct official_place p;
	int r = official_library_find(d->l, tag, d->arch, &p, NULL);

	if (r < 0)
		printf("%s\t%s\t%s\n", d->file, tag, varve_code_slug(r));
	else
		printf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d->file, tag, p.repo, p.fetch, p.commit,
		       p.directory, p.file, p.builder);
	return 0;
}

int main(int argc, char **argv)
{
	int i, r;

	for (i = 2; i < argc; i++) {
		VARVE_CLEANUP(official_library_cleanup) struct official_library *l = NULL;
		VARVE_CLEANUP(buf_done) struct buf b = {0};
		struct varve_err e = VARVE_ERR_INIT;
		char text[2048];

		buf_init(&b, OFFICIAL_LIBRARY_MAX);
		r = fsx_read_file(AT_FDCWD, argv[i], &b, &e);
		if (r == 0)
			r = official_library_parse(&l, b.p, b.n, &e);
		if (r < 0) {
			fprintf(stderr, "%s: %s\n", argv[i],
				varve_err_text(&e, text, sizeof(text)));
			return 1;
		}
		official_library_each(l, print_tag, &(struct dump){l, argv[i], argv[1]});
		if (official_library_find(l, "", argv[1], &(struct official_place){0}, NULL) ==
		    -VARVE_E_UNSUPPORTED)
			printf("%s\t-\twithdrawn\n", argv[i]);
	}
	return 0;
}
