/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Become root of a user namespace that has the caller's subordinate ids (subuid(5), newuidmap(1)),
 * so that an ordinary user's tree keeps the owners of its image.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "materialize/confine/userns.h"

#include "store/base/buf.h"
#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/text.h"
#include "varve-materialize.h"

#define SUBID_MAX (1u << 20)

struct range {
	uint64_t start, count;
};

/* The first range of the caller, by name or by number. */
static int find_range(const char *path, const char *name, struct range *ret, struct varve_err *e)
{
	char number[16];
	struct span text, line, key, start;
	struct buf b;
	int x;

	(void)snprintf(number, sizeof(number), "%u", (unsigned)getuid());
	buf_init(&b, SUBID_MAX);
	x = fsx_read_file(AT_FDCWD, path, &b, e);
	if (x < 0) {
		buf_done(&b);
		return x;
	}
	x = varve_fail(e, VARVE_E_UNSUPPORTED,
		       "%s: has no line for %s; an administrator can add one (\"%s:100000:65536\")",
		       path, TEXT_SAFE(name), TEXT_SAFE(name));
	text = span_of(b.p, b.n);
	while (x < 0 && text.n) {
		if (!span_cut(&text, '\n', &line))
			text.n = 0;
		if (!span_cut(&line, ':', &key) || !span_cut(&line, ':', &start))
			continue;
		if ((span_eq(key, name) || span_eq(key, number)) &&
		    span_u64(start, UINT32_MAX, &ret->start) &&
		    span_u64(span_trim(line), UINT32_MAX, &ret->count) && ret->count)
			x = 0;
	}
	buf_done(&b);
	return x;
}

/* In a child that stayed outside: newuidmap PID 0 OWN 1 1 START COUNT. Never returns. */
static void exec_map(const char *tool, pid_t pid, unsigned own, const struct range *r)
{
	char args[5][24];
	char *const env[] = {(char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	char path[64];

	(void)snprintf(args[0], sizeof(args[0]), "%ld", (long)pid);
	(void)snprintf(args[1], sizeof(args[1]), "%u", own);
	(void)snprintf(args[2], sizeof(args[2]), "%llu", (unsigned long long)r->start);
	(void)snprintf(args[3], sizeof(args[3]), "%llu", (unsigned long long)r->count);
	(void)snprintf(path, sizeof(path), "/usr/bin/%s", tool);
	(void)execle(path, tool, args[0], "0", args[1], "1", "1", args[2], args[3], NULL, env);
	_exit(errno == ENOENT ? 126 : 127);
}

static int run_map(const char *tool, pid_t pid, unsigned own, const struct range *r)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		exec_map(tool, pid, own, r);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return 127;
	return WEXITSTATUS(status);
}

/* The helper waits outside until we are in. Never returns. */
static void helper(int go, pid_t pid, const struct range *uids, const struct range *gids)
{
	unsigned uid = getuid(), gid = getgid();
	char byte;
	int r;

	if (read(go, &byte, 1) != 1)
		_exit(127);
	r = run_map("newgidmap", pid, gid, gids);
	if (!r)
		r = run_map("newuidmap", pid, uid, uids);
	_exit(r);
}

static int enter(const struct range *uids, const struct range *gids, struct varve_err *e)
{
	int go[2], status = -1, saved;
	pid_t child, self = getpid();
	bool in;

	if (pipe2(go, O_CLOEXEC))
		return varve_fail_errno(e, "pipe");
	child = fork();
	if (child == 0) {
		(void)close(go[1]);
		helper(go[0], self, uids, gids);
	}
	(void)close(go[0]);
	in = child > 0 && !unshare(CLONE_NEWUSER);
	saved = errno;
	if (in)
		(void)!write(go[1], "x", 1);
	(void)close(go[1]); /* without a byte: the helper ends */
	if (child > 0)
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	errno = saved;
	if (!in)
		return varve_fail(e, VARVE_E_UNSUPPORTED,
				  "this kernel lets no ordinary user make a user namespace (%s)",
				  strerror(saved));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return varve_fail(e, VARVE_E_UNSUPPORTED, "newuidmap: %s",
				  WIFEXITED(status) && WEXITSTATUS(status) == 126
					  ? "is not installed (package uidmap)"
					  : "refused to map the subordinate ids");
	return 0;
}

bool userns_is_mapped(void)
{
	struct span text, first, second;
	bool mapped = true;
	struct buf b;

	buf_init(&b, SUBID_MAX);
	if (fsx_read_file(AT_FDCWD, "/proc/self/uid_map", &b, NULL) < 0) {
		buf_done(&b);
		return false;
	}
	/* The first one is mapped by "0 0 4294967295". */
	text = span_trim(span_of(b.p, b.n));
	if (span_cut(&text, ' ', &first)) {
		text = span_trim(text);
		mapped = !span_cut(&text, ' ', &second) || !span_eq(first, "0") ||
			 !span_eq(second, "0") || !span_eq(span_trim(text), "4294967295");
	}
	buf_done(&b);
	return mapped;
}

int varve_userns_enter(struct varve_err *e)
{
	struct range uids, gids;
	struct passwd pw, *found = NULL;
	VARVE_FREE char *room = malloc(65536);
	char number[16];
	const char *name = number;
	int x;

	if (geteuid() == 0)
		return 0;
	if (!room)
		return varve_fail_oom(e);
	(void)snprintf(number, sizeof(number), "%u", (unsigned)getuid());
	if (!getpwuid_r(getuid(), &pw, room, 65536, &found) && found)
		name = found->pw_name;
	x = find_range("/etc/subuid", name, &uids, e);
	if (x >= 0)
		x = find_range("/etc/subgid", name, &gids, e);
	if (x >= 0)
		x = enter(&uids, &gids, e);
	return x < 0 ? varve_wrap(e, x, "user namespace") : 0;
}
