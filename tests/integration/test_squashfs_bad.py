# SPDX-License-Identifier: Apache-2.0
"""squashfs images that no mksquashfs writes: each ends with status 4 and a reason."""

import struct
import subprocess

from support import Case

MTIME = 1_234_567_891


class Hostile(Case):
    def image(self):
        """An image with uncompressed tables, and two names of one file whose mtime is MTIME. Its path and bytes."""
        tree = self.path("tree")
        tree.mkdir()
        (tree / "a").write_text("body")
        (tree / "b").hardlink_to(tree / "a")
        subprocess.run(["touch", "-d", f"@{MTIME}", tree / "a"], check=True)
        path = self.path("image.sfs")
        subprocess.run(["mksquashfs", tree, path, "-noI", "-noD", "-noF", "-noX", "-quiet", "-no-progress"], check=True,
                       stdout=subprocess.DEVNULL)
        return path, bytearray(path.read_bytes())

    def test_two_names_of_an_inode_that_has_one(self):
        path, data = self.image()
        # An extended file inode: type, mode, uid, gid (16 bits each), mtime, number; 40 bytes on, the count of names.
        at = data.index(struct.pack("<I", MTIME), 96) - 8
        self.assertEqual(struct.unpack_from("<H", data, at)[0], 9)
        self.assertEqual(struct.unpack_from("<I", data, at + 40)[0], 2)
        self.varve.run("import", path, "local/good:1")
        struct.pack_into("<I", data, at + 40, 1)
        path.write_bytes(data)
        result = self.varve.run("import", path, "local/bad:1", status=4)
        self.assertIn("second name", result.err)
        self.varve.run("install", "local/good:1")
        self.assertEqual((self.varve.tree("local/good:1") / "b").read_text(), "body")
