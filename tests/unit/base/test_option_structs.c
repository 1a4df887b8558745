/* SPDX-License-Identifier: Apache-2.0 */
/* store/base/options: option structs of older and newer callers, in the helper and in every
 * function that takes one. */
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/options.h"
#include "unit.h"

#include "varve-fetch.h"
#include "varve-materialize.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct version_1 {
	size_t size;
	const char *path;
	bool first;
};
struct version_2 {
	size_t size;
	const char *path;
	bool first;
	void *second;
};
struct version_3 {
	size_t size;
	const char *path;
	bool first;
	void *second;
	uint64_t third[4];
};

/* The library is version 2. */
static int take(struct version_2 *own, const void *theirs, struct varve_err *e)
{
	const struct version_2 *v = theirs;

	memset(own, 0xff, sizeof(*own));
	return OPTIONS_COPY(own, v, first, e);
}

static void older_and_newer(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	const struct version_1 one = {sizeof(one), "one", true};
	const struct version_2 two = {sizeof(two), "two", true, &e};
	const struct version_3 three = {sizeof(three), "three", false, &e, {1, 2, 3, 4}};
	struct version_2 own;

	assert_ok(take(&own, &one, &e), &e);
	assert_int_equal(own.size, sizeof(own));
	assert_string_equal(own.path, "one");
	assert_true(own.first);
	assert_null(own.second);
	assert_ok(take(&own, &two, &e), &e);
	assert_string_equal(own.path, "two");
	assert_ptr_equal(own.second, two.second);
	assert_ok(take(&own, &three, &e), &e);
	assert_int_equal(own.size, sizeof(own));
	assert_string_equal(own.path, "three");
	assert_false(own.first);
	assert_ptr_equal(own.second, three.second);
}

static void too_short(void **state VARVE_UNUSED)
{
	const size_t least = offsetof(struct version_1, first) + sizeof(bool);
	struct version_1 one = {.path = "one"};
	struct varve_err e = VARVE_ERR_INIT;
	struct version_2 own;

	assert_int_equal(take(&own, NULL, &e), -VARVE_E_USAGE);
	for (size_t size = 0; size < least; size++) {
		one.size = size;
		assert_int_equal(take(&own, &one, &e), -VARVE_E_USAGE);
	}
	one.size = least;
	assert_int_equal(take(&own, &one, &e), 0);
}

/* --- every function that takes one --- */

static char dir[] = "/tmp/varve-options-XXXXXX";
static struct varve_store *store;

static int begin(void **state VARVE_UNUSED)
{
	/* Of a caller that knows more than we do. */
	struct {
		struct varve_store_options o;
		char more[64];
	} newer = {.o = VARVE_STORE_OPTIONS_INIT};
	struct varve_err e = VARVE_ERR_INIT;
	char path[64];

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/store", dir);
	newer.o.size = sizeof(newer);
	newer.o.path = path;
	newer.o.create = true;
	memset(newer.more, 0xff, sizeof(newer.more));
	assert_ok(varve_store_open(&store, NULL, &newer.o, &e), &e);
	return 0;
}

static int end(void **state VARVE_UNUSED)
{
	int top = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	varve_store_close(store);
	assert_int_equal(fsx_remove_tree(top, dir + strlen("/tmp/"), NULL, NULL, NULL), 0);
	(void)close(top);
	return 0;
}

/* Refused with size 0, with one byte less than it ever had, and without a struct. */
#define REFUSED(type, last, call)                                                                  \
	do {                                                                                       \
		struct type filled = {0}, *opt = &filled;                                          \
                                                                                                   \
		assert_int_equal(call, -VARVE_E_USAGE);                                            \
		filled.size = offsetof(struct type, last) + sizeof(filled.last) - 1;               \
		assert_int_equal(call, -VARVE_E_USAGE);                                            \
		opt = NULL;                                                                        \
		assert_int_equal(call, -VARVE_E_USAGE);                                            \
	} while (0)

