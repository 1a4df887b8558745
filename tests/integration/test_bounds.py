# SPDX-License-Identifier: Apache-2.0
"""Time is bounded by the size of the input: shapes that cost more for each entry the more entries there are."""

import gzip
import resource
import struct

from support import Case
from support.tarball import DIR, REG, header


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
