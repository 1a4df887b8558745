# SPDX-License-Identifier: Apache-2.0
"""The states that the sweeps start from: what each command finds, and what must hold after it at last succeeded."""

import os
import pathlib
import shutil

from faults import FaultCase, small_layers
from support import Tar, Varve, tree


class States(FaultCase):
    """A registry with two images that share a layer; for each command a prepare function."""

    def setUp(self):
        super().setUp()
        self.images = self.layout()
        base, upper = small_layers()
        self.images.image("one", [base, upper])
        self.images.image("two", [base, Tar().file("second", "2" * 9000, mtime=14).dir(".", mtime=15)])
        self.server = self.registry()
        self.one = self.server.push(self.images, "one", "team/one", "1")
        self.two = self.server.push(self.images, "two", "team/two", "1")
        reference = self.new_varve()
        reference.run("install", self.one)
        reference.run("install", self.two)
        self.tree_one, self.tree_two = tree.scan(reference.tree(self.one)), tree.scan(reference.tree(self.two))

    def fresh(self, worker):
        """A varve with an empty store, in a directory of the worker's own."""
        home = self.dir / f"worker{worker}"
        if home.exists():
            shutil.rmtree(home)
        return Varve(home)

    def pulled(self, worker):
        varve = self.fresh(worker)
        varve.run("pull", self.one)
        return varve

    def installed(self, worker):
        varve = self.fresh(worker)
        varve.run("install", "--switch", self.one)
        varve.run("install", self.two)
        return varve

    def garbage(self, worker):
        """Two images pulled, one of them removed again: gc has layers to take away, and a partial file."""
        varve = self.fresh(worker)
        varve.run("pull", self.one, self.two)
        varve.run("remove", self.two)
        return varve

    def both(self, worker):
        """Two images, of which one may go, and a partial file."""
        varve = self.fresh(worker)
        varve.run("pull", self.one, self.two)
        (varve.store / "tmp/partial" / ("0" * 64)).write_bytes(b"part")
        return varve

    def damaged(self, worker):
        """A blob with a flipped byte, another one missing."""
        varve = self.pulled(worker)
        layers = sorted((varve.store / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
        data = bytearray(layers[-1].read_bytes())
        data[len(data) // 2] ^= 0x40
        layers[-1].chmod(0o644)
        layers[-1].write_bytes(data)
        layers[-2].unlink()
        return varve

    # Each: name -> (prepare, arguments, postcondition of the command that succeeded)

    def commands(self):
        return {
            "pull": (self.fresh, ["pull", self.one], self.holds_one),
            "pull second": (self.pulled, ["pull", self.two], self.holds_both),
            "install": (self.pulled, ["--offline", "install", self.one], self.has_tree),
            "install over": (self.installed, ["--offline", "install", "--force", self.two], self.has_both_trees),
            "switch": (self.installed, ["switch", self.two], self.two_is_active),
            "rollback": (self.switched, ["rollback"], self.one_is_active),
            "gc": (self.garbage, ["gc"], self.holds_one),
            "gc budget": (self.both, ["gc", "--min-free", "1", "--older-than", "0s", "--keep", self.one], self.holds_one),
            "remove": (self.installed, ["remove", self.one], self.has_both_trees_any),
            "remove tree": (self.installed, ["remove", "--installed", self.label(self.two)], self.has_one_active),
            "repair": (self.damaged, ["check", "--read-data", "--repair"], self.holds_one),
            "rebuild": (self.installed, ["check", "--rebuild"], self.has_both_trees_any),
        }

    def label(self, ref):
        return self.varve.tree(ref).name.removeprefix("rootfs_")

    def switched(self, worker):
        varve = self.installed(worker)
        varve.run("switch", self.two)
        return varve

    def assertTree(self, path, wanted):
        lines = tree.diff(path, wanted)
        self.assertEqual(lines, [], f"{path} is not the tree of its image")

    def holds_one(self, varve):
        varve.run("--offline", "install", "--force", "--name", "probe", self.one)
        self.assertTree(varve.roots / "rootfs_probe", self.tree_one)

    def holds_both(self, varve):
        self.holds_one(varve)
        varve.run("--offline", "install", "--force", "--name", "probe2", self.two)
        self.assertTree(varve.roots / "rootfs_probe2", self.tree_two)

    def has_tree(self, varve):
        self.assertTree(varve.tree(self.one), self.tree_one)
        self.assertEqual(self.leftovers(varve), [])

    def has_both_trees(self, varve):
        self.assertTree(varve.roots / "rootfs", self.tree_one)
        self.assertTree(varve.tree(self.two), self.tree_two)

    def has_both_trees_any(self, varve):
        self.has_both_trees(varve)

    def has_one_active(self, varve):
        self.assertTree(varve.roots / "rootfs", self.tree_one)
        self.assertFalse(varve.tree(self.two).exists())

    def two_is_active(self, varve):
        self.assertTree(varve.roots / "rootfs", self.tree_two)
        self.assertTree(varve.tree(self.one), self.tree_one)

    def one_is_active(self, varve):
        self.assertTree(varve.roots / "rootfs", self.tree_one)
        self.assertTree(varve.tree(self.two), self.tree_two)

    def leftovers(self, varve):
        """Names in the roots dir that no successful command leaves behind."""
        return sorted(n for n in os.listdir(varve.roots) if ".new." in n)

    def active_is_whole(self, varve):
        """At no instant is there a half-written or missing active tree, once there was one."""
        active = varve.roots / "rootfs"
        self.assertTrue(active.is_dir(), "no active rootfs")
        found = tree.scan(active)
        if tree.diff(found, self.tree_one) and tree.diff(found, self.tree_two):
            self.fail("the active rootfs is neither image:\n" + "\n".join(tree.diff(found, self.tree_one)))

    def no_half_tree(self, varve):
        """What has a rootfs name is whole."""
        if not varve.roots.exists():
            return
        for path in pathlib.Path(varve.roots).glob("rootfs_*"):
            found = tree.scan(path)
            if tree.diff(found, self.tree_one) and tree.diff(found, self.tree_two):
                self.fail(f"{path.name} is half a tree:\n" + "\n".join(tree.diff(found, self.tree_one)))
