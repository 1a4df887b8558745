/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock around the threads that touch hostile data (landlock(7)), and a filter for what it does
 * not know: sockets that are no TCP, programs, other processes (seccomp(2)). */
#include "materialize/confine/cage.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "store/base/compiler.h"
#include "store/base/text.h"
#include "store/layout.h"
#include "varve-store.h"

/* Of kernels newer than Debian 12's headers; numbers are the kernel's interface. */
#define FS_REFER            (1ULL << 13) /* ABI 2 */
#define FS_TRUNCATE         (1ULL << 14) /* ABI 3 */
#define NET_BIND_TCP        (1ULL << 0)  /* ABI 4 */
#define NET_CONNECT_TCP     (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0) /* ABI 6 */
#define SCOPE_SIGNAL        (1ULL << 1)
#define ABI_NEEDED          2 /* ABI 1 forbids every hard link into another directory */

/* struct landlock_ruleset_attr as of ABI 6; older kernels take the leading part. */
struct ruleset {
	uint64_t fs, net, scoped;
};

static uint64_t writing(int abi)
{
	uint64_t x = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
		     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
		     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
		     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
		     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | FS_REFER;

	return abi >= 3 ? x | FS_TRUNCATE : x;
}

static int allow_below(int ruleset, const char *dir, uint64_t rights, struct varve_err *e)
{
	VARVE_CLOSE int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct landlock_path_beneath_attr a = {.allowed_access = rights, .parent_fd = fd};

	if (fd < 0 || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &a, 0))
		return varve_fail_errno(e, "cage: %s", TEXT_SAFE(dir));
	return 0;
}

/* Threads are many, the line is one. */
static int no_landlock(const struct cage *c, const char *why)
{
	static atomic_bool said;

	if (!atomic_exchange(&said, true))
		log_info(c->ctx, "cage", "not confined: this kernel has no usable Landlock (%s)",
			 why);
	return 0;
}

#if defined(__x86_64__) && !defined(__ILP32__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#define FOREIGN   0x40000000u /* numbers of the x32 interface begin here */
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#define FOREIGN   UINT32_MAX
#endif

/* Of this thread and those that it starts. Where the kernel has no filters, Landlock is what there
 * is. */
static void deny_calls(void)
{
#ifdef THIS_ARCH
#define LOAD(member)                                                                               \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, member))
#define DENY            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES)
#define DENY_CALL(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), DENY
	static struct sock_filter code[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0),
		DENY,
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FOREIGN, 0, 1),
		DENY,
		DENY_CALL(socket),
		DENY_CALL(connect),
		DENY_CALL(io_uring_setup), /* would do both behind our back */
		DENY_CALL(execve),
		DENY_CALL(execveat),
		DENY_CALL(ptrace),
		DENY_CALL(process_vm_writev),
		DENY_CALL(pidfd_getfd),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {VARVE_ARRAY_SIZE(code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		(void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
#endif
}

int cage_enter(const struct cage *c, struct varve_err *e)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset r = {0};
	VARVE_CLOSE int fd = -1;
	int x;

	deny_calls();
	if (abi < ABI_NEEDED)
		return no_landlock(c, abi < 0 ? strerror(errno) : "too old");
	r.fs = writing((int)abi);
	r.net = abi >= 4 ? NET_BIND_TCP | NET_CONNECT_TCP : 0;
	r.scoped = abi >= 6 ? SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL : 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &r,
			  abi >= 6   ? sizeof(r)
			  : abi >= 4 ? 2 * sizeof(uint64_t)
				     : sizeof(uint64_t),
			  0);
	if (fd < 0)
		return varve_fail_errno(e, "cage");
	for (unsigned i = 0; i < CAGE_DIRS_MAX; i++) {
		x = c->dirs[i] ? allow_below(fd, c->dirs[i], r.fs, e) : 0;
		if (x < 0)
			return x;
	}
	/* Both are of this thread alone and of the threads that it starts. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_landlock_restrict_self, fd, 0))
		return varve_fail_errno(e, "cage");
	return 1;
}

static int add_below(struct cage *c, char **ret, const char *dir, const char *name,
		     struct varve_err *e)
{
	unsigned i = 0;

	while (c->dirs[i])
		i++;
	if (asprintf(ret, "%s/%s", dir, name) < 0) {
		*ret = NULL;
		return varve_fail_oom(e);
	}
	c->dirs[i] = *ret;
	return 0;
}

int cage_store(struct cage *c, struct cage_store *paths, struct varve_store *s, struct varve_err *e)
{
	const char *dir = varve_store_path(s);
	int x;

	*paths = (struct cage_store){0};
	if (varve_store_is_read_only(s))
		return 0; /* nothing is written */
	x = add_below(c, &paths->tmp, dir, LAYOUT_TMP, e);
	if (x >= 0)
		x = add_below(c, &paths->blobs, dir, LAYOUT_BLOBS, e);
	if (x >= 0)
		x = add_below(c, &paths->trash, dir, LAYOUT_TRASH, e);
	return x;
}

void cage_store_done(struct cage_store *paths)
{
	free(paths->tmp);
	free(paths->blobs);
	free(paths->trash);
}

struct call {
	const struct cage *cage;
	int (*fn)(void *arg);
	void *arg;
	struct varve_err *e;
	int result;
};

static void *thread_main(void *arg)
{
	struct call *c = arg;

	c->result = cage_enter(c->cage, c->e);
	if (c->result >= 0)
		c->result = c->fn(c->arg);
	return NULL;
}

int cage_run(const struct cage *c, int (*fn)(void *arg), void *arg, struct varve_err *e)
{
	struct call call = {.cage = c, .fn = fn, .arg = arg, .e = e};
	pthread_t id;
	int x = pthread_create(&id, NULL, thread_main, &call);

	if (x) {
		errno = x;
		return varve_fail_errno(e, "start a thread");
	}
	(void)pthread_join(id, NULL);
	return call.result;
}
