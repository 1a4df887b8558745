/* SPDX-License-Identifier: Apache-2.0 */
/* Documents and blobs that an official image is made of, noted for its commit. */
#include "fetch/official/official_made.h"

#include "fetch/blobs/blobs.h"

#include <stdlib.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/hash.h"
#include "store/blob.h"
#include "store/ingest.h"

int made_blob(struct made *m, const struct catalog_blob *b, struct varve_err *e)
{
	struct catalog_blob *more = reallocarray(m->blobs, m->n + 1, sizeof(*more));

	if (!more)
		return varve_fail_oom(e);
	m->blobs = more;
	m->blobs[m->n++] = *b;
	return 0;
}

int made_document(struct official *o, struct made *m, enum varve_blob_kind kind,
		  const struct buf *b, const struct varve_digest *want, struct varve_digest *ret,
		  struct varve_err *e)
{
	int r = buf_error(b)
			? varve_fail_oom(e)
			: ingest_bytes(o->p->store, o->p->lease, kind, b->p, b->n, want, ret, e);

	return r == 0 ? made_blob(
				m,
				&(struct catalog_blob){.digest = *ret, .size = b->n, .kind = kind},
				e)
		      : r;
}

static int note_need(struct official *o, struct made *m, struct need *n, const char *url,
		     struct varve_err *e)
{
	struct varve_blob_info info;
	int r = blob_stat(o->p->store, &n->digest, &info, e);

	if (r < 1)
		return r < 0 ? r
			     : varve_fail(e, VARVE_E_INCOMPLETE, "blob %s did not come",
					  DIGEST_STR(&n->digest));
	if (!n->has_facts && info.has_facts) {
		n->facts = info.facts;
		n->has_facts = true;
	}
	return made_blob(m,
			 &(struct catalog_blob){.digest = n->digest,
						.size = info.size,
						.kind = n->kind,
						.origin = *url ? url : NULL,
						.has_facts = n->has_facts,
						.facts = n->facts},
			 e);
}

int made_needs(struct official *o, struct made *m, struct varve_err *e)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < o->p->n_needs; i++) {
		struct need *n = &o->p->needs[i];
		const char *url = n->repo->targets[0].url;

		/* Two files of the tree may be the same. */
		if (pull_need(o->p, &n->digest) != n)
			continue;
		r = note_need(o, m, n, url, e);
	}
	return r;
}

int made_facts(struct official *o, struct need *n, struct varve_err *e)
{
	if (n->has_facts)
		return 0;
	n->has_facts = true;
	return o->p->layers->read(o->p->store, &n->digest, &n->facts, e);
}
