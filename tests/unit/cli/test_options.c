/* SPDX-License-Identifier: Apache-2.0 */
/* The option parser: every kind, every place, every mistake. */
#include "unit.h"

#include <string.h>

#include "cli/options.h"
#include "varve-store.h"

struct values {
	bool flag;
	unsigned count, number, choice;
	const char *text;
	struct opt_list list;
	struct opt_amount size, seconds;
	struct varve_platform platform;
};
#define AT(member) offsetof(struct values, member)
static const struct opt_row rows[] = {
	{"flag", 'f', NULL, "", OPT_FLAG, AT(flag)},
	{"verbose", 'v', NULL, "", OPT_COUNT, AT(count)},
	{"number", 'n', "N", "", OPT_NUMBER, AT(number)},
	{"color", 0, "auto|always|never", "", OPT_CHOICE, AT(choice)},
	{"text", 't', "TEXT", "", OPT_TEXT, AT(text)},
	{"keep", 0, "GLOB", "", OPT_LIST, AT(list)},
	{"max-size", 0, "SIZE", "", OPT_SIZE, AT(size)},
	{"max-age", 0, "TIME", "", OPT_DURATION, AT(seconds)},
	{"platform", 0, "PLATFORM", "", OPT_PLATFORM, AT(platform)},
};

#define ARGV(...) ((const char *const[]){"cmd", __VA_ARGS__, NULL})

static int parse(struct values *v, const char *const *argv, bool early, char **args, int *n,
		 struct varve_err *e)
{
	struct opt_set set = {rows, sizeof(rows) / sizeof(rows[0]), v};
	char *copy[32] = {0};
	int argc = 0;

	for (; argv[argc]; argc++)
		memcpy(&copy[argc], &argv[argc],
		       sizeof(copy[0])); /* getopt's prototype has no const */
	*v = (struct values){0};
	return opt_parse(&set, 1, argc, copy, early, args, n, e);
}

static void done(struct values *v)
{
	struct opt_set set = {rows, sizeof(rows) / sizeof(rows[0]), v};

	opt_done(&set);
}

static void every_kind(void **state)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct values v;
	char *args[32];
	int n;

	(void)state;
	assert_ok(parse(&v,
			ARGV("a", "-fvv", "--number=7", "b", "--color", "never", "-tx y", "--keep",
			     "1", "--keep=2", "--max-size", "1K", "--max-age", "2h", "--platform",
			     "arm64"),
			false, args, &n, &e),
		  &e);
	assert_int_equal(n, 2);
	assert_string_equal(args[0], "a");
	assert_string_equal(args[1], "b");
	assert_true(v.flag);
	assert_int_equal(v.count, 2);
	assert_int_equal(v.number, 7);
	assert_int_equal(v.choice, 2);
	assert_string_equal(v.text, "x y");
	assert_int_equal(v.list.n, 2);
	assert_string_equal(v.list.items[1], "2");
	assert_null(v.list.items[2]);
	assert_int_equal(v.size.n, 1024);
	assert_int_equal(v.seconds.n, 7200);
	assert_string_equal(v.platform.arch, "arm64");
	done(&v);
}

static void places(void **state)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct values v;
	char *args[32];
	int n;

	(void)state;
	assert_ok(parse(&v, ARGV("--", "-f", "--nosuch"), false, args, &n, &e), &e);
	assert_int_equal(n, 2);
	assert_false(v.flag);
	assert_ok(parse(&v, ARGV("a", "--", "--", "b"), false, args, &n, &e), &e);
	assert_int_equal(n, 3);
	assert_string_equal(args[1], "--");
	/* "-" is an argument: standard input or output */
	assert_ok(parse(&v, ARGV("-", "-f"), false, args, &n, &e), &e);
	assert_int_equal(n, 1);
	assert_true(v.flag);
	/* The first argument ends the run when asked for. */
	assert_ok(parse(&v, ARGV("-f", "pull", "--nosuch"), true, NULL, &n, &e), &e);
	assert_int_equal(n, 2);
	/* A unique beginning is enough. */
	assert_ok(parse(&v, ARGV("--verb"), false, args, &n, &e), &e);
	assert_int_equal(v.count, 1);
	done(&v);
}

