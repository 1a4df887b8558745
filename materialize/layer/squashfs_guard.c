/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A compressor in front of another one that gives up when nothing is gained. libsquashfs 1.2 writes
 * lz4 blocks that are longer than their content as "compressed", which unsquashfs and the kernel
 * refuse.
 */
#include "materialize/layer/squashfs_internal.h"

#include "materialize/codec/inflate.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include <stdlib.h>
#include <string.h>

int squashfs_fail(struct varve_err *e, int sqfs_code, const char *what)
{
	switch (sqfs_code) {
	case SQFS_ERROR_ALLOC:
		return varve_fail(e, ENOMEM, "squashfs: %s: out of memory (or damaged)", what);
	case SQFS_ERROR_UNSUPPORTED:
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "squashfs: %s: a version or a compressor that this build of "
				  "libsquashfs does not know",
				  what);
	case SQFS_ERROR_LINK_LOOP:
		return varve_fail(e, VARVE_E_UNSAFE, "squashfs: %s: a directory contains itself",
				  what);
	default:
		return varve_fail(e, VARVE_E_FORMAT, "squashfs: %s: damaged (libsquashfs error %d)",
				  what, sqfs_code);
	}
}

struct guard {
	sqfs_compressor_t base;
	sqfs_compressor_t *inner;
};

static void guard_destroy(sqfs_object_t *obj)
{
	sqfs_destroy(((struct guard *)obj)->inner);
	free(obj);
}

static sqfs_object_t *guard_copy(const sqfs_object_t *obj)
{
	const struct guard *g = (const struct guard *)obj;
	struct guard *n = malloc(sizeof(*n));

	if (!n)
		return NULL;
	*n = *g;
	n->inner = sqfs_copy(g->inner);
	if (!n->inner) {
		free(n);
		return NULL;
	}
	return (sqfs_object_t *)n;
}

static void guard_configuration(const sqfs_compressor_t *cmp, sqfs_compressor_config_t *cfg)
{
	const struct guard *g = (const struct guard *)cmp;

	g->inner->get_configuration(g->inner, cfg);
}

static int guard_write_options(sqfs_compressor_t *cmp, sqfs_file_t *file)
{
	struct guard *g = (struct guard *)cmp;

	return g->inner->write_options(g->inner, file);
}

static int guard_read_options(sqfs_compressor_t *cmp, sqfs_file_t *file)
{
	struct guard *g = (struct guard *)cmp;

	return g->inner->read_options(g->inner, file);
}

static sqfs_s32 guard_block(sqfs_compressor_t *cmp, const sqfs_u8 *in, sqfs_u32 size, sqfs_u8 *out,
			    sqfs_u32 outsize)
{
	struct guard *g = (struct guard *)cmp;
	sqfs_s32 n = g->inner->do_block(g->inner, in, size, out, outsize);

	return n > 0 && (sqfs_u32)n >= size ? 0 : n;
}

sqfs_compressor_t *squashfs_guard(sqfs_compressor_t *inner)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->base = (sqfs_compressor_t){
		.base = {.destroy = guard_destroy, .copy = guard_copy},
		.get_configuration = guard_configuration,
		.write_options = guard_write_options,
		.read_options = guard_read_options,
		.do_block = guard_block,
	};
	g->inner = inner;
	return &g->base;
}
