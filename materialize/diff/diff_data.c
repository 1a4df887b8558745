/* SPDX-License-Identifier: Apache-2.0 */
/* Compare the content of installed files with their layers, each layer opened at most once. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "materialize/diff/diff.h"
#include "materialize/layer/layer_stream.h"
#include "materialize/plan/plan.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"
#include "store/base/text.h"
#include "store/blob.h"
#include "store/handle.h"

#define WINDOW (64u << 10)

/* A file that cannot be opened or read any more is not the image's. */
static bool same_bytes(int fd, const void *p, size_t n, uint64_t off)
{
	const char *want = p;
	char have[WINDOW];

	while (n > 0) {
		size_t k = VARVE_MIN(n, sizeof(have));

		if (fsx_pread_full(fd, have, k, off) != (ssize_t)k || memcmp(have, want, k) != 0)
			return false;
		want += k;
		off += k;
		n -= k;
	}
	return true;
}

/* Holes are zeros without a look; what is stored is read. *same is only ever cleared. */
static int compare_zeros(const struct diff *d, int fd, uint64_t off, uint64_t end, bool *same)
{
	static const char zeros[WINDOW];
	uint64_t from, to;
	struct stat st;
	int r, more = 0;

	if (*same && off < end && (fstat(fd, &st) < 0 || (uint64_t)st.st_size < end))
		*same = false;
	while (*same && (more = fsx_next_data(fd, off, end, &from, &to)) > 0) {
		for (; *same && from < to; from += WINDOW) {
			r = ctx_check(store_ctx(d->p->store), d->e);
			if (r < 0)
				return r;
			*same = same_bytes(fd, zeros,
					   (size_t)VARVE_MIN(to - from, (uint64_t)WINDOW), from);
		}
		off = to;
	}
	*same = *same && more == 0;
	return 0;
}

/* The n stored bytes that come next belong at off of fd. *same is only ever cleared. */
static int compare_run(struct layer_stream *ls, int fd, uint64_t off, uint64_t n, bool *same,
		       struct varve_err *e)
{
	while (n > 0) {
		const void *p;
		size_t k;
		int r = layer_stream_next(ls, (size_t)VARVE_MIN(n, (uint64_t)(1u << 20)), &p, &k,
					  e);

		if (r < 0)
			return r;
		if (k == 0)
			return varve_fail(e, VARVE_E_FORMAT, "the layer ends too early");
		*same = *same && same_bytes(fd, p, k, off);
		off += k;
		n -= k;
	}
	return 0;
}

static int compare_body(struct diff *d, struct layer_stream *ls, uint32_t inode)
{
	const struct plan_inode *i = &d->p->inodes[inode];
	VARVE_CLOSE int fd = -1;
	bool same;
	uint64_t at = 0;
	int r = 0;

	if (plan_path(d->p, i->first_name, &d->path) < 0)
		return varve_fail_oom(d->e);
	fd = fsx_open_beneath(d->root, d->path.p, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
	same = fd >= 0;
	d->inodes[inode].unreadable = fd < 0 && errno == EACCES;
	d->ret->files_read += fd >= 0;
	if (i->n_extents == 0)
		r = compare_run(ls, fd, 0, i->body_len, &same, d->e);
	for (uint32_t k = 0; r == 0 && k < i->n_extents; k++) {
		r = compare_zeros(d, fd, at, i->extents[k].off, &same);
		if (r == 0)
			r = compare_run(ls, fd, i->extents[k].off, i->extents[k].n, &same, d->e);
		at = i->extents[k].off + i->extents[k].n;
	}
	if (r == 0 && i->n_extents > 0)
		r = compare_zeros(d, fd, at, i->size, &same);
	d->inodes[inode].differs = !same;
	return r;
}

static int skip(struct layer_stream *ls, uint64_t n, struct varve_err *e)
{
	bool unused = false;

	return compare_run(ls, -1, 0, n, &unused, e);
}

static int compare_layer(struct diff *d, size_t layer)
{
	const struct plan_body_list *l = &d->p->bodies[layer];
	struct layer_stream *ls = NULL;
	uint64_t at = 0;
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < l->n; k++) {
		const struct plan_inode *i = &d->p->inodes[l->inodes[k]];

		if (!d->inodes[l->inodes[k]].suspect)
			continue;
		if (!ls)
			r = layer_stream_open(&ls, d->p->store, &d->p->summary.layers[layer].digest,
					      d->e);
		if (r == 0)
			r = skip(ls, i->body_off - at, d->e);
		if (r == 0)
			r = compare_body(d, ls, l->inodes[k]);
		at = i->body_off + i->body_len;
	}
	if (r == 0 && ls)
		r = layer_stream_end(ls, d->e);
	layer_stream_free(ls);
	return r;
}

/* Files without stored bytes: all hole. */
static int compare_holes(struct diff *d)
{
	for (uint32_t k = 0; k < d->p->n_inodes; k++) {
		const struct plan_inode *i = &d->p->inodes[k];
		VARVE_CLOSE int fd = -1;
		bool same;
		int r;

		if (!d->inodes[k].suspect || i->body_len > 0)
			continue;
		if (plan_path(d->p, i->first_name, &d->path) < 0)
			return varve_fail_oom(d->e);
		fd = fsx_open_beneath(d->root, d->path.p, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
		d->inodes[k].unreadable = fd < 0 && errno == EACCES;
		d->ret->files_read += fd >= 0;
		same = fd >= 0;
		r = compare_zeros(d, fd, 0, i->size, &same);
		if (r < 0)
			return r;
		d->inodes[k].differs = !same;
	}
	return 0;
}

static int tell_suspect(struct diff *d, uint32_t name)
{
	const struct diff_inode *x = &d->inodes[d->p->names[name].inode];
	uint32_t mode = d->p->inodes[d->p->names[name].inode].mode;
	unsigned changes = d->changes[name] & ~DIFF_SUSPECT;
	int r = 0;

	if (x->differs && !x->unreadable)
		changes |= VARVE_DIFF_CONTENT;
	if (!changes && !x->unreadable)
		return 0;
	if (plan_path(d->p, name, &d->path) < 0)
		return varve_fail_oom(d->e);
	if (changes)
		r = diff_tell(d, VARVE_DIFF_CHANGED, d->path.p, changes, mode);
	if (r == 0 && x->unreadable)
		r = diff_tell(d, VARVE_DIFF_UNREADABLE, d->path.p, 0, mode);
	return r;
}

static int tell_suspects(struct diff *d)
{
	int r = 0;

	for (uint32_t k = 0; r == 0 && k < d->p->n_names; k++)
		if (d->inodes[d->p->names[k].inode].suspect && d->changes[k] & DIFF_SUSPECT)
			r = tell_suspect(d, k);
	return r;
}

int diff_contents(struct diff *d)
{
	int r = compare_holes(d);

	for (size_t i = 0; r == 0 && i < d->p->summary.n_layers; i++)
		r = compare_layer(d, i);
	return r == 0 ? tell_suspects(d) : r;
}
