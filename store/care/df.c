/* SPDX-License-Identifier: Apache-2.0 */
/* What the store takes, and what gc would give back. */
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/care/scan.h"
#include "store/graph.h"
#include "store/layout.h"

#include <string.h>
#include <sys/statvfs.h>

struct sum {
	struct varve_store *store;
	uint64_t n, bytes;
};

static int add_file(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct sum *z = user;

	(void)e;
	z->n++;
	z->bytes += (uint64_t)entry->st.st_size;
	return 0;
}

/* What a download reserved is taken from others, too. */
static int add_partial(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct sum *z = user;

	(void)e;
	z->n++;
	z->bytes += fsx_room(&entry->st);
	return 0;
}

static int add_kind(void *user, const struct scan_entry *entry, struct varve_err *e)
{
	struct sum *z = user;

	return scan_dir(z->store, entry->path, add_file, z, e);
}

static int count_graph(struct varve_store *s, struct varve_df *ret, struct varve_err *e)
{
	struct graph g = {0};
	size_t i;
	int r = graph_load(&g, s, e);

	for (i = 0; r == 0 && i < g.n_blobs; i++) {
		const struct graph_blob *b = &g.blobs[i];

		if (!b->present)
			continue;
		ret->blobs++;
		ret->blob_bytes += b->size;
		if (b->images > 1)
			ret->shared_bytes += b->size;
		else if (b->images == 1)
			ret->own_bytes += b->size;
	}
	ret->images = g.n_images;
	ret->tags = g.n_tags;
	graph_done(&g);
	return r;
}

static int count_installs(struct varve_store *s, struct varve_df *ret, struct varve_err *e)
{
	struct varve_install_list list = {0};
	int r = varve_store_installs(s, NULL, &list, e);

	ret->installs = list.n;
	varve_install_list_free(&list);
	return r;
}

/* What lies beside the blobs that images need, as gc sees it. */
static void add_item(void *user, const struct varve_gc_item *item)
{
	struct varve_df *df = user;

	if (item->orphan)
		df->orphan_bytes += item->size;
	else if (strcmp(item->what, "blob") == 0 && item->verdict == VARVE_GC_REMOVE)
		df->unneeded_bytes += item->size;
	else if (strcmp(item->what, "trash") == 0)
		df->trash_bytes += item->size;
	else if (strcmp(item->what, "scratch") == 0)
		df->scratch_bytes += item->size;
}

int varve_store_df(struct varve_store *s, struct varve_df *ret, struct varve_err *e)
{
	struct varve_gc_options opt = VARVE_GC_OPTIONS_INIT;
	struct sum partials = {s, 0, 0}, derived = {s, 0, 0};
	struct varve_gc_result gc;
	struct statvfs v;
	int r;

	*ret = (struct varve_df){0};
	r = count_graph(s, ret, e);
	if (r == 0)
		r = count_installs(s, ret, e);
	if (r == 0)
		r = scan_dir(s, LAYOUT_PARTIAL, add_partial, &partials, e);
	if (r == 0)
		r = scan_dir(s, LAYOUT_AUX, add_kind, &derived, e);
	opt.dry_run = true;
	opt.item = add_item;
	opt.user = ret;
	if (r == 0)
		r = varve_store_gc(s, &opt, &gc, e);
	if (r < 0)
		return r;
	ret->partials = partials.n;
	ret->partial_bytes = partials.bytes;
	ret->derived_bytes = derived.bytes;
	ret->reclaimable_bytes = gc.removed_bytes;
	ret->index_bytes = index_size(s->index);
	if (fstatvfs(s->root, &v) == 0) {
		ret->fs_free = (uint64_t)v.f_bavail * v.f_frsize;
		ret->fs_size = (uint64_t)v.f_blocks * v.f_frsize;
	}
	return 0;
}
