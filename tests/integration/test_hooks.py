# SPDX-License-Identifier: Apache-2.0
"""Hooks are code: whose scripts are run, and what a hook and the image whose shell runs it can reach."""

import os
import pathlib
import shutil
import subprocess
import tempfile

from support import Case, Tar

NOBODY = 65534
BUSYBOX = pathlib.Path("/bin/busybox").read_bytes()

# Who is root in a chroot leaves it with another one, if he kept a descriptor.
ESCAPE = r"""
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
int main(void)
{
    mkdir("/e", 0700);
    int fd = open("/", O_RDONLY | O_DIRECTORY), i;
    if (chroot("/e") || fchdir(fd))
        return 3;
    for (i = 0; i < 64; i++)
        if (chdir(".."))
            return 3;
    if (chroot("."))
        return 3;
    return creat(WHERE, 0666) < 0 ? 3 : 0;
}
"""

# What no capability is needed for, and what no namespace holds.
CALLS = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void may(const char *what, long result)
{
    if (result >= 0)
        printf("MAY %s\n", what);
}
/* In a child: where the kernel runs no such programs it dies of it. */
static long as_i386(long number, long a, long b)
{
    int status = 1;
#ifdef __x86_64__
    long result;
    pid_t pid = fork();

    if (pid == 0) {
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
        _exit((int)result < 0);
    }
    waitpid(pid, &status, 0);
#endif
    return status ? -1 : 0;
}
int main(void)
{
    static long clone3_args[11] = {CLONE_NEWUSER};
    long pid;

    may("socket", socket(AF_INET, SOCK_STREAM, 0));
    may("local", socket(AF_UNIX, SOCK_STREAM, 0));
    may("vsock", socket(40, SOCK_STREAM, 0));
    may("alg", socket(38, SOCK_SEQPACKET, 0));
    may("add_key", syscall(SYS_add_key, "user", "varve-test", "x", 1L, -2L));
    may("keyctl", syscall(SYS_keyctl, 0L, -4L, 0L));
    may("keyctl32", as_i386(288, 0, -4));
    may("vsock32", as_i386(359, 40, SOCK_STREAM));
    may("bpf", syscall(SYS_bpf, 0L, NULL, 0L) < 0 ? -1 : 0);
    pid = syscall(SYS_clone, CLONE_NEWUSER | 17L, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    may("clone", pid);
    pid = syscall(SYS_clone3, clone3_args, 64L);
    if (pid == 0)
        _exit(0);
    may("clone3", pid);
    may("unshare32", as_i386(310, CLONE_NEWUSER, 0));
    may("unshare", unshare(CLONE_NEWUSER));
    return 0;
}
"""


def image(**more):
    tar = Tar().dir("root").dir("bin")
    for name, data in more.items():
        tar.file("bin/" + name, data, mode=0o755)
    return tar.file("bin/busybox", BUSYBOX, mode=0o755) if "sh" in more else tar.file("bin/sh", BUSYBOX, mode=0o755)


class Hooks(Case):
    def setUp(self):
        super().setUp()
        self.hooks = self.path("hooks")
        self.hooks.mkdir()
        self.hook = self.hooks / "hook_postinstall_all.sh"
        self.ref = self.stored(image())

    def stored(self, tar):
        path = self.path(f"rootfs-{len(os.listdir(self.dir))}.tar")
        path.write_bytes(tar.bytes())
        ref = "local/x:" + path.stem.rpartition("-")[2]
        self.varve.run("import", path, ref)
        return ref

    def install(self, *more, ref=None, text=None, **kw):
        if text is not None:
            self.hook.write_text("#!/bin/sh\n" + text)
        return self.varve.run("install", "--force", "--no-keep", ref or self.ref, "--name", "t", "--hooks", self.hooks, *more, **kw)


class Trust(Hooks):
    def refused(self, *words):
        result = self.install(status=4)
        for word in words:
            self.assertIn(word, result.err)
        self.assertNotIn("it ran", result.err)
        self.assertFalse((self.varve.roots / "rootfs_t").exists())

    def test_others_may_write(self):
        self.hook.write_text("#!/bin/sh\necho it ran\n")
        self.hook.chmod(0o666)
        self.refused(str(self.hook), "others may write", "chmod go-w")
        self.hook.chmod(0o664)
        self.refused("others may write")
        self.hook.chmod(0o644)
        self.hooks.chmod(0o777)
        self.refused(str(self.hooks), "others may write", "chmod go-w")
        self.hooks.chmod(0o755)
        self.dir.chmod(0o777)
        self.refused("others may write")
        self.dir.chmod(0o1777)  # as /tmp
        self.assertIn("it ran", self.install().err)
        self.dir.chmod(0o755)

    def test_of_somebody_else(self):
        self.hook.write_text("#!/bin/sh\necho it ran\n")
        os.chown(self.hook, NOBODY, NOBODY)
        self.refused(str(self.hook), f"belongs to user {NOBODY}")
        os.chown(self.hook, 0, 0)
        os.chown(self.hooks, NOBODY, NOBODY)
        self.refused(str(self.hooks), f"belongs to user {NOBODY}")

    def test_links_and_fifos(self):
        """A link is judged by where it leads; a FIFO keeps nobody waiting."""
        real = self.path("real")
        real.mkdir()
        (real / "script").write_text("#!/bin/sh\necho it ran\n")
        self.hook.symlink_to(real / "script")
        real.chmod(0o777)
        self.refused(str(real))
        real.chmod(0o755)
        self.assertIn("it ran", self.install().err)
        self.varve.run("remove", "--installed", "t")
        self.hook.unlink()
        os.mkfifo(self.hook, 0o600)
        self.refused("no regular file")


class Confined(Hooks):
    def out(self, text, *more, **kw):
        return self.install(*more, text=text, **kw).err.splitlines()

    def test_only_the_tree_is_mounted(self):
        lines = self.out("while read id parent dev root at rest; do echo at=$at; done < /proc/self/mountinfo\n")
        at = {line[3:] for line in lines if line.startswith("at=")}
        self.assertIn("/", at)
        outside = {a for a in at if a != "/" and a.split("/")[1] not in ("proc", "dev")}
        self.assertEqual(outside, set())
        self.assertEqual(sorted(os.listdir(self.varve.roots / "rootfs_t")), ["bin", "root"])

    def test_capabilities(self):
        lines = self.out("while read name value; do case $name in Cap*) echo $name$value;; esac; done < /proc/self/status\n")
        caps = dict(line.split(":") for line in lines if line.startswith("Cap"))
        kept = sum(1 << c for c in (0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 27, 29, 31))
        for name in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(caps[name], 16), kept, name)
        self.assertEqual(int(caps["CapInh"], 16), 0)

    def test_system_is_out_of_reach(self):
        ref = self.stored(Tar().dir("root").dir("bin").file("bin/busybox", BUSYBOX, mode=0o755).symlink("bin/sh", "busybox"))
        err = self.install(ref=ref, text="""
b=/bin/busybox
$b mount -t tmpfs none /root && echo MOUNTED
$b mknod /root/disk b 254 0 && $b dd if=/root/disk bs=1 count=1 && echo READ
$b mknod /dev/disk b 254 0 && $b dd if=/dev/disk bs=1 count=1 && echo READ
$b rm -f /root/disk
$b hostname changed && echo RENAMED
echo x > /proc/sys/kernel/hostname && echo WROTE
echo /tmp/x > /proc/sys/kernel/core_pattern && echo WROTE
echo h > /proc/sysrq-trigger && echo WROTE
echo $($b ls /proc/self/root/)
exit 0
""").err
        for word in ("MOUNTED", "READ", "RENAMED", "WROTE"):
            self.assertNotIn(word, err)
        self.assertIn("bin dev proc root", err)

    def test_devices(self):
        """The usual ones are there, also in a tree without /dev, which is without it afterwards."""
        lines = self.out("for d in null zero full random urandom tty; do test -c /dev/$d && echo has=$d; done\necho x > /dev/null\n"
                         "read -r x < /dev/urandom || :\ntest -r /dev/zero && echo readable\n")
        self.assertEqual([line[4:] for line in lines if line.startswith("has=")],
                         ["null", "zero", "full", "random", "urandom", "tty"])
        self.assertIn("readable", lines)
        self.assertEqual(sorted(os.listdir(self.varve.roots / "rootfs_t")), ["bin", "root"])

    def test_network(self):
        text = "while read name rest; do case $name in *:) echo net=$name;; esac; done < /proc/net/dev\n"
        ours = {line.split(":")[0].strip() for line in pathlib.Path("/proc/net/dev").read_text().splitlines()[2:]}
        self.assertEqual({x for x in self.out(text) if x.startswith("net=")}, {"net=lo:"})
        self.assertEqual({x for x in self.out(text, "--hook-network") if x.startswith("net=")}, {f"net={n}:" for n in ours})
        self.assertIn("--hook-network", self.install(text="exit 1\n", status=1).err)

    def tools(self, **more):
        """An image with a busybox that has all its names."""
        tar = Tar().dir("root").dir("bin").file("bin/busybox", BUSYBOX, mode=0o755)
        for name in ("sh", "ls", "cat", "chmod", "touch", "wc"):
            tar.symlink("bin/" + name, "busybox")
        for name, data in more.items():
            tar.file("bin/" + name, data, mode=0o755)
        return tar

    def by_both(self, tar, text):
        """What a hook prints that root runs, and one that an ordinary user runs."""
        env = {"VARVE_TEST_MARK": "Zq7environXw9"}
        yield self.install(ref=self.stored(tar), text=text, env=env).err
        path = self.path("both.tar")
        path.write_bytes(tar.bytes())
        with tempfile.TemporaryDirectory(prefix="varve-test.") as home:
            hook = pathlib.Path(home, "hook_postinstall_all.sh")
            hook.write_text("#!/bin/sh\n" + text)
            tarball, command = shutil.copy(path, home), shutil.copy(os.environ["VARVE"], home)
            for name in (tarball, command):
                os.chmod(name, 0o755)
            for name in (home, hook):
                os.chown(name, NOBODY, NOBODY)
            done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", command,
                                   "--store", f"{home}/s", "--roots", f"{home}/r", "install", tarball, "--name", "t",
                                   "--hooks", home], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, cwd=home,
                                  env={"HOME": home, "PATH": os.environ["PATH"], **env})
            self.assertEqual(done.returncode, 0, done.stdout)
            yield done.stdout

    def test_process_one_is_shut(self):
        """It has the caller's environment and memory, and had descriptors of the store and of the roots dir."""
        for said in self.by_both(self.tools(), """
for f in /proc/1/fd/* /proc/1/cwd /proc/1/root; do ls $f/.. >/dev/null 2>&1 && echo "OPENED $f"; done
for f in environ maps auxv; do cat /proc/1/$f && echo "READ $f"; done
for f in $(ls /proc/self/fd); do test "$f" -le 3 || echo "KEPT $f"; done
echo at the end
"""):
            for word in ("OPENED", "READ", "KEPT", "Zq7environXw9"):
                self.assertNotIn(word, said)
            self.assertIn("at the end", said)

    def test_calls_that_leave_the_namespaces(self):
        source, out = self.path("calls.c"), self.path("calls")
        source.write_text(CALLS)
        subprocess.run(["cc", "-static", "-o", out, "-x", "c", source], check=True)
        for said in self.by_both(self.tools(calls=out.read_bytes()), "/bin/calls\n"):
            self.assertEqual([line for line in said.splitlines() if line.startswith("MAY ")], ["MAY socket", "MAY local"])

    def test_devices_are_the_systems(self):
        """Their modes and times are what the whole system sees; /dev/null came in as standard input, too."""
        for said in self.by_both(self.tools(), """
for d in /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /proc/keys; do
	chmod 666 $d 2>/dev/null && echo "CHANGED $d"
	touch $d 2>/dev/null && echo "CHANGED $d"
done
test -c /proc/self/fd/0 && echo "HAS $(ls -l /proc/self/fd/0)"
echo x > /dev/null && echo "input: $(cat | wc -c)"
"""):
            for word in ("CHANGED", "HAS"):
                self.assertNotIn(word, said)
            self.assertIn("input: 0", said)

    def escaping(self):
        where = pathlib.Path(tempfile.mkdtemp(prefix="varve-test."))
        self.addCleanup(shutil.rmtree, where)
        where.chmod(0o777)
        source, out = self.path("escape.c"), self.path("escape")
        source.write_text(ESCAPE)
        subprocess.run(["cc", "-static", f'-DWHERE="{where}/escaped"', "-o", out, "-x", "c", source], check=True)
        tar = self.path("escape.tar")
        tar.write_bytes(image(sh=out.read_bytes()).bytes())
        tar.chmod(0o644)
        return where, tar

    def test_chroot_is_left_by_nobody(self):
        """The image's own /bin/sh tries, as root and as an ordinary user."""
        where, tar = self.escaping()
        self.hook.write_text("#!/bin/sh\n")
        self.varve.run("install", tar, "--name", "t", "--hooks", self.hooks, status=(0, 1))
        self.assertEqual(os.listdir(where), [])
        with tempfile.TemporaryDirectory(prefix="varve-test.") as home:
            os.chown(home, NOBODY, NOBODY)
            hook = pathlib.Path(home, "hook_postinstall_all.sh")
            hook.write_text("#!/bin/sh\n")
            copy = shutil.copy(tar, home)
            os.chmod(copy, 0o644)
            os.chown(hook, NOBODY, NOBODY)
            command = shutil.copy(os.environ["VARVE"], home)
            os.chmod(command, 0o755)
            done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", command,
                                   "--store", f"{home}/s", "--roots", f"{home}/r", "install", copy, "--name", "t", "--hooks", home],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, cwd=home,
                                  env={"HOME": home, "PATH": os.environ["PATH"]})
            self.assertIn("hook_postinstall_all.sh", done.stdout)
            self.assertEqual(os.listdir(where), [], done.stdout)

    def test_no_namespaces(self):
        """Root without CAP_SYS_ADMIN is told before anything runs, and needs a flag to go on."""
        self.hook.write_text("#!/bin/sh\necho it ran\n")
        with_less = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
        args = ["install", "--force", "--no-keep", self.ref, "--name", "t", "--hooks", self.hooks]
        result = self.varve.run(*args, prefix=with_less, status=1)
        self.assertIn("--hooks-unconfined", result.err)
        self.assertNotIn("it ran", result.err)
        self.assertIn("it ran", self.varve.run(*args, "--hooks-unconfined", prefix=with_less).err)


