/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of file bodies: what is cut, what stays whole, and what the queue gives back. */
#include <stdlib.h>
#include <string.h>

#include "materialize/layer/batch.h"
#include "store/base/compiler.h"
#include "unit.h"

#define SMALL (128u << 10)

static unsigned char bytes[BATCH_BYTES];

static void small_bodies_stay_whole(void **state VARVE_UNUSED)
{
	struct body b = {.id = 1, .len = BATCH_BYTES - SMALL + 1};
	struct batch_queue q;
	struct batch *batch;

	batch_queue_init(&q, 1);
	batch = batch_take(&q);
	assert_non_null(batch);
	assert_false(batch_ends_before(NULL, UINT64_MAX));
	assert_false(batch_ends_before(batch, SMALL));
	assert_int_equal(batch_add(batch, &b, 0, bytes, (size_t)b.len), b.len);
	assert_int_equal(batch_room(batch), SMALL - 1);
	assert_false(batch_ends_before(batch, SMALL - 1));
	assert_true(batch_ends_before(batch, SMALL));
	assert_false(batch_ends_before(batch, SMALL + 1)); /* is cut */
	b = (struct body){.id = 2, .len = BATCH_BYTES};
	assert_int_equal(batch_add(batch, &b, 0, bytes, BATCH_BYTES), SMALL - 1);
	assert_int_equal(batch_room(batch), 0);
	assert_true(batch_ends_before(batch, 1));
	assert_true(batch_ends_before(batch, UINT64_MAX));
	batch_give(&q, batch);
	batch_queue_done(&q);
}

static void pieces_grow_and_begin_anew(void **state VARVE_UNUSED)
{
	struct body one = {.id = 7, .len = 30}, two = {.id = 8, .len = 40};
	struct batch_queue q;
	struct batch *b;

	for (size_t i = 0; i < 40; i++)
		bytes[i] = (unsigned char)i;
	batch_queue_init(&q, 1);
	b = batch_take(&q);
	assert_int_equal(batch_add(b, &one, 0, bytes, 10), 10);
	assert_int_equal(batch_add(b, &one, 10, bytes + 10, 5), 5);   /* continues */
	assert_int_equal(batch_add(b, &one, 20, bytes + 20, 10), 10); /* does not */
	assert_int_equal(batch_add(b, &two, 30, bytes + 30, 10), 10); /* another body */
	assert_int_equal(b->n_pieces, 3);
	assert_int_equal(b->pieces[0].n, 15);
	assert_int_equal(b->pieces[1].off, 20);
	assert_int_equal(b->pieces[1].pos, 15);
	assert_int_equal(b->pieces[2].body.id, 8);
	assert_int_equal(b->used, 35);
	assert_memory_equal(b->bytes, bytes, 15);
	assert_memory_equal(b->bytes + 15, bytes + 20, 20);
	batch_give(&q, b);
	batch_queue_done(&q);
}

/* A million tiny files are work for more than one thread, and no million pieces in memory. */
static void tiny_bodies_end_a_batch(void **state VARVE_UNUSED)
{
	struct batch_queue q;
	struct batch *b;
	uint64_t n = 0;

	batch_queue_init(&q, 1);
	b = batch_take(&q);
	while (!batch_ends_before(b, 1)) {
		struct body tiny = {.id = n++, .len = 1};

		assert_int_equal(batch_add(b, &tiny, 0, bytes, 1), 1);
	}
	assert_true(n >= 1000 && n <= 10000);
	batch_give(&q, b);
	batch_queue_done(&q);
}

static void the_queue_keeps_order_and_number(void **state VARVE_UNUSED)
{
	struct batch_queue q;
	struct batch *b[3];

	batch_queue_init(&q, 3);
	assert_null(batch_next(&q));
	for (size_t i = 0; i < 3; i++) {
		assert_true(batch_queue_has_empty(&q));
		b[i] = batch_take(&q);
		assert_non_null(b[i]);
		batch_put(&q, b[i]);
	}
	assert_false(batch_queue_has_empty(&q));
	assert_null(batch_take(&q));
	assert_ptr_equal(batch_next(&q), b[0]);
	b[0]->used = 5;
	b[0]->layer = &q;
	batch_give(&q, b[0]);
	assert_true(batch_queue_has_empty(&q));
	assert_ptr_equal(batch_take(&q), b[0]); /* and is empty again */
	assert_int_equal(b[0]->used, 0);
	assert_null(b[0]->layer);
	batch_put(&q, b[0]);
	assert_ptr_equal(batch_next(&q), b[1]);
	assert_ptr_equal(batch_next(&q), b[2]);
	assert_ptr_equal(batch_next(&q), b[0]);
	assert_null(batch_next(&q));
	for (size_t i = 0; i < 3; i++)
		batch_give(&q, b[i]);
	batch_free_empty(&q);
	assert_int_equal(q.n, 0);
	assert_non_null(b[0] = batch_take(&q));
	batch_put(&q, b[0]);
	batch_queue_done(&q); /* also what waits */
	assert_int_equal(q.n, 0);
}

static void the_last_bytes_of_a_file_are_known(void **state VARVE_UNUSED)
{
	struct body_file *f = body_file_new(10);

	assert_non_null(f);
	assert_int_equal(f->fd, -1);
	assert_false(body_file_less(f, 4));
	assert_false(body_file_less(f, 5));
	assert_true(body_file_less(f, 1));
	body_file_free(f);
	body_file_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_bodies_stay_whole),
		cmocka_unit_test(pieces_grow_and_begin_anew),
		cmocka_unit_test(tiny_bodies_end_a_batch),
		cmocka_unit_test(the_queue_keeps_order_and_number),
		cmocka_unit_test(the_last_bytes_of_a_file_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
