# SPDX-License-Identifier: Apache-2.0
"""Switching, going back, adopting what others made, and who is in the way."""

import json
import os
import pathlib
import shutil
import subprocess
import time

from support import Case, Tar, binary, need_root

KILL_POINTS = ("before", "between")


class Trees(Case):
    def setUp(self):
        super().setUp()
        self.roots = self.varve.roots
        self.roots.mkdir()

    def make(self, name, **files):
        """A tree as the old scripts or a hand left it."""
        for path, text in {"who": name, **files}.items():
            path = self.roots / name / path.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def who(self, name="rootfs"):
        return (self.roots / name / "who").read_text()

    def names(self):
        return sorted(p.name for p in self.roots.iterdir() if not p.name.startswith("."))


class Adopting(Trees):
    def test_old_trees(self):
        """The layout of the old scripts: .switch_label, os-release, names."""
        self.make("rootfs", **{"DOTswitch_label": "ubuntu_trusty\n"})
        self.make("rootfs_debian_9")
        self.make("rootfs_fedora_40")
        trees = self.varve.json("list", "--installed")["trees"]
        self.assertEqual({t["label"]: (t["active"], t["ours"]) for t in trees},
                         {"ubuntu_trusty": (True, False), "debian_9": (False, False), "fedora_40": (False, False)})
        self.varve.run("switch", "debian_9")
        self.assertEqual(self.names(), ["rootfs", "rootfs_fedora_40", "rootfs_ubuntu_trusty"])
        self.assertEqual(self.who(), "rootfs_debian_9")
        self.varve.run("switch", "fedora_40")  # debian_9 says nowhere what it is: it was remembered
        self.assertEqual(self.names(), ["rootfs", "rootfs_debian_9", "rootfs_ubuntu_trusty"])
        self.varve.run("rollback")
        self.assertEqual(self.who(), "rootfs_debian_9")
        self.assertEqual((self.roots / "rootfs_ubuntu_trusty/.switch_label").read_text(), "ubuntu_trusty\n")
        self.varve.run("remove", "--installed", "fedora_40", status=1)
        self.assertIn("rootfs_fedora_40", self.names())
        self.varve.run("remove", "--installed", "--force", "fedora_40")
        self.assertNotIn("rootfs_fedora_40", self.names())

    def test_os_release(self):
        self.make("rootfs", etc__osXrelease="")
        (self.roots / "rootfs/etc/os-release").write_text('ID=debian\nVERSION_CODENAME=x\nVERSION_ID="12"\n')
        self.make("rootfs_a")
        self.varve.run("switch", "a")
        self.assertEqual(self.names(), ["rootfs", "rootfs_debian_12"])

    def test_remembered_without_the_database(self):
        """A label that only a switch has written down outlives the database: rebuilt, and without a rebuild by reading alone."""
        self.make("rootfs_debian_9")
        self.make("rootfs_a")
        self.varve.run("switch", "debian_9")

        def labels(*more):
            return {t["label"]: t["active"] for t in self.varve.json("list", "--installed", *more)["trees"]}

        self.assertEqual(labels(), {"debian_9": True, "a": False})
        (self.varve.store / "db/data.mdb").unlink()
        self.varve.run("check", "--rebuild")
        self.assertEqual(labels(), {"debian_9": True, "a": False})
        shutil.rmtree(self.varve.store)  # nothing but what is beside the trees
        self.assertEqual(labels(), {"debian_9": True, "a": False})
        self.varve.run("switch", "a")
        self.assertEqual(self.names(), ["rootfs", "rootfs_debian_9"])

    def test_says_nothing(self):
        self.make("rootfs")
        self.make("rootfs_a")
        result = self.varve.run("switch", "a", status=1)
        self.assertIn(".switch_label", result.err)
        self.assertEqual(self.names(), ["rootfs", "rootfs_a"])
        self.varve.run("switch", "a", "--label-active", "debian_9")
        self.assertEqual(self.names(), ["rootfs", "rootfs_debian_9"])


