/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves the last use of every image of a store back by some seconds, so that tests need not wait
 * for hours:
 *
 *     backdate STORE SECONDS
 */
#include "store/graph.h"
#include "store/record.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

struct back {
	struct graph g;
	int64_t by;
};

static int put_all(struct index_txn *t, void *user, struct varve_err *e)
{
	struct back *b = user;
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < b->g.n_images; i++) {
		const struct varve_digest *d = &b->g.blobs[b->g.images[i].blob].digest;
		struct image_record rec;
		struct image_ref refs[256];
		struct buf image, used;
		struct span v;
		size_t n = 0;

		/* A use before the record was made would not count. */
		r = index_get(t, INDEX_IMAGE, record_digest_key(d), record_digest_len(d), &v, e);
		if (r <= 0 || !image_record_get(v, &rec))
			return -1;
		while (n < 256 && image_next_ref(&rec.refs, &refs[n]))
			n++;
		rec.n_refs = (uint32_t)n;
		rec.fetched_at -= b->by;
		buf_init(&image, RECORD_MAX);
		buf_init(&used, RECORD_MAX);
		image_record_put(&image, &rec, refs);
		used_record_put(&used, b->g.images[i].last_used - b->by);
		r = index_put(t, INDEX_IMAGE, record_digest_key(d), record_digest_len(d), image.p,
			      image.n, e);
		if (r == 0)
			r = index_put(t, INDEX_USED, record_digest_key(d), record_digest_len(d),
				      used.p, used.n, e);
		buf_done(&image);
		buf_done(&used);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct varve_store_options opt = VARVE_STORE_OPTIONS_INIT;
	struct varve_ctx ctx = {0};
	struct varve_store *s;
	struct back b = {.by = 0};
	struct varve_err e;
	char text[512];
	int r;

	if (argc != 3)
		return 2;
	opt.path = argv[1];
	b.by = atoll(argv[2]);
	r = varve_store_open(&s, &ctx, &opt, &e);
	if (r == 0) {
		r = graph_load(&b.g, s, &e);
		if (r == 0)
			r = index_update(s->index, put_all, &b, &e);
		graph_done(&b.g);
		varve_store_close(s);
	}
	if (r < 0)
		fprintf(stderr, "backdate: %s\n", varve_err_text(&e, text, sizeof(text)));
	return r < 0;
}
