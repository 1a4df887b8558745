/* SPDX-License-Identifier: Apache-2.0 */
/* A digest that is computed beside its caller is the one that the caller would compute. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "materialize/codec/hash_beside.h"
#include "store/base/hash.h"
#include "unit.h"

#define BUFFER (256u << 10)

/* Two buffers in turn, as a decoder fills them. */
static void check(bool beside, size_t pieces, size_t piece, unsigned pause_us)
{
	static uint8_t two[2][BUFFER];
	struct varve_digest got, want;
	struct hash_beside *h;
	struct hash *plain;

	assert_int_equal(hash_beside_new(&h, VARVE_SHA256, beside, NULL), 0);
	assert_int_equal(hash_new(&plain, VARVE_SHA256, NULL), 0);
	for (size_t i = 0; i < pieces; i++) {
		uint8_t *p = two[i & 1];

		memset(p, (int)(i * 7 + piece), piece);
		hash_beside_update(h, p, piece);
		hash_update(plain, p, piece);
		if (pause_us) /* so that the thread comes first */
			(void)usleep(pause_us);
	}
	assert_int_equal(hash_beside_final(h, &got, NULL), 0);
	assert_int_equal(hash_final(plain, &want, NULL), 0);
	assert_true(varve_digest_equal(&got, &want));
	hash_free(plain);
	hash_beside_free(h);
}

static void test_same_digest(void **state)
{
	(void)state;
	for (int beside = 0; beside < 2; beside++) {
		check(beside, 0, 1, 0);
		check(beside, 1, 1, 0);
		check(beside, 5000, 13, 0); /* mostly taken back by the caller */
		check(beside, 200, BUFFER, 0);
		check(beside, 20, BUFFER, 2000); /* mostly hashed by the thread */
	}
}

/* Given up with bytes waiting or at work: they may be freed when free() has returned. */
static void test_given_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct hash_beside *h;
		uint8_t *p = calloc(1, BUFFER);

		assert_non_null(p);
		assert_int_equal(hash_beside_new(&h, VARVE_SHA256, true, NULL), 0);
		hash_beside_update(h, p, BUFFER);
		if (i % 2)
			(void)usleep(i);
		hash_beside_free(h);
		free(p);
	}
	hash_beside_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_digest),
		cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
