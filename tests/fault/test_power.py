#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Power is cut: a file system on a loop device is copied at a random instant (a reflink of its file, which is atomic) while varve
works in it; the copy is mounted as after a power cut, and holds what varve had said was done.

VARVE_FAULT=all cuts some hundred times. The copy has what the kernel had sent to the device: what a disk forgets that lies about
its cache is not shown here.
"""

import contextlib
import os
import random
import subprocess
import threading
import time
import unittest

from faults import FaultCase, small_layers
from support import Tar, need_root, tree

MIB = 1 << 20
IMAGES = 4


class State:
    """What holds after a command: which images have a name, and a tree, and whose tree is the active one."""

    def __init__(self, images=(), trees=(), active=None, before=None, damaged=False):
        self.images, self.trees, self.active, self.before, self.damaged = set(images), set(trees), active, before, damaged

    def after(self, what, i=None):
        new = State(self.images, self.trees, self.active, self.before, self.damaged)
        if what in ("pull", "install"):
            new.images.add(i)
        if what == "install":
            new.trees.add(i)
        if what == "switch":
            new.active, new.before = i, self.active
        if what == "rollback":
            new.active, new.before = self.before, self.active
        if what == "remove":
            new.images.discard(i)
        if what == "remove tree":
            new.trees.discard(i)
        if what in ("damage", "repair"):
            new.damaged = what == "damage"
        return new


class Power(FaultCase):
    """The base of one class for each file system, so that they run side by side."""

    mkfs, mount_options = None, ""

    def setUp(self):
        super().setUp()
        need_root()
        try:
            self.host = self.loop(8 << 30, ("mkfs.xfs", "-q", "-m", "reflink=1"))
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.skipTest(f"no file system can be mounted from a loop device here: {error}")
        layout, server, base = self.layout(), self.registry(), small_layers()
        self.refs, self.wanted = [], []
        reference = self.new_varve()
        for i in range(IMAGES):
            more = Tar().file("own", os.urandom(200_000), mtime=i)
            for k in range(60):
                more.file(f"e{k % 9}/f{k}", os.urandom(k * 100), mtime=k)
            layout.image(f"i{i}", [*base, more.dir(".", mtime=i)])
            self.refs.append(server.push(layout, f"i{i}", f"a/i{i}", "1"))
            reference.run("install", self.refs[i], "--name", f"t{i}")
            self.wanted.append(tree.scan(reference.roots / f"rootfs_t{i}"))
        self.point = self.path("inner")
        self.point.mkdir()
        self.varve.store, self.varve.roots = self.point / "store", self.point / "roots"

    # --- a device that is cut ---

    @contextlib.contextmanager
    def mounted(self, image):
        subprocess.run(["mount", "-o", "loop" + self.mount_options, image, self.point], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", self.point], check=True)
            if self.mkfs[0] == "mkfs.btrfs":  # or the next copy would be taken for this one
                subprocess.run(["btrfs", "device", "scan", "--forget"], check=True, stdout=subprocess.DEVNULL)

    def make(self):
        image = self.host / "image"
        with open(image, "wb") as file:
            file.truncate(400 * MIB)
        subprocess.run([*self.mkfs, image], check=True, stdout=subprocess.DEVNULL)
        return image

    def cut(self, image):
        """The states that the copy may be in: from the last that was told before it to the one that is tried behind it."""
        copy, told = self.path("cut"), len(self.states)
        copy = self.host / copy.name
        subprocess.run(["cp", "--reflink=always", image, copy], check=True)
        return copy, self.states[told - 1:len(self.states)] + self.trying

    # --- what varve does meanwhile ---

    def do(self, what, i=0):
        commands = {
            "pull": ("pull", self.refs[i]),
            "install": ("install", "--force", "--name", f"t{i}", self.refs[i]),
            "switch": ("switch", f"t{i}"),
            "rollback": ("rollback",),
            "remove": ("remove", self.refs[i]),
            "remove tree": ("remove", "--installed", f"t{i}"),
            "gc": ("gc",),
            "repair": ("check", "--read-data", "--repair"),
        }
        self.trying = [self.states[-1].after(what, i)]
        if what == "damage":
            self.damage()
        else:
            self.varve.run(*commands[what], status=(0, 4) if what == "repair" else 0)
        self.states += self.trying
        self.trying = []

    def damage(self):
        """One byte of the largest blob is another one, durably."""
        blob = max((self.varve.store / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size)
        blob.chmod(0o644)
        with open(blob, "r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
            os.fsync(file.fileno())

    def lap(self, k):
        i, j, m = (k % IMAGES, (k + 1) % IMAGES, (k + 2) % IMAGES)
        yield "pull", i
        yield "install", i
        yield "switch", i
        yield "install", j
        yield "switch", j
        yield "rollback",
        yield "remove", i
        yield "gc",
        yield "install", m
        yield "remove tree", m
        if k % 2:
            yield "damage",
            yield "repair",

    def work(self, stop, failures):
        k = 0
        try:
            while True:
                for command in self.lap(k):
                    if stop.is_set():
                        return
                    self.do(*command)
                k += 1
        except Exception as error:
            failures.append(error)

    def run_and_cut(self, cuts):
        """Cuts at random instants: [(copy, states)]."""
        image, made, failures, stop = self.make(), [], [], threading.Event()
        self.states, self.trying = [State()], []
        with self.mounted(image):
            thread = threading.Thread(target=self.work, args=(stop, failures))
            thread.start()
            while len(made) < cuts and not failures:
                time.sleep(random.uniform(0, 1))
                made.append(self.cut(image))
            stop.set()
            thread.join()
        if failures:
            raise failures[0]
        return made

    # --- what must be there ---

    def judge(self, copy, states):
        with self.mounted(copy):
            if not (self.varve.store / "VERSION").exists():
                self.assertEqual(states[0].images, set(), "the store is gone")
                return
            if any(s.damaged for s in states):
                self.varve.run("check", "--read-data", "--repair", status=(0, 4))
            self.varve.run("check", "--read-data")
            self.judge_images(states)
            self.judge_trees(states)
            self.varve.run("gc")
            self.varve.run("check", "--read-data")
            self.judge_images(states)
            # And it is good for more.
            self.varve.run("install", "--force", "--name", "more", self.refs[0])
            self.assertEqual(tree.diff(self.varve.roots / "rootfs_more", self.wanted[0]), [])

    def judge_images(self, states):
        stored = {image["reference"] for image in self.varve.json("list")["images"]}
        for i in set.intersection(*(s.images for s in states)):
            self.assertIn(self.refs[i], stored, "was acknowledged")

    def which(self, path):
        """The image of a whole tree, else None."""
        return next((i for i, wanted in enumerate(self.wanted) if not tree.diff(path, wanted)), None)

    def judge_trees(self, states):
        found = {p.name: self.which(p) for p in self.varve.roots.glob("rootfs*")} if self.varve.roots.exists() else {}
        for name, image in found.items():
            self.assertIsNotNone(image, f"{name} is no whole tree")
        for i in set.intersection(*(s.trees for s in states)):
            self.assertIn(i, (found.get("rootfs"), found.get(f"rootfs_t{i}")), f"the tree t{i} was acknowledged")
        active = {s.active for s in states}
        if None not in active:
            self.assertIn(found.get("rootfs"), active, "the active tree")

    def test_cuts(self):
        rounds, cuts, failures = (10, 12, []) if os.environ.get("VARVE_FAULT") == "all" else (1, 7, [])
        for _ in range(rounds):
            for copy, states in self.run_and_cut(cuts):
                try:
                    self.judge(copy, states)
                except (AssertionError, subprocess.CalledProcessError) as failure:
                    failures.append(f"{[vars(s) for s in states]}: {failure}")
                copy.unlink()
        self.tried[f"power on {self.mkfs[0]}"] = f"{rounds * cuts} points of {rounds} runs, {len(failures)} failed"
        self.assertEqual(failures, [])


class Ext4(Power):
    mkfs = ("mkfs.ext4", "-q", "-F")

    def test_control(self):
        """What is not synced is lost: the test can fail."""
        image = self.make()
        self.states = [State()]
        with self.mounted(image):
            self.do("pull", 0)
            self.varve.run("install", "--no-sync", "--name", "t0", self.refs[0])
            self.trying = []
            copy, _ = self.cut(image)
        with self.assertRaisesRegex(AssertionError, "whole tree|was acknowledged|expected status"):
            self.judge(copy, [self.states[-1].after("install", 0)])


class Xfs(Power):
    mkfs, mount_options = ("mkfs.xfs", "-q", "-f"), ",nouuid"


class Btrfs(Power):
    mkfs = ("mkfs.btrfs", "-q", "-f")


del Power  # only its classes are run

if __name__ == "__main__":
    unittest.main()