static void mistakes(void **state)
{
	static const struct {
		const char *argv[4];
		const char *says;
	} cases[] = {
		{{"cmd", "--flga"}, "no option --flga; did you mean --flag?"},
		{{"cmd", "--zzzzzz"}, "no option --zzzzzz"},
		{{"cmd", "-x"}, "no option -x"},
		{{"cmd", "-fx"}, "no option -x"},
		{{"cmd", "--flag=1"}, "--flag takes no argument"},
		{{"cmd", "--number"}, "--number needs an argument: --number N"},
		{{"cmd", "-n"}, "--number needs an argument: --number N"},
		{{"cmd", "--number", "0"}, "--number 0: must be a whole number, 1 or more"},
		{{"cmd", "--number", "-3"}, "--number -3: must be a whole number, 1 or more"},
		{{"cmd", "--number", "1x"}, "--number 1x: must be a whole number, 1 or more"},
		{{"cmd", "--number", "99999999999999999999"},
		 "--number 99999999999999999999: must be a whole number, 1 or more"},
		{{"cmd", "--color", "red"}, "--color red: must be one of auto|always|never"},
		{{"cmd", "--color", "auto|always"},
		 "--color auto|always: must be one of auto|always|never"},
		{{"cmd", "--color", "aut"}, "--color aut: must be one of auto|always|never"},
		{{"cmd", "--text="}, "--text: its argument TEXT is empty"},
		{{"cmd", "--max-size", "many"},
		 "--max-size many: must be a size like 500M, 20G or 1.5TiB"},
		{{"cmd", "--max-age", "soon"},
		 "--max-age soon: must be a time like 12h, 30d or 8w"},
		{{"cmd", "--max"}, "--max could be any of --max-size, --max-age"},
		{{"cmd", "--nosuch\033[31m"}, "no option --nosuch\\x1b[31m"},
	};
	struct varve_err e = VARVE_ERR_INIT;
	struct values v;
	char *args[8], text[512];
	int n;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(&v, cases[i].argv, false, args, &n, &e), -VARVE_E_USAGE);
		assert_string_equal(varve_err_text(&e, text, sizeof(text)), cases[i].says);
		done(&v);
	}
	assert_int_equal(parse(&v, ARGV("--platform", "linux/"), false, args, &n, &e),
			 -VARVE_E_USAGE);
	done(&v);
}

struct inner {
	unsigned number;
	struct opt_list list;
};
struct outer {
	bool own;
	struct middle {
		bool flag;
		struct inner inner;
	} first, second;
};
static const struct opt_row inner_array[] = {
	{"number", 0, "N", "", OPT_NUMBER, offsetof(struct inner, number)},
	{"list", 0, "X", "", OPT_LIST, offsetof(struct inner, list)},
};
static const struct opt_rows inner_rows = OPT_ROWS_OF(inner_array);
static const struct opt_row middle_array[] = {
	OPT_ALL_OF(inner_rows, offsetof(struct middle, inner)),
	{"flag", 'f', NULL, "", OPT_FLAG, offsetof(struct middle, flag)},
};
static const struct opt_rows middle_rows = OPT_ROWS_OF(middle_array);
static const struct opt_row outer_rows[] = {
	OPT_ALL_OF(middle_rows, offsetof(struct outer, second)),
	{"own", 0, NULL, "", OPT_FLAG, offsetof(struct outer, own)},
};

/* Rows of lists stand where their list does, and fill the member that it names. */
static void lists_of_rows(void **state)
{
	static const char *const names[] = {"number", "list", "flag", "own"};
	struct opt_walk w = opt_walk(outer_rows, 2);
	struct varve_err e = VARVE_ERR_INIT;
	struct outer o = {0};
	struct opt_set set = {outer_rows, 2, &o};
	char text[6][12] = {"cmd", "--number=5", "-f", "--list=a", "--own", "--list=b"};
	char *argv[] = {text[0], text[1], text[2], text[3], text[4], text[5], NULL}, *args[8];
	struct opt_row row;
	size_t i = 0;
	int n;

	(void)state;
	while (opt_next(&w, &row))
		assert_string_equal(row.name, names[i++]);
	assert_int_equal(i, 4);
	assert_true(opt_has(outer_rows, 2, "number"));
	assert_false(opt_has(outer_rows, 2, "none"));
	assert_int_equal(opt_parse(&set, 1, 6, argv, false, args, &n, &e), 0);
	assert_true(o.own && o.second.flag && !o.first.flag);
	assert_int_equal(o.second.inner.number, 5);
	assert_int_equal(o.second.inner.list.n, 2);
	assert_int_equal(o.first.inner.number, 0);
	opt_done(&set);
	assert_int_equal(o.second.inner.list.n, 0);
}

static void nearest(void **state)
{
	static const char *const names[] = {"pull", "push", "plan", "install"};

	(void)state;
	assert_string_equal(opt_nearest("pul", names, 4, sizeof(names[0])), "pull");
	assert_string_equal(opt_nearest("isntall", names, 4, sizeof(names[0])), "install");
	assert_null(opt_nearest("frobnicate", names, 4, sizeof(names[0])));
	assert_null(opt_nearest("x", names, 4, sizeof(names[0])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind), cmocka_unit_test(places),
		cmocka_unit_test(mistakes),   cmocka_unit_test(lists_of_rows),
		cmocka_unit_test(nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
