/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a layer: decoder, tar parser, toc, tree, plan. Applied twice, so that it also meets
 * itself as a lower layer. */
#include "materialize/codec/inflate.h"
#include "materialize/plan/tree.h"
#include "plan_check.h"
#include "store/base/compiler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define OUT_MAX ((uint64_t)16 << 20)

struct input {
	const uint8_t *p;
	size_t n;
};

static int next(void *user, const void **ret, size_t *ret_n, struct varve_err *e)
{
	struct input *in = user;

	(void)e;
	*ret = in->p;
	*ret_n = VARVE_MIN(in->n, (size_t)1000);
	in->p += *ret_n;
	in->n -= *ret_n;
	return 0;
}

static int on_entry(void *user, const struct tar_entry *t, struct varve_err *e)
{
	return toc_writer_add(user, t, e);
}

static int parse(const uint8_t *data, size_t n, struct toc_writer *w, uint64_t *ret_size,
		 struct varve_err *e)
{
	struct input in = {data, n};
	struct inflate_source src = {next, &in};
	struct tar_events ev = {on_entry, NULL, NULL, w};
	struct inflate *z = NULL;
	struct tar *t = NULL;
	int r = tar_new(&t, &ev, e);

	if (r == 0)
		r = inflate_new(&z, &src, OUT_MAX, 0, e);
	while (r == 0) {
		const void *p;
		size_t k;

		r = inflate_next(z, 700, &p, &k, e);
		if (r == 0 && k == 0) {
			r = tar_finish(t, e);
			break;
		}
		if (r == 0)
			r = tar_feed(t, p, k, e);
	}
	if (r == 0)
		*ret_size = inflate_out(z);
	inflate_free(z);
	tar_free(t);
	return r;
}

static void plan(const struct toc *toc, uint64_t size)
{
	struct varve_plan_layer layers[2] = {{.unpacked = size}, {.unpacked = size}};
	struct varve_plan p = {0};
	struct tree_keep keep = {0};
	struct varve_err e = VARVE_ERR_INIT;
	struct tree *t;

	if (tree_new(&t, NULL, NULL, &e) < 0)
		return;
	if (tree_apply(t, toc, 0, &e) == 0 && tree_apply(t, toc, 1, &e) == 0) {
		if (tree_freeze(t, &p, layers, 2, &keep, &e) == 0)
			plan_check(&p);
		tree_thaw(&p, &keep);
	}
	tree_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct varve_digest d = {.algo = VARVE_SHA256};
	struct varve_err e = VARVE_ERR_INIT;
	struct toc_writer *w;
	struct toc *toc;
	uint64_t size = 0;

	if (toc_writer_new(&w, NULL, &e) < 0)
		return 0;
	if (parse(data, n, w, &size, &e) == 0 && toc_writer_finish(w, &d, size, &e) == 0) {
		size_t k;
		void *bytes = toc_writer_take(w, &k);

		/* What we wrote we must be able to read. */
		CHECK(toc_open_memory(&toc, bytes, k, &e) == 0);
		plan(toc, size);
		toc_free(toc);
		free(bytes);
	}
	toc_writer_free(w);
	return 0;
}
