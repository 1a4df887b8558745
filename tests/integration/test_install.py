# SPDX-License-Identifier: Apache-2.0
"""Installing as people do it: over an old tree, on every kind of file system, twice at once, into what does not fit."""

import os
import pathlib
import re
import signal
import subprocess
import time

from support import Case, Tar, binary, need_root, oracle, tree


def layers():
    """Two layers with every kind of entry."""
    base = Tar().dir(".", mtime=1).dir("etc", mtime=2).file("etc/os-release", "ID=one\n", mtime="3.25")
    base.file("big", os.urandom(3_000_000), mode=0o600, mtime=4).hardlink("etc/link", "big").symlink("l", "/etc", mtime=5)
    base.file("set", "uid", mode=0o6755, uid=5, gid=6, mtime=6).dir("closed", mode=0, mtime=7).fifo("p", mtime=8)
    upper = Tar().whiteout("l").file("etc/new", "n" * 70_000, mtime=9, xattrs={"user.x": "y"}).dir("etc", mode=0o1711, mtime=10)
    return [base, upper]


class FileSystems(Case):
    """btrfs, xfs, ext4 without a journal, tmpfs and overlay give the tree that umoci makes."""

    def setUp(self):
        super().setUp()
        need_root()
        self.image = self.layout()
        self.image.image("one", layers())
        self.theirs = tree.scan(oracle.umoci_unpack(self.image.path, "one", self.path("bundle")))

    def judge(self, place, exchange=True):
        varve = self.new_varve()
        varve.roots = place / "roots"
        varve.run("import", self.image.path, "local/one:1")
        varve.run("install", "local/one:1", "--name", "a", "--switch")
        self.assertSameTree(varve.roots / "rootfs", self.theirs)
        varve.run("install", "local/one:1", "--name", "a", "--force")
        varve.run("install", "local/one:1", "--name", "b", "--switch")
        self.assertEqual(sorted(p.name for p in varve.roots.iterdir() if not p.name.startswith(".")), ["rootfs", "rootfs_a"])
        varve.run("rollback")
        self.assertSameTree(varve.roots / "rootfs", self.theirs)
        varve.run("remove", "--installed", "b")
        self.assertCleanStore(varve)

    def test_tmpfs(self):
        self.judge(self.tmpfs("256m"))

    def test_ext4(self):
        self.judge(self.loop(256 << 20))

    def test_btrfs(self):
        self.judge(self.loop(512 << 20, ("mkfs.btrfs", "-q", "-f")))

    def test_xfs(self):
        self.judge(self.loop(512 << 20, ("mkfs.xfs", "-q", "-f")))

    def overlay(self, lower=None):
        place = self.tmpfs("256m")
        for name in ("lower", "upper", "work", "merged"):
            (place / name).mkdir(exist_ok=True)
        if lower:
            lower(place / "lower")
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work", place / "merged"], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", place / "merged"], check=True)
        return place / "merged"

    def test_overlay(self):
        self.judge(self.overlay())

    def test_overlay_lower_directories_do_not_move(self):
        """A tree that came with the lower layer cannot be renamed (EXDEV): a clear end, nothing moved."""
        def trees(lower):
            for name in ("a", "b"):
                (lower / f"roots/rootfs_{name}/etc").mkdir(parents=True)
                (lower / f"roots/rootfs_{name}/etc/who").write_text(name)

        merged = self.overlay(trees)
        if subprocess.run(["mv", "-T", merged / "roots/rootfs_b", merged / "roots/rootfs_c"]).returncode == 0:
            (merged / "roots/rootfs_c").rename(merged / "roots/rootfs_b")  # mv copied it: it is in the upper layer now
        varve = self.new_varve()
        varve.roots = merged / "roots"
        result = varve.run("switch", "a", status=1)
        self.assertIn("overlay", result.err)
        self.assertEqual((varve.roots / "rootfs_a/etc/who").read_text(), "a")
        self.assertFalse((varve.roots / "rootfs").exists())


