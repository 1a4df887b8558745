/* SPDX-License-Identifier: Apache-2.0 */
/* Map the stored table of contents of a layer. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "materialize/layer/toc_format.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/derived.h"

int toc_open(struct toc **ret, struct varve_store *s, const struct varve_digest *diff_id,
	     struct varve_err *e)
{
	VARVE_CLOSE int fd = -1;
	struct stat st;
	void *map;
	int r = aux_open(s, "toc", diff_id, &fd, e);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return varve_fail_errno(e, "table of contents");
	if (st.st_size < (off_t)sizeof(struct toc_file_header))
		return toc_damaged(e);
	/*
	 * Published files are never written again, and aux_open() gives none that another user may
	 * write, so the mapping cannot shrink or change under us.
	 */
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return varve_fail_errno(e, "table of contents");
	r = toc_open_memory(ret, map, (size_t)st.st_size, e);
	if (r < 0) {
		(void)munmap(map, (size_t)st.st_size);
		return r;
	}
	(*ret)->map = map;
	(*ret)->map_size = (size_t)st.st_size;
	toc_forget(*ret, (*ret)->n);
	if (!varve_digest_equal(&(*ret)->diff_id, diff_id)) {
		toc_free(*ret);
		*ret = NULL;
		return toc_damaged(e);
	}
	return 0;
}
