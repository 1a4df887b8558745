# SPDX-License-Identifier: Apache-2.0
"""The base class of the tests: a directory that goes away, servers that end, shorthands."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from . import tree
from .image import Layout
from .nginx import Nginx
from .registry import Registry
from .varve import Varve

TOP = pathlib.Path(__file__).resolve().parents[3]


def need_root():
    """Skip unless root: devices, owners and mounts need it."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root")


def need_data():
    """The folder of real input, $VARVE_TEST_DATA or ../shared/data; skips, saying so, where it is absent."""
    path = pathlib.Path(os.environ.get("VARVE_TEST_DATA", TOP.parent / "shared/data"))
    if not path.is_dir():
        raise unittest.SkipTest(f"real input is absent: no {path} (set VARVE_TEST_DATA)")
    return path


class Case(unittest.TestCase):
    """self.dir is a fresh directory; self.varve a command with an empty store in it."""

    maxDiff = None

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="varve-test."))
        os.chmod(self.dir, 0o755)
        self.addCleanup(self._remove, self.dir)
        self.varve = Varve(self.dir / "v")
        self._count = 0

    @staticmethod
    def _remove(path):
        # A test may leave directories that their owner cannot enter.
        if os.geteuid() != 0:
            subprocess.run(["chmod", "-R", "u+rwX", path], stderr=subprocess.DEVNULL)
        shutil.rmtree(path)

    def path(self, name):
        """A fresh path below self.dir."""
        self._count += 1
        return self.dir / f"{name}{self._count}"

    def registry(self, **options):
        """A running registry that ends with the test."""
        registry = Registry(self.path("registry"), **options).start()
        self.addCleanup(registry.stop)
        return registry

    def nginx(self, server, **options):
        """A running nginx that ends with the test."""
        nginx = Nginx(self.path("nginx"), server, **options).start()
        self.addCleanup(nginx.stop)
        return nginx

    def layout(self):
        """An empty OCI image layout to build images in."""
        return Layout(self.path("layout"))

    def new_varve(self, **env):
        """Another command with another empty store."""
        return Varve(self.path("v"), env=env)

    def tmpfs(self, size, inodes=None):
        """A mounted tmpfs of that many bytes; root only. Returns its path."""
        need_root()
        return self._mount(["-t", "tmpfs", "-o", f"size={size}" + (f",nr_inodes={inodes}" if inodes else ""), "tmpfs"])

    def loop(self, size, mkfs=("mkfs.ext4", "-q", "-F")):
        """A mounted loop file system of that many bytes; root only. Returns its path."""
        need_root()
        image = self.path("image")
        with open(image, "wb") as file:
            file.truncate(size)
        subprocess.run([*mkfs, image], check=True, stdout=subprocess.DEVNULL)
        return self._mount(["-o", "loop", os.fspath(image)])

    def _mount(self, args):
        point = self.path("mount")
        point.mkdir()
        subprocess.run(["mount", *args, point], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", point], check=True)
        return point

    def assertSameTree(self, mine, theirs, ignore=()):
        """Both trees are equal in every attribute (tree.diff)."""
        lines = tree.diff(mine, theirs, ignore)
        if lines:
            self.fail("the trees differ (first: ours):\n" + "\n".join(lines))

    def assertNothingLeft(self, varve=None):
        """A command that failed left no blob, no partial and no image in an empty store."""
        varve = varve or self.varve
        left = [p.name for folder in ("blobs/sha256", "tmp", "tmp/partial", "trash", "leases") for p in (varve.store / folder).glob("*")]
        self.assertEqual(left, ["partial"] if (varve.store / "tmp/partial").exists() else [])
        self.assertEqual(varve.json("list")["images"], [])

    def assertCleanStore(self, varve=None, *options):
        """`check` finds nothing wrong and repairs nothing."""
        (varve or self.varve).run("check", *options)
