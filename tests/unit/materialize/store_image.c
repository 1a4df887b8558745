/* SPDX-License-Identifier: Apache-2.0 */
/* A store with images, for tests: see store_image.h. */
#include "store_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "store/base/fsx.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store/catalog.h"
#include "store/ingest.h"

void open_store(struct fixture *f, bool read_only)
{
	struct varve_store_options o = VARVE_STORE_OPTIONS_INIT;
	static const struct varve_ctx ctx;

	o.path = f->dir;
	o.create = !read_only;
	o.read_only = read_only;
	assert_ok(varve_store_open(&f->s, &ctx, &o, &f->e), &f->e);
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/varve-plan.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(rmdir(f->dir), 0);
	open_store(f, false);
	assert_ok(lease_begin(&f->l, f->s, "test", &f->e), &f->e);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	int tmp;

	lease_end(f->l);
	varve_store_close(f->s);
	tmp = fsx_open_dir(AT_FDCWD, "/tmp");
	assert_int_equal(fsx_remove_tree(tmp, f->dir + strlen("/tmp/"), NULL, NULL, NULL), 0);
	assert_int_equal(close(tmp), 0);
	free(f);
	return 0;
}

void pack(struct buf *to, const struct buf *plain, enum varve_compression c)
{
	size_t room = plain->n + plain->n / 8 + 4096;
	char *q = buf_room(to, room);

	if (c == VARVE_COMP_GZIP) {
		z_stream z = {0};

		assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, 0), Z_OK);
		z.next_in = (Bytef *)plain->p;
		z.avail_in = (uInt)plain->n;
		z.next_out = (Bytef *)q;
		z.avail_out = (uInt)room;
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		to->n += room - z.avail_out;
		(void)deflateEnd(&z);
	} else if (c == VARVE_COMP_ZSTD) {
		to->n += ZSTD_compress(q, room, plain->p, plain->n, 1);
	} else {
		buf_add(to, plain->p, plain->n);
	}
}

void put_blob(struct fixture *f, const struct buf *b, enum varve_blob_kind kind,
	      struct varve_digest *ret)
{
	assert_ok(ingest_bytes(f->s, f->l, kind, b->p, b->n, NULL, ret, &f->e), &f->e);
}

void put_layer(struct fixture *f, struct stored *m, const char *text, enum varve_compression c)
{
	static const char end[1024];
	struct oci_layer_desc *l = &m->l[m->n++];
	struct buf plain, packed;

	buf_init(&plain, MAX);
	buf_init(&packed, MAX);
	image_tar(&plain, text);
	buf_add(&plain, end, sizeof(end));
	pack(&packed, &plain, c);
	l->media_type = DOCKER_MT_LAYER;
	l->size = packed.n;
	put_blob(f, &packed, VARVE_BLOB_LAYER, &l->digest);
	assert_ok(hash_bytes(VARVE_SHA256, plain.p, plain.n, &l->diff_id, &f->e), &f->e);
	buf_done(&plain);
	buf_done(&packed);
}

void put_image(struct fixture *f, struct stored *m, size_t n_config_layers)
{
	struct varve_platform platform;
	struct catalog_blob blobs[8];
	struct catalog_commit c = {.blobs = blobs};
	struct varve_blob_info info;
	struct varve_digest config;
	struct buf b;
	uint64_t size;

	varve_platform_host(&platform);
	buf_init(&b, MAX);
	assert_ok(oci_build_config(&b, &platform, NULL, NULL, m->l, n_config_layers, &f->e), &f->e);
	put_blob(f, &b, VARVE_BLOB_CONFIG, &config);
	size = b.n;
	buf_reset(&b);
	assert_ok(oci_build_manifest(&b, &config, size, m->l, m->n, NULL, &f->e), &f->e);
	put_blob(f, &b, VARVE_BLOB_MANIFEST, &m->image.manifest);
	m->image.name = "test:1";
	for (size_t i = 0; i < m->n; i++)
		if (blob_stat(f->s, &m->l[i].digest, &info, NULL) == 1)
			blobs[c.n_blobs++] = (struct catalog_blob){.digest = m->l[i].digest,
								   .size = m->l[i].size,
								   .kind = VARVE_BLOB_LAYER};
	assert_ok(catalog_commit(f->s, &c, &f->e), &f->e);
	buf_done(&b);
}
