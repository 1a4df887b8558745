# SPDX-License-Identifier: Apache-2.0
"""Time is bounded by the size of the input: each shape is made twice, the second time with twice as much of it, and the time of
the processor may not grow more than 2.6-fold. What has a budget instead says which limit of the configuration it met."""

import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import time

from support import Case, Tar, digest_of
from support.image import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from support.tarball import DIR, LNK, REG, SYM, header

GROWTH = 2.6
FLOOR = 0.1  # seconds: what is shorter is noise
END = b"\0" * 1024
_heads = {}


def head(name, kind=REG, link=b"", size=0):
    """header() for the many: only name, link and checksum are put in."""
    if (kind, size) not in _heads:
        block = header(b"", kind, size, mode=0o755)
        _heads[kind, size] = block, sum(block[:148]) + sum(block[156:]) + 8 * 32
    block, total = _heads[kind, size]
    return (name.ljust(100, b"\0") + block[100:148] + b"%06o\0 " % (total + sum(name) + sum(link)) + block[156:157]
            + link.ljust(100, b"\0") + block[257:])


def record(key, value):
    size = len(key) + len(value) + 3
    digits = len(str(size + len(str(size))))
    return b"%d %s=%s\n" % (size + digits, key, value)


def pax(*records, kind=b"x"):
    body = b"".join(records)
    return head(b"p", kind, size=len(body)) + body + b"\0" * (-len(body) % 512)


def tar(entries):
    return b"".join(entries) + END


