/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a command and, at its N-th mutating system call on files, kills it, interrupts it or fails
 * the call.
 *
 *   faultrun [--at N] [--do ACTION] [--sticky] [--count FILE] [--trace FILE] COMMAND [ARGUMENT...]
 *
 * ACTION: kill (SIGKILL to the whole process group before the call), int (SIGINT, the call goes
 * on), or an error: ENOSPC EIO EDQUOT EMFILE EROFS. --sticky fails every later call that takes
 * space too, as a full disk does. --count writes "CALLS HIT" at the end; --trace writes one line
 * for each call.
 *
 * The calls are met with a seccomp notifier and not with a preloaded library: it sees what the
 * kernel sees (stdio, raw syscalls, threads, children), and works with sanitizers.
 * seccomp_unotify(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#else
#error "unknown architecture"
#endif

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	TAKES_SPACE = 1, /* may need a new block or inode: fails on a full disk */
	BY_FD = 2,       /* counts only when the first argument is a regular file or a directory */
	BY_OPEN = 4,     /* counts only when the flags (argument 1 or 2) create or truncate */
	BY_OPENAT = 8,
	BY_OPENAT2 = 16,
	TO_FD_2 = 32, /* copy_file_range, splice: the third argument is the destination */
};

static const struct call {
	int nr;
	int flags;
	const char *name;
} calls[] = {
#define C(name, flags)                                                                             \
	{                                                                                          \
		SYS_##name, flags, #name                                                           \
	}
	C(write, TAKES_SPACE | BY_FD),
	C(pwrite64, TAKES_SPACE | BY_FD),
	C(writev, TAKES_SPACE | BY_FD),
	C(pwritev, TAKES_SPACE | BY_FD),
	C(pwritev2, TAKES_SPACE | BY_FD),
	C(copy_file_range, TAKES_SPACE | TO_FD_2),
	C(sendfile, TAKES_SPACE | BY_FD),
	C(splice, TAKES_SPACE | TO_FD_2),
	C(fallocate, TAKES_SPACE),
	C(ftruncate, 0),
	C(truncate, 0),
	C(fsync, 0),
	C(fdatasync, 0),
	C(syncfs, 0),
	C(msync, 0),
	C(renameat, 0),
	C(renameat2, 0),
	C(linkat, TAKES_SPACE),
	C(unlinkat, 0),
	C(mkdirat, TAKES_SPACE),
	C(symlinkat, TAKES_SPACE),
	C(mknodat, TAKES_SPACE),
	C(fchmod, 0),
	C(fchmodat, 0),
	C(fchown, 0),
	C(fchownat, 0),
	C(utimensat, 0),
	C(setxattr, TAKES_SPACE),
	C(lsetxattr, TAKES_SPACE),
	C(fsetxattr, TAKES_SPACE),
	C(removexattr, 0),
	C(lremovexattr, 0),
	C(fremovexattr, 0),
	C(openat, TAKES_SPACE | BY_OPENAT),
	C(openat2, TAKES_SPACE | BY_OPENAT2),
#ifdef SYS_open
	C(open, TAKES_SPACE | BY_OPEN),
	C(creat, TAKES_SPACE),
	C(rename, 0),
	C(link, TAKES_SPACE),
	C(unlink, 0),
	C(rmdir, 0),
	C(mkdir, TAKES_SPACE),
	C(symlink, TAKES_SPACE),
	C(mknod, TAKES_SPACE),
	C(chmod, 0),
	C(chown, 0),
	C(lchown, 0),
	C(utimes, 0),
	C(futimesat, 0),
#endif
#undef C
};

static const struct {
	const char *name;
	int number;
} errors[] = {
	{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE}, {"EROFS", EROFS},
};

static struct {
	uint64_t at;
	int error; /* 0: kill or interrupt */
	int signal;
	bool sticky;
	const char *count;
	FILE *trace;
} opt;

static uint64_t counted;
static bool hit;

static void die(const char *what)
{
	fprintf(stderr, "faultrun: %s: %s\n", what, strerror(errno));
	exit(125);
}

static const struct call *find_call(int nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (calls[i].nr == nr)
			return &calls[i];
	return NULL;
}

/* The filter asks us about the listed calls and lets all others run at full speed. */
static int install_filter(void)
{
	struct sock_filter code[ARRAY_SIZE(calls) + 8];
	size_t n = 0, left = ARRAY_SIZE(calls);

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, arch));
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++, left--)
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (uint32_t)calls[i].nr, (uint8_t)left, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);

	struct sock_fprog program = {.len = (unsigned short)n, .filter = code};

	if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("PR_SET_NO_NEW_PRIVS");
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &program);
}

static void send_fd(int sock, int fd)
{
	char byte = 0;
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(sock, &msg, 0) != 1)
		die("sendmsg");
}

