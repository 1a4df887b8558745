/* SPDX-License-Identifier: Apache-2.0 */
/* store/base/log: what a context promises when
 * several threads use it. ThreadSanitizer sees more. */
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

/* Plain counters: only a lock around the callbacks makes them right. */
struct seen {
	const struct varve_ctx *ctx;
	unsigned inside, overlaps, calls, nested;
};

static void enter(struct seen *s)
{
	s->overlaps += s->inside++ != 0;
	s->calls++;
	(void)sched_yield();
	s->inside--;
}

static void on_log(void *user, enum varve_log_level level VARVE_UNUSED, const char *module,
		   const char *message)
{
	struct seen *s = user;

	if (!strcmp(module, "nested")) {
		s->nested += s->inside; /* within the outer one, which is still there */
		return;
	}
	assert_string_equal(message, "12");
	s->inside++;
	log_info(s->ctx, "nested", "from a callback");
	s->inside--;
	enter(s);
	errno = ENOTTY;
}

static void on_progress(void *user, const struct varve_progress *p VARVE_UNUSED)
{
	enter(user);
}

static void *call_back(void *user)
{
	const struct varve_ctx *ctx = user;

	for (int i = 0; i < CALLS; i++) {
		bool taken;

		errno = EIO;
		log_info(ctx, "test", "%d", 12);
		assert_int_equal(errno, EIO);
		progress_emit(ctx, &(struct varve_progress){.done = 1});
		taken = callback_begin(ctx);
		enter(ctx->log_user);
		callback_end(ctx, taken);
	}
	return NULL;
}

static void callbacks_one_at_a_time(void **state VARVE_UNUSED)
{
	struct seen seen = {0};
	struct varve_ctx ctx = {.log = on_log,
				.log_user = &seen,
				.log_level = VARVE_LOG_INFO,
				.progress = on_progress,
				.progress_user = &seen};
	pthread_t id[THREADS];

	seen.ctx = &ctx;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&id[i], NULL, call_back, &ctx), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(id[i], NULL), 0);
	assert_int_equal(seen.overlaps, 0);
	assert_int_equal(seen.calls, THREADS * CALLS * 3);
	assert_int_equal(seen.nested, THREADS * CALLS);
}

/* The lock is found by the address alone: no two threads that have contexts of their own hang. */
static void *nest(void *user)
{
	const struct varve_ctx *ctx = user;
	bool outer = callback_begin(ctx), inner = callback_begin(ctx);

	assert_true(outer);
	assert_false(inner);
	callback_end(ctx, inner);
	callback_end(ctx, outer);
	outer = callback_begin(NULL); /* no context is one, too */
	callback_end(NULL, outer);
	return NULL;
}

static void contexts_of_their_own(void **state VARVE_UNUSED)
{
	struct varve_ctx ctx[64] = {0};
	pthread_t id[64];

	for (int i = 0; i < 64; i++)
		assert_int_equal(pthread_create(&id[i], NULL, nest, &ctx[i]), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(pthread_join(id[i], NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cancel_from_another_thread),
		cmocka_unit_test(callbacks_one_at_a_time),
		cmocka_unit_test(contexts_of_their_own),
	};

	return cmocka_run_group_tests_name("context", tests, NULL, NULL);
}