class Log(Hooks):
    def test_what_others_put_there(self):
        """In a directory like /tmp: a FIFO would keep us waiting, a hard link would be emptied."""
        self.varve.roots.mkdir()
        self.varve.roots.chmod(0o1777)
        log, precious = self.varve.roots / ".rootfs_t.hooks.log", self.path("precious")
        os.mkfifo(log, 0o666)
        os.chown(log, NOBODY, NOBODY)
        self.install(text="echo said\n", timeout=30)
        self.assertIn("said", log.read_text())
        precious.write_text("x")
        log.unlink()
        os.link(precious, log)
        self.install(text="echo said\n")
        self.assertEqual(precious.read_text(), "x")


class Shown(Hooks):
    def test_terminal(self):
        """What an image prints does not drive the terminal, unless --raw was said."""
        self.hook.write_text("#!/bin/sh\nprintf 'a\\033[2Jb\\tc\\n'\n")
        command = " ".join(map(str, (os.environ["VARVE"], "--store", self.varve.store, "--roots", self.varve.roots, "install",
                                     "--force", "--no-keep", self.ref, "--name", "t", "--hooks", self.hooks)))

        def shown(more=""):
            return subprocess.run(["script", "-qec", command + more, "/dev/null"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  timeout=60).stdout

        self.assertIn(b"a\\x1b[2Jb\tc", shown())
        self.assertIn(b"a\x1b[2Jb\tc", shown(" --raw"))
