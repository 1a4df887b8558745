/* SPDX-License-Identifier: Apache-2.0 */
/* Signals and the standard descriptors, set up before anything else runs. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static volatile int cancelled; /* only varve_cancel() touches it */

/* The first one asks to end in order, the second one does not wait. */
static void on_signal(int sig)
{
	static const char hint[] = "\nvarve: ending; once more to end at once\n";

	if (varve_cancel(&cancelled))
		_exit(VARVE_EXIT_INTERRUPTED);
	if (sig == SIGINT) {
		int saved = errno;
		ssize_t n = write(STDERR_FILENO, hint, sizeof(hint) - 1);

		(void)n;
		errno = saved;
	}
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

void signals_setup(struct cli *c)
{
	/* No SA_RESTART: a blocking call must come back to see the flag. */
	struct sigaction act = {.sa_handler = on_signal};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	fill_standard_fds();
	sigemptyset(&act.sa_mask);
	(void)sigaction(SIGINT, &act, NULL);
	(void)sigaction(SIGTERM, &act, NULL);
	(void)sigaction(SIGHUP, &act, NULL);
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigaction(SIGXFSZ, &ignore, NULL);
	c->ctx.cancel = &cancelled;
}
