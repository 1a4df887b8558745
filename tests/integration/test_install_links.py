# SPDX-License-Identifier: Apache-2.0
"""H15: where hard links have a limit or do not exist, further names are copies of our own file."""

import os
import pathlib
import subprocess

from support import Case, Tar, binary, need_root, tree

NOBODY = 65534


class Copies(Case):
    def setUp(self):
        super().setUp()
        need_root()
        tar = Tar().file("f", "body", mode=0o4750, mtime=7, xattrs={"user.k": "v"}).hardlink("d/g", "f")
        tar.file("closed", "secret", mode=0, mtime=8).hardlink("d/closed", "closed")
        tar.sparse("s", 1 << 20, [(512 << 10, b"x" * 4096)], mtime=9).hardlink("d/s", "s")
        image = self.layout()
        image.image("i", [tar])
        subprocess.run(["chmod", "-R", "a+rX", image.path], check=True)
        self.image = image.path
        self.command = self.dir / "varve"
        self.command.write_bytes(pathlib.Path(binary()).read_bytes())
        self.command.chmod(0o755)

    def check(self, error, user):
        home = self.path("home")
        home.mkdir()
        os.chown(home, user, user)
        varve = self.new_varve()
        varve.home, varve.store, varve.roots = home, home / "store", home / "roots"

        def run(*args, prefix=()):
            env = varve.env()
            env["ASAN_OPTIONS"] += ":detect_leaks=0"
            done = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *prefix, self.command, *args],
                                  cwd="/", env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done

        run("import", self.image, "local/i:1")
        done = run("install", "local/i:1", "--name", "t",
                   prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=linkat:error={error}"])
        self.assertIn("3 other things", done.stderr)
        found = tree.scan(varve.roots / "rootfs_t")
        for one, other in ((b"f", b"d/g"), (b"closed", b"d/closed"), (b"s", b"d/s")):
            names = [{k: v for k, v in found[n].items() if k not in ("inode", "ino", "links", "link", "nlink")} for n in (one, other)]
            self.assertEqual(*names)
        self.assertEqual(found[b"closed"]["mode"], "0o0")
        self.assertLess((varve.roots / "rootfs_t/d/s").stat().st_blocks * 512, 512 << 10)
        run("check", "--installed", "t")

    def test_other_device(self):
        self.check("EXDEV", 0)

    def test_limit_as_ordinary_user(self):
        self.check("EMLINK", NOBODY)

    def test_forbidden(self):
        self.check("EPERM", NOBODY)
