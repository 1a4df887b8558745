/* SPDX-License-Identifier: Apache-2.0 */
/* What a caged thread can and cannot do; the rest of the process stays free. */
#include "unit.h"

#include "materialize/confine/cage.h"
#include "mktree.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static struct mktree in, out;

static int landlock_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static int try_connect(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};
	VARVE_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(fd, (struct sockaddr *)&a, sizeof(a)) ? errno : 0;
}

static int try_write(const struct mktree *t, const char *name)
{
	VARVE_CLOSE int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? errno : 0;
}

static int caged(void *arg)
{
	int *failures = arg;

	*failures += try_write(&in, "inside") != 0;
	*failures += mkdirat(in.fd, "d", 0700) != 0;
	*failures += linkat(in.fd, "inside", in.fd, "d/link", 0) != 0; /* into another directory */
	*failures += try_write(&out, "outside") != EACCES;
	*failures += mkdirat(out.fd, "d", 0700) != -1 || errno != EACCES;
	*failures += unlinkat(out.fd, "there", 0) != -1 || errno != EACCES;
	*failures += renameat(out.fd, "there", in.fd, "moved") != -1;
	*failures += symlinkat("x", out.fd, "l") != -1 || errno != EACCES;
	if (landlock_abi() >= 4)
		*failures += try_connect() != EACCES;
	return 5;
}

static void only_below(void **state VARVE_UNUSED)
{
	struct varve_err e = VARVE_ERR_INIT;
	struct cage c = {0};
	int failures = 0;

	mktree_begin(&in);
	mktree_begin(&out);
	mktree_put(&out, "there", "x", 0644);
	c.dirs[0] = in.dir;
	if (landlock_abi() < 2) {
		print_message("no Landlock here (ABI %d): only that work is still done is tested\n",
			      landlock_abi());
		assert_int_equal(cage_enter(&c, &e), 0);
	} else {
		assert_int_equal(cage_run(&c, caged, &failures, &e), 5);
		assert_int_equal(failures, 0);
		assert_int_equal(try_write(&out, "free"), 0); /* this thread */
		assert_int_not_equal(try_connect(), EACCES);
		c.dirs[1] = "/nonexistent";
		assert_true(cage_run(&c, caged, &failures, &e) < 0);
	}
	mktree_end(&in);
	mktree_end(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
