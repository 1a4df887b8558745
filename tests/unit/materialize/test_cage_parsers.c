/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A parser that has been taken over (inflate_next, wrapped by the linker) tries to write outside
 * and to connect, wherever layers are read: nothing of it succeeds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "materialize/codec/inflate.h"
#include "mktree.h"
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store_image.h"
#include "varve-materialize.h"

static struct mktree outside;
static char in_store[128];
static atomic_uint tries, escapes;
static int open_socket = -1; /* UDP, made outside of the cage */

int __real_inflate_next(struct inflate *z, size_t max, const void **ret, size_t *ret_n,
			struct varve_err *e);
int __wrap_inflate_next(struct inflate *z, size_t max, const void **ret, size_t *ret_n,
			struct varve_err *e);

/* A socket that somebody else has made does not help either. */
static void try_connect(void)
{
	static const int kinds[][2] = {{AF_INET, SOCK_STREAM},
				       {AF_INET, SOCK_DGRAM},
				       {AF_INET6, SOCK_DGRAM},
				       {AF_UNIX, SOCK_STREAM},
				       {AF_NETLINK, SOCK_RAW}};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(kinds); i++) {
		VARVE_CLOSE int fd = socket(kinds[i][0], kinds[i][1] | SOCK_CLOEXEC, 0);

		if (fd >= 0 || errno != EACCES)
			atomic_fetch_add(&escapes, 1);
	}
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(open_socket, (struct sockaddr *)&a, sizeof(a)) == 0 || errno != EACCES)
		atomic_fetch_add(&escapes, 1);
}

static void try_exec(void)
{
	char *const nothing[] = {NULL};

	(void)execve("/bin/true", nothing, nothing);
	if (errno != EACCES)
		atomic_fetch_add(&escapes, 1);
}

int __wrap_inflate_next(struct inflate *z, size_t max, const void **ret, size_t *ret_n,
			struct varve_err *e)
{
	VARVE_CLOSE int fd = openat(outside.fd, "x", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	VARVE_CLOSE int index = -1;

	atomic_fetch_add(&tries, 1);
	if (fd >= 0 || errno != EACCES)
		atomic_fetch_add(&escapes, 1);
	index = *in_store ? open(in_store, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (*in_store && (index >= 0 || errno != EACCES))
		atomic_fetch_add(&escapes, 1);
	try_connect();
	try_exec();
	return __real_inflate_next(z, max, ret, ret_n, e);
}

static void expect_caged(const char *what)
{
	if (!atomic_exchange(&tries, 0) || atomic_exchange(&escapes, 0))
		fail_msg("%s: not caged, or nothing was parsed", what);
}

static void follow_into_spool(struct fixture *f, const struct stored *m, struct varve_spool *sp)
{
	const struct varve_layer_ops *ops = varve_spool_ops(sp);
	struct varve_layer_facts facts;
	char hex[VARVE_DIGEST_STR_MAX], path[256];
	VARVE_CLOSE int fd = -1;
	void *job;

	(void)varve_digest_str(&m->l[0].digest, hex);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", f->dir, hex + strlen("sha256:"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(ops->follow(ops, &job, f->s, &m->l[0].digest, fd, &f->e), &f->e);
	ops->advance(job, m->l[0].size, true);
	assert_ok(ops->finish(job, false, &facts, &f->e), &f->e);
}

static void nowhere(void **state)
{
	struct fixture *f = *state;
	struct varve_install_options io = VARVE_INSTALL_OPTIONS_INIT;
	struct varve_import_options mo = VARVE_IMPORT_OPTIONS_INIT;
	static const struct varve_ctx ctx;
	struct varve_install_result result;
	struct varve_spool *sp = NULL;
	struct varve_plan *p = NULL;
	struct stored m = {0};
	struct mktree roots;
	char path[256];

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 4)
		skip();
	open_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(open_socket >= 0);
	mktree_begin(&outside);
	mktree_begin(&roots);
	(void)snprintf(in_store, sizeof(in_store), "%s/escaped", f->dir);
	put_layer(f, &m, "f a 1; h b a; d d; f d/e 2", VARVE_COMP_GZIP);
	put_image(f, &m, 1);
	assert_ok(varve_spool_new(&sp, &ctx, roots.dir, 2, false, &f->e), &f->e);
	follow_into_spool(f, &m, sp);
	expect_caged("a layer that is followed");
	assert_ok(varve_layer_ops()->read(f->s, &m.l[0].digest, &(struct varve_layer_facts){0},
					  &f->e),
		  &f->e);
	expect_caged("a layer that is read");
	assert_ok(varve_plan_new(&p, f->s, &m.image, NULL, &f->e), &f->e);
	io.roots = roots.dir;
	io.no_sync = true;
	io.label = "spooled";
	io.spool = sp;
	assert_ok(varve_install(f->s, p, &io, &result, &f->e), &f->e);
	io.spool = NULL;
	io.label = "t";
	atomic_store(&tries, 0);
	assert_ok(varve_install(f->s, p, &io, &result, &f->e), &f->e);
	expect_caged("an install");
	varve_plan_free(p);
	varve_spool_free(sp);
	mktree_put(&roots, "file.tar", "BZh91AY&SY and then something else", 0644);
	(void)snprintf(path, sizeof(path), "%s/file.tar", roots.dir);
	in_store[0] = '\0'; /* an import writes the store */
	assert_true(varve_import(f->s, path, -1, &mo, &f->e) < 0);
	expect_caged("an import");
	assert_int_equal(faccessat(outside.fd, "x", F_OK, 0), -1);
	mktree_end(&roots);
	mktree_end(&outside);
	close(open_socket);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nowhere, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
