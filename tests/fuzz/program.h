/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a program: entries of all kinds with names from a tiny alphabet, so that they collide,
 * in up to eight layers. Every four bytes are one entry: kind, path, target, attributes.
 */
#pragma once

#include <stdio.h>

#include "materialize/plan/tree.h"
#include "plan_check.h"
#include "store/base/compiler.h"

#define LAYERS_MAX 8

static const char *const parts[] = {
	"a", "b", "c", "..", ".", "", ".wh.a", ".wh.b", ".wh.", ".wh..wh..opq", ".wh..wh.plnk",
	"l"};

/* Up to three components from a byte and a half. */
static inline void make_path(char *to, size_t size, unsigned v)
{
	const size_t k = VARVE_ARRAY_SIZE(parts);

	(void)snprintf(to, size, "%s%s%s%s%s%s", v & 0x1000 ? "/" : "", parts[v % k],
		       v & 0x100 ? "/" : "", v & 0x100 ? parts[v / k % k] : "",
		       v & 0x200 ? "/" : "", v & 0x200 ? parts[v / 7 % k] : "");
}

static inline int add(struct toc_writer *w, const uint8_t *b, uint64_t *pos)
{
	static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFREG,
					 S_IFCHR, S_IFIFO, S_IFREG, S_IFDIR};
	char path[128], link[128];
	struct varve_xattr x = {b[3] & 8 ? "user.k" : "trusted.overlay.opaque", b, 2};
	struct tar_entry t = {0};
	bool hard = (b[0] & 7) == 3;

	make_path(path, sizeof(path), b[1] | (b[0] & 0xf8u) << 5);
	make_path(link, sizeof(link), b[2] | (b[3] & 0xf0u) << 4);
	t.path = span_str(path);
	t.mode = types[b[0] & 7] | (b[3] & 7u) << 6;
	t.flags = hard ? TAR_HARDLINK : 0;
	t.link = span_str(hard || S_ISLNK(t.mode) ? link : "");
	t.mtime = b[3];
	t.n_xattrs = b[3] & 1;
	t.xattrs = &x;
	if (S_ISREG(t.mode) && !hard) {
		t.body_off = *pos;
		/* The largest does not fit into one piece of work of a writer. */
		t.body_len = t.size = b[3] >> 4 == 15 ? 150000 : b[3] >> 4;
		*pos += 512 + t.size;
	}
	return toc_writer_add(w, &t, NULL);
}

struct stack {
	struct toc *toc[LAYERS_MAX];
	void *bytes[LAYERS_MAX];
	struct varve_plan_layer layers[LAYERS_MAX];
	size_t n;
};

/* Entries up to a byte 0xff, or the end. */
static inline size_t make_layer(struct stack *s, const uint8_t *data, size_t n)
{
	struct varve_digest d = {.algo = VARVE_SHA256};
	struct toc_writer *w;
	uint64_t pos = 512;
	size_t at = 0, k;

	CHECK(toc_writer_new(&w, NULL, NULL) == 0);
	for (; at + 4 <= n && data[at] != 0xff; at += 4)
		CHECK(add(w, data + at, &pos) == 0);
	CHECK(toc_writer_finish(w, &d, pos, NULL) == 0);
	s->bytes[s->n] = toc_writer_take(w, &k);
	CHECK(toc_open_memory(&s->toc[s->n], s->bytes[s->n], k, NULL) == 0);
	s->layers[s->n].unpacked = pos;
	s->layers[s->n].digest.algo = VARVE_SHA256;
	s->layers[s->n].digest.bytes[0] = (uint8_t)s->n;
	s->n++;
	toc_writer_free(w);
	return VARVE_MIN(n, at + (at < n && data[at] == 0xff ? 1 : 4));
}

/* Runs a program and hands its plan over, unless it is refused. */
static inline void program_run(const uint8_t *data, size_t n, void (*with)(struct varve_plan *p))
{
	struct varve_plan_options o = VARVE_PLAN_OPTIONS_INIT;
	struct stack s = {0};
	struct varve_plan p = {0};
	struct tree_keep keep = {0};
	struct tree *t;
	int r = 0;

	if (n > 0) {
		o.strict = *data & 1;
		o.keep_dirlinks = *data & 2;
		data++;
		n--;
	}
	while (n > 0 && s.n < LAYERS_MAX) {
		size_t used = make_layer(&s, data, n);

		data += used;
		n -= used;
	}
	CHECK(tree_new(&t, &o, NULL, NULL) == 0);
	for (size_t i = 0; r == 0 && i < s.n; i++)
		r = tree_apply(t, s.toc[i], (uint32_t)i, NULL);
	if (r == 0) {
		CHECK(tree_freeze(t, &p, s.layers, s.n, &keep, NULL) == 0);
		with(&p);
		tree_thaw(&p, &keep);
	}
	tree_free(t);
	for (size_t i = 0; i < s.n; i++) {
		toc_free(s.toc[i]);
		free(s.bytes[i]);
	}
}