class Growth(Case):
    def cpu(self, *command, varve=None, status=0, **kw):
        """Seconds of the processor that a command takes."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.said = (varve or self.varve).run(*command, status=status, **kw)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def bounded(self, measure, n):
        """measure(n) in seconds against measure(2 n). The machine may be shared: what grew too much is asked twice again."""
        for _ in range(3):
            few, many = measure(n), measure(2 * n)
            if many <= GROWTH * max(few, FLOOR):
                return
        self.fail(f"twice the input takes {many / few:.1f} times as long: {few:.2f} s, then {many:.2f} s")

    def image(self, layers, name="local/i:1", **kw):
        """A fresh store with that image; the seconds that its import took."""
        layout, varve = self.layout(), self.new_varve()
        layout.image("i", layers, **kw)
        return varve, self.cpu("import", layout.path, name, varve=varve)

    def planned(self, make, n, *options):
        """The layers that make(n) gives, read and planned; a layer is what makes a tar, or bytes."""
        def measure(size):
            made = make(size)
            layers = [tar(made)] if not isinstance(made, list) else [x if isinstance(x, bytes) else tar(x) for x in made]
            varve, took = self.image(layers)
            took += self.cpu(*options, "plan", "--json", "local/i:1", varve=varve)
            shutil.rmtree(varve.home)
            return took
        self.bounded(measure, n)


class Names(Growth):
    def test_many_in_one_directory(self):
        self.planned(lambda n: (head(b"d/%x" % k) for k in range(n)), 60_000)

    def test_backwards(self):
        self.planned(lambda n: (head(b"d/%06x" % (n - k)) for k in range(n)), 60_000)

    def test_long(self):
        def make(n):
            for k in range(n):
                yield pax(record(b"path", b"/".join(b"%03d" % part * 80 for part in range(15)) + b"/%x" % k)) + head(b"x")
        self.planned(make, 8000)

    def test_deep(self):
        """Two directories at the greatest depth, in turn: nothing remembers the last one only."""
        def make(n):
            for k in range(n):
                yield pax(record(b"path", (b"a/" if k % 2 else b"b/") * 1000 + b"%x" % k)) + head(b"x")
        self.planned(make, 8000)

    def test_deep_by_dots(self):
        def make(n):
            for k in range(n):
                yield pax(record(b"path", b"a/../" * 400 + b"%x" % k)) + head(b"x")
        self.planned(make, 8000)

    def test_chains_of_directories(self):
        def make(n):
            for k in range(n):
                yield head(b"d%x/" % (k // 40) + b"a/" * (k % 40), DIR)
        self.planned(make, 60_000)

    def test_that_collide(self):
        """They fell into one bucket whatever the secret of a multiplicative hash was: the directory's number cancelled out."""
        def make(n):
            for k in range(n):
                yield head(b"d%x" % k, DIR)
                name = b"abcd" + struct.pack("<I", 0x81818181 ^ (2 * k + 1))
                yield head(b"d%x/" % k + (b"other" if b"\0" in name or b"/" in name else name))
        self.planned(make, 30_000)

    def test_one_name_again_and_again(self):
        self.planned(lambda n: (head(b"d/x") for _ in range(n)), 60_000)

    def test_directory_and_file_in_turn(self):
        """Each replaces the other, with all that was below it."""
        def make(n):
            for k in range(n):
                yield head(b"d", DIR) + head(b"d/a", DIR) + head(b"d/a/%x" % k) + head(b"d")
        self.planned(make, 15_000)

    def test_pairs_of_names(self):
        """The second comes when all the first are there."""
        self.planned(lambda n: (head(b"d/%x" % (k % n)) for k in range(2 * n)), 30_000)

    def test_layer_after_layer(self):
        """Each changes one file of a large tree, whose directory it names again."""
        def make(n):
            base = [head(b"d/%x" % k) for k in range(n)]
            return [base] + [[head(b"d", DIR), head(b"d/%x" % k)] for k in range(n // 100)]
        self.planned(make, 20_000)


class Links(Growth):
    def test_group(self):
        def make(n):
            yield head(b"f")
            for k in range(n):
                yield head(b"d/%x" % k, LNK, b"f")
        self.planned(make, 60_000)

    def test_group_that_is_replaced(self):
        def make(n):
            group = [head(b"f")] + [head(b"d/%x" % k, LNK, b"f") for k in range(n)]
            return [group, [head(b"d/%x" % k) for k in range(n)]]
        self.planned(make, 30_000)

    def test_group_that_is_hidden(self):
        def make(n):
            group = [head(b"f")] + [head(b"d/%x" % k, LNK, b"f") for k in range(n)]
            return [group, [head(b"d/.wh.%x" % k) for k in range(n)]]
        self.planned(make, 30_000)

    def test_groups_of_a_lower_layer(self):
        def make(n):
            return [[head(b"d/%x" % k) for k in range(n)], [head(b"e/%x" % k, LNK, b"d/%x" % k) for k in range(n)]]
        self.planned(make, 30_000)

    def test_chain_backwards(self):
        def make(n):
            yield head(b"l0")
            for k in range(n):
                yield head(b"l%x" % (k + 1), LNK, b"l%x" % k)
        self.planned(make, 60_000)

    def test_chain_forwards(self):
        def make(n):
            for k in range(n):
                yield head(b"l%x" % k, LNK, b"l%x" % (k + 1))
            yield head(b"l%x" % n)
        self.planned(make, 40_000)

    def test_chains_that_meet(self):
        """All wait for one that comes last, whose name is a directory's first."""
        def make(n):
            for k in range(n):
                yield head(b"l%x" % k, LNK, b"last")
            yield head(b"last")
        self.planned(make, 40_000)

    def test_loops(self):
        """Of two that name each other: passed over or refused, but soon."""
        def measure(n):
            layout, varve = self.layout(), self.new_varve()
            layout.image("i", [tar(head(b"l%x" % k, LNK, b"l%x" % (k ^ 1)) for k in range(n))])
            took = self.cpu("import", layout.path, "local/i:1", varve=varve)
            return took + self.cpu("plan", "--json", "local/i:1", varve=varve, status=None)
        self.bounded(measure, 40_000)

    def test_symlinks(self):
        def make(n):
            for k in range(n):
                if k % 30 == 0:
                    yield head(b"s%x" % k, DIR)
                else:
                    yield head(b"s%x" % k, SYM, b"s%x" % (k - 1))
                    yield head(b"s%x/%x" % (k, k))
        self.planned(make, 20_000)

    def test_symlink_into_the_depth(self):
        """Each entry walks a thousand components for a few bytes: a fixed factor, up to the budget."""
        def make(n):
            yield pax(record(b"path", b"a/" * 900)) + head(b"x", DIR)
            yield pax(record(b"linkpath", b"a/" * 900)) + head(b"s", SYM)
            for k in range(n):
                yield head(b"s/%x" % k)
        self.planned(make, 8000)

    def test_that_wander(self):
        """Each entry by way of 40 links whose targets wander for 4 KiB: a limit, with a name, not a minute."""
        def make(n):
            yield head(b"x", DIR)
            for k in range(39):
                yield pax(record(b"linkpath", b"x/../" * 816 + b"s%d" % (k + 1))) + head(b"s%d" % k, SYM)
            yield head(b"s39", DIR)
            for k in range(n):
                yield head(b"s%d/%x" % (k % 2, k))
        self.planned(make, 100)
        varve, _ = self.image([tar(make(20_000))])
        self.assertLess(self.cpu("plan", "--json", "local/i:1", varve=varve, status=4), 8)
        self.assertIn("limits.max_link_work", self.said.err)

        def ordinary(n):
            yield head(b"usr/lib", DIR) + head(b"lib", SYM, b"usr/lib")
            for k in range(n):
                yield head(b"lib/d%x/f" % k)
        self.planned(ordinary, 20_000)


class Whiteouts(Growth):
    def test_before_and_after(self):
        for order in (1, -1):
            def make(n):
                for k in range(n):
                    yield b"".join([head(b"d/%x" % k), head(b"d/.wh.%x" % k)][::order])
            self.planned(make, 30_000)

    def test_of_a_lower_layer(self):
        self.planned(lambda n: [[head(b"d/%x" % k) for k in range(n)], [head(b"d/.wh.%x" % k) for k in range(n)]], 30_000)

    def test_of_what_is_not_there(self):
        self.planned(lambda n: (head(b"none%x/.wh.x" % k) + head(b"d/.wh.%x" % k) + head(b"no%x/.wh..wh..opq" % k) for k in range(n)), 20_000)

    def test_of_one_name(self):
        def make(n):
            return [[head(b"d/%x" % k) for k in range(n)], [head(b".wh.d") for k in range(n)]]
        self.planned(make, 30_000)

    def test_opaque_again_and_again(self):
        for first in (True, False):
            def make(n):
                marks = [head(b"d/.wh..wh..opq")] * n
                files = [head(b"d/%x" % k) for k in range(n)]
                return [files, marks + files if first else files + marks]
            self.planned(make, 20_000)

    def test_opaque_between(self):
        self.planned(lambda n: (head(b"d/%x" % k) + head(b"d/.wh..wh..opq") for k in range(n)), 30_000)

    def test_opaque_and_a_file_in_turn(self):
        """A name that a marker hides, and that comes again, in layer after layer."""
        def make(n):
            return [[head(b"d/%x" % k) for k in range(n)]] + [[head(b"d/.wh..wh..opq"), head(b"d/%x" % k)] for k in range(n // 100)]
        self.planned(make, 30_000)

    def test_opaque_nested(self):
        """From the bottom to the top: each would walk all that is below it."""
        def make(n):
            name = b"a" + b"/a" * 40
            for k in range(n):
                yield head(name + b"/%x" % k)
            while b"/" in name:
                name = name[:-2]
                yield (head(name + b"/.wh..wh..opq") + head(b".wh.a")) * (n // 200)
        self.planned(make, 30_000)

    def test_opaque_over_depth(self):
        """The marker stands at the top, what it hides is ever deeper."""
        def make(n):
            return [[head(b"d/%x/" % k + b"a/" * (k % 30), DIR) for k in range(n)],
                    [head(b"d/.wh..wh..opq") + head(b"d/%x/.wh..wh..opq" % k) for k in range(n)]]
        self.planned(make, 10_000)


class Headers(Growth):
    def test_many_records(self):
        """In one header, up to what one may hold: names that count for nothing, names of attributes, one name."""
        for key, n, entries in ((b"comment.%d", 12_000, 30), (b"SCHILY.xattr.user.%d", 2000, 60), (b"SCHILY.xattr.user.x", 12_000, 30)):
            def make(n):
                records = pax(*(record(key % k if b"%" in key else key, b"") for k in range(n)))
                for k in range(entries):
                    yield records + head(b"%x" % k)
            self.planned(make, n)

    def test_many_headers(self):
        def make(n):
            for k in range(n):
                yield pax(record(b"path", b"d/%x" % k), record(b"mtime", b"1.5"), record(b"SCHILY.xattr.user.a", b"b")) + head(b"x")
        self.planned(make, 30_000)

    def test_header_after_header(self):
        """Before one entry: each replaces the one before, or adds to it."""
        for kind in (b"x", b"g", b"L", b"K"):
            def make(n):
                for k in range(n):
                    yield pax(record(b"comment", b"%d" % k), kind=kind) if kind in b"xg" else head(b"l", kind, size=9) + (b"name%04x\0" % (k % 65536)).ljust(512, b"\0")
                yield head(b"x")
            self.limited(make, 1500)

    def limited(self, make, n):
        """Linear, be it that so much is refused."""
        def measure(size):
            layout, varve = self.layout(), self.new_varve()
            layout.image("i", [tar(make(size))])
            return self.cpu("import", layout.path, "local/i:1", varve=varve, status=(0, 4))
        self.bounded(measure, n)

    def test_global_headers(self):
        """One of the greatest size, then many entries; and one before each entry."""
        def one(n):
            yield pax(*(record(b"SCHILY.xattr.user.%d" % k, b"x" * 20) for k in range(n // 2)), kind=b"g")
            for k in range(n):
                yield head(b"%x" % k)
        self.planned(one, 20_000)

        def many(n):
            for k in range(n):
                yield pax(record(b"path", b"global"), record(b"comment", b"%d" % k), kind=b"g") + head(b"%x" % k)
        self.planned(many, 20_000)

    def test_xattrs(self):
        """Many of each entry, all of one value or each its own; of directories that come again."""
        def make(n):
            for k in range(n):
                yield pax(*(record(b"SCHILY.xattr.user.%d" % a, b"%d" % (k * a)) for a in range(50))) + head(b"d%x" % (k % 1000), DIR)
        self.planned(make, 4000)

    def test_sparse_maps(self):
        """One file of many pieces, in each of the formats."""
        def old(n):  # GNU.sparse 0.0: a record a number
            body = b"".join(record(b"GNU.sparse.offset", b"%d" % (k * 1024)) + record(b"GNU.sparse.numbytes", b"1") for k in range(n))
            body = record(b"GNU.sparse.size", b"%d" % (n * 1024)) + record(b"GNU.sparse.numblocks", b"%d" % n) + body
            yield pax(body) + head(b"f", size=n) + b"x" * (n + -n % 512)

        def first(n):
            numbers = b",".join(b"%d,1" % (k * 1024) for k in range(n))
            yield pax(record(b"GNU.sparse.major", b"0"), record(b"GNU.sparse.minor", b"1"), record(b"GNU.sparse.size", b"%d" % (n * 1024)),
                      record(b"GNU.sparse.numblocks", b"%d" % n), record(b"GNU.sparse.map", numbers)) + head(b"f", size=n) + b"x" * (n + -n % 512)

        def second(n):
            yield Tar().sparse("f", n * 1024, [(k * 1024, b"x") for k in range(n)]).bytes(end=False)
        for make, n in ((old, 8000), (first, 25_000), (second, 100_000)):
            self.limited(make, n)

    def test_whole_sparse_tree(self):
        """Installed, compared, checked: as many steps as there are pieces."""
        def measure(n):
            varve, _ = self.image([Tar().sparse("f", n * 8192, [(k * 8192, b"x") for k in range(n)])])
            took = self.cpu("install", "local/i:1", "--name", "t", "--no-sync", varve=varve)
            os.utime(varve.roots / "rootfs_t/f", (1, 1))
            took += self.cpu("diff", "t", varve=varve, status=None) + self.cpu("check", "-i", "t", varve=varve, status=None)
            shutil.rmtree(varve.home)
            return took
        self.bounded(measure, 4000)

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

    def test_holes_are_not_copied(self):
        """A file of more names than a file system allows is copied for the rest: not byte by byte where it is a hole."""
        layout = self.layout()
        hole = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(64 << 30), "GNU.sparse.numblocks": "0",
                "GNU.sparse.map": "0,0"}
        links = b"".join(head(b"l%d" % k, LNK, b"big") for k in range(65_010))
        layout.image("i", [Tar().file("big", b"", pax=hole).raw(links)])
        self.varve.run("import", layout.path, "local/i:1")
        self.varve.roots = self.loop(256 << 20) / "roots"
        self.assertLess(self.cpu("install", "local/i:1", "--name", "t", "--no-sync", timeout=60), 20)


class Squashfs(Growth):
    def measured(self, make, *options):
        def measure(n):
            path = self.path("squashfs")
            subprocess.run(["sqfstar", "-quiet", "-no-progress", "-processors", "1", *options, path], input=tar(make(n)), check=True,
                           stdout=subprocess.DEVNULL)
            varve = self.new_varve()
            took = self.cpu("import", path, "local/i:1", varve=varve)
            took += self.cpu("plan", "--json", "local/i:1", varve=varve)
            return took + self.cpu("export", "local/i:1", "-o", varve.home / "out.tar", varve=varve)
        return measure

    def test_directories(self):
        self.bounded(self.measured(lambda n: (head(b"d%x/a/b" % k, DIR) for k in range(n))), 10_000)

    def test_one_directory(self):
        self.bounded(self.measured(lambda n: (head(b"d/%032x" % k) for k in range(n))), 30_000)

    def test_fragments(self):
        """Tail ends, which share blocks; read in another order than they lie in."""
        def make(n):
            for k in range(n):
                yield head(b"d%d/%06x" % (k % 7, n - k), size=512) + b"%08x" % k * 64
        self.bounded(self.measured(make), 15_000)

    def test_xattrs_and_links(self):
        def make(n):
            for k in range(n):
                yield pax(record(b"SCHILY.xattr.user.a", b"%d" % k)) + head(b"d/%x" % k) + head(b"l/%x" % k, LNK, b"d/%x" % k)
        self.bounded(self.measured(make), 8000)


class Archives(Growth):
    def archive(self, members):
        path = self.path("archive")
        members = sorted(members, key=lambda member: member[0] != "manifest.json")  # that it is no rootfs is seen early
        path.write_bytes(tar(head(name.encode(), size=len(data)) + data + b"\0" * (-len(data) % 512) for name, data in members))
        return path

    def imported(self, make, status=0):
        def measure(n):
            return self.cpu("import", self.archive(make(n)), varve=self.new_varve(), status=status)
        return measure

    @staticmethod
    def config(layers, **more):
        return json.dumps({"architecture": "amd64", "os": "linux", **more,
                           "rootfs": {"type": "layers", "diff_ids": [digest_of(x) for x in layers]}}).encode()

    def test_members(self):
        def make(n):
            layer = tar([head(b"x")])
            yield from ((f"d/{k}", b"") for k in range(n))
            yield from (("l.tar", layer), ("c.json", self.config([layer])))
            yield "manifest.json", json.dumps([{"Config": "c.json", "RepoTags": ["a/b:1"], "Layers": ["l.tar"]}]).encode()
        self.bounded(self.imported(make), 60_000)

    def test_images_of_one_layer(self):
        """A docker-archive names one layer for each of many images: it is hashed once, not for each."""
        def make(n):
            layer = head(b"x", size=n << 16) + b"x" * (n << 16) + END
            yield "l.tar", layer
            for k in range(n):
                yield f"c{k}.json", self.config([layer], n=k)
            yield "manifest.json", json.dumps([{"Config": f"c{k}.json", "RepoTags": [f"a/b:{k}"], "Layers": ["l.tar"]} for k in range(n)]).encode()
        self.bounded(self.imported(make), 100)

    def test_layers_of_one_file(self):
        def make(n):
            layer = head(b"x", size=n << 15) + b"x" * (n << 15) + END
            yield from (("l.tar", layer), ("c.json", self.config([layer] * n)))
            yield "manifest.json", json.dumps([{"Config": "c.json", "RepoTags": ["a/b:1"], "Layers": ["l.tar"] * n}]).encode()
        self.bounded(self.imported(make), 200)

    def test_names_of_one_image(self):
        def make(n):
            layer = tar([head(b"x")])
            yield from (("l.tar", layer), ("c.json", self.config([layer])))
            yield "manifest.json", json.dumps([{"Config": "c.json", "Layers": ["l.tar"], "RepoTags": [f"a/b:{k}" for k in range(n)]}]).encode()
        self.bounded(self.imported(make), 40_000)

    def layout_members(self, names, layer, n_layers=1):
        config = self.config([layer] * n_layers)
        layers = [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}] * n_layers
        manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers, "config": {
            "mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)}}).encode()
        entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
        yield "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
        yield from (("blobs/sha256/" + digest_of(x)[7:], x) for x in (layer, config, manifest))
        yield "index.json", json.dumps({"schemaVersion": 2, "manifests": [
            dict(entry, annotations={"org.opencontainers.image.ref.name": name}) for name in names]}).encode()

    def test_entries_of_a_layout(self):
        def measure(n):
            path = self.archive(self.layout_members((f"a/b:{k}" for k in range(n)), tar([head(b"x")])))
            return self.cpu("import", "--path", "a/b:1", path, varve=self.new_varve())
        self.bounded(measure, 5000)
        path = self.archive(self.layout_members((f"a/b:{k}" for k in range(100_000)), tar([head(b"x")])))
        self.assertLess(self.cpu("import", "--path", "a/b:1", path, status=4), 10)

    def test_documents_of_a_layout(self):
        """All of its names mean one image of many layers: it is read once."""
        def make(n):
            return self.layout_members((f"a/b:{k}" for k in range(n)), tar([head(b"x")]), n)
        self.bounded(self.imported(make), 150)

    def listed(self, entries, blobs=()):
        yield "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
        yield from (("blobs/sha256/" + digest_of(x)[7:], x) for x in blobs)
        yield "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode()

    def test_platforms_without_names(self):
        """Each entry of index.json is of another platform, and none has a name."""
        def make(n):
            return self.listed([{"mediaType": OCI_MANIFEST, "digest": digest_of(b"%d" % k), "size": 2,
                                 "platform": {"os": "linux", "architecture": f"a{k}"}} for k in range(n)])
        self.bounded(self.imported(make, status=(1, 3)), 4900)

    def test_children_that_are_listed_too(self):
        """An index and index.json name one and the same manifest again and again."""
        def make(n):
            entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"x"), "size": 1}
            index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] * n}).encode()
            return self.listed([entry] * n + [{"mediaType": OCI_INDEX, "digest": digest_of(index), "size": len(index)}], [index])
        self.bounded(self.imported(make, status=(1, 3)), 4900)

    def test_platforms_that_do_not_fit(self):
        def measure(n):
            layout = self.layout()
            entry = layout.manifest([Tar().file("x")])
            layout.index("i", [(("linux", f"a{k}", ""), entry) for k in range(n)])
            return self.cpu("import", layout.path, "a/b:1", varve=self.new_varve(), status=3)
        self.bounded(measure, 5000)

    def test_iso(self):
        """Many directories and files; only directories are read."""
        def measure(n):
            source, path = self.path("tree"), self.path("iso")
            for k in range(n // 10):
                (source / f"d{k}").mkdir(parents=True)
                for i in range(10):
                    (source / f"d{k}/f{i}").touch()
            subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", path, source], check=True, stderr=subprocess.DEVNULL)
            return self.cpu("import", path, "local/i:1", varve=self.new_varve(), status=3)
        self.bounded(measure, 3000)

    def test_iso_of_one_directory(self):
        """Its records all name one and the same large directory, which has nothing in it."""
        def measure(n):
            sector, size = 2048, (n + 39) // 40 * 2048
            def number(v):
                return struct.pack("<I", v) + struct.pack(">I", v)
            def entry(name, at, length):
                body = b"\0" + number(at) + number(length) + b"\0" * 7 + b"\2" + b"\0" * 6 + bytes([len(name)]) + name
                body += b"\0" * ((len(body) + 1) % 2)
                return bytes([len(body) + 1]) + body
            root = b"".join(b"".join(entry(b"D%05d" % k, 20 + size // sector, n << 11) for k in range(first, min(first + 40, n))).ljust(sector, b"\0")
                            for first in range(0, n, 40))
            volume = (b"\1CD001\1\0" + b"\0" * 148 + entry(b"\0", 20, size)).ljust(sector, b"\0")
            path = self.path("iso")
            path.write_bytes(b"\0" * 16 * sector + volume + (b"\xffCD001\1".ljust(sector, b"\0")) * 3 + root + b"\0" * (n << 11))
            return self.cpu("import", path, "local/i:1", varve=self.new_varve(), status=(3, 4))
        self.bounded(measure, 1000)


class Documents(Growth):
    """JSON and lists of the user's or of a registry."""

    def import_config(self, make, status=0):
        def measure(n):
            varve, layout = self.new_varve(), self.layout()
            layout.image("i", [Tar().file("x")], config=make(n))
            took = self.cpu("import", layout.path, "a/b:1", varve=varve, status=status)
            if status == 0:
                took += self.cpu("inspect", "--json", "a/b:1", varve=varve)
            return took
        return measure

    def test_members_of_an_object(self):
        self.bounded(self.import_config(lambda n: {"config": {"Labels": {f"k{k}": "" for k in range(n)}}}), 100_000)

    def test_nested(self):
        def deep(n):
            value = {}
            for _ in range(50):
                value = {"a": value, "b": [value.copy() if len(str(value)) < 100 else 0]}
            return {"x": [value] * (n // 50)}
        self.bounded(self.import_config(deep), 60_000)

    def test_history(self):
        self.bounded(self.import_config(lambda n: {"history": [{"created_by": f"{k}", "empty_layer": True} for k in range(n)]}), 30_000)

    def raw(self, text):
        """A configuration as the bytes say."""
        path = self.path("config")
        path.write_text(text)
        return path

    def test_configuration(self):
        for make in (lambda n: {"registries": {f"h{k}.example": {"insecure": True} for k in range(n)}},
                     lambda n: {"registries": {f"*.h{k}.example": {"insecure": True} for k in range(n)}},
                     lambda n: {"registries": {"docker.io": {"mirrors": [{"url": f"http://h{k}"} for k in range(n)]}}},
                     lambda n: {"insecure": [f"h{k}" for k in range(n)]}, lambda n: {f"k{k}": 0 for k in range(n)}):
            def measure(n):
                path = self.raw(json.dumps(make(n)))
                return sum(self.cpu("--config", path, *command, status=None) for command in (("config",), ("--offline", "pull", "a.b.c.d.e.f/x:1")))
            self.bounded(measure, 5000)

    def test_keys_that_come_twice(self):
        def measure(n):
            path = self.raw('{"registries": {' + ", ".join(f'"k{k % (n - 1)}": {{}}' for k in range(n)) + "}}")
            return self.cpu("--config", path, "config", status=2)
        self.bounded(measure, 10_000)

    def test_text_of_brackets(self):
        def measure(n):
            return self.cpu("--config", self.raw('{"a":' * n), "config", status=2)
        self.bounded(measure, 100_000)

    def test_globs(self):
        """A pattern that can be taken apart in many ways."""
        varve, _ = self.image([Tar().file("x")], "local/" + "a" * 200 + ":1")
        for stars in (8, 100):
            glob = "*a" * stars + "*b"
            self.assertLess(self.cpu("list", glob, varve=varve, status=None, timeout=20), 2)
            self.assertLess(self.cpu("gc", "-n", "--older-than", "0s", "--keep", glob, varve=varve, timeout=20), 2)

    def test_empty_layers(self):
        """As many as an image may have, and one more."""
        def measure(n):
            varve, took = self.image([END] * n)
            return took + self.cpu("plan", "local/i:1", varve=varve) + self.cpu("inspect", "local/i:1", varve=varve)
        self.bounded(measure, 450)
        layout = self.layout()
        layout.image("i", [END] * 5000)
        self.varve.run("import", layout.path, "local/i:1", status=4)

    def test_names_of_others(self):
        """The store's index.json has entries of other tools."""
        def measure(n):
            varve, _ = self.image([Tar().file("x")])
            path = varve.store / "index.json"
            index = json.loads(path.read_text())
            (entry,) = index["manifests"]
            index["manifests"] += [{"mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
                                    "annotations": {"org.opencontainers.image.ref.name": f"n{k}"}} for k in range(n)]
            path.write_text(json.dumps(index))
            return sum(self.cpu(*command, varve=varve) for command in (
                ("tag", "local/i:1", "local/j:1"), ("list",), ("gc",), ("check",), ("tag", "local/i:1", "local/k:1")))
        self.bounded(measure, 50_000)

    def test_digests_of_the_other_side(self):
        def measure(n):
            varve, _ = self.image([Tar().file("x")])
            path = self.path("have")
            path.write_text("".join(f"sha256:{hashlib.sha256(b'%d' % k).hexdigest()}\n" for k in range(n)))
            return self.cpu("export", "--have", path, "local/i:1", "-o", self.path("out").with_suffix(".oci.tar"), varve=varve)
        self.bounded(measure, 60_000)

    def test_authfile(self):
        def measure(n):
            path = self.path("auth")
            path.write_text(json.dumps({"auths": {f"h{k}.example/a": {"auth": "YTpi"} for k in range(n)}}))
            return self.cpu("pull", "127.0.0.1:1/a/b/c:1", status=5, env={"REGISTRY_AUTH_FILE": path})
        self.bounded(measure, 8000)


class Trees(Growth):
    def people(self, passwd, group="root:x:0:\n", shadow=None):
        path = self.path("i.tar")
        t = Tar().file("etc/passwd", passwd).file("etc/group", group)
        path.write_bytes((t.file("etc/shadow", shadow) if shadow else t).bytes())
        return path

    def source(self):
        for name, line in (("passwd", "ann:x:1000:1000::/home/ann:/bin/sh"), ("group", "ann:x:1000:"), ("shadow", "ann:$6$x:::::::")):
            path = self.dir / "from/etc" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(line + "\n")
        return "--user", "ann", "--user-from", self.dir / "from", "--no-hooks", "--no-sync"

    def test_passwd_that_takes_every_id(self):
        """The file is read once to find a free id, not once for each."""
        command = ("--name", "t", *self.source())
        passwd = "a:b:c\n" * 300_000 + "".join(f"u{i}:x:{i}:{i}\n" for i in range(1000, 60_000))
        path = self.people(passwd + "last:x:60000:60000\n")
        self.assertIn("no id is free", self.varve.run("install", path, *command, status=None, timeout=20).err)
        path = self.people(passwd.replace("u59999:x:59999:", "u:x:9:"))
        self.varve.run("install", path, *command, timeout=20)
        self.assertIn("ann:x:59999:1000:", (self.varve.roots / "rootfs_t/etc/passwd").read_text())

    def test_lines_of_the_users_files(self):
        command = self.source()
        for passwd, group, shadow in ((lambda n: "".join(f"u{k}:x:{1000 + k}:{k}::/:/bin/sh\n" for k in range(n)), None, None),
                                      (lambda n: "ann:x:1000:1000::/:/bin/sh\n" * n, lambda n: "ann:x:1000:\n" * n, lambda n: "ann:*:::::::\n" * n),
                                      (lambda n: "", lambda n: "".join(f"g{k}:x:{1000 + k}:{'ann,' * 3}ann\n" for k in range(n)), None),
                                      (lambda n: "", lambda n: "wheel:x:10:" + ",".join(f"m{k}" for k in range(n)) + "\n", None),
                                      (lambda n: "x" * n, lambda n: ":" * n, lambda n: "\n" * n)):
            def measure(n):
                varve = self.new_varve()
                path = self.people(passwd(n), group(n) if group else "root:x:0:\n", shadow(n) if shadow else None)
                return self.cpu("install", path, "--name", "t", *command, varve=varve, status=None)
            self.bounded(measure, 50_000)

    def test_files(self):
        """Installed, compared, removed."""
        def measure(n):
            varve, _ = self.image([tar(head(b"d%x/%x" % (k % 10, k)) for k in range(n))])
            varve.roots = self.tmpfs("64m") / "roots"
            return sum(self.cpu(*command, varve=varve) for command in (
                ("install", "local/i:1", "--name", "t", "--no-sync"), ("diff", "t"), ("remove", "--installed", "t")))
        self.bounded(measure, 5000)

    def test_records_of_installs(self):
        """Many trees in one roots directory; their records, and the file for a rebuild."""
        def measure(n):
            varve, _ = self.image([Tar().file("x")])
            varve.run("install", "local/i:1", "--name", "t0", "--no-sync")
            path = varve.store / "installs.json"
            document = json.loads(path.read_text())
            (name, (first,)), = [(k, v) for k, v in document.items() if isinstance(v, list)]
            made = []
            for k in range(n):
                shutil.copytree(varve.roots / "rootfs_t0", varve.roots / f"rootfs_t{k + 1}")
                made.append(json.loads(json.dumps(first).replace("rootfs_t0", f"rootfs_t{k + 1}").replace('"t0"', f'"t{k + 1}"')))
            document[name] += made
            path.write_text(json.dumps(document))
            took = self.cpu("check", "--rebuild", varve=varve, status=None)
            took += sum(self.cpu(*command, varve=varve, status=None) for command in (("list", "--installed"), ("switch",), ("gc",)))
            shutil.rmtree(varve.home)
            return took
        self.bounded(measure, 500)

