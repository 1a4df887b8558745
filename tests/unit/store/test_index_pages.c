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
	struct round round = {.seed = 1};
	unsigned i;

	for (i = 0; i < 150; i++) {
		int r = index_update(f->store->index, change, &round, &f->err);

		if (r == 0)
			r = index_check_pages(f->store->index, INDEX_DATA, &f->err);
		if (r < 0)
			print_message("round %u\n", i);
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

/* The file of an index with trees of two levels, large values and a free list, and a copy to
 * damage. */
struct sample {
	struct memory good, m;
	struct pages_file file;
	const char *why;
};
#define SAMPLE_MAX (8u << 20)
#define PAGE       4096u

static void sample_open(struct sample *s, struct fixture *f)
{
	struct round round = {.seed = 2};
	char path[128];
	FILE *in;

	for (unsigned i = 0; i < 20; i++)
		assert_ok(index_update(f->store->index, change, &round, &f->err), &f->err);
	(void)snprintf(path, sizeof(path), "%s/db/data.mdb", f->path);
	*s = (struct sample){.good.p = malloc(SAMPLE_MAX), .m.p = malloc(SAMPLE_MAX)};
	in = fopen(path, "rbe");
	assert_non_null(in);
	s->good.n = s->m.n = fread(s->good.p, 1, SAMPLE_MAX, in);
	(void)fclose(in);
	s->file = (struct pages_file){.read = read_memory,
				      .user = &s->m,
				      .size = s->m.n,
				      .map_size = index_map_for(s->m.n)};
	memcpy(s->m.p, s->good.p, s->m.n);
	assert_int_equal(pages_check(&s->file, &s->why), 0);
}

static void sample_close(struct sample *s)
{
	free(s->good.p);
	free(s->m.p);
}

/* --- one damage each --- */

static uint16_t get16(const unsigned char *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void put16(unsigned char *p, unsigned v)
{
	uint16_t w = (uint16_t)v;

	memcpy(p, &w, sizeof(w));
}

static uint64_t get64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void put64(unsigned char *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

enum { LEAF = 2, BRANCH = 1, LARGE = 4, META = 8 };
#define FLAGS(p)    ((p) + 10)
#define LOWER(p)    ((p) + 12)
#define UPPER(p)    ((p) + 14)
#define NODE_AT(i)  (16 + 2 * (i))
#define NODE(p, i)  ((p) + get16((p) + NODE_AT(i)))
#define N_NODES(p)  ((get16(LOWER(p)) - 16u) / 2)
#define KEY_SIZE(n) ((n) + 6)
#define DATA(n)     ((n) + 8 + get16(KEY_SIZE(n)))

static void number(unsigned char *p)
{
	put64(p, get64(p) + 1);
}

static void kind(unsigned char *p)
{
	put16(FLAGS(p), get16(FLAGS(p)) ^ 3);
}

static void odd_lower(unsigned char *p)
{
	put16(LOWER(p), get16(LOWER(p)) + 1u);
}

static void odd_upper(unsigned char *p)
{
	put16(UPPER(p), get16(UPPER(p)) + 1u);
}

static void crossed(unsigned char *p)
{
	put16(LOWER(p), get16(UPPER(p)) + 2u);
}

static void upper_outside(unsigned char *p)
{
	put16(UPPER(p), PAGE + 2);
}

static void empty(unsigned char *p)
{
	put16(LOWER(p), 16);
}

static void node_low(unsigned char *p)
{
	put16(p + NODE_AT(0), get16(UPPER(p)) - 2u);
}

static void node_odd(unsigned char *p)
{
	put16(p + NODE_AT(0), get16(p + NODE_AT(0)) + 1u);
}

static void node_high(unsigned char *p)
{
	put16(p + NODE_AT(0), PAGE - 2);
}

static void key_outside(unsigned char *p)
{
	put16(KEY_SIZE(NODE(p, 0)), PAGE);
}

static void node_twice(unsigned char *p)
{
	put16(p + NODE_AT(1), get16(p + NODE_AT(0)));
}

static void swapped(unsigned char *p)
{
	unsigned a = get16(p + NODE_AT(0)), b = get16(p + NODE_AT(1));

	put16(p + NODE_AT(0), b);
	put16(p + NODE_AT(1), a);
}

/* The whole of it, of the same size as before, belongs to the value. */
static void no_key(unsigned char *p)
{
	unsigned char *n = NODE(p, 0);

	put16(n, get16(n) + (unsigned)get16(KEY_SIZE(n)));
	put16(KEY_SIZE(n), 0);
}

static void node_kind(unsigned char *p)
{
	put16(NODE(p, 0) + 4, 0x10);
}

static void child_high(unsigned char *p)
{
	put16(NODE(p, 1), 0xffff);
	put16(NODE(p, 1) + 2, 0xffff);
}

static void child_meta(unsigned char *p)
{
	put16(NODE(p, 1), 1);
}

static void child_twice(unsigned char *p)
{
	put16(NODE(p, 1), get16(NODE(p, 0)));
}

static void more_pages(unsigned char *p)
{
	put16(LOWER(p), 0xffff);
}

static void fewer_pages(unsigned char *p)
{
	put16(LOWER(p), 0);
	put16(UPPER(p), 0);
}

/* Of a leaf of the free list: the key is a transaction, the value a count and pages. */
static void future(unsigned char *p)
{
	put64(NODE(p, N_NODES(p) - 1) + 8, UINT64_MAX / 2);
}

static void free_cut(unsigned char *p)
{
	put64(DATA(NODE(p, 0)), 4000);
}

static void free_twice(unsigned char *p)
{
	put64(DATA(NODE(p, 0)) + 8, get64(DATA(NODE(p, 0)) + 16));
}

/* Of a leaf of the list of tables: the value is a record of 48 bytes. */
static void entries(unsigned char *p)
{
	put64(DATA(NODE(p, 0)) + 32, get64(DATA(NODE(p, 0)) + 32) + 1);
}

static void depth(unsigned char *p)
{
	put16(DATA(NODE(p, 0)) + 6, 33);
}

static void table_flags(unsigned char *p)
{
	put16(DATA(NODE(p, 0)) + 4, 4);
}

static void no_table(unsigned char *p)
{
	put16(NODE(p, 0) + 4, 0);
}

static void magic(unsigned char *p)
{
	put16(p + 16, 0);
}

static void version(unsigned char *p)
{
	put16(p + 20, 2);
}

static void page_size(unsigned char *p)
{
	put16(p + 40, 2049);
}

static void last_page(unsigned char *p)
{
	put64(p + 136, UINT64_MAX / PAGE);
}

static void txn(unsigned char *p)
{
	put64(p + 144, get64(p + 144) + 2);
}

/* Each is found, and called what it is, on one page of the file at least. */
static const struct {
	const char *name;
	void (*damage)(unsigned char *page);
	unsigned flags; /* of the pages that it fits */
	unsigned nodes; /* that they must have */
	const char *why;
} damages[] = {
	{"number", number, LEAF, 0, "another kind or number"},
	{"number", number, BRANCH, 0, "another kind or number"},
	{"number", number, LARGE, 0, "large value"},
	{"kind", kind, LEAF, 0, "another kind or number"},
	{"kind", kind, BRANCH, 0, "another kind or number"},
	{"kind", kind, LARGE, 0, "large value"},
	{"odd lower", odd_lower, LEAF, 0, "the head"},
	{"odd upper", odd_upper, LEAF, 0, "the head"},
	{"crossed", crossed, LEAF, 0, "the head"},
	{"upper outside", upper_outside, LEAF, 0, "the head"},
	{"empty", empty, LEAF, 0, "the head"},
	{"node low", node_low, LEAF, 1, "outside of its page"},
	{"node odd", node_odd, LEAF, 1, "outside of its page"},
	{"node high", node_high, LEAF, 1, "outside of its page"},
	{"key outside", key_outside, LEAF, 1, "outside of its page"},
	{"key outside", key_outside, BRANCH, 2, "outside of its page"},
	{"node twice", node_twice, LEAF, 2, "overlap"},
	{"node twice", node_twice, BRANCH, 2, "overlap"},
	{"swapped", swapped, LEAF, 2, "keys are out of order"},
	{"no key", no_key, LEAF, 1, "a key has a wrong size"},
	{"node kind", node_kind, LEAF, 1, "an unknown kind"},
	{"child high", child_high, BRANCH, 2, "out of range"},
	{"child meta", child_meta, BRANCH, 2, "out of range"},
	{"child twice", child_twice, BRANCH, 2, "in use twice"},
	{"more pages", more_pages, LARGE, 0, "large value"},
	{"fewer pages", fewer_pages, LARGE, 0, "large value"},
	{"future", future, LEAF, 1, "of the future"},
	{"free cut", free_cut, LEAF, 1, "the free list is cut"},
	{"free twice", free_twice, LEAF, 1, "the free list is out of order"},
	{"entries", entries, LEAF, 1, "number of entries"},
	{"depth", depth, LEAF, 1, "the record of a table"},
	{"table flags", table_flags, LEAF, 1, "the record of a table"},
	{"no table", no_table, LEAF, 1, "the list of tables"},
	{"magic", magic, META, 0, "no database"},
	{"version", version, META, 0, "no database"},
	{"page size", page_size, META, 0, "the size of its pages"},
	{"page size", page_size, META, 0, "do not agree"},
	{"last page", last_page, META, 0, "larger than it can be"},
	{"txn", txn, META, 0, "do not agree"},
};

static void every_damage_has_its_name(void **state)
{
	struct sample s;

	sample_open(&s, *state);
	for (size_t c = 0; c < sizeof(damages) / sizeof(damages[0]); c++) {
		bool found = false;

		for (size_t at = 0; at + PAGE <= s.m.n && !found; at += PAGE) {
			unsigned char *p = s.m.p + at;

			if (get16(FLAGS(p)) != damages[c].flags ||
			    (damages[c].flags < LARGE &&
			     (get16(LOWER(p)) < 16 || N_NODES(p) < damages[c].nodes)))
				continue;
			damages[c].damage(p);
			s.why = NULL;
			found = pages_check(&s.file, &s.why) == 1 && s.why &&
				strstr(s.why, damages[c].why);
			memcpy(p, s.good.p + at, PAGE);
		}
		if (!found)
			fail_msg("%s: nowhere is it said that '%s'", damages[c].name,
				 damages[c].why);
	}
	sample_close(&s);
}

static void a_page_in_use_is_checked(void **state)
{
	struct sample s;

	sample_open(&s, *state);
	/* A page that is in use has a number that counts, and a key without bytes in it is damage.
	 */
	for (size_t at = 0; at + PAGE <= s.m.n; at += PAGE) {
		unsigned char *p = s.m.p + at;
		bool used;

		if (get16(FLAGS(p)) != LEAF || get16(LOWER(p)) < 18)
			continue;
		number(p);
		used = pages_check(&s.file, &s.why) == 1;
		memcpy(p, s.good.p + at, PAGE);
		no_key(p);
		assert_int_equal(pages_check(&s.file, &s.why), used);
		memcpy(p, s.good.p + at, PAGE);
	}
	/* Each head has the transactions of its parity. */
	put64(s.m.p + 144, get64(s.m.p + 144) + 1);
	put64(s.m.p + PAGE + 144, get64(s.m.p + PAGE + 144) + 1);
	assert_int_equal(pages_check(&s.file, &s.why), 1);
	assert_non_null(strstr(s.why, "do not agree"));
	sample_close(&s);
}

/* No damage makes the checker itself read outside of the file, or run for ever. */
static void noise_is_survived(void **state)
{
	struct round round = {.seed = 3};
	struct sample s;
	unsigned i, k, bad = 0;

	sample_open(&s, *state);
	for (i = 0; i < 3000; i++) {
		unsigned noise = 1 + (unsigned)rand_r(&round.seed) % 16;

		memcpy(s.m.p, s.good.p, s.m.n);
		for (k = 0; k < noise; k++) {
			unsigned x = (unsigned)rand_r(&round.seed);

			s.m.p[(x >> 3) % (s.m.n / PAGE) * PAGE +
			      (unsigned)rand_r(&round.seed) % (x & 1 ? 64 : PAGE)] =
				(unsigned char)(x & 2 ? x >> 8 : 0xff);
		}
		bad += pages_check(&s.file, &s.why) != 0;
	}
	assert_true(bad > 500);
	memcpy(s.m.p, s.good.p, s.m.n);
	s.file.size = s.m.n - PAGE; /* the last page is cut off: in use, or in the free list */
	(void)pages_check(&s.file, &s.why);
	s.file.size = 5000; /* cut within a page */
	assert_int_equal(pages_check(&s.file, &s.why), 1);
	s.file.size = 0;
	assert_int_equal(pages_check(&s.file, &s.why), 1);
	sample_close(&s);
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
		cmocka_unit_test_setup_teardown(every_damage_has_its_name, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(a_page_in_use_is_checked, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(noise_is_survived, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_limit_is_no_broken_disk, fixture_setup,
						fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
