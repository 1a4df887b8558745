/* SPDX-License-Identifier: Apache-2.0 */
/* store/base/log: what a context promises when several threads use it. ThreadSanitizer sees more.
 */
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/log.h"
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum { THREADS = 4, CALLS = 2000 };

static void *wait_for_cancel(void *ctx)
{
	while (!ctx_cancelled(ctx))
		(void)sched_yield();
	return NULL;
}

static void cancel_from_another_thread(void **state VARVE_UNUSED)
{
	volatile int flag = 0;
	struct varve_ctx ctx = {.cancel = &flag};
	struct varve_err e = VARVE_ERR_INIT;
	pthread_t id[THREADS];

	assert_int_equal(ctx_check(NULL, &e), 0);
	assert_int_equal(ctx_check(&(struct varve_ctx){0}, &e), 0);
	assert_int_equal(ctx_check(&ctx, &e), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&id[i], NULL, wait_for_cancel, &ctx), 0);
	assert_int_equal(varve_cancel(&flag), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(id[i], NULL), 0);
	assert_int_equal(varve_cancel(&flag), 1); /* the second one */
	assert_int_equal(ctx_check(&ctx, &e), -VARVE_E_INTERRUPTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_from_another_thread),
	};

	return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
