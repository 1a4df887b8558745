/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hook, and the image whose shell runs it, can reach: its tree. In the child between fork
 * and exec, where only system calls may be made. A chroot would confine nothing: who is root in one
 * leaves it with another chroot.
 */
#include "materialize/finish/hooks.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "store/base/compiler.h"
#include "store/base/fsx.h"

/*
 * One of this system's devices over an empty file. Its mount is read-only, which does not keep from
 * writing to the device, but from changing the mode and owner that it has for the whole system.
 */
static void lend_device(int dev, const char *name)
{
	int over = openat(dev, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	char path[32], outside[32];
	int fd;

	if (over < 0)
		return;
	(void)snprintf(outside, sizeof(outside), "/dev/%s", name);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", over);
	if (mount(outside, path, NULL, MS_BIND, NULL)) {
		(void)close(over);
		return;
	}
	(void)close(over);
	fd = openat(dev, name, O_PATH | O_NOFOLLOW | O_CLOEXEC); /* the mount, not what is below */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 ||
	    mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL))
		(void)umount2(path, MNT_DETACH);
	if (fd >= 0)
		(void)close(fd);
}

/* A /dev with only what harms nobody. */
static void mount_dev(int rootfd)
{
	static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
	int fd = fsx_open_in_root(rootfd, "/dev", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	char proc[32];

	if (fd < 0)
		return;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (!mount("tmpfs", proc, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")) {
		(void)close(fd);
		fd = fsx_open_in_root(rootfd, "/dev", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		for (size_t i = 0; fd >= 0 && i < VARVE_ARRAY_SIZE(nodes); i++)
			lend_device(fd, nodes[i]);
		(void)!symlinkat("/proc/self/fd", fd, "fd");
		(void)!symlinkat("/proc/self/fd/0", fd, "stdin");
		(void)!symlinkat("/proc/self/fd/1", fd, "stdout");
		(void)!symlinkat("/proc/self/fd/2", fd, "stderr");
		(void)mkdirat(fd, "shm", 01777);
	}
	if (fd >= 0)
		(void)close(fd);
}

/* Proc and a small /dev on a private bind of the
 * tree. -1 with errno, or the directory to live in. */
static int own_mounts(int rootfd)
{
	int tree = (int)syscall(SYS_open_tree, rootfd, "",
				OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	int proc_fd;
	char proc[32];

	if (tree < 0 || syscall(SYS_move_mount, tree, "", rootfd, "",
				MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
		return -1;
	mount_dev(tree);
	proc_fd = fsx_open_in_root(tree, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (proc_fd >= 0) {
		(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", proc_fd);
		(void)mount("proc", proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	}
	return tree;
}

/* Whatever device nodes the image has, or the hook makes: they are files that cannot be opened. */
static bool without_devices(void)
{
	static const struct {
		unsigned long have, keep;
	} flags[] = {{ST_RDONLY, MS_RDONLY},         {ST_NOSUID, MS_NOSUID},
		     {ST_NOEXEC, MS_NOEXEC},         {ST_NOATIME, MS_NOATIME},
		     {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME}};
	unsigned long all = MS_REMOUNT | MS_BIND | MS_NODEV;
	struct statvfs v;

	if (statvfs("/", &v))
		return false;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(flags); i++)
		if (v.f_flag & flags[i].have)
			all |= flags[i].keep;
	return !mount(NULL, "/", NULL, all, NULL);
}

/* Root may write to these by mere ownership, and they are the kernel's, not the tree's. */
static bool guard_proc(void)
{
	static const char *const read_only[] = {
		"/proc/sys",    "/proc/sysrq-trigger", "/proc/irq",    "/proc/bus",
		"/proc/fs",     "/proc/acpi",          "/proc/scsi",   "/proc/pressure",
		"/proc/driver", "/proc/dynamic_debug", "/proc/asound", "/proc/mtrr"};
	static const char *const hidden[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list",
					     "/proc/sched_debug", "/proc/latency_stats"};

	if (access("/proc/self", F_OK)) /* it could not be mounted */
		return true;
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(read_only); i++) {
		const char *p = read_only[i];

		if (access(p, F_OK) && errno == ENOENT)
			continue;
		if (mount(p, p, NULL, MS_BIND | MS_REC, NULL) ||
		    mount(NULL, p, NULL,
			  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			  NULL))
			return false;
	}
	/* The null of mount_dev() is read-only, and so is each bind of it. */
	for (size_t i = 0; i < VARVE_ARRAY_SIZE(hidden); i++)
		(void)mount("/dev/null", hidden[i], NULL, MS_BIND, NULL);
	return true;
}

bool hook_enter(int rootfd)
{
	int tree = own_mounts(rootfd);

	/* Both on one place: the old root lies over the new one until it is taken away. */
	return tree >= 0 && !fchdir(tree) && !syscall(SYS_pivot_root, ".", ".") &&
	       !umount2(".", MNT_DETACH) && !chdir("/") && guard_proc() && without_devices();
}

bool hook_drop_capabilities(void)
{
	static const unsigned kept[] = {
		CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,     CAP_FSETID,  CAP_KILL,
		CAP_SETGID, CAP_SETUID,       CAP_SETPCAP,    CAP_SETFCAP, CAP_NET_BIND_SERVICE,
		CAP_MKNOD,  CAP_SYS_CHROOT,   CAP_AUDIT_WRITE};
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	uint64_t mask = 0;

	for (size_t i = 0; i < VARVE_ARRAY_SIZE(kept); i++)
		mask |= UINT64_C(1) << kept[i];
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* The kernel may know more than our headers do: EINVAL is the first that it does not. */
	for (unsigned c = 0; c < 64; c++)
		if (!(mask >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0)) {
			if (errno == EINVAL)
				break;
			return false;
		}
	if (syscall(SYS_capget, &head, data))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(mask >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return !syscall(SYS_capset, &head, data);
}

void hook_loopback_up(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	if (fd < 0)
		return;
	(void)ioctl(fd, SIOCSIFFLAGS, &lo);
	(void)close(fd);
}
