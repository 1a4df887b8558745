#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./quickstart REF: the same before the user's eyes, with an image of a registry that is somebody else's."""

import os
import pathlib
import subprocess
import unittest

from support import Case, Tar

TOP = pathlib.Path(__file__).resolve().parents[2]


class Reference(Case):
    def quickstart(self, *args, status=0):
        env = dict(os.environ, VARVE_QUICKSTART_DIR=os.fspath(self.data))
        done = subprocess.run([TOP / "quickstart", *args], env=env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=900)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def setUp(self):
        super().setUp()
        self.data = self.path("shown")

    def test_images_of_a_registry(self):
        layout = self.layout()
        base = Tar().dir(".").dir("etc").file("etc/os-release", "ID=small\n")
        registry = self.registry()
        refs = []
        for name in ("one", "two"):
            layout.image(name, [base, Tar().file("name", name)])
            refs.append(registry.push(layout, name, "team/" + name, "1"))
        out = self.quickstart(*refs)
        for text in ("Done.", "clean", f"varve plan {refs[0]}"):
            self.assertIn(text, out)
        # The first is the active one, and was built again without the network.
        self.assertEqual((self.data / "roots/rootfs/name").read_text(), "one")
        self.assertEqual(len([r for r in registry.requests() if r["method"] == "GET" and "/blobs/" in r["path"]]), 5)
        # Again, in the folder that it made: from the beginning.
        self.assertIn("Done.", self.quickstart(refs[1]))
        self.assertEqual((self.data / "roots/rootfs/name").read_text(), "two")

    def test_mistakes(self):
        self.assertIn("unknown option --bad", self.quickstart("--bad", status=2))
        self.assertIn("127.0.0.1:1", self.quickstart("127.0.0.1:1/no/such:1", status=5))
        self.data.joinpath(".varve-quickstart").unlink()
        (self.data / "mine").write_text("kept")
        self.assertIn("was not made by quickstart", self.quickstart("127.0.0.1:1/no/such:1", status=1))
        self.assertEqual((self.data / "mine").read_text(), "kept")


if __name__ == "__main__":
    unittest.main()
