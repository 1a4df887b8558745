# SPDX-License-Identifier: Apache-2.0
"""Squashfs layers: what they remove is marked as overlayfs does; the kernel's overlay says what is right."""

import contextlib
import os
import struct
import subprocess
import unittest

from support import Case, Tar, need_root

WHITEOUT = object()


class SquashfsLayers(Case):
    def squashfs(self, files, xattrs=()):
        """A squashfs of {path: bytes, None (directory), WHITEOUT}, with [(path, name, value)]."""
        top = self.path("top")
        top.mkdir()
        for name, content in files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            elif content is WHITEOUT:
                need_root()
                os.mknod(path, 0o20000, 0)
            else:
                path.write_bytes(content)
        for name, key, value in xattrs:
            if key.startswith("trusted."):
                need_root()
            os.setxattr(top / name, key, value)
        image = self.path("image.squashfs")
        subprocess.run(["mksquashfs", top, image, "-quiet", "-no-progress", "-all-root", "-all-time", "1000"], check=True, stdout=subprocess.DEVNULL)
        return image.read_bytes()

    def install(self, layers, **options):
        layout = self.layout()
        layout.image("i", layers, **options)
        self.varve.run("import", layout.path, "x:1")
        self.varve.run("install", "--force", "--no-keep", "x:1")
        return self.varve.tree("x:1")

    @contextlib.contextmanager
    def kernel(self, layers, *options):
        """The tree that Linux makes of squashfs layers, base first."""
        need_root()
        points = []
        try:
            for data in layers:
                image, point = self.path("layer"), self.path("point")
                image.write_bytes(data)
                point.mkdir()
                subprocess.run(["mount", "-o", "loop,ro", "-t", "squashfs", image, point], check=True)
                points.insert(0, point)
            whole = self.path("whole")
            whole.mkdir()
            lower = ":".join(map(str, points))
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", ",".join([f"lowerdir={lower}", *options]), whole], check=True)
            points.insert(0, whole)
            yield whole
        finally:
            for point in points:
                subprocess.run(["umount", "-l", point], check=True)

    def names(self, tree):
        return sorted(os.path.relpath(os.path.join(folder, name), tree) for folder, dirs, files in os.walk(tree) for name in dirs + files)

    def same(self, layers, *options):
        mine = self.install(layers)
        with self.kernel(layers, *options) as theirs:
            self.assertSameTree(mine, theirs)

    LOW = {"keep": b"k", "gone": b"g", "dir/a": b"a", "dir/sub/b": b"b", "other/c": b"c"}

    def test_whiteouts(self):
        """S02."""
        for upper in ({"gone": WHITEOUT}, {"dir": WHITEOUT}, {"dir/sub": WHITEOUT, "dir/new": b"n"}, {"never": WHITEOUT},
                      {"gone": WHITEOUT, "dir/a": WHITEOUT, "other": b"now a file"}):
            with self.subTest(str(sorted(upper))):
                self.same([self.squashfs(self.LOW), self.squashfs(upper)])

    def test_a_whiteout_of_nothing(self):
        """In a directory that no lower layer has the kernel lists a name that is not there."""
        self.assertEqual(self.names(self.install([self.squashfs({"a": b"a"}), self.squashfs({"absent/x": WHITEOUT})])), ["a", "absent"])

    def test_opaque_directories(self):
        """S03."""
        for key, options in (("trusted.overlay.opaque", ()), ("user.overlay.opaque", ("userxattr",))):
            for files, where in (({"dir/b": b"b"}, "dir"), ({"dir/sub": None}, "dir/sub"), ({"dir": None}, "dir")):
                with self.subTest(f"{key} {where}"):
                    self.same([self.squashfs(self.LOW), self.squashfs(files, [(where, key, b"y")])], *options)

    def test_an_opaque_root(self):
        tree = self.install([self.squashfs(self.LOW), self.squashfs({"n": b"n"}, [(".", "user.overlay.opaque", b"y")])])
        self.assertEqual(self.names(tree), ["n"])

    def test_many_layers(self):
        """S01. Removed, there again, removed again; what one layer hides another may bring."""
        layers = [self.squashfs(self.LOW), self.squashfs({"dir": WHITEOUT, "gone": WHITEOUT}),
                  self.squashfs({"dir/again": b"1", "gone": b"2"}), self.squashfs({"dir/again": WHITEOUT, "keep": WHITEOUT})]
        for n in range(2, 5):
            self.same(layers[:n])

    def test_above_a_tar(self):
        tree = self.install([Tar().dir("dir").file("dir/a", "a").file("gone", "g"), self.squashfs({"gone": WHITEOUT, "dir/b": b"b"}, [("dir", "user.overlay.opaque", b"y")])])
        self.assertEqual(self.names(tree), ["dir", "dir/b"])

    def test_the_lowest_layer_removes_nothing(self):
        """S04."""
        tree = self.install([self.squashfs({"a": b"a", "null": WHITEOUT}), self.squashfs({"b": b"b"})])
        self.assertEqual(self.names(tree), ["a", "b"])

    def test_whiteouts_of_linux_6_7(self):
        """S02. An empty file with an attribute, in a directory whose opaque is "x"."""
        tree = self.install([self.squashfs(self.LOW), self.squashfs({"dir/a": b"", "dir/full": b"f"}, [
            ("dir", "user.overlay.opaque", b"x"), ("dir/a", "user.overlay.whiteout", b""), ("dir/full", "user.overlay.whiteout", b"")])])
        self.assertEqual(self.names(tree / "dir"), ["full", "sub", "sub/b"])

    def test_what_one_layer_cannot_say(self):
        """S05."""
        for files, name, key in (({"moved": None}, "moved", "user.overlay.redirect"), ({"f": b"f"}, "f", "user.overlay.metacopy")):
            layout = self.layout()
            layout.image("i", [self.squashfs(self.LOW), self.squashfs(files, [(name, key, b"")])])
            self.varve.run("import", layout.path, "x:1")
            self.assertIn("redirect or metacopy", self.varve.run("install", "x:1", status=1).err)
            self.assertFalse(self.varve.roots.exists() and os.listdir(self.varve.roots))

    def test_a_single_squashfs_keeps_its_devices(self):
        """S06."""
        need_root()
        image = self.dir / "one.squashfs"
        image.write_bytes(self.squashfs({"a": b"a", "null": WHITEOUT}))
        self.varve.run("install", image)
        self.assertEqual(self.names(self.varve.roots / "rootfs_one_latest"), ["a", "null"])
        self.assertEqual(self.names(self.install([image.read_bytes()])), ["a", "null"])

    def test_media_types(self):
        low, up = self.squashfs(self.LOW), self.squashfs({"new": b"n"})
        for name in ("vnd.stacker.image.layer.squashfs", "vnd.stacker.image.layer.squashfs+zstd", "vnd.stacker.image.layer.squashfs+zstd+verity",
                     "vnd.stacker.image.layer.squashfs+gzip", "vnd.sylabs.image.layer.v1.squashfs", "vnd.oci.image.layer.v1.squashfs"):
            with self.subTest(name):
                tree = self.install([low, up], media=["application/" + name] * 2)
                self.assertIn("new", self.names(tree))
        layout = self.layout()
        layout.image("i", [low, up], media=["application/vnd.sylabs.image.layer.v1.squashfs"] * 2)
        reference = self.registry().push(layout, "i", "team/app", "1")
        self.varve.run("install", reference)
        self.assertIn("new", self.names(self.varve.tree(reference)))

    def test_old_versions_are_called_that(self):
        data = bytearray(self.squashfs({"a": b"a"}))
        for version in (1, 2, 3):
            data[28:30] = struct.pack("<H", version)
            path = self.dir / "old.squashfs"
            path.write_bytes(data)
            err = self.varve.run("import", path, status=1).err
            self.assertIn(f"version {version}", err)
            self.assertNotIn("damaged", err)
        for magic in (b"sqsh", b"shsq", b"qshs"):
            path.write_bytes(magic + data[4:])
            self.assertIn("before version 4", self.varve.run("import", path, status=1).err)


if __name__ == "__main__":
    unittest.main()
