# SPDX-License-Identifier: Apache-2.0
"""The states that the sweeps start from: what each command finds, and what must hold after it at last succeeded."""

import os
import pathlib
import random
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
        # Noise, so that the layer is not small: gc renames it to the trash first, and unlinks the rest at once.
        noise = random.Random(2).randbytes(80_000)
        self.images.image("two", [base, Tar().file("second", "2" * 9000, mtime=14).file("noise", noise, mtime=14).dir(".", mtime=15)])
        self.server = self.registry()
        self.one = self.server.push(self.images, "one", "team/one", "1")
        self.two = self.server.push(self.images, "two", "team/two", "1")
        reference = self.new_varve()
        reference.run("install", self.one)
        reference.run("install", self.two)
        self.tree_one, self.tree_two = tree.scan(reference.tree(self.one)), tree.scan(reference.tree(self.two))
        # What may have a rootfs name, and what of it may differ from run to run.
        self.whole = [(self.tree_one, ()), (self.tree_two, ())]

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
            "install cold": (self.fresh, ["install", self.one], self.has_tree),
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
        self.assertWhole(active)

    def no_half_tree(self, varve):
        """What has a rootfs name is whole."""
        if not varve.roots.exists():
            return
        for path in pathlib.Path(varve.roots).glob("rootfs_*"):
            self.assertWhole(path)

    def assertWhole(self, path):
        found = tree.scan(path)
        lines = [tree.diff(found, wanted, ignore) for wanted, ignore in self.whole]
        if all(lines):
            self.fail(f"{path.name} is none of the whole trees:\n" + "\n".join(min(lines, key=len)))


class ReplacingStates(States):
    """What install does to a tree that is there and active: users, hooks, the exchange, and the way back."""

    def setUp(self):
        super().setUp()
        base, _ = small_layers()
        people = Tar().dir("etc").dir("home").dir("root").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("etc/group", "root:x:0:\n")
        people.file("etc/shadow", "root:*:::::::\n", mode=0o600)
        people.file("bin/sh", pathlib.Path("/bin/busybox").read_bytes(), mode=0o755)
        self.images.image("three", [base, people])
        self.three = self.server.push(self.images, "three", "team/three", "1")
        source, self.hooks = self.dir / "source", self.dir / "hooks"
        (source / "etc").mkdir(parents=True)
        (source / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
        (source / "etc/shadow").write_text("me:$6$x:::::::\n")
        self.with_user = ["--user", "me", "--user-from", source]
        self.hooks.mkdir()
        (self.hooks / "hook_postinstall_all.sh").write_text("#!/bin/sh\necho 1 > /made\necho 2 >> /made\n")
        reference = self.new_varve()
        for name, more in (("user", self.with_user), ("hook", ["--hooks", self.hooks])):
            reference.run("install", self.three, "--name", name, *more)
            # The times of what was edited are those of the install.
            self.whole.append((tree.scan(reference.roots / f"rootfs_{name}"), ("mtime",)))
        self.tree_user, self.tree_hook = self.whole[-2][0], self.whole[-1][0]

    def peopled(self, worker):
        """The active tree has a user."""
        varve = self.fresh(worker)
        varve.run("install", "--switch", self.three, *self.with_user)
        return varve

    def pulled_three(self, worker):
        varve = self.fresh(worker)
        varve.run("pull", self.three)
        return varve

    def moved(self, worker):
        """The active tree is of image one; its name means image two by now."""
        varve = self.fresh(worker)
        varve.run("install", "--switch", self.one)
        varve.run("pull", self.two)
        varve.run("tag", self.two, self.one)
        return varve

    def replaced(self, worker):
        varve = self.moved(worker)
        varve.run("--offline", "install", "--force", self.one)
        return varve

    def commands(self):
        return {
            "install user": (self.peopled, ["--offline", "install", "--force", self.three, "--user", "me"], self.user_is_active),
            "install hooks": (self.pulled_three, ["--offline", "install", self.three, "--hooks", self.hooks], self.has_hooked),
            "install active": (self.moved, ["--offline", "install", "--force", self.one], self.is_replaced),
            "rollback install": (self.replaced, ["rollback"], self.is_back),
        }

    def assertTreeBut(self, path, wanted, ignore=("mtime",)):
        self.assertEqual(tree.diff(path, wanted, ignore), [], f"{path} is another tree")

    def previous(self, varve):
        return [varve.roots / n for n in os.listdir(varve.roots) if ".old." in n]

    def user_is_active(self, varve):
        self.assertTreeBut(varve.roots / "rootfs", self.tree_user)
        self.assertEqual(self.leftovers(varve), [])

    def has_hooked(self, varve):
        self.assertTreeBut(varve.tree(self.three), self.tree_hook)
        self.assertEqual(self.leftovers(varve), [])

    def is_replaced(self, varve):
        self.assertTree(varve.roots / "rootfs", self.tree_two)
        self.assertEqual(len(self.previous(varve)), 1)

    def is_back(self, varve):
        """Whichever way it went: the two are there, and the first can be brought back."""
        (old,) = self.previous(varve)
        if not tree.diff(varve.roots / "rootfs", self.tree_two):
            self.assertTree(old, self.tree_one)
            varve.run("rollback")
        self.assertTree(varve.roots / "rootfs", self.tree_one)
        (old,) = self.previous(varve)
        self.assertTree(old, self.tree_two)
