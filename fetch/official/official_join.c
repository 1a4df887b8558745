/* SPDX-License-Identifier: Apache-2.0 */
/* A tarball that is several archives, one behind the other: Docker's ADD reads them all, readers of
 * layers only the first. So they become one layer. */
#include "fetch/official/official.h"

#include "store/base/err.h"
#include "store/ingest.h"

static int put(void *user, const void *p, size_t n, struct varve_err *e)
{
	return ingest_write(user, p, n, e);
}

int official_join(struct official *o, struct varve_digest *d, struct varve_layer_facts *facts,
		  struct varve_err *e)
{
	const struct varve_layer_ops *ops = o->p->layers;
	struct ingest *in = NULL;
	int r;

	if (facts->mixed)
		return varve_fail(e, VARVE_E_FORMAT,
				  "behind the archive follows another one in another compression");
	if (!facts->concatenated)
		return 0;
	r = ingest_open_unnamed(&in, o->p->store, NULL, VARVE_BLOB_LAYER, 0, e);
	if (r < 0)
		return r;
	r = ops->join(o->p->store, d, put, in, e);
	if (r < 0) {
		ingest_close(in, false);
		return r;
	}
	r = ingest_commit_unnamed(in, o->p->lease, d, NULL, e);
	return r < 0 ? r : ops->read(o->p->store, d, facts, e);
}
