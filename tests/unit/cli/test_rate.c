/* SPDX-License-Identifier: Apache-2.0 */
/* Rates and remaining time. */
#include "unit.h"

#include "cli/rate.h"

static void steady(void **state)
{
	struct rate r;
	char buf[32];

	(void)state;
	rate_begin(&r, 1000, 0);
	assert_int_equal(rate_per_second(&r), 0);
	assert_string_equal(rate_left(&r, 0, 100, buf), "");
	for (uint64_t i = 1; i <= 40; i++)
		rate_add(&r, 1000 + i * 250, i * 250);
	assert_true(rate_per_second(&r) >= 990 && rate_per_second(&r) <= 1010);
	assert_string_equal(rate_left(&r, 0, 30000, buf), "31s left");
	assert_string_equal(rate_left(&r, 0, 185000, buf), "3m06s left");
	assert_string_equal(rate_left(&r, 0, 7800000, buf), "2h10m left");
	assert_string_equal(rate_left(&r, 100, 100, buf), "");
	assert_string_equal(rate_left(&r, 0, UINT64_MAX, buf), "");
}

static void resumed_and_restarted(void **state)
{
	struct rate r;

	(void)state;
	/* What was there before is no speed. */
	rate_begin(&r, 0, 1000000);
	rate_add(&r, 1000, 1000500);
	assert_int_equal(rate_per_second(&r), 500);
	/* The transfer begins again from nothing. */
	rate_add(&r, 2000, 10);
	assert_int_equal(rate_per_second(&r), 0);
	/* Events in quick succession wait for a slice. */
	rate_begin(&r, 0, 0);
	rate_add(&r, 1, 1000000);
	assert_int_equal(rate_per_second(&r), 0);
}

/* What was slow for a second counts a quarter, what was slow for four is all that counts. */
static void older_slices_fade(void **state)
{
	struct rate r;

	(void)state;
	rate_begin(&r, 0, 0);
	rate_add(&r, 1000, 4000);
	assert_int_equal(rate_per_second(&r), 4000);
	rate_add(&r, 2000, 4000);
	assert_int_equal(rate_per_second(&r), 3000);
	rate_add(&r, 4000, 4000);
	assert_int_equal(rate_per_second(&r), 1500);
	rate_add(&r, 8000, 8000);
	assert_int_equal(rate_per_second(&r), 1000);
}

static void percent(void **state)
{
	(void)state;
	assert_int_equal(rate_percent(0, 10), 0);
	assert_int_equal(rate_percent(999, 1000), 99);
	assert_int_equal(rate_percent(10, 10), 100);
	assert_int_equal(rate_percent(0, 0), 100);
	assert_int_equal(rate_percent(UINT64_MAX - 1, UINT64_MAX) > 98, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steady),
		cmocka_unit_test(resumed_and_restarted),
		cmocka_unit_test(older_slices_fade),
		cmocka_unit_test(percent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
