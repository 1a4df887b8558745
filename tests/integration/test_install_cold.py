# SPDX-License-Identifier: Apache-2.0
"""Pull and install in one go: bodies are written while they are downloaded, and the tree is the same as from the store."""

from support import Case, layertext, need_root


class Cold(Case):
    """Each image is installed while it is pulled, and again from the store: both trees are equal."""

    def setUp(self):
        super().setUp()
        self.origin = self.registry()

    def both(self, *layers):
        layout = self.layout()
        layout.image("i", [layertext.layer(text) for text in layers])
        ref = self.origin.push(layout, "i", "team/app", "1")
        self.varve.run("install", ref)
        self.varve.run("--offline", "install", ref, "--name", "again")
        self.assertSameTree(self.varve.tree(ref), self.varve.roots / "rootfs_again")
        self.assertEqual([p.name for p in self.varve.roots.glob(".varve-spool.*")], [])
        return layertext.read(self.varve.tree(ref))

    def test_layer_twice(self):
        """T10: the same layer again over its own files gives each name a body of its own."""
        self.assertEqual(self.both("f f body; f same x", "h g f", "f f body; f same x"),
                         "f f body\nf g body\nf same x\n")

    def test_layer_twice_and_large(self):
        big = "b" * 300_000
        text = self.both(f"f f {big}", "h g f; f small s", f"f f {big}")
        self.assertEqual(text, f"f f {big}\nf g {big}\nf small s\n")

    def test_layer_three_times(self):
        self.assertEqual(self.both("f f b", "h g f", "f f b", "h h f", "f f b"), "f f b\nf g b\nf h b\n")

    def test_layer_twice_and_removed_between(self):
        self.assertEqual(self.both("f f body", "f .wh.f", "f f body"), "f f body\n")


class Warnings(Case):
    """What `plan` warns of, `install` warns of too."""

    def install(self, text, *options):
        layout = self.layout()
        layout.image("i", [layertext.layer(text)])
        self.varve.run("import", layout.path, "local/i:1")
        return self.varve.run("install", "local/i:1", *options)

    def test_said(self):
        result = self.install("f ../../x 1")
        self.assertRegex(result.err, r"warning: .*\.\./\.\./x")
        self.assertNotIn("further", result.err)

    def test_bounded(self):
        text = "; ".join(f"f ../../x{i:02} 1" for i in range(20))
        result = self.install(text)
        self.assertEqual(result.err.count("warning: "), 6, result)
        self.assertIn("15 further warnings", result.err)
        document = self.varve.json("install", "local/i:1", "--name", "b")
        self.assertEqual(len(document["warnings"]), 20)
        self.assertEqual(document["warnings"], self.varve.json("plan", "local/i:1")["warnings"])

    def test_none(self):
        self.assertNotIn("warning", self.install("f x 1").err)
        self.assertEqual(self.varve.json("install", "local/i:1", "--name", "b")["warnings"], [])

    def test_losses_of_root_are_not_for_want_of_root(self):
        need_root()
        result = self.install("s l t x=user.k:v")
        self.assertIn("could not be kept: ", result.err)
        self.assertNotIn("without root", result.err)
