/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run one script inside a tree. Three processes: the parent reads its output and watches the clock;
 * the first child makes the namespaces; the second is process 1 of them and becomes the script, so
 * that the kernel kills whatever the script left when it ends, and its mounts vanish with it.
 */
#include "materialize/finish/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"

#define POLL_MS         100
#define AFTERMATH_POLLS 50
#define OUTPUT_MAX      (64u << 20) /* a script that writes without end is stopped */

/* What the child could not do; it travels back as one byte in the status pipe. */
enum setup { SETUP_OK, SETUP_USERNS, SETUP_NAMESPACE, SETUP_CONFINE, SETUP_CHROOT, SETUP_EXEC };

struct report {
	int step, error;
};

/* --- in the child: only system calls --- */

static void give_up(int status_fd, int step)
{
	struct report r = {.step = step, .error = errno};

	(void)!write(status_fd, &r, sizeof(r));
	_exit(127);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* As an ordinary user: root in a namespace in which only our own ids exist. */
static bool become_root_inside(uid_t uid, gid_t gid)
{
	char map[64];

	if (unshare(CLONE_NEWUSER))
		return false;
	(void)write_file("/proc/self/setgroups", "deny");
	(void)snprintf(map, sizeof(map), "0 %u 1\n", gid);
	if (!write_file("/proc/self/gid_map", map))
		return false;
	(void)snprintf(map, sizeof(map), "0 %u 1\n", uid);
	return write_file("/proc/self/uid_map", map);
}

static void default_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void exec_script(const struct hook_script *s, int status_fd)
{
	char *const direct[] = {(char *)(uintptr_t)s->path, NULL};
	char *const shell[] = {(char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t)s->path, NULL};

	(void)umask(022);
	(void)execve(s->path, direct, s->env);
	if (errno == ENOEXEC) /* no "#!" line */
		(void)execve("/bin/sh", shell, s->env);
	give_up(status_fd, SETUP_EXEC);
}

/*
 * Process 1 has the caller's memory and environment, and the script runs as the same user: without
 * this /proc/1 would lead to both, and by its descriptors out of the tree.
 */
static bool hide(int status_fd)
{
	struct rlimit max = {.rlim_cur = 1024};

	(void)getrlimit(RLIMIT_NOFILE, &max);
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || dup2(status_fd, 3) < 0 ||
	    fcntl(3, F_SETFD, FD_CLOEXEC))
		return false;
	if (syscall(SYS_close_range, 4u, ~0u, 0)) /* older than Linux 5.9 */
		for (rlim_t fd = 4; fd < max.rlim_cur; fd++)
			(void)close((int)fd);
	return true;
}