static int receive_fd(int sock)
{
	char byte;
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static bool fd_is_file(unsigned int tid, uint64_t fd)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%u/fd/%d", tid, (int)fd);
	return stat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

static bool creates(uint64_t flags)
{
	return (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;
}

static bool is_mutation(const struct call *call, const struct seccomp_notif *n)
{
	const uint64_t *arg = (const uint64_t *)n->data.args;

	if (call->flags & BY_FD)
		return fd_is_file(n->pid, arg[0]);
	if (call->flags & TO_FD_2)
		return fd_is_file(n->pid, arg[2]);
	if (call->flags & BY_OPEN)
		return creates(arg[1]);
	if (call->flags & BY_OPENAT)
		return creates(arg[2]);
	if (call->flags & BY_OPENAT2) {
		uint64_t flags = 0;
		struct iovec local = {&flags, sizeof(flags)};
		struct iovec remote = {(void *)(uintptr_t)arg[2], sizeof(flags)};

		process_vm_readv((pid_t)n->pid, &local, 1, &remote, 1, 0);
		return creates(flags);
	}
	return true;
}

/* What a trace line says of the call: the file behind
 * the descriptor in the first argument, if any. */
static void trace_call(const struct call *call, const struct seccomp_notif *n)
{
	char link[64], target[512];
	ssize_t length;

	if (!opt.trace)
		return;
	snprintf(link, sizeof(link), "/proc/%u/fd/%d", n->pid, (int)n->data.args[0]);
	length = readlink(link, target, sizeof(target) - 1);
	target[length < 0 ? 0 : length] = '\0';
	fprintf(opt.trace, "%llu %s %s\n", (unsigned long long)counted, call->name, target);
	fflush(opt.trace);
}

static void answer(int listener, const struct seccomp_notif *n, int error)
{
	struct seccomp_notif_resp r = {.id = n->id};

	if (error)
		r.error = -error;
	else
		r.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	/* ENOENT: the caller is gone, killed by somebody else. */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r) < 0 && errno != ENOENT)
		die("SECCOMP_IOCTL_NOTIF_SEND");
}

static void handle(int listener, pid_t child)
{
	struct seccomp_notif n = {0};
	const struct call *call;
	int error = 0;

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0) {
		if (errno == ENOENT || errno == EINTR)
			return;
		die("SECCOMP_IOCTL_NOTIF_RECV");
	}
	call = find_call(n.data.nr);
	if (call && is_mutation(call, &n)) {
		counted++;
		trace_call(call, &n);
		if (opt.at && counted == opt.at) {
			hit = true;
			if (opt.signal)
				kill(-child, opt.signal);
			if (opt.signal == SIGKILL)
				return;
			error = opt.error;
		} else if (opt.sticky && opt.at && counted > opt.at &&
			   (call->flags & TAKES_SPACE)) {
			error = opt.error;
		}
	}
	answer(listener, &n, error);
}

static int supervise(int listener, pid_t child)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	int status;

	/* Ends when no process uses the filter any more: children that outlive the command are
	 * watched too. */
	for (;;) {
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			die("poll");
		if (p.revents & POLLIN)
			handle(listener, child);
		else if (p.revents)
			break;
	}
	if (waitpid(child, &status, 0) < 0)
		die("waitpid");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void parse_action(const char *name)
{
	if (!strcmp(name, "kill")) {
		opt.signal = SIGKILL;
		return;
	}
	if (!strcmp(name, "int")) {
		opt.signal = SIGINT;
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (!strcmp(name, errors[i].name))
			opt.error = errors[i].number;
	if (!opt.error) {
		fprintf(stderr, "faultrun: unknown action %s\n", name);
		exit(125);
	}
}

static char **parse(char **argv)
{
	for (argv++; *argv && !strncmp(*argv, "--", 2); argv++) {
		if (!strcmp(*argv, "--sticky")) {
			opt.sticky = true;
			continue;
		}
		if (!argv[1])
			break;
		if (!strcmp(*argv, "--at"))
			opt.at = strtoull(*++argv, NULL, 10);
		else if (!strcmp(*argv, "--do"))
			parse_action(*++argv);
		else if (!strcmp(*argv, "--count"))
			opt.count = *++argv;
		else if (!strcmp(*argv, "--trace"))
			opt.trace = fopen(*++argv, "we");
		else
			break;
	}
	if (!*argv || !strncmp(*argv, "--", 2)) {
		fprintf(stderr, "usage: faultrun [--at N] [--do ACTION] [--sticky] [--count FILE] "
				"[--trace FILE] COMMAND...\n");
		exit(125);
	}
	return argv;
}

int main(int argc, char **argv)
{
	char **command = parse(argv);
	int sock[2], listener, status;
	pid_t child;

	(void)argc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		die("socketpair");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		setpgid(0, 0);
		listener = install_filter();
		if (listener < 0)
			die("seccomp");
		send_fd(sock[1], listener);
		close(listener);
		execvp(command[0], command);
		die(command[0]);
	}
	setpgid(child, child);
	close(sock[1]);
	listener = receive_fd(sock[0]);
	if (listener < 0)
		return 125;
	status = supervise(listener, child);
	if (opt.count) {
		FILE *f = fopen(opt.count, "we");

		if (!f)
			die(opt.count);
		fprintf(f, "%llu %d\n", (unsigned long long)counted, hit);
		fclose(f);
	}
	return status;
}
