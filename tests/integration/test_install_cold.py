# SPDX-License-Identifier: Apache-2.0
"""Pull and install in one go: bodies are written while they are downloaded, and the tree is the same as from the store."""

import random

from support import Case, Tar, layertext, need_root


class Cold(Case):
    """Each image is installed while it is pulled, and again from the store: both trees are equal."""

    def setUp(self):
        super().setUp()
        self.origin = self.registry()

    def both(self, *layers, tag="1"):
        layout = self.layout()
        layout.image("i", [layertext.layer(text) for text in layers])
        ref = self.origin.push(layout, "i", "team/app", tag)
        self.varve.run("install", ref)
        self.varve.run("--offline", "install", ref, "--name", f"again{tag}")
        self.assertSameTree(self.varve.tree(ref), self.varve.roots / f"rootfs_again{tag}")
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

    def test_what_lies_elsewhere_than_its_layer_says(self):
        """Bodies are put where their layer names them, before anybody knows what the other layers are."""
        for i, (layers, want) in enumerate((
            (("d usr; d usr/lib; f usr/lib/a 1; s lib usr/lib", "f lib/b 2"), "usr/lib/b 2"),  # through a link
            (("f a 1", "d a; f a/b 2"), "f a/b 2"),  # a file, and then a directory
            (("d a; f a/b 1", "f a 2"), "f a 2"),
            (("d d; d d/e; f d/e/f 1; f g 1", "f .wh.d"), "f g 1"),  # a directory that goes
            (("d d; f d/a 1; f d/b 1", "d d; f d/.wh..wh..opq x; f d/c 2"), "f d/c 2"),
            (("f a body; h b a", "f .wh.a"), "f b body"),  # its first name goes
            (("f a body; h b a; h c a", "f .wh.a; f b new"), "f c body"),
            (("f ./x 1; f /y 2; f z//w 3; f z/./v 4; f z/../u 5",), "f z/w 3"),
            (("f .probe 1; f tree/tree 2",), "f .probe 1"),
            (("f a 1; f a 2; f a 3",), "f a 3"),
            (("f a 1; f b 2; f c 3", "s a b; d c; p b"), "p b"),
        )):
            with self.subTest(layers=layers):
                self.varve.store = self.varve.home / f"store{i}"  # an empty one
                self.assertIn(want + "\n", self.both(*layers, tag=str(i)))

    def test_large_layer_is_shared_between_threads(self):
        """Its later half is read from a restart point; a flipped bit anywhere is found, and called what it is."""
        source, tar = random.Random(5), Tar()
        for i in range(48):
            tar.file(f"f{i:02}", source.randbytes(1 << 19).hex().encode())
        layout = self.layout()
        layout.image("i", [tar])
        ref = self.origin.push(layout, "i", "team/app", "1")
        self.varve.run("install", ref)
        digest = self.varve.json("inspect", ref)["layers"][0]["digest"]
        for i in range(3):
            self.varve.run("--offline", "install", ref, "--name", f"again{i}", "--threads", str(2 + i))
            self.assertSameTree(self.varve.tree(ref), self.varve.roots / f"rootfs_again{i}")
        blob = self.varve.store / "blobs/sha256" / digest.removeprefix("sha256:")
        good = blob.read_bytes()
        for at in (3, len(good) // 3, len(good) * 2 // 3, len(good) - 3):
            self.varve.run("pull", ref)  # what was found damaged was set aside
            blob.chmod(0o644)
            blob.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
            result = self.varve.run("--offline", "install", ref, "--name", "rotten", status=4)
            self.assertIn("stored bytes have changed", result.err)
            self.assertFalse((self.varve.roots / "rootfs_rotten").exists())

    def test_room_is_counted_once(self):
        """What was made while the layer came has its inodes already."""
        layout = self.layout()
        layout.image("i", [layertext.layer("; ".join(f"d d{i}; f d{i}/f {i}" for i in range(1000)))])
        ref = self.origin.push(layout, "i", "team/app", "1")
        self.varve.roots = self.tmpfs("64m", inodes=2500) / "roots"
        self.varve.run("install", ref)
        self.varve.roots = self.tmpfs("64m", inodes=1500) / "roots"
        self.assertIn("inode", self.varve.run("install", ref, "--name", "again", status=7).err)

    def test_bodies_are_not_moved(self):
        """What is in its place stays there: a rename of each file takes the one lock that a file system has for renames."""
        layout = self.layout()
        layout.image("i", [layertext.layer("d a; d a/b; " + "; ".join(f"f a/b/{i} {i}" for i in range(300))),
                           layertext.layer("d a; d a/b; " + "; ".join(f"f a/b/{i} new" for i in range(290, 310)))])
        ref = self.origin.push(layout, "i", "team/app", "1")
        trace = self.path("trace")
        self.varve.run("install", ref, prefix=("strace", "-f", "-o", trace, "-e", "trace=renameat2,openat"))
        text = trace.read_text()
        self.assertLess(text.count("renameat2("), 40, "only of files that are in both layers")
        self.assertGreater(text.count("O_EXCL"), 300)
        self.varve.run("--offline", "install", ref, "--name", "again")
        self.assertSameTree(self.varve.tree(ref), self.varve.roots / "rootfs_again")


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
