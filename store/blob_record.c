/* SPDX-License-Identifier: Apache-2.0 */
/* One blob's record, whole: joined from its two values. */
#include "store/blob_record.h"

#include "store/base/err.h"
#include "store/base/hash.h"

static int bad(const struct varve_digest *d, struct varve_err *e)
{
	return varve_fail(e, VARVE_E_CORRUPT,
			  "the record of blob %s is damaged; make the database again with: varve "
			  "check --rebuild",
			  DIGEST_STR(d));
}

static void id_key(uint64_t id, unsigned char key[8])
{
	unsigned i;

	for (i = 0; i < 8; i++)
		key[i] = (unsigned char)(id >> (8 * i));
}

/* One that was lost is left out. */
static int load_origins(struct index_txn *t, struct blob_record *rec, struct varve_err *e)
{
	unsigned char key[8];
	size_t i, n = 0;
	int r;

	for (i = 0; i < rec->n_origins; i++) {
		id_key(rec->origin_ids[i], key);
		r = index_get(t, INDEX_ORIGIN, key, sizeof(key), &rec->origins[n], e);
		if (r < 0)
			return r;
		n += (size_t)r;
	}
	rec->n_origins = n;
	return 1;
}

static int store_origins(struct index_txn *t, const struct blob_record *rec, struct varve_err *e)
{
	unsigned char keys[RECORD_MAX_ORIGINS][8];
	struct span v;
	size_t i;
	int r;

	/* A put may move the texts that rec borrowed from this table: look at them all before. */
	for (i = 0; i < rec->n_origins; i++)
		id_key(record_origin_id(rec->origins[i]), keys[i]);
	for (i = 0; i < rec->n_origins; i++) {
		r = index_get(t, INDEX_ORIGIN, keys[i], 8, &v, e);
		if (r == 0) /* new, so not borrowed */
			r = index_put(t, INDEX_ORIGIN, keys[i], 8, rec->origins[i].p,
				      rec->origins[i].n, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int blob_record_load(struct index_txn *t, const struct varve_digest *d, struct blob_record *ret,
		     struct varve_err *e)
{
	const void *key = record_digest_key(d);
	size_t n = record_digest_len(d);
	struct span v;
	int r = index_get(t, INDEX_BLOB, key, n, &v, e);

	if (r <= 0)
		return r;
	if (!blob_brief_get(v, ret))
		return bad(d, e);
	r = index_get(t, INDEX_MORE, key, n, &v, e);
	if (r < 0)
		return r;
	if (r == 1 && !blob_more_get(v, ret))
		return bad(d, e);
	return load_origins(t, ret, e);
}

int blob_record_store(struct index_txn *t, const struct varve_digest *d,
		      const struct blob_record *rec, struct varve_err *e)
{
	const void *key = record_digest_key(d);
	size_t n = record_digest_len(d);
	struct buf brief, more;
	int r;

	buf_init(&brief, RECORD_MAX);
	buf_init(&more, RECORD_MAX);
	blob_brief_put(&brief, rec);
	blob_more_put(&more, rec);
	r = buf_error(&brief) < 0 || buf_error(&more) < 0 ? varve_fail_oom(e)
							  : store_origins(t, rec, e);
	if (r == 0)
		r = index_put(t, INDEX_BLOB, key, n, brief.p, brief.n, e);
	if (r == 0)
		r = index_put(t, INDEX_MORE, key, n, more.p, more.n, e);
	buf_done(&brief);
	buf_done(&more);
	return r;
}

int blob_record_delete(struct index_txn *t, const struct varve_digest *d, struct varve_err *e)
{
	const void *key = record_digest_key(d);
	size_t n = record_digest_len(d);
	int r = index_del(t, INDEX_BLOB, key, n, e);

	return r == 0 ? index_del(t, INDEX_MORE, key, n, e) : r;
}
