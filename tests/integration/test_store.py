# SPDX-License-Identifier: Apache-2.0
"""The store over its life: last use, what gc takes by which option, what comes back after a loss."""

import pathlib
import subprocess
import time

from support import Case, Tar, binary

HOUR, DAY = 3600, 86400


class StoreCase(Case):
    """Images in a registry, and a tool that moves their last use back."""

    def setUp(self):
        super().setUp()
        self.server = self.registry()

    def push(self, name, size=3000, shared=None):
        """An image with a layer of its own, and perhaps one more; returns its reference."""
        layout = self.layout()
        own = Tar().dir("d").file("d/f", f"{name} " * size)
        layout.image("x", [*([shared] if shared else []), own])
        return self.server.push(layout, "x", name, "1")

    def backdate(self, seconds, store=None):
        tool = pathlib.Path(binary()).resolve().parents[1] / "tests/integration/backdate"
        subprocess.run([tool, store or self.varve.store, str(seconds)], check=True)

    def image(self, ref):
        """The one image of that name in the list; None if it is not there."""
        return next((i for i in self.varve.json("list")["images"] if i["reference"] == ref), None)

    def last_used(self, ref):
        """Seconds since the last use."""
        text = self.image(ref)["last_used"]
        return time.time() - time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) + time.timezone


class LastUse(StoreCase):
    def test_every_use_counts(self):
        ref = self.push("used")
        self.varve.run("pull", ref)
        self.varve.run("install", "--name", "there", ref)
        uses = [["pull", ref], ["--offline", "pull", ref], ["cat", ref, "d/f"], ["files", ref], ["install", "--name", "new", ref],
                ["install", "--force", "--name", "there", ref], ["--offline", "install", "--pull", "never", "--name", "off", ref],
                ["export", "--format", "tar", "-o", self.path("out.tar"), ref]]
        for use in uses:
            with self.subTest(use=use):
                self.backdate(2 * HOUR)
                self.assertGreater(self.last_used(ref), HOUR)
                self.varve.run(*use)
                self.assertLess(self.last_used(ref), 60)
        for look in (["list"], ["inspect", ref], ["df"], ["check"], ["gc", "--dry-run"]):
            with self.subTest(look=look):
                self.backdate(2 * HOUR)
                self.varve.run(*look)
                self.assertGreater(self.last_used(ref), HOUR)

    def test_once_an_hour(self):
        ref = self.push("used")
        self.varve.run("pull", ref)
        self.backdate(HOUR // 2)
        self.varve.run("cat", ref, "d/f")
        self.assertGreater(self.last_used(ref), HOUR // 4)

    def test_older_than(self):
        old, new = self.push("old"), self.push("new")
        self.varve.run("pull", old, new)
        self.backdate(40 * DAY)
        self.varve.run("gc", "--older-than", "60d")
        self.assertTrue(self.image(old) and self.image(new))
        self.varve.run("cat", new, "d/f")
        self.varve.run("gc", "--older-than", "30d")
        self.assertIsNone(self.image(old))
        self.assertTrue(self.image(new))


class Installed(StoreCase):
    def test_its_image_stays(self):
        ref = self.push("tree")
        digest = self.varve.json("pull", ref)["images"][0]["manifest"]
        self.varve.run("install", "--name", "tree", ref)
        self.varve.run("remove", ref)
        said = self.varve.run("remove", digest, status=1).err
        self.assertIn("varve remove --installed tree", said)
        self.varve.run("gc")
        self.server.stop()
        self.varve.run("tag", digest, "again:1")
        self.varve.run("--offline", "install", "again:1")
        self.assertCleanStore()