class Mistakes(Trees):
    def setUp(self):
        super().setUp()
        self.make("rootfs_alpine_3")
        self.make("rootfs_debian_sid")
        self.varve.run("switch", "alpine_3")

    def test_not_installed(self):
        result = self.varve.run("switch", "debian_sidd", status=3)
        self.assertIn("nearest: debian_sid", result.err)

    def test_already(self):
        result = self.varve.run("switch", "alpine_3")
        self.assertRegex(result.out + result.err, "already|active")

    def test_not_writable(self):
        need_root()
        place = self.tmpfs("16m")
        subprocess.run(["cp", "-a", f"{self.roots}/.", place], check=True)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        self.varve.roots = place
        result = self.varve.run("switch", "debian_sid", status=1)
        self.assertIn("cannot write", result.err)
        self.varve.run("list", "--installed")

    def test_mount_point(self):
        need_root()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.roots / "rootfs_debian_sid"], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.roots / "rootfs_debian_sid"])
        for more in ((), ("--force",)):
            self.varve.run("switch", "debian_sid", *more, status=(1, 3, 6))
        self.varve.run("remove", "--installed", "--force", "debian_sid", status=(1, 3, 6))
        self.assertEqual(self.names(), ["rootfs", "rootfs_debian_sid"])

    def install(self, label, *more, **kw):
        tar = self.dir / "rootfs_x_1.tar"
        tar.write_bytes(Tar().file("who", "new").bytes())
        return self.varve.run("install", tar, "--name", label, *more, **kw)

    def test_install_onto_mount_point(self):
        """A file system at the place of a tree, also of the active one: nothing is built, moved or written into it."""
        need_root()
        for name, label, switch in (("rootfs_debian_sid", "debian_sid", ()), ("rootfs", "new", ("--switch",))):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.roots / name], check=True)
            try:
                for more in ((), ("--force",)):
                    result = self.install(label, *switch, *more, status=(1, 6))
                    self.assertIn(f"/{name}", result.err)
                self.assertEqual(os.listdir(self.roots / name), [])
                self.assertEqual([n for n in os.listdir(self.roots) if ".new." in n], [])
            finally:
                subprocess.run(["umount", self.roots / name], check=True)
        self.assertEqual((self.who(), self.who("rootfs_debian_sid"), self.who("rootfs_new")), ("rootfs_alpine_3", "rootfs_debian_sid", "new"))

    def test_install_under_the_label_of_a_hidden_tree(self):
        """A mount lies over the active tree: its label is not free."""
        need_root()
        self.install("mine", "--switch")
        names = sorted(os.listdir(self.roots))
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.roots / "rootfs"], check=True)
        try:
            for more in ((), ("--force",)):
                self.assertIn("/rootfs", self.install("mine", *more, status=6).err)
            self.varve.run("remove", "localhost/x:1", status=None)
            self.install("other")
            self.varve.run("check", "--repair")
            self.varve.run("remove", "--installed", "other")
            self.varve.run("gc")
        finally:
            subprocess.run(["umount", self.roots / "rootfs"], check=True)
        self.assertEqual(sorted(os.listdir(self.roots)), names)
        recorded = json.loads((self.varve.store / "installs.json").read_text())["installs"]
        self.assertIn("mine", [i["label"] for i in recorded])
        self.install("mine", "--force")
        self.assertEqual((self.roots / "rootfs/who").read_text(), "new")

    def test_install_not_writable(self):
        need_root()
        place = self.tmpfs("16m")
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        self.varve.roots = place
        result = self.install("new", status=1)
        self.assertIn("cannot write", result.err)
        self.assertEqual(os.listdir(place), [])

    def test_mounted_below(self):
        """A mount below stops a switch; --force takes it along; nothing ever deletes across it."""
        need_root()
        for tree in ("rootfs_debian_sid",):
            (self.roots / tree / "home").mkdir()
        home = self.path("home")
        home.mkdir()
        (home / "mine").write_text("precious")
        subprocess.run(["mount", "--bind", home, self.roots / "rootfs_debian_sid/home"], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.roots / "rootfs_debian_sid/home"], stderr=subprocess.DEVNULL)
        result = self.varve.run("switch", "debian_sid", status=6)
        self.assertIn("/home", result.err)
        self.varve.run("remove", "--installed", "--force", "debian_sid", status=6)
        self.assertTrue((home / "mine").exists())
        self.varve.run("switch", "--force", "debian_sid")
        self.assertTrue((self.roots / "rootfs/home/mine").exists())
        subprocess.run(["umount", self.roots / "rootfs/home"], check=True)

    def test_in_use(self):
        """Root, cwd or program in one of the two trees: refused, with the list of them."""
        need_root()
        shutil_copy = ["cp", "/bin/busybox", self.roots / "rootfs_debian_sid/busybox"]
        subprocess.run(shutil_copy, check=True)
        ways = [
            dict(args=["sleep", "100"], cwd=self.roots / "rootfs_debian_sid"),
            dict(args=["chroot", self.roots / "rootfs_debian_sid", "/busybox", "sleep", "100"]),
            dict(args=[self.roots / "rootfs_debian_sid/busybox", "sleep", "100"]),
            dict(args=["sleep", "100"], cwd=self.roots / "rootfs"),
            dict(args=["unshare", "-m", "sleep", "100"], cwd=self.roots / "rootfs"),
        ]
        for way in ways:
            process = subprocess.Popen(**way)
            try:
                time.sleep(0.2)
                result = self.varve.run("switch", "debian_sid", status=6)
                self.assertIn(str(process.pid), result.err)
            finally:
                process.kill()
                process.wait()
        self.varve.run("switch", "debian_sid")


class AlwaysThere(Trees):
    def setUp(self):
        super().setUp()
        if os.geteuid() == 0:  # a thousand switches sync many times
            place = self.tmpfs("64m")
            self.varve.store, self.varve.roots = place / "store", place / "roots"
            self.roots = self.varve.roots
            self.roots.mkdir()

    def test_reader_never_fails(self):
        """Somebody opens rootfs/etc/os-release in a tight loop during 1,000 switches: it is there every time."""
        for name in ("rootfs_a", "rootfs_b"):
            self.make(name, etc__os=name)
            (self.roots / name / "etc/os-release").write_text(name)
        self.varve.run("switch", "a")
        stop = self.path("stop")
        reader = subprocess.Popen(["python3", "-c", """
import os, sys
n = 0
while not os.path.exists(sys.argv[2]):
    for _ in range(200):
        open(sys.argv[1]).close(); n += 1
print(n)""", self.roots / "rootfs/etc/os-release", stop], stdout=subprocess.PIPE, text=True)
        for i in range(1000):
            self.varve.run("switch", "--force", "ba"[i % 2])
        stop.touch()
        out, _ = reader.communicate(timeout=60)
        self.assertEqual(reader.returncode, 0)
        self.assertGreater(int(out), 1000)
