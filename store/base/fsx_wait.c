/* SPDX-License-Identifier: Apache-2.0 */
/* What may keep us waiting for others, and must still hear of a cancellation: locks and streams. */
#include "store/base/compiler.h"
#include "store/base/fsx.h"
#include "store/base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define STEP_MIN_NS 1000000  /* between two tries for a lock, at first */
#define STEP_MAX_NS 20000000 /* and when it takes long */
#define POLL_MS     50
#define PIECE       (1u << 20)

/* -1 with EINTR. */
static int cancelled(const struct varve_ctx *ctx)
{
	if (!ctx_cancelled(ctx))
		return 0;
	errno = EINTR;
	return -1;
}

int fsx_flock_wait(int fd, int op, const struct varve_ctx *ctx)
{
	/* Tried again and again: a signal may come to another thread than the one in flock(). */
	struct timespec step = {.tv_nsec = STEP_MIN_NS};

	while (fsx_flock(fd, op | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || cancelled(ctx) < 0)
			return -1;
		(void)nanosleep(&step, NULL);
		step.tv_nsec = VARVE_MIN(step.tv_nsec * 5 / 4, (long)STEP_MAX_NS);
	}
	return 0;
}

/* 0: fd is ready, or its use tells what is wrong with it. */
static int wait_for(int fd, short events, const struct varve_ctx *ctx)
{
	struct pollfd p = {.fd = fd, .events = events};
	int r;

	do {
		if (cancelled(ctx) < 0)
			return -1;
		r = poll(&p, 1, POLL_MS);
	} while (r == 0 || (r < 0 && errno == EINTR));
	return 0;
}

int fsx_write_stream(int fd, const void *p, size_t n, const struct varve_ctx *ctx)
{
	const char *at = p;
	struct stat st;
	/* A pipe that is ready has room for so much; for more it might wait. */
	size_t most = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
			      ? PIECE
			      : PIPE_BUF;

	while (n > 0) {
		ssize_t w = wait_for(fd, POLLOUT, ctx);

		if (w == 0)
			w = write(fd, at, VARVE_MIN(n, most));
		if (w < 0 && (cancelled(ctx) < 0 || (errno != EINTR && errno != EAGAIN)))
			return -1;
		if (w > 0) {
			at += w;
			n -= (size_t)w;
		}
	}
	return 0;
}

ssize_t fsx_read_stream(int fd, void *p, size_t n, const struct varve_ctx *ctx)
{
	ssize_t r;

	do {
		if (wait_for(fd, POLLIN, ctx) < 0)
			return -1;
		r = read(fd, p, n);
	} while (r < 0 && (errno == EINTR || errno == EAGAIN));
	return r;
}
