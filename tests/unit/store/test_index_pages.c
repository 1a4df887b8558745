/* SPDX-License-Identifier: Apache-2.0 */
/* The page checker: whatever LMDB writes is sound, whatever else is there is not. */
#include "store/index/index_pages.h"

#include "store/index/index_internal.h"
#include "store/store.h"
#include "store_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_VALUE 20000

struct round {
	unsigned seed;
};

/* Records of all sizes come, change and go: trees grow and shrink, values move to other pages. */
static int change(struct index_txn *t, void *user, struct varve_err *e)
{
	static const char value[MAX_VALUE];
	struct round *round = user;
	unsigned i, n = (unsigned)rand_r(&round->seed) % 200;
	bool shrink = rand_r(&round->seed) % 3 == 0;
	int r = 0;

	for (i = 0; r == 0 && i < n; i++) {
		unsigned x = (unsigned)rand_r(&round->seed);
		char key[INDEX_KEY_MAX] = {0};
		size_t key_n = 8 + (x & 1 ? 0 : (unsigned)rand_r(&round->seed) % (sizeof(key) - 8));

		(void)snprintf(key, sizeof(key), "%04x", x >> 4 & 0x3ff);
		if (shrink || x % 5 == 0)
			r = index_del(t, INDEX_STATE, key, key_n, e);
		else
			r = index_put(t, x & 2 ? INDEX_STATE : INDEX_USED, key, key_n, value,
				      (unsigned)rand_r(&round->seed) % (x % 11 ? 300 : MAX_VALUE),
				      e);
	}
	return r;
}

static void what_lmdb_writes_is_sound(void **state)
{
	struct fixture *f = *state;
	struct round round = {.seed = (unsigned)getpid()};
	unsigned i, seed = round.seed;

	for (i = 0; i < 150; i++) {
		int r = index_update(f->store->index, change, &round, &f->err);

		if (r == 0)
			r = index_check_pages(f->store->index, INDEX_DATA, &f->err);
		if (r < 0)
			print_message("seed %u, round %u\n", seed, i);
		assert_ok(r, &f->err);
	}
	assert_ok(index_check(f->store->index, &f->err), &f->err);
}

struct memory {
	unsigned char *p;
	size_t n;
};

static int read_memory(void *user, uint64_t offset, void *buf, size_t n)
{
	struct memory *m = user;

	assert_true(offset <= m->n && n <= m->n - offset);
	memcpy(buf, m->p + offset, n);
	return 0;
}

/* No damage makes the checker itself read outside of the file, or run for ever. */
static void noise_is_survived(void **state)
{
	struct fixture *f = *state;
	struct round round = {.seed = (unsigned)getpid()};
	struct memory m = {0}, good = {0};
	struct pages_file file = {.read = read_memory, .user = &m};
	unsigned i, k, bad = 0;
	const char *why = NULL;
	char path[128];
	FILE *in;

	for (i = 0; i < 20; i++)
		assert_ok(index_update(f->store->index, change, &round, &f->err), &f->err);
	(void)snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	good.p = malloc(8u << 20);
	m.p = malloc(8u << 20);
	in = fopen(path, "rbe");
	assert_non_null(in);
	good.n = m.n = fread(good.p, 1, 8u << 20, in);
	(void)fclose(in);
	file.size = m.n;
	file.map_size = index_map_for(m.n);
	memcpy(m.p, good.p, m.n);
	assert_int_equal(pages_check(&file, &why), 0);
	for (i = 0; i < 3000; i++) {
		unsigned noise = 1 + (unsigned)rand_r(&round.seed) % 16;

		memcpy(m.p, good.p, m.n);
		for (k = 0; k < noise; k++) {
			unsigned x = (unsigned)rand_r(&round.seed);

			m.p[(x >> 3) % (m.n / 4096) * 4096 +
			    (unsigned)rand_r(&round.seed) % (x & 1 ? 64 : 4096)] =
				(unsigned char)(x & 2 ? x >> 8 : 0xff);
		}
		bad += pages_check(&file, &why) != 0;
	}
	assert_true(bad > 500);
	file.size = 5000; /* cut within a page */
	assert_int_equal(pages_check(&file, &why), 1);
	file.size = 0;
	assert_int_equal(pages_check(&file, &why), 1);
	free(good.p);
	free(m.p);
}

/*
 * A write that a limit cuts short is EIO to LMDB, with room on the disk. The limit of a process
 * stands for a quota, which not every kernel has.
 */
static void a_limit_is_no_broken_disk(void **state)
{
	struct fixture *f = *state;
	struct round round = {.seed = 1};
	struct rlimit before, small;
	char path[128];
	struct stat st;
	int i, r = 0;

	for (i = 0; i < 5; i++)
		assert_ok(index_update(f->store->index, change, &round, &f->err), &f->err);
	(void)snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	assert_int_equal(stat(path, &st), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = (rlim_t)st.st_size + 5000; /* within a page: a short write */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (i = 0; i < 50 && r == 0; i++)
		r = index_update(f->store->index, change, &round, &f->err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(r, -VARVE_E_NOSPACE);
	f->err = (struct varve_err)VARVE_ERR_INIT;
	assert_ok(index_check(f->store->index, &f->err), &f->err);
	assert_ok(index_update(f->store->index, change, &round, &f->err), &f->err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_lmdb_writes_is_sound, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(noise_is_survived, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_limit_is_no_broken_disk, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
