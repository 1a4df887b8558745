/* SPDX-License-Identifier: Apache-2.0 */
/* Read a stored layer once: verify its bytes, make its table of contents and facts. */
#include "materialize/layer/layer_read.h"
#include "store/derived.h"

#include "materialize/confine/cage.h"
#include "materialize/layer/layer_scan.h"
#include "materialize/layer/layer_source.h"
#include "store/base/err.h"
#include "store/handle.h"

static int scan_and_verify(struct layer_source *src, const struct layer_scan_to *to,
			   struct varve_layer_facts *ret, struct varve_err *e)
{
	struct inflate_source in = layer_source_input(src);
	struct varve_err why = VARVE_ERR_INIT;
	int r = layer_scan(store_ctx(src->s), &in, to, ret, e);

	if (r == 0)
		return layer_source_verify(src, e);
	if (r == -VARVE_E_INTERRUPTED)
		return r;
	/* A rotten blob is the better explanation of a layer that cannot be parsed. */
	if (layer_source_verify(src, &why) != -VARVE_E_DIGEST)
		return r;
	if (e)
		*e = why;
	return -VARVE_E_DIGEST;
}

struct scan {
	struct layer_source *src;
	const struct layer_scan_to *to;
	struct varve_layer_facts *facts;
	struct varve_err *e;
};

static int scan_caged(void *arg)
{
	struct scan *s = arg;

	return scan_and_verify(s->src, s->to, s->facts, s->e);
}

static int scan(struct layer_source *src, const struct layer_scan_to *to,
		struct varve_layer_facts *ret, struct varve_err *e)
{
	struct scan s = {src, to, ret, e};
	struct cage cage = {.ctx = store_ctx(src->s)};
	struct cage_store paths = {0};
	int r = cage_store(&cage, &paths, src->s, e);

	if (r == 0)
		r = cage_run(&cage, scan_caged, &s, e);
	cage_store_done(&paths);
	return r;
}

int layer_read(struct varve_store *s, const struct varve_digest *blob,
	       struct varve_layer_facts *ret, struct varve_err *e)
{
	struct layer_source src;
	struct varve_layer_facts facts = {0};
	struct aux_file file;
	struct layer_scan_to to = {.toc = &file, .limits = store_limits(s)};
	int r = layer_source_open(&src, s, blob, true, e);

	if (r < 0)
		return r;
	src.progress = true;
	r = zran_writer_new(&to.points, s, blob, e);
	if (r == 0)
		r = aux_create(s, &file, e);
	if (r == 0) {
		r = scan(&src, &to, &facts, e);
		if (r == 0)
			zran_commit(to.points, &facts.diff_id);
		if (r < 0)
			aux_abort(&file);
		else
			r = aux_commit(&file, "toc", &facts.diff_id, e);
	}
	zran_writer_free(to.points);
	layer_source_done(&src);
	if (r == 0)
		r = blob_set_facts(s, blob, &facts, e);
	if (r < 0)
		return varve_wrap(e, r, "layer %s", DIGEST_STR(blob));
	*ret = facts;
	return 0;
}