static void refused_in_the_store(void **state VARVE_UNUSED)
{
	struct varve_check_result check;
	struct varve_gc_result gc;
	struct varve_store *s;

	REFUSED(varve_store_options, limits.max_link_work, varve_store_open(&s, NULL, opt, NULL));
	REFUSED(varve_gc_options, user, varve_store_gc(store, opt, &gc, NULL));
	REFUSED(varve_check_options, user, varve_store_check(store, opt, &check, NULL));
}

static void refused_when_fetching(void **state VARVE_UNUSED)
{
	struct varve_config_check_result check;
	struct varve_pull_result pull;
	struct varve_push_result push;
	struct varve_image image = {0};
	struct varve_reference ref;
	struct varve_refetch refetch = {.store = store};
	char where[4096];

	assert_int_equal(varve_reference_parse(&ref, "localhost:1/x:1", NULL), 0);
	REFUSED(varve_config_check_options, user, varve_config_check(NULL, opt, &check, NULL));
	REFUSED(varve_login_options, auth_file, varve_login(NULL, "localhost:1", opt, where, NULL));
	REFUSED(varve_pull_options, source, varve_pull(store, &ref, 1, opt, &pull, NULL));
	REFUSED(varve_pull_options, source, varve_outdated(store, NULL, 0, opt, NULL));
	REFUSED(varve_pull_options, source,
		(refetch.options = opt,
		 varve_refetch_blob(&refetch, &image.manifest, 1, "registry:x", NULL)));
	REFUSED(varve_push_options, all, varve_push(store, &image, &ref, opt, &push, NULL));
}

static void refused_with_trees(void **state VARVE_UNUSED)
{
	struct varve_install_result install;
	struct varve_switch_result swapped;
	struct varve_export_result export;
	struct varve_import_options import = VARVE_IMPORT_OPTIONS_INIT;
	struct varve_user_result user;
	struct varve_hook_result hook;
	struct varve_diff_result diff;
	struct varve_image image = {0};
	struct varve_plan *plan;

	/* Without options, a plan has the defaults. */
	REFUSED(varve_plan_options, limits.max_link_work,
		opt ? varve_plan_new(&plan, store, &image, opt, NULL) : -VARVE_E_USAGE);
	REFUSED(varve_install_options, finish, varve_install(store, NULL, opt, &install, NULL));
	REFUSED(varve_user_options, user, varve_user_check(opt, NULL));
	REFUSED(varve_user_options, user, varve_user_carry(-1, opt, &user, NULL));
	REFUSED(varve_hook_options, user, varve_hooks_run(-1, opt, &hook, NULL));
	REFUSED(varve_wsl_conf_options, hostname, varve_wsl_conf(-1, opt, NULL));
	REFUSED(varve_switch_options, user, varve_switch(store, "x", opt, &swapped, NULL));
	REFUSED(varve_switch_options, user, varve_rollback(store, opt, &swapped, NULL));
	REFUSED(varve_switch_options, user, varve_rollback_to(store, "x", 0, opt, &swapped, NULL));
	REFUSED(varve_switch_options, user, varve_remove_tree(store, "x", opt, NULL));
	REFUSED(varve_import_options, user, varve_import(store, "/dev/null", -1, opt, NULL));
	REFUSED(varve_limits, max_link_work,
		opt ? (import.limits = opt, varve_import(store, "/dev/null", -1, &import, NULL))
		    : -VARVE_E_USAGE);
	REFUSED(varve_export_options, plan, varve_export(store, &image, 1, opt, &export, NULL));
	REFUSED(varve_diff_options, user, varve_diff(NULL, "/", opt, &diff, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(older_and_newer),      cmocka_unit_test(too_short),
		cmocka_unit_test(refused_in_the_store), cmocka_unit_test(refused_when_fetching),
		cmocka_unit_test(refused_with_trees),
	};

	return cmocka_run_group_tests_name("option structs", tests, begin, end);
}
