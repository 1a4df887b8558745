/* SPDX-License-Identifier: Apache-2.0 */
/* Signals and the standard descriptors, set up before anything else runs. */
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_MS 100 /* a signal may be heard by another thread than the one that waits */

static volatile int cancelled; /* only varve_cancel() touches it */
static volatile sig_atomic_t heard;

/* The first one asks to end in order, the second one does not wait. */
static void on_signal(int sig)
{
	static const char hint[] = "\nvarve: ending; once more to end at once\n";
	struct pollfd err = {.fd = STDERR_FILENO, .events = POLLOUT};
	int saved = errno;

	if (varve_cancel(&cancelled))
		_exit(128 + sig);
	heard = sig;
	/* Nobody may be reading; then there is nobody to tell. */
	if (sig == SIGINT && poll(&err, 1, 0) == 1 && err.revents == POLLOUT) {
		ssize_t n = write(STDERR_FILENO, hint, sizeof(hint) - 1);

		(void)n;
	}
	errno = saved;
}

bool signals_heard(void)
{
	return heard != 0;
}

int signals_status(int status)
{
	static const int all[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction act;

	/* Nothing looks at the flag any more: one that comes now ends us as it ends others. */
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (sigaction(all[i], NULL, &act) == 0 && act.sa_handler == on_signal)
			(void)signal(all[i], SIG_DFL);
	return heard ? 128 + (int)heard : status;
}

/* 0 when fd is ready; -1 with EINTR. */
static int wait_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	while (!heard) {
		int r = poll(&p, 1, POLL_MS);

		if (r != 0 && !(r < 0 && errno == EINTR))
			return 0; /* what is wrong with it is told by its use */
	}
	errno = EINTR;
	return -1;
}

static bool never_waits(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

ssize_t signals_read(int fd, void *p, size_t n)
{
	return wait_for(fd, POLLIN) < 0 ? -1 : read(fd, p, n);
}

ssize_t signals_write(int fd, const void *p, size_t n)
{
	if (wait_for(fd, POLLOUT) < 0)
		return -1;
	/* A pipe that is ready has room for so much; for more it might wait. */
	return write(fd, p, n <= PIPE_BUF || never_waits(fd) ? n : PIPE_BUF);
}

/* A closed descriptor would be given to the next file that is opened: results must not land in the
 * database. */
static void fill_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		/* Reading only for all: a write to a closed stdout stays an error. */
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
			_exit(VARVE_EXIT_FAILED);
	}
}

/* What the caller had ignored stays so: nohup, and shells for what runs in the background. */
static void listen_for(int sig, const struct sigaction *act)
{
	struct sigaction old;

	if (sigaction(sig, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		return;
	(void)sigaction(sig, act, NULL);
}

void signals_setup(struct varve_ctx *ctx)
{
	/* No SA_RESTART: a blocking call must come back to see the flag. */
	struct sigaction act = {.sa_handler = on_signal};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	fill_standard_fds();
	sigemptyset(&act.sa_mask);
	listen_for(SIGINT, &act);
	listen_for(SIGTERM, &act);
	listen_for(SIGHUP, &act);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigaction(SIGXFSZ, &ignore, NULL);
	ctx->cancel = &cancelled;
}

void signals_no_core(void)
{
	struct rlimit max;

	/* Not 0: to a program that takes cores (core(5)) only a limit of 1 means "none". */
	if (getrlimit(RLIMIT_CORE, &max) == 0 && max.rlim_max > 0) {
		max.rlim_cur = 1;
		(void)setrlimit(RLIMIT_CORE, &max);
	}
}
