/* SPDX-License-Identifier: Apache-2.0 */
/* Run docker-credential-<name>: the protocol of docker-credential-helpers
 * (docs/requirements.md 2.24, 2.25). */
#include "fetch/auth/helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/compiler.h"
#include "store/base/err.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#define HELPER_MS 30000
#define POLL_MS   50
#define INPUT_MAX 4000 /* below PIPE_BUF: one write never blocks */

extern char **environ;

static int spawn(const char *program, const char *verb, const int in[2], const int out[2],
		 pid_t *ret)
{
	char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)verb, NULL};
	posix_spawn_file_actions_t a;
	posix_spawnattr_t attr;
	sigset_t none;
	int r;

	r = posix_spawn_file_actions_init(&a);
	if (r != 0)
		return r;
	r = posix_spawnattr_init(&attr);
	if (r != 0) {
		(void)posix_spawn_file_actions_destroy(&a);
		return r;
	}
	(void)sigemptyset(&none);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	r = posix_spawn_file_actions_adddup2(&a, in[0], 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&a, out[1], 1);
	/* libcurl's own pairs of sockets are not CLOEXEC (docs/requirements.md 2.26). */
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&a, 3);
	if (r == 0)
		r = posix_spawnp(ret, program, &a, &attr, argv, environ);
	(void)posix_spawn_file_actions_destroy(&a);
	(void)posix_spawnattr_destroy(&attr);
	return r;
}

/* Until its stdout ends; 0, or -ETIMEDOUT, -EINTR (cancelled), -VARVE_E_LIMIT. */
static int read_answer(int fd, struct buf *out, const struct varve_ctx *ctx)
{
	for (int waited = 0; waited < HELPER_MS;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char block[4096];
		ssize_t n;

		if (ctx_cancelled(ctx))
			return -EINTR;
		if (poll(&p, 1, POLL_MS) <= 0) {
			waited += POLL_MS;
			continue;
		}
		n = read(fd, block, sizeof(block));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			buf_add(out, block, (size_t)n);
		explicit_bzero(block, sizeof(block));
		if (buf_error(out) < 0)
			return buf_error(out);
	}
	return -ETIMEDOUT;
}

static int reap(pid_t pid, bool kill_it)
{
	int status = 0;

	if (kill_it)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int helper_run(const char *name, const char *verb, const char *input, struct buf *out,
	       int *ret_status, const struct varve_ctx *ctx, struct varve_err *e)
{
	VARVE_CLOSE int in0 = -1;
	VARVE_CLOSE int in1 = -1;
	VARVE_CLOSE int out0 = -1;
	VARVE_CLOSE int out1 = -1;
	int in[2], from[2], r;
	char program[160];
	pid_t pid;

	(void)snprintf(program, sizeof(program), "docker-credential-%s", name);
	if (strlen(input) > INPUT_MAX)
		return varve_fail(e, VARVE_E_LIMIT, "%s: the input is too long", program);
	if (pipe2(in, O_CLOEXEC) < 0)
		return varve_fail_errno(e, "pipe");
	in0 = in[0];
	in1 = in[1];
	if (pipe2(from, O_CLOEXEC) < 0)
		return varve_fail_errno(e, "pipe");
	out0 = from[0];
	out1 = from[1];
	/* In the pipe before there is a reader: a helper that never reads cannot hurt us by
	 * SIGPIPE. */
	if (fsx_write_all(in1, input, strlen(input)) < 0)
		return varve_fail_errno(e, "%s", program);
	r = spawn(program, verb, in, from, &pid);
	if (r != 0)
		return varve_fail(e, VARVE_E_AUTH, "%s cannot be run (%s); it must be in PATH",
				  program, strerror(r));
	(void)close(VARVE_TAKE_FD(in1));
	(void)close(VARVE_TAKE_FD(out1));
	r = read_answer(out0, out, ctx);
	*ret_status = reap(pid, r < 0);
	if (r == -EINTR)
		return ctx_check(ctx, e);
	if (r < 0)
		return varve_fail(e, VARVE_E_AUTH, "%s: %s", program,
				  r == -ETIMEDOUT ? "no answer within 30 s"
						  : "its answer cannot be read");
	return 0;
}
