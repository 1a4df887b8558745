/* SPDX-License-Identifier: Apache-2.0 */
/* Where a layer can be read from, and verifying one as a whole beside those who read its parts. */
#include <stdlib.h>
#include <unistd.h>

#include "materialize/layer/layer_parts.h"
#include "materialize/layer/layer_source.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/layer/zran.h"
#include "store/base/err.h"
#include "store/blob.h"

static int one_point(uint64_t **ret, size_t *ret_n, struct varve_err *e)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return varve_fail_oom(e);
	*ret_n = 1;
	return 0;
}

static int even_points(uint64_t size, uint64_t **ret, size_t *ret_n, struct varve_err *e)
{
	size_t n = (size_t)(size / INFLATE_POINT_EVERY) + 1;

	*ret = malloc(n * sizeof(**ret));
	if (!*ret)
		return varve_fail_oom(e);
	for (size_t i = 0; i < n; i++)
		(*ret)[i] = i * INFLATE_POINT_EVERY;
	*ret_n = n;
	return 0;
}

static int stored_points(const struct zran *z, uint64_t **ret, size_t *ret_n, struct varve_err *e)
{
	size_t n = zran_n(z);

	*ret = malloc((n + 1) * sizeof(**ret));
	if (!*ret)
		return varve_fail_oom(e);
	(*ret)[0] = 0;
	for (size_t i = 0; i < n; i++)
		(*ret)[i + 1] = zran_out(z, i);
	*ret_n = n + 1;
	return 0;
}

static bool is_proven(struct varve_store *s, const struct varve_digest *blob)
{
	struct blob_file f;

	if (blob_open_file(s, blob, &f, NULL) < 0)
		return false;
	(void)close(f.fd);
	return f.proven;
}

int layer_points(struct varve_store *s, const struct varve_digest *blob,
		 const struct varve_digest *diff_id, uint64_t **ret, size_t *ret_n,
		 struct varve_err *e)
{
	struct varve_blob_info info;
	struct zran *z;
	int r = blob_stat(s, blob, &info, e);

	if (r < 0)
		return r;
	/* Parts are verified by who reads the whole, which proves nothing of what others can
	 * change. */
	if (r == 0 || !info.has_facts || !is_proven(s, blob))
		return one_point(ret, ret_n, e);
	if (info.facts.compression == VARVE_COMP_NONE)
		return even_points(info.facts.size, ret, ret_n, e);
	if (info.facts.compression != VARVE_COMP_GZIP || zran_open(&z, s, blob, diff_id, NULL) < 0)
		return one_point(ret, ret_n, e);
	r = stored_points(z, ret, ret_n, e);
	zran_free(z);
	return r;
}

int layer_verify(struct varve_store *s, const struct varve_digest *blob, struct varve_err *e)
{
	struct layer_source src;
	int r = layer_source_open(&src, s, blob, true, e);

	if (r < 0)
		return r;
	r = layer_source_verify(&src, e);
	layer_source_done(&src);
	return r;
}
