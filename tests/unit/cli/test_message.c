/* SPDX-License-Identifier: Apache-2.0 */
/* The one line of an error. */
#include "unit.h"

#include "cli/cli.h"

static void line(const char *expected, const char *cause, const char *outer)
{
	struct varve_err e = VARVE_ERR_INIT;
	char text[256];

	(void)varve_fail(&e, VARVE_E_NOTFOUND, "%s", cause);
	if (outer)
		(void)varve_wrap(&e, -VARVE_E_NOTFOUND, "%s", outer);
	assert_string_equal(message_text(&e, text, sizeof(text)), expected);
}

static void object_once(void **state)
{
	(void)state;
	line("no such thing", "no such thing", NULL);
	line("pull x: no such thing", "no such thing", "pull x");
	line("install ./x.tar: no such file", "./x.tar: no such file", "install ./x.tar");
	line("pull debian:sidd: no such tag", "debian:sidd: no such tag", "pull debian:sidd");
	line("x: gone", "x: gone", "x");
	/* Not the same object. */
	line("pull xy: y: gone", "y: gone", "pull xy");
	line("pull y: xy: gone", "xy: gone", "pull y");
	line("pull a:b: b: gone", "b: gone", "pull a:b");
	line("pull x: : gone", ": gone", "pull x");
	line("pull x: x", "x", "pull x");
	line("pull x: x:", "x:", "pull x");
}

static void frames_once(void **state)
{
	struct varve_err e = VARVE_ERR_INIT;
	char text[256];

	(void)state;
	(void)varve_fail(&e, VARVE_E_NOTFOUND, "no such tag");
	(void)varve_wrap(&e, -VARVE_E_NOTFOUND, "docker.io");
	(void)varve_wrap(&e, -VARVE_E_NOTFOUND, "debian:sidd");
	(void)varve_wrap(&e, -VARVE_E_NOTFOUND, "pull debian:sidd");
	assert_string_equal(message_text(&e, text, sizeof(text)),
			    "pull debian:sidd: docker.io: no such tag");
	(void)varve_fail(&e, VARVE_E_EXISTS, "installed already");
	(void)varve_wrap(&e, -VARVE_E_EXISTS, "install debian_sid");
	(void)varve_wrap(&e, -VARVE_E_EXISTS, "install debian:sid");
	assert_string_equal(message_text(&e, text, sizeof(text)),
			    "install debian:sid: installed already");
}

static void cut(void **state)
{
	struct varve_err e = VARVE_ERR_INIT;
	char text[8];

	(void)state;
	(void)varve_fail(&e, VARVE_E_NOTFOUND, "a long sentence");
	(void)varve_wrap(&e, -VARVE_E_NOTFOUND, "and its object");
	assert_string_equal(message_text(&e, text, sizeof(text)), "and its");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(object_once),
		cmocka_unit_test(frames_once),
		cmocka_unit_test(cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
