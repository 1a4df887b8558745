/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the pages of a database, five bytes each: page, offset, how, value. What the checker
 * calls sound LMDB can read and write without a crash.
 */
#include <lmdb.h>
#include <stdint.h>

#include "place.h"
#include "store/index/index_pages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MAP  (1u << 20)
#define MOST (256u << 10)

static uint8_t base[MOST], now[MOST];
static size_t size;

static MDB_env *open_env(void)
{
	MDB_env *env;
	char path[64];

	CHECK(mdb_env_create(&env) == 0 && mdb_env_set_mapsize(env, MAP) == 0 &&
	      mdb_env_set_maxdbs(env, 4) == 0);
	if (mdb_env_open(env, place_path(path, "db"), MDB_NOLOCK | MDB_NOSYNC, 0600) == 0)
		return env;
	mdb_env_close(env);
	return NULL;
}

static void put(MDB_txn *t, MDB_dbi table, unsigned k)
{
	static char value[9000];
	char key[32];
	MDB_val v = {k % 7 ? k % 300 : k % sizeof(value), value}, name = {20, key};

	(void)snprintf(key, sizeof(key), "%020u", k * 7919 % 1000);
	(void)mdb_put(t, table, &name, &v, 0);
}

/* Two tables, several levels, large values, and pages that are free. */
static void make_base(void)
{
	MDB_env *env;
	int fd;

	CHECK(mkdirat(place_fd, "db", 0700) == 0);
	env = open_env();
	CHECK(env);
	for (unsigned round = 0; round < 3; round++) {
		MDB_txn *t;
		MDB_dbi a, b;

		CHECK(mdb_txn_begin(env, NULL, 0, &t) == 0 &&
		      mdb_dbi_open(t, "a", MDB_CREATE, &a) == 0 &&
		      mdb_dbi_open(t, "b", MDB_CREATE, &b) == 0);
		for (unsigned k = 0; k < 60; k++)
			put(t, k % 3 ? a : b, k * (round + 1));
		CHECK(mdb_txn_commit(t) == 0);
	}
	mdb_env_close(env);
	fd = openat(place_fd, "db/data.mdb", O_RDONLY | O_CLOEXEC);
	size = (size_t)fsx_pread_full(fd, base, sizeof(base), 0);
	CHECK(size > 10 * 4096u && size < sizeof(base));
	(void)close(fd);
}

static int read_now(void *user, uint64_t offset, void *to, size_t n)
{
	(void)user;
	CHECK(offset <= size && n <= size - offset);
	memcpy(to, now + offset, n);
	return 0;
}

static void use_table(MDB_txn *t, const char *name)
{
	MDB_cursor *c;
	MDB_val k, v;
	MDB_dbi table;
	unsigned char sum = 0;

	if (mdb_dbi_open(t, name, 0, &table))
		return;
	CHECK(mdb_cursor_open(t, table, &c) == 0);
	for (int r = mdb_cursor_get(c, &k, &v, MDB_FIRST); r == 0;
	     r = mdb_cursor_get(c, &k, &v, MDB_NEXT))
		for (size_t i = 0; i < v.mv_size; i += 97)
			sum = (unsigned char)(sum + ((unsigned char *)v.mv_data)[i]);
	mdb_cursor_close(c);
	for (unsigned i = 0; i < 40; i++) {
		char key[32];
		MDB_val gone = {20, key};

		(void)snprintf(key, sizeof(key), "%020u", i * 25 + sum % 2);
		(void)mdb_del(t, table, &gone, NULL);
		put(t, table, i * 31);
	}
}

static void use_all(void)
{
	MDB_env *env;
	MDB_txn *t;

	place_write(place_fd, "db/data.mdb", now, size);
	env = open_env();
	if (!env)
		return;
	if (mdb_txn_begin(env, NULL, 0, &t) == 0) {
		use_table(t, "a");
		use_table(t, "b");
		(void)mdb_txn_commit(t);
	}
	mdb_env_close(env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pages_file f = {0, MAP, read_now, NULL};
	const char *why = NULL;
	int r;

	place_make();
	if (!size)
		make_base();
	memcpy(now, base, size);
	for (size_t i = 0; i + 5 <= n && i < 500; i += 5) {
		size_t at =
			data[i] % (size / 4096) * 4096 + (data[i + 1] | data[i + 2] << 8) % 4096u;

		now[at] = (uint8_t)(data[i + 3] & 1 ? now[at] + data[i + 4] : data[i + 4]);
	}
	f.size = size;
	r = pages_check(&f, &why);
	CHECK(r >= 0 && (r == 0) == (why == NULL || r == 0));
	if (r == 0)
		use_all();
	return 0;
}
