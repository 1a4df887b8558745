# SPDX-License-Identifier: Apache-2.0
"""Kept trees: listed, brought back, told by gc, deleted on demand and never under somebody's feet."""

import subprocess
import time

from support import Case, Tar, need_root


class Generations(Case):
    def setUp(self):
        super().setUp()
        self.images = self.layout()
        for i in range(5):
            self.images.image(f"v{i}", [Tar().file("which", f"{i}").file("data", b"x" * 100000)])

    def install(self, i, *more, **kw):
        """The image number i under the label app."""
        self.varve.run("import", self.images.path, "local/app:1", "--path", f"v{i}")
        return self.varve.run("install", "--force", "--name", "app", *more, "local/app:1", **kw)

    def which(self, name="rootfs_app"):
        return (self.varve.roots / name / "which").read_text()

    def previous(self):
        return {t["generation"]: t for t in self.varve.json("list", "--installed")["trees"] if t["previous"]}

    def test_choose(self):
        for i in range(4):
            self.install(i, "--keep", "3")
        self.assertEqual({n: self.which(t["directory"]) for n, t in self.previous().items()}, {1: "0", 2: "1", 3: "2"})
        text = self.varve.run("list", "--installed").out
        for n in (1, 2, 3):
            self.assertRegex(text, rf"previous {n} +\.rootfs_app\.old\.{n}")
        self.varve.run("rollback", "app", "--to", "1")
        self.assertEqual(self.which(), "0")
        self.varve.run("rollback")  # undone
        self.assertEqual(self.which(), "3")
        self.varve.run("rollback", "app")  # the newest: what was just put away
        self.assertEqual(self.which(), "0")
        self.varve.run("rollback", "app", "--to", "2")
        self.assertEqual(self.which(), "1")
        self.assertIn("there are: 3, ", self.varve.run("rollback", "app", "--to", "2", status=3).err)
        self.assertIn("no previous", self.varve.run("rollback", "nothing", status=3).err)
        self.assertIn("needs a label", self.varve.run("rollback", "--to", "2", status=2).err)
        self.varve.run("switch", "app")
        self.varve.run("rollback", "local/app:1", "--to", "3")  # of the active tree
        self.assertEqual(self.which("rootfs"), "2")

    def test_gc_tells(self):
        self.assertEqual(self.install(0).err.count("kept"), 0)
        self.install(1)
        told = self.varve.json("gc")["previous"]
        self.assertEqual([(t["label"], t["directory"], t["generation"]) for t in told], [("app", ".rootfs_app.old.1", 1)])
        self.assertGreaterEqual(told[0]["size"], 100000)
        command = self.varve.run("gc", "--dry-run").out.split("; varve ")[1].split(" deletes it")[0]
        self.varve.run("--roots", self.path("elsewhere"), "gc")  # those of other roots dirs are told too
        self.assertIn(".rootfs_app.old.1", self.varve.run("--roots", self.path("other"), "gc").out)
        self.varve.run(*command.split())
        self.assertEqual(self.previous(), {})
        self.assertEqual(self.which(), "1")
        self.assertEqual(self.varve.json("gc")["previous"], [])
        self.varve.run(*command.split(), status=3)

    def test_lived_in(self):
        """A tree in which a process lives is replaced, and told; it is not deleted before that has ended."""
        need_root()
        self.install(0)
        self.varve.run("switch", "app")
        process = subprocess.Popen(["sleep", "100"], cwd=self.varve.roots / "rootfs")
        self.addCleanup(lambda: (process.kill(), process.wait()))
        while not (f"/proc/{process.pid}/exe" and subprocess.run(["readlink", f"/proc/{process.pid}/exe"], stdout=subprocess.PIPE).stdout.endswith(b"sleep\n")):
            time.sleep(0.01)
        result = self.install(1, "--no-keep")
        self.assertIn(str(process.pid), result.err)
        self.assertIn("is kept", result.err)
        self.assertEqual(self.which("rootfs"), "1")
        old = list(self.previous().values())[0]["directory"]
        result = self.install(2)  # would prune it
        self.assertIn(str(process.pid), result.err)
        self.assertEqual(self.which(old), "0")
        self.varve.run("switch", "app")
        for args in (("--previous",), ("--force", "--previous")):
            result = self.varve.run("remove", "--installed", *args, "app", status=0 if "--force" in args else 6)
            self.assertIn(str(process.pid), result.err)
            self.assertEqual((self.varve.roots / old).exists(), "--force" not in args)
        process.kill()
        process.wait()
        self.install(3, "--no-keep")
        self.assertEqual(self.previous(), {})

    def test_ambiguous_reference(self):
        self.install(0)
        self.varve.run("install", "--name", "two", "local/app:1")
        for command in ("switch", "rollback"):
            result = self.varve.run(command, "local/app:1", status=1)
            self.assertRegex(result.err, "app, two")
        self.varve.run("switch", "two")
        # The label that install gives by itself is what the reference means.
        self.varve.run("install", "local/app:1")
        self.varve.run("switch", "local/app:1")
        active = [t["label"] for t in self.varve.json("list", "--installed")["trees"] if t["active"]]
        self.assertEqual(active, ["local_app_1"])

    def test_label_active(self):
        """install --switch over a tree that does not tell its label: the message names the option, which does it."""
        (self.varve.roots / "rootfs").mkdir(parents=True)
        result = self.install(0, "--switch", status=1)
        self.assertIn("--label-active", result.err)
        self.install(0, "--switch", "--label-active", "debian_9")
        self.assertTrue((self.varve.roots / "rootfs_debian_9").is_dir())
        self.assertIn("--switch", self.varve.run("install", "--label-active", "x", "local/app:1", status=2).err)
