/* SPDX-License-Identifier: Apache-2.0 */
#include "store_fixture.h"

#include "store/base/hash.h"
#include "store/lower.h"
#include "store/trust.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct varve_digest digest_of(const char *text)
{
	struct varve_digest d;

	assert_int_equal(hash_bytes(VARVE_SHA256, text, strlen(text), &d, NULL), 0);
	return d;
}

static void facts_are_read_as_written(void **state)
{
	struct varve_digest blob = digest_of("blob"), other = digest_of("other");
	struct varve_layer_facts facts = {.diff_id = digest_of("diff"),
					  .size = 0x123456789a,
					  .entries = 7,
					  .compression = VARVE_COMP_ZSTD},
				 got;
	struct buf b;

	(void)state;
	buf_init(&b, 512);
	lower_facts_write(&b, &blob, &facts);
	assert_true(lower_facts_parse(span_of(b.p, b.n), &blob, &got));
	assert_true(varve_digest_equal(&got.diff_id, &facts.diff_id));
	assert_int_equal(got.size, facts.size);
	assert_int_equal(got.entries, facts.entries);
	assert_int_equal(got.compression, facts.compression);
	assert_false(lower_facts_parse(span_of(b.p, b.n), &other, &got));
	for (size_t n = 0; n < b.n; n++)
		assert_false(lower_facts_parse(span_of(b.p, n), &blob, &got));
	for (size_t i = 0; i < b.n; i++) {
		b.p[i] ^= 1;
		assert_false(lower_facts_parse(span_of(b.p, b.n), &blob, &got));
		b.p[i] ^= 1;
	}
	facts.compression = VARVE_COMP_SQUASHFS + 1;
	buf_reset(&b);
	lower_facts_write(&b, &blob, &facts);
	assert_false(lower_facts_parse(span_of(b.p, b.n), &blob, &got));
	buf_done(&b);
}

static void owners_and_modes(void **state)
{
	uint32_t trusted[] = {4711};
	struct varve_store s = {.trusted = trusted, .n_trusted = 1};
	const struct {
		uid_t uid;
		mode_t mode;
		bool trusted;
	} rows[] = {
		{geteuid(), S_IFREG | 0644, true}, {0, S_IFDIR | 0755, true},
		{4711, S_IFREG | 0600, true},      {4712, S_IFREG | 0600, false},
		{65534, S_IFREG | 0444, false},    {geteuid(), S_IFREG | 0664, false},
		{0, S_IFREG | 0646, false},        {0, S_IFDIR | 01777, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stat st = {.st_uid = rows[i].uid, .st_mode = rows[i].mode};

		assert_int_equal(trust_stat(&s, &st), rows[i].trusted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts_are_read_as_written),
		cmocka_unit_test(owners_and_modes),
	};

	return cmocka_run_group_tests_name("lower", tests, NULL, NULL);
}
