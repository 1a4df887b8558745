/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the database: one value each, with a checksum in front, since LMDB has none. */
#include "store/index/index_internal.h"

#include "store/base/err.h"
#include "store/base/invariant.h"
#include "store/index/crc32c.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#define GENERATION  "generation"
#define VALUE_HEAD  5 /* version and CRC-32C in front of each value */
#define VALUE_MAGIC 1

static uint32_t value_crc(enum index_table table, const void *key, size_t n, const void *p,
			  size_t value_n)
{
	unsigned char head = (unsigned char)table;
	uint32_t crc = crc32c(0, &head, 1);

	crc = crc32c(crc, key, n);
	return crc32c(crc, p, value_n);
}

bool index_value_open(enum index_table table, const MDB_val *key, const MDB_val *v,
		      struct span *ret)
{
	const unsigned char *p = v->mv_data;
	uint32_t crc;

	if (v->mv_size < VALUE_HEAD || p[0] != VALUE_MAGIC)
		return false;
	memcpy(&crc, p + 1, 4);
	*ret = span_of(p + VALUE_HEAD, v->mv_size - VALUE_HEAD);
	return le32toh(crc) == value_crc(table, key->mv_data, key->mv_size, ret->p, ret->n);
}

static int fail_value(const struct index_txn *t, enum index_table table, struct varve_err *e)
{
	char why[64];

	(void)snprintf(why, sizeof(why), "a record of table %s", index_table_names[table]);
	return index_fail_corrupt(t->ix, e, why);
}

int index_get(struct index_txn *t, enum index_table table, const void *key, size_t n,
	      struct span *ret, struct varve_err *e)
{
	MDB_val k = {n, (void *)(uintptr_t)key}, v;
	int rc = mdb_get(t->txn, t->ix->dbi[table], &k, &v);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc)
		return index_fail_mdb(t->ix, rc, "read", e);
	if (!index_value_open(table, &k, &v, ret))
		return fail_value(t, table, e);
	return 1;
}

int index_put(struct index_txn *t, enum index_table table, const void *key, size_t n,
	      const void *value, size_t value_n, struct varve_err *e)
{
	MDB_val k = {n, (void *)(uintptr_t)key}, v = {value_n + VALUE_HEAD, NULL};
	uint32_t crc = htole32(value_crc(table, key, n, value, value_n));
	unsigned char *p;
	int rc;

	assert(n && n <= INDEX_KEY_MAX);
	rc = mdb_put(t->txn, t->ix->dbi[table], &k, &v, MDB_RESERVE);

	if (rc == MDB_MAP_FULL)
		t->map_full = true;
	if (rc)
		return index_fail_mdb(t->ix, rc, "write to", e);
	p = v.mv_data;
	p[0] = VALUE_MAGIC;
	memcpy(p + 1, &crc, 4);
	if (value_n)
		memcpy(p + VALUE_HEAD, value, value_n);
	return 0;
}

int index_del(struct index_txn *t, enum index_table table, const void *key, size_t n,
	      struct varve_err *e)
{
	MDB_val k = {n, (void *)(uintptr_t)key};
	int rc = mdb_del(t->txn, t->ix->dbi[table], &k, NULL);

	if (rc == MDB_MAP_FULL)
		t->map_full = true;
	return rc && rc != MDB_NOTFOUND ? index_fail_mdb(t->ix, rc, "write to", e) : 0;
}

int index_each(struct index_txn *t, enum index_table table, const void *prefix, size_t n,
	       int (*fn)(void *user, struct span key, struct span value, struct varve_err *e),
	       void *user, struct varve_err *e)
{
	MDB_val k = {n, (void *)(uintptr_t)prefix}, v;
	MDB_cursor *cursor;
	struct span value;
	int rc = mdb_cursor_open(t->txn, t->ix->dbi[table], &cursor), r = 0;

	if (rc)
		return index_fail_mdb(t->ix, rc, "read", e);
	rc = mdb_cursor_get(cursor, &k, &v, n ? MDB_SET_RANGE : MDB_FIRST);
	while (rc == 0 && r == 0) {
		if (n && (k.mv_size < n || memcmp(k.mv_data, prefix, n) != 0))
			break;
		if (!index_value_open(table, &k, &v, &value))
			r = fail_value(t, table, e);
		else
			r = fn(user, span_of(k.mv_data, k.mv_size), value, e);
		if (r == 0)
			rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (r == 0 && rc && rc != MDB_NOTFOUND)
		return index_fail_mdb(t->ix, rc, "read", e);
	return r;
}

uint64_t index_count(struct index_txn *t, enum index_table table)
{
	MDB_stat st;

	return mdb_stat(t->txn, t->ix->dbi[table], &st) == 0 ? st.ms_entries : 0;
}

uint64_t index_txn_id(struct index_txn *t)
{
	return mdb_txn_id(t->txn);
}

int index_generation(struct index_txn *t, uint64_t *ret, struct varve_err *e)
{
	struct span v = {0};
	uint64_t le;
	int r = index_get(t, INDEX_META, GENERATION, sizeof(GENERATION) - 1, &v, e);

	if (r < 0)
		return r;
	*ret = 0;
	if (r == 1 && v.n == sizeof(le)) {
		memcpy(&le, v.p, sizeof(le));
		*ret = le64toh(le);
	}
	return 0;
}

int index_bump(struct index_txn *t, struct varve_err *e)
{
	uint64_t g;
	int r = index_generation(t, &g, e);

	if (r < 0)
		return r;
	g = htole64(g + 1);
	return index_put(t, INDEX_META, GENERATION, sizeof(GENERATION) - 1, &g, sizeof(g), e);
}