class Mistakes(Case):
    def setUp(self):
        super().setUp()
        self.image = self.layout()
        self.image.image("one", layers()[:1])
        self.image.image("two", layers())
        self.varve.run("import", f"{self.image.path}", "local/one:1", "--path", "one")

    def test_no_room(self):
        need_root()
        for place, word in ((self.tmpfs("1m"), "MiB"), (self.tmpfs("64m", inodes=6), "inodes")):
            self.varve.roots = place / "roots"
            result = self.varve.run("install", "local/one:1", "--name", "a", status=7)
            self.assertRegex(result.err, rf"needs .*{word}.*available")
            self.assertEqual([p for p in self.varve.roots.iterdir()], [])

    def test_label_of_another_image(self):
        self.varve.run("import", f"{self.image.path}", "local/two:1", "--path", "two")
        self.varve.run("install", "local/one:1", "--name", "same")
        result = self.varve.run("install", "local/two:1", "--name", "same", status=1)
        self.assertIn("local/one:1", result.err)
        result = self.varve.run("install", "local/two:1", "--name", "same", "--force", status=1)
        self.assertIn("local/one:1", result.err)

    def test_running_it_again_is_fine(self):
        """The same command twice: nothing is done, and that is no error. What differs is one."""
        self.varve.run("install", "local/one:1", "--name", "a")
        tree = self.varve.roots / "rootfs_a"
        before = tree.stat()
        again = self.varve.run("install", "local/one:1", "--name", "a")
        self.assertIn("is installed already", again.out)
        self.assertEqual((tree.stat().st_ino, tree.stat().st_ctime_ns), (before.st_ino, before.st_ctime_ns))
        first, second = (self.varve.json("install", "local/one:1", "--name", n) for n in ("b", "b"))
        self.assertEqual((first.pop("installed_already"), second.pop("installed_already")), (False, True))
        for name in ("losses", "lost"):
            first.pop(name), second.pop(name)
        self.assertEqual(first, second)
        self.assertIn("--force", self.varve.run("install", "local/one:1", "--name", "a", "--strict", status=1).err)
        self.varve.run("install", "local/one:1", "--name", "a", "--switch")
        self.assertEqual((self.varve.roots / "rootfs").stat().st_ino, before.st_ino)
        for _ in range(2):  # the example of the README, typed twice
            self.assertIn("active", self.varve.run("install", "local/one:1", "--name", "a", "--switch").out)
        self.assertTrue(self.varve.run("install", "local/one:1", "--name", "a", "--force").out)
        self.assertNotEqual((self.varve.roots / "rootfs").stat().st_ino, before.st_ino)

    def test_bad_labels(self):
        for label in ("../x", "a/b", ".hidden", "-x", "", "x" * 201):
            self.varve.run("install", "local/one:1", f"--name={label}", status=2)
        self.assertFalse(self.varve.roots.exists() and any(self.varve.roots.iterdir()))

    def test_link_in_the_way(self):
        self.varve.roots.mkdir()
        victim = self.path("victim")
        victim.mkdir()
        (self.varve.roots / "rootfs_a").symlink_to(victim)
        self.varve.run("install", "local/one:1", "--name", "a", "--force", status=1)
        self.assertEqual(list(victim.iterdir()), [])

    def test_roots_for_everybody(self):
        self.varve.roots.mkdir()
        self.varve.roots.chmod(0o777)
        result = self.varve.run("install", "local/one:1", status=4)
        self.assertIn("o-w", result.err)

    def test_inherited_group_and_acl_leave_no_mark(self):
        need_root()
        self.varve.roots.mkdir()
        os.chown(self.varve.roots, 0, 12)
        self.varve.roots.chmod(0o2755)
        theirs = oracle.umoci_unpack(self.image.path, "one", self.path("bundle"))
        self.varve.run("install", "local/one:1", "--name", "a")
        self.assertSameTree(self.varve.roots / "rootfs_a", theirs)

    def test_umask(self):
        theirs = oracle.umoci_unpack(self.image.path, "one", self.path("bundle"))
        self.varve.run("install", "local/one:1", "--name", "a", umask=0o077)
        self.assertSameTree(self.varve.roots / "rootfs_a", theirs)

    def test_rotten_layer(self):
        """A bit that turned in a stored layer: nothing becomes visible, the old tree stays."""
        self.varve.run("install", "local/one:1", "--name", "a")
        blob = max((self.varve.store / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(data)
        self.varve.run("--offline", "install", "local/one:1", "--name", "b", status=4)
        self.varve.run("--offline", "install", "local/one:1", "--name", "a", "--force", status=None)
        names = sorted(p.name for p in self.varve.roots.iterdir() if not p.name.endswith(".varve.json"))
        self.assertEqual(names, ["rootfs_a"])

    def test_d03_what_touches_the_tree_executes_nothing(self):
        """CVE-2019-14271 class: no program of the image is run, no name service asked once its tree exists."""
        need_root()
        trace = self.path("trace")
        self.varve.run("install", "local/one:1", "--name", "a", "--no-hooks",
                       prefix=("strace", "-f", "-o", os.fspath(trace), "-e", "trace=execve,openat,open,mkdirat"))
        after = False
        for line in trace.read_text().splitlines():
            after |= ".new." in line and "mkdirat" in line
            if after:
                self.assertNotIn("execve(", line)
                self.assertNotRegex(line, r'open(at)?\(.*"(/etc/(passwd|group|nsswitch)|[^"]*\.so(\.\d+)*")')
        self.assertTrue(after)


class AtOnce(Case):
    def setUp(self):
        super().setUp()
        image = self.layout()
        image.image("one", layers())
        self.varve.run("import", image.path, "local/one:1")

    def test_same_label(self):
        both = [self.varve.popen("install", "local/one:1", "--name", "a") for _ in range(2)]
        status = []
        for process in both:
            process.communicate(timeout=60)
            status.append(process.returncode)
        self.assertEqual(status, [0, 0])
        names = [p.name for p in self.varve.roots.iterdir() if not p.name.endswith(".varve.json")]
        self.assertEqual(names, ["rootfs_a"])
        self.assertCleanStore()

    def test_different_labels(self):
        all_ = [self.varve.popen("install", "local/one:1", "--name", f"t{i}") for i in range(4)]
        for process in all_:
            _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, err.decode())
        self.assertEqual(len(self.varve.json("list", "--installed")["trees"]), 4)

    def test_leftovers_of_the_dead_are_swept(self):
        """A staging directory whose process is gone goes with the next install; one that lives stays."""
        self.varve.run("install", "local/one:1", "--name", "a")
        dead = self.varve.roots / (".rootfs_x.new." + "0" * 16)
        (dead / "sub").mkdir(parents=True)
        (dead / "sub").chmod(0)
        alive = self.varve.roots / (".rootfs_y.new." + "1" * 16)
        alive.mkdir()
        holder = os.open(alive, os.O_RDONLY)
        import fcntl
        fcntl.flock(holder, fcntl.LOCK_EX)
        self.varve.run("install", "local/one:1", "--name", "b")
        self.assertFalse(dead.exists())
        self.assertTrue(alive.exists())
        os.close(holder)

    def test_interrupted(self):
        """Ctrl-C while writing: status 130, nothing left; the same command then succeeds."""
        for delay in (0.0, 0.005, 0.02):
            # One that was done before the signal came keeps its label.
            process = self.varve.popen("install", "local/one:1", "--name", f"c{delay}")
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            self.assertIn(process.returncode, (0, 130, -signal.SIGINT))
            if self.varve.roots.exists():
                left = [p.name for p in self.varve.roots.iterdir() if re.search(r"\.(new|del|lock)", p.name)]
                self.assertEqual(left, [])
            self.varve.run("install", "local/one:1", "--name", f"c{delay}", status=(0, 1))
        self.assertCleanStore()


class Modes(Case):
    """CVE-2021-41091 class: what is being built can be entered by nobody else, at every moment."""

    def test_staging_is_private(self):
        need_root()
        image = self.layout()
        image.image("one", layers())
        self.varve.run("import", image.path, "local/one:1")
        trace = self.path("trace")
        self.varve.run("install", "local/one:1", "--name", "a",
                       prefix=("strace", "-f", "-o", os.fspath(trace), "-e", "trace=mkdirat,fchmod,openat"))
        made = [line for line in trace.read_text().splitlines() if re.search(r'mkdirat\(\d+, "\.rootfs_a\.new\.', line)]
        self.assertEqual(len(made), 1)
        self.assertIn("0700", made[0])
        # setuid never together with the creation of a file
        for line in trace.read_text().splitlines():
            if "O_CREAT" in line:
                self.assertNotRegex(line, r", 0[4-7]\d\d\d\)")

    def test_no_mode_is_set_through_a_name(self):
        """CVE-2021-31566 class: fchmodat follows what a name has become; modes are set by descriptor, whatever the umask."""
        need_root()
        image = self.layout()
        image.image("one", layers())
        self.varve.run("import", image.path, "local/one:1")
        trace = self.path("trace")
        self.varve.run("install", "local/one:1", "--name", "a", umask=0o777,
                       prefix=("strace", "-f", "-o", os.fspath(trace), "-e", "trace=chmod,fchmodat"))
        set_by_name = [line for line in trace.read_text().splitlines() if "chmod" in line]
        self.assertTrue(set_by_name)
        for line in set_by_name:
            self.assertRegex(line, r'\bchmod\("/proc/self/fd/\d+"|fchmodat\(AT_FDCWD, "/proc/self/fd/\d+"')
