/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that lead out of a hook's namespaces although it has no capability: a user namespace
 * of its own would give it all of them again, keyrings and some kinds of sockets belong to no
 * namespace. In the child between fork and exec, where only system calls may be made.
 */
#include "materialize/finish/hooks.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "store/base/compiler.h"

#define ARG(i)                                                                                     \
	(uint32_t)(offsetof(struct seccomp_data, args) + 8 * (i)) /* low half: little endian */
#define PROGRAM_MAX  256
#define SOCKET_BY_IT 1 /* SYS_SOCKET of linux/net.h: what socketcall is asked for */

/* The numbers of an architecture whose programs this kernel runs; 0: it has no such call. */
struct numbers {
	uint32_t arch;
	uint32_t foreign; /* numbers of a third interface begin here */
	uint32_t clone, unshare, clone3, socket, socketcall;
	uint32_t denied[8];
};

/* denied: add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup */
static const struct numbers machines[] = {
#if defined(__x86_64__)
	{AUDIT_ARCH_X86_64, 0x40000000, 56, 272, 435, 41, 0, {248, 249, 250, 321, 298, 323, 425}},
	{AUDIT_ARCH_I386, UINT32_MAX, 120, 310, 435, 359, 102, {286, 287, 288, 357, 336, 374, 425}},
#elif defined(__aarch64__)
	{AUDIT_ARCH_AARCH64, UINT32_MAX, 220, 97, 435, 198, 0, {217, 218, 219, 280, 241, 282, 425}},
	{AUDIT_ARCH_ARM, UINT32_MAX, 120, 337, 435, 281, 0, {309, 310, 311, 386, 364, 388, 425}},
#endif
};

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned n;
};

static void add(struct program *p, uint16_t op, uint32_t k, uint8_t yes, uint8_t no)
{
	if (p->n < PROGRAM_MAX)
		p->code[p->n++] = (struct sock_filter)BPF_JUMP(op, k, yes, no);
}

static void load(struct program *p, size_t offset)
{
	add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void deny(struct program *p, int error)
{
	add(p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error, 0, 0);
}

static void allow(struct program *p)
{
	add(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

static void deny_call(struct program *p, uint32_t number, int error)
{
	if (!number)
		return;
	add(p, BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
	deny(p, error);
}

/* By its first argument: test (BPF_JSET: it has that flag; BPF_JEQ: it is that). */
static void deny_by_argument(struct program *p, uint32_t number, uint16_t test, uint32_t value,
			     int error)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4);
	load(p, ARG(0));
	add(p, BPF_JMP | test | BPF_K, value, 0, 1);
	deny(p, error);
	allow(p);
}

/* Families that network namespaces keep apart; others, such as AF_VSOCK, reach the machine's host.
 */
static void allow_families(struct program *p, uint32_t number)
{
	static const uint32_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
	unsigned n = VARVE_ARRAY_SIZE(families);

	add(p, BPF_JMP | BPF_JEQ | BPF_K, number, 0, (uint8_t)(n + 3));
	load(p, ARG(0));
	for (unsigned i = 0; i < n; i++)
		add(p, BPF_JMP | BPF_JEQ | BPF_K, families[i], (uint8_t)(n - i), 0);
	deny(p, EAFNOSUPPORT);
	allow(p);
}

/* All calls of one architecture; each piece leaves the number of the call loaded, or returns. */
static void add_machine(struct program *p, const struct numbers *m, bool network)
{
	unsigned start = p->n;

	add(p, BPF_JMP | BPF_JEQ | BPF_K, m->arch, 0, 0);
	load(p, offsetof(struct seccomp_data, nr));
	add(p, BPF_JMP | BPF_JGE | BPF_K, m->foreign, 0, 1);
	deny(p, ENOSYS);
	/* Its flags are behind a pointer; libraries take clone where there is no clone3. */
	deny_call(p, m->clone3, ENOSYS);
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(m->denied); i++)
		deny_call(p, m->denied[i], EPERM);
	deny_by_argument(p, m->clone, BPF_JSET, CLONE_NEWUSER, EPERM);
	deny_by_argument(p, m->unshare, BPF_JSET, CLONE_NEWUSER, EPERM);
	allow_families(p, m->socket);
	/* It hides the family behind a pointer. Who has the network may have it in this way, too.
	 */
	if (m->socketcall && !network)
		deny_by_argument(p, m->socketcall, BPF_JEQ, SOCKET_BY_IT, EAFNOSUPPORT);
	allow(p);
	p->code[start].jf = (uint8_t)(p->n - start - 1);
}

bool hook_filter_calls(bool network)
{
	struct program p = {.n = 0};
	struct sock_fprog program = {0, p.code};

	if (VARVE_ARRAY_SIZE(machines) == 0)
		return true;
	load(&p, offsetof(struct seccomp_data, arch));
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(machines); i++)
		add_machine(&p, &machines[i], network);
	deny(&p, ENOSYS);
	program.len = (unsigned short)p.n;
	/* Not by PR_SET_NO_NEW_PRIVS: su and the like are called in scripts. EINVAL, ENOSYS: a
	 * kernel without filters. */
	return !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) || errno == ENOSYS ||
	       errno == EINVAL;
}
