# SPDX-License-Identifier: Apache-2.0
"""Time is bounded by the size of the input: shapes that cost more for each entry the more entries there are."""

import gzip
import os
import resource
import struct
import time

from support import Case, Tar
from support.tarball import DIR, REG, SYM, header


def pax_link(name, target):
    record = b" linkpath=" + target + b"\n"
    size = len(record) + len(str(len(record) + 4))
    record = b"%d" % size + record
    return header(b"p", b"x", len(record)), record + b"\0" * (-len(record) % 512), header(name, SYM)


def layer(entries):
    return gzip.compress(b"".join(entries) + b"\0" * 1024, 1)


class Bounds(Case):
    def cpu(self, blob, *options, status=0):
        """Seconds of CPU that the plan of an image of that one layer takes."""
        layout = self.layout()
        layout.image("i", [gzip.decompress(blob)], compression="gzip")
        self.varve.run("import", layout.path, "local/i:1")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.err = self.varve.run(*options, "plan", "--json", "local/i:1", status=status).err
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def bounded(self, make, n, *options):
        """The median of three, so that a neighbour's noise is not taken for a law."""
        few, many = (sorted(self.cpu(layer(make(size)), *options) for _ in range(3))[1] for size in (n, 4 * n))
        self.assertLess(many, 4 * 2.6 / 2 * max(few, 0.05))

    def test_opaque_whiteouts(self):
        def make(n):
            yield header(b"d", DIR)
            for k in range(n):
                yield header(b"d/%x" % k, REG)
            for k in range(n):
                yield header(b"d/.wh..wh..opq", REG)
        self.bounded(make, 10000)

    def test_nested_opaque_whiteouts(self):
        """From the bottom to the top: each would walk all that is below it."""
        def make(n):
            name = b"a"
            for _ in range(40):
                yield header(name, DIR)
                name += b"/a"
            for k in range(n):
                yield header(name + b"/%x" % k, REG)
            while b"/" in name:
                name = name[:-2]
                for _ in range(n // 200):
                    yield header(name + b"/.wh..wh..opq", REG)
                    yield header(b".wh.a", REG)
        self.bounded(make, 10000)

    def test_names_that_collide(self):
        """They fell into one bucket whatever the secret of a multiplicative hash was: the directory's number cancelled out."""
        def make(n):
            for k in range(n):
                yield header(b"d%x" % k, DIR)
                name = b"abcd" + struct.pack("<I", 0x81818181 ^ (2 * k + 1))
                yield header(b"d%x/" % k + (b"other" if b"\0" in name or b"/" in name else name), REG)
        self.bounded(make, 8000)

    def test_passwd_that_takes_every_id(self):
        """The file is read once to find a free id, not once for each."""
        for name, line in (("passwd", "ann:x:1000:1000::/home/ann:/bin/sh"), ("group", "ann:x:1000:")):
            path = self.dir / "from/etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(line + "\n")
        passwd = "a:b:c\n" * 300_000 + "".join(f"u{i}:x:{i}:{i}\n" for i in range(1000, 60_000))
        path = self.dir / "i.tar"
        path.write_bytes(Tar().file("etc/passwd", passwd + "last:x:60000:60000\n").file("etc/group", "root:x:0:\n").bytes())
        command = ("--name", "t", "--user", "ann", "--user-from", self.dir / "from", "--no-hooks")
        self.assertIn("no id is free", self.varve.run("install", path, *command, status=None, timeout=20).err)
        path.write_bytes(Tar().file("etc/passwd", passwd.replace("u59999:x:59999:", "u:x:9:")).file("etc/group", "root:x:0:\n").bytes())
        self.varve.run("install", path, *command, timeout=20)
        self.assertIn("ann:x:59999:1000:", (self.varve.roots / "rootfs_t/etc/passwd").read_text())

    def test_links_that_wander(self):
        """Each entry by way of 40 links whose targets wander for 4 KiB: a limit, with a name, not a minute."""
        def make(n):
            yield header(b"x", DIR)
            for k in range(39):
                target = b"x/../" * 816 + b"s%d" % (k + 1)
                yield from pax_link(b"s%d" % k, target)
            yield header(b"s39", DIR)
            for k in range(n):
                yield header(b"s%d/%x" % (k % 2, k), REG)
        self.cpu(layer(make(300)))
        self.assertLess(self.cpu(layer(make(20_000)), status=4), 8)
        self.assertIn("limits.max_link_work", self.err)

        def ordinary(n):
            yield header(b"usr/lib", DIR)
            yield header(b"lib", SYM, link=b"usr/lib")
            for k in range(n):
                yield header(b"lib/d%x/f" % k, REG)
        self.cpu(layer(ordinary(20_000)))

    def test_holes_are_not_read(self):
        """diff and check of a file that is all hole, and of one with data in its middle; a change in the hole is seen."""
        size = 200 << 30
        layout = self.layout()
        sparse = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(size)}
        layout.image("i", [Tar().file("empty", b"", pax={**sparse, "GNU.sparse.numblocks": "0", "GNU.sparse.map": "0,0"})
                           .file("some", b"x" * 512, pax={**sparse, "GNU.sparse.numblocks": "1", "GNU.sparse.map": f"{100 << 30},512"})])
        self.varve.run("import", layout.path, "local/i:1")
        self.varve.roots = self.loop(1 << 30, ("mkfs.xfs", "-q")) / "roots"
        self.varve.run("install", "local/i:1", "--name", "t")
        tree = self.varve.roots / "rootfs_t"
        for name in ("empty", "some"):
            os.utime(tree / name, (1, 1))  # so that it has to be read
        for command in (("diff", "t"), ("check", "-i", "t")):
            started = time.monotonic()
            out = self.varve.run(*command, status=None, timeout=60).out
            self.assertLess(time.monotonic() - started, 10)
            self.assertNotIn("content", out)
        for name, at in (("empty", 50 << 30), ("some", 150 << 30)):
            with open(tree / name, "r+b") as file:
                file.seek(at)
                file.write(b"!")
        self.assertEqual(self.varve.run("diff", "t", status=None, timeout=60).out.count("content"), 2)
