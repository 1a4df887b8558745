/* SPDX-License-Identifier: Apache-2.0 */
/* See mkplan.h. Defines layer_stream_* for the test program that it is linked into. */
#include "mkplan.h"
#include "materialize/layer/layer_parts.h"
#include "materialize/layer/layer_stream.h"

#include "store/base/compiler.h"
#include "store/base/err.h"

#include <string.h>
#include <unistd.h>

struct mk_layer mk_layers[MK_LAYERS];

struct layer_stream {
	struct mk_layer *l;
	size_t pos;
	bool part;
};

static uint32_t add(struct mk *m, uint32_t parent, const char *name, uint32_t inode)
{
	uint32_t i = m->plan.n_names++;

	m->names[i] = (struct plan_name){
		.name = name,
		.parent = parent,
		.inode = inode,
		.first_child = PLAN_NONE,
		.next_sibling = PLAN_NONE,
		.next_link = PLAN_NONE,
	};
	return i;
}

static uint32_t add_inode(struct mk *m, uint32_t parent, const char *name, uint32_t mode)
{
	uint32_t inode = m->plan.n_inodes++;
	uint32_t i = add(m, parent, name, inode);

	m->inodes[inode] = (struct plan_inode){
		.mode = mode,
		.mtime = 1000000000 + inode,
		.mtime_ns = 123456789,
		.layer = PLAN_NONE,
		.first_name = i,
		.n_names = 1,
	};
	return i;
}

struct mk *mk_new(void)
{
	struct mk *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->plan.names = m->names;
	m->plan.inodes = m->inodes;
	m->plan.bodies = m->bodies;
	m->plan.summary.layers = m->layers;
	m->plan.summary.n_layers = MK_LAYERS;
	for (int i = 0; i < MK_LAYERS; i++) {
		m->bodies[i].inodes = m->body_inodes[i];
		m->layers[i].digest.algo = VARVE_SHA256;
		m->layers[i].digest.bytes[0] = (uint8_t)i;
		mk_layers[i] = (struct mk_layer){0};
		buf_init(&mk_layers[i].bytes, 1u << 30);
	}
	(void)add_inode(m, 0, "", S_IFDIR | 0755);
	return m;
}

void mk_free(struct mk *m)
{
	for (int i = 0; i < MK_LAYERS; i++)
		buf_done(&mk_layers[i].bytes);
	free(m);
}

struct plan_inode *mk_inode(struct mk *m, uint32_t name)
{
	return &m->inodes[m->names[name].inode];
}

uint32_t mk_dir(struct mk *m, uint32_t parent, const char *name, uint32_t mode)
{
	return add_inode(m, parent, name, S_IFDIR | mode);
}

uint32_t mk_file(struct mk *m, uint32_t parent, const char *name, uint32_t mode, uint32_t layer,
		 const void *body, size_t n)
{
	uint32_t i = add_inode(m, parent, name, S_IFREG | mode);
	struct plan_inode *in = mk_inode(m, i);

	in->layer = layer;
	in->size = in->body_len = n;
	in->body_off = mk_layers[layer].bytes.n;
	buf_add(&mk_layers[layer].bytes, body, n);
	if (n)
		m->body_inodes[layer][m->bodies[layer].n++] = m->names[i].inode;
	m->plan.summary.bytes += n;
	return i;
}

uint32_t mk_symlink(struct mk *m, uint32_t parent, const char *name, const char *target)
{
	uint32_t i = add_inode(m, parent, name, S_IFLNK | 0777);

	mk_inode(m, i)->target = target;
	return i;
}

uint32_t mk_node(struct mk *m, uint32_t parent, const char *name, uint32_t mode,
		 uint32_t rdev_major, uint32_t rdev_minor)
{
	uint32_t i = add_inode(m, parent, name, mode);

	mk_inode(m, i)->rdev_major = rdev_major;
	mk_inode(m, i)->rdev_minor = rdev_minor;
	return i;
}

uint32_t mk_link(struct mk *m, uint32_t parent, const char *name, uint32_t to)
{
	uint32_t i = add(m, parent, name, m->names[to].inode);

	m->names[i].next_link = m->names[to].next_link;
	m->names[to].next_link = i;
	mk_inode(m, to)->n_names++;
	return i;
}

void mk_gap(uint32_t layer, size_t n)
{
	while (n--)
		buf_addc(&mk_layers[layer].bytes, 'x');
}

int layer_stream_open(struct layer_stream **ret, struct varve_store *s VARVE_UNUSED,
		      const struct varve_digest *blob, struct varve_err *e VARVE_UNUSED)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		abort();
	(*ret)->l = &mk_layers[blob->bytes[0]];
	(*ret)->l->opened++;
	return 0;
}

int layer_stream_open_near(struct layer_stream **ret, struct varve_store *s VARVE_UNUSED,
			   const struct varve_digest *blob,
			   const struct varve_digest *diff_id VARVE_UNUSED, uint64_t off,
			   uint64_t *ret_off, struct varve_err *e VARVE_UNUSED)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		abort();
	(*ret)->l = &mk_layers[blob->bytes[0]];
	(*ret)->pos = *ret_off = off - off % 100000; /* a point lies before it */
	(*ret)->part = true;
	(*ret)->l->parts++;
	return 0;
}

int layer_points(struct varve_store *s VARVE_UNUSED, const struct varve_digest *blob,
		 const struct varve_digest *diff_id VARVE_UNUSED, uint64_t **ret, size_t *ret_n,
		 struct varve_err *e VARVE_UNUSED)
{
	*ret = calloc(2, sizeof(**ret));
	*ret_n = mk_layers[blob->bytes[0]].points ? 2 : 1;
	return 0;
}

int layer_verify(struct varve_store *s VARVE_UNUSED, const struct varve_digest *blob,
		 struct varve_err *e)
{
	return mk_layers[blob->bytes[0]].rotten ? varve_fail(e, VARVE_E_DIGEST, "layer: rotten")
						: 0;
}

int layer_stream_next(struct layer_stream *ls, size_t max, const void **ret, size_t *ret_n,
		      struct varve_err *e VARVE_UNUSED)
{
	size_t n = VARVE_MIN(max, ls->l->bytes.n - ls->pos);

	if (ls->l->window)
		n = VARVE_MIN(n, ls->l->window);
	if (ls->l->points)
		(void)usleep(100); /* as slow as a decoder: the other threads find nothing to do */
	*ret = ls->l->bytes.p + ls->pos;
	*ret_n = n;
	ls->pos += n;
	return 0;
}

int layer_stream_drain(struct layer_stream *ls VARVE_UNUSED, struct varve_err *e VARVE_UNUSED)
{
	return 0;
}

int layer_stream_end(struct layer_stream *ls, struct varve_err *e)
{
	if (ls->part)
		return 0;
	ls->l->ended++;
	return ls->l->rotten ? varve_fail(e, VARVE_E_DIGEST, "layer: rotten") : 0;
}

void layer_stream_free(struct layer_stream *ls)
{
	free(ls);
}

int plan_path(const struct varve_plan *p, uint32_t name, struct buf *b)
{
	const char *parts[64];
	size_t n = 0;

	for (; name != PLAN_ROOT && n < VARVE_ARRAY_SIZE(parts); name = p->names[name].parent)
		parts[n++] = p->names[name].name;
	buf_reset(b);
	if (!n)
		buf_adds(b, ".");
	while (n-- > 0) {
		buf_adds(b, parts[n]);
		if (n)
			buf_addc(b, '/');
	}
	return buf_error(b);
}