/* Process 1 of the namespace waits for the script and ends with its status; orphans end with it. */
static void inner(int rootfd, const struct hook_script *s, int status_fd, bool confined)
{
	pid_t pid;
	int status;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (confined &&
	    (!hook_enter(rootfd) || !hook_filter_calls(s->network) || !hook_drop_capabilities()))
		give_up(status_fd, SETUP_CONFINE);
	if (!confined && (fchdir(rootfd) || chroot(".") || chdir("/")))
		give_up(status_fd, SETUP_CHROOT);
	if (!hide(status_fd))
		give_up(status_fd, SETUP_CONFINE);
	status_fd = 3;
	pid = fork();
	if (pid == 0)
		exec_script(s, status_fd);
	if (pid < 0)
		give_up(status_fd, SETUP_NAMESPACE);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Makes the namespaces and process 1 in them. Never returns. */
static void outer(int rootfd, const struct hook_script *s, int output_fd, int status_fd)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int spaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
		     (s->network ? 0 : CLONE_NEWNET);
	bool confined = true;
	int status, empty[2];
	pid_t pid;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setsid();
	default_signals();
	/* A pipe without a writer, as /dev/null would be this system's: root could change its mode
	 * by the descriptor. */
	if (pipe2(empty, O_CLOEXEC) || dup2(empty[0], 0) < 0 || close(empty[1]) ||
	    dup2(output_fd, 1) < 0 || dup2(output_fd, 2) < 0)
		give_up(status_fd, SETUP_NAMESPACE);
	if (fchdir(rootfd))
		give_up(status_fd, SETUP_CHROOT);
	if (uid && !become_root_inside(uid, gid))
		give_up(status_fd, SETUP_USERNS);
	if (unshare(spaces)) {
		/* Root without CAP_SYS_ADMIN (a container): chroot alone, if that was said. */
		if (!s->unconfined)
			give_up(status_fd, SETUP_NAMESPACE);
		confined = false;
	} else if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		give_up(status_fd, SETUP_NAMESPACE);
	}
	if (confined && !s->network)
		hook_loopback_up();
	/* The working directory came along into the new mount namespace, rootfd did not. */
	rootfd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (rootfd < 0)
		give_up(status_fd, SETUP_CHROOT);
	pid = fork();
	if (pid == 0)
		inner(rootfd, s, status_fd, confined);
	if (pid < 0)
		give_up(status_fd, SETUP_NAMESPACE);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* --- in the parent --- */

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* What is in the pipe now. False at its end. */
static bool drain(int fd, const struct hook_script *s, const struct varve_hook_options *o,
		  uint64_t *total)
{
	char block[4096];
	ssize_t n;

	while ((n = read(fd, block, sizeof(block))) > 0) {
		*total += (uint64_t)n;
		if (o->output)
			o->output(o->user, s->name, block, (size_t)n);
		if (*total > OUTPUT_MAX)
			return true;
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Until it has ended or must end. NULL, or why it was killed. */
static const char *watch(pid_t pid, int fd, const struct hook_script *s,
			 const struct varve_hook_options *o, int *ret_status)
{
	int64_t end = now_ms() + (int64_t)s->timeout * 1000;
	const char *why = NULL;
	uint64_t total = 0;
	bool open_end = true;

	while (waitpid(pid, ret_status, WNOHANG) != pid) {
		struct pollfd p = {.fd = open_end ? fd : -1, .events = POLLIN};

		(void)poll(&p, 1, POLL_MS);
		if (open_end)
			open_end = drain(fd, s, o, &total);
		if (ctx_cancelled(o->ctx))
			why = "interrupted";
		else if (now_ms() > end)
			why = "took too long and was stopped";
		else if (total > OUTPUT_MAX)
			why = "wrote too much and was stopped";
		if (!why)
			continue;
		/* Process 1 of its namespace dies with it, and all others with that. */
		(void)kill(-pid, SIGKILL);
		(void)kill(pid, SIGKILL);
		while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
			;
		/* Their death follows in its own time: the end of the pipe tells. */
		for (int i = 0; i < AFTERMATH_POLLS && drain(fd, s, o, &total); i++)
			(void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, POLL_MS);
		return why;
	}
	(void)kill(-pid, SIGKILL); /* where there was no namespace to do it */
	(void)drain(fd, s, o, &total);
	return NULL;
}

static int fail_setup(const struct report *r, const struct hook_script *s, struct varve_err *e)
{
	errno = r->error;
	switch (r->step) {
	case SETUP_USERNS:
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"this kernel lets no ordinary user make a user namespace (%s), which "
			"hooks need; run as root, or with --no-hooks",
			strerror(r->error));
	case SETUP_NAMESPACE:
		return varve_fail(
			e, VARVE_E_UNSUPPORTED,
			"no namespaces for hooks here (%s); --no-hooks runs none, "
			"--hooks-unconfined "
			"runs them as root in a chroot, which keeps a hostile image from nothing",
			strerror(r->error));
	case SETUP_CONFINE:
		return varve_fail_errno(e, "shut the hook into the tree");
	case SETUP_CHROOT:
		return varve_fail_errno(e, "chroot into the tree");
	default:
		return varve_fail(e, VARVE_E_HOOK,
				  "%s: cannot be run in the tree (%s): is its interpreter there?",
				  TEXT_SAFE(s->path), strerror(r->error));
	}
}

int hook_run(int rootfd, const struct hook_script *s, const struct varve_hook_options *o,
	     struct hook_end *ret, struct varve_err *e)
{
	int output[2], status[2];
	struct report report;
	int wait_status = 0;
	pid_t pid;
	int x = 0;

	if (pipe2(output, O_CLOEXEC))
		return varve_fail_errno(e, "pipe");
	if (pipe2(status, O_CLOEXEC)) {
		x = varve_fail_errno(e, "pipe");
		(void)close(output[0]);
		(void)close(output[1]);
		return x;
	}
	(void)fcntl(output[0], F_SETFL, O_NONBLOCK);
	(void)fcntl(status[0], F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid == 0)
		outer(rootfd, s, output[1], status[1]);
	(void)close(output[1]);
	(void)close(status[1]);
	if (pid < 0) {
		x = varve_fail_errno(e, "fork");
	} else {
		ret->problem = watch(pid, output[0], s, o, &wait_status);
		ret->status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
						     : 128 + WTERMSIG(wait_status);
		if (read(status[0], &report, sizeof(report)) == (ssize_t)sizeof(report))
			x = fail_setup(&report, s, e);
		else
			x = ctx_check(o->ctx, e);
	}
	(void)close(output[0]);
	(void)close(status[0]);
	return x;
}
