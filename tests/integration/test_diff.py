# SPDX-License-Identifier: Apache-2.0
"""diff and check --installed: every change is told, and what the tree could never keep is none."""

import os
import pathlib
import subprocess

from support import Case, Tar, binary, layertext, need_root

NOBODY = 65534


class Installed(Case):
    def setUp(self):
        super().setUp()
        need_root()

    def install(self, layers, *options, run=None):
        """Installed as label "t". Layers are texts or Tars."""
        layout = self.layout()
        layout.image("i", [layertext.layer(x) if isinstance(x, str) else x for x in layers])
        subprocess.run(["chmod", "-R", "a+rX", layout.path], check=True)
        run = run or self.varve.run
        run("import", layout.path, "local/i:1")
        run("install", "local/i:1", "--name", "t", *options)
        return self.varve.roots / "rootfs_t"

    def diff(self, *options):
        return self.varve.run("diff", "t", *options).out.splitlines()

    def assertClean(self, *options):
        self.assertEqual(self.diff(*options), [])
        self.varve.run("check", "--installed", "t", *options)


class Changes(Installed):
    def test_text_and_status(self):
        tree = self.install(["d d; f d/f 12; f gone x; f same y; s l t"])
        self.assertClean()
        (tree / "d/f").write_text("123")
        (tree / "d/f").chmod(0o600)
        (tree / "gone").unlink()
        (tree / "new\n").write_text("")
        lines = ["+ new\\x0a", "- gone", "~ .  (mtime)", "~ d/f  (mode, size, mtime)"]
        self.assertEqual(sorted(self.diff()), lines)
        result = self.varve.run("check", "--installed", "t", status=4)
        self.assertEqual(sorted(result.out.splitlines()), lines)
        self.assertIn("1 added, 2 changed, 1 removed", result.err)
        self.assertEqual(self.varve.run("--json", "check", "--installed", "t", status=4).json["removed"], 1)

    def test_read_data(self):
        tree = self.install(["f a 12; f b 34; f c 56"])
        self.assertEqual(self.varve.json("diff", "t", "--read-data")["files_read"], 3)
        (tree / "b").write_text("43")
        os.utime(tree / "b", ns=(1000 * 10 ** 9, 1000 * 10 ** 9))
        self.assertEqual(self.diff("--read-data"), ["~ b  (content)"])
        self.varve.run("check", "--installed", "t", "--read-data", status=4)

    def test_owners_where_the_root_is_somebody_elses(self):
        """Who made the tree is known from its record, not from the owner of its root."""
        tree = self.install(["d . u=5:6; f x u=7:8"])
        self.assertEqual((tree.stat().st_uid, tree.stat().st_gid), (5, 6))
        self.assertClean()
        os.chown(tree / "x", 9, 9)
        self.assertEqual(self.diff(), ["~ x  (owner)"])
        self.varve.run("check", "--installed", "t", status=4)

    def test_no_chown(self):
        tree = self.install(["d . u=5:6; f x u=7:8 m=600"], "--no-chown")
        self.assertClean()
        (tree / "x").chmod(0o640)
        self.assertEqual(self.diff(), ["~ x  (mode)"])

    def test_directory_links_are_remembered(self):
        self.install(["d usr; d usr/bin; s bin usr/bin", "d bin; f bin/x 1"], "--keep-dirlinks")
        self.assertClean()

    def test_remembered_by_a_rebuilt_store(self):
        self.install(["d . u=5:6; f x u=7:8"], "--no-chown")
        for lost in (["db/data.mdb"], ["db/data.mdb", "installs.json"]):
            for name in lost:
                (self.varve.store / name).unlink()
            self.varve.run("check", "--rebuild")
            self.assertClean()

    def test_longer_than_a_path_can_be(self):
        parts = [f"{i:02}" + "x" * 98 for i in range(60)]
        tar = Tar()
        for i in range(len(parts)):
            tar.dir("/".join(parts[:i + 1]), mtime=1)
        tree = self.install([tar.file("/".join(parts + ["f"]), "body", mtime=1)])
        self.assertClean("--read-data")
        fd = os.open(tree, os.O_RDONLY)
        for part in parts:
            below = os.open(part, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        file = os.open("f", os.O_WRONLY, dir_fd=fd)
        os.write(file, b"BODY")
        os.utime(file, (1, 1))
        os.close(file)
        os.close(fd)
        self.assertEqual(self.diff("--read-data"), ["~ " + "/".join(parts) + "/f  (content)"])


class Kept(Installed):
    """What the file system refuses or bounds is told by the install, and is no change afterwards."""

    def test_refused_attributes(self):
        tree = self.install(["s l t x=user.k:v; p p x=user.k:v; f f 1 x=security.capability:bad; f g 1 x=user.k:v"])
        self.assertClean()
        os.removexattr(tree / "g", "user.k")
        os.setxattr(tree / "f", "user.new", b"1")
        self.assertEqual(sorted(self.diff()), ["~ f  (xattrs)", "~ g  (xattrs)"])

    def test_times_that_do_not_fit(self):
        self.varve.roots = self.loop(64 << 20, ("mkfs.ext4", "-q", "-F", "-I", "128")) / "roots"
        tar = Tar().file("late", "x", mtime=2 ** 33).file("early", "x", mtime=-2 ** 33).file("fraction", "x", mtime="5.75")
        tree = self.install([tar])
        self.assertNotEqual((tree / "late").stat().st_mtime, 2 ** 33)
        self.assertClean()
        os.utime(tree / "late", (2 ** 31 - 2, 2 ** 31 - 2))
        os.utime(tree / "fraction", (6, 6))
        self.assertEqual(sorted(self.diff()), ["~ fraction  (mtime)", "~ late  (mtime)"])


class Ordinary(Installed):
    """As an ordinary user, with a tree of one's own or of root."""

    def setUp(self):
        super().setUp()
        home = self.path("home")
        home.mkdir()
        os.chown(home, NOBODY, NOBODY)
        self.varve.home, self.varve.store, self.varve.roots = home, home / "store", home / "roots"
        self.command = self.dir / "varve"
        self.command.write_bytes(pathlib.Path(binary()).read_bytes())
        self.command.chmod(0o755)

    def run_as_nobody(self, *args, status=0):
        done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", self.command, *args],
                              cwd="/", env=self.varve.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def test_what_a_user_cannot_keep(self):
        self.install(["d d u=5:6; f d/f 1 u=7:8 m=4755; c null 1:3; f x 1 x=security.capability:bad; s l t x=user.k:v"],
                     run=self.run_as_nobody)
        self.assertEqual(self.run_as_nobody("diff", "t").stdout, "")
        self.run_as_nobody("check", "--installed", "t")
        (self.varve.roots / "rootfs_t/d/f").chmod(0o644)
        self.assertEqual(self.run_as_nobody("check", "--installed", "t", status=4).stdout, "~ d/f  (mode)\n")

    def test_what_a_user_cannot_read(self):
        """A directory or file of mode 0000: told, and the rest is compared."""
        tree = self.install(["d closed m=0; f closed/f 1; f secret 12 m=0; f open 1; d list m=444; f list/x 1"],
                            run=self.run_as_nobody)
        done = self.run_as_nobody("check", "--installed", "t")
        # The file is looked at if it was installed within this second.
        told = [line for line in sorted(done.stdout.splitlines()) if line != "? secret"]
        self.assertEqual(told, ["? closed", "? list/x"])
        self.assertRegex(done.stderr, "[23] entries could not be read")
        (tree / "open").write_text("2")
        done = self.run_as_nobody("check", "--installed", "t", "--read-data", status=4)
        self.assertEqual(sorted(done.stdout.splitlines()), ["? closed", "? list/x", "? secret", "~ open  (mtime, content)"])
