# SPDX-License-Identifier: Apache-2.0
"""Limits (docs/varve-config.5.scd): each with a bomb that was made for it, and each that can be set, set."""

import gzip
import json
import shutil

from support import Case, Tar, layertext

MIB = 1 << 20


class Limits(Case):
    def config(self, **limits):
        path = self.path("config")
        path.write_text(json.dumps({"limits": limits}))
        return ("--config", path)

    def have(self, *layers, **kw):
        self.image = self.layout()
        self.image.image("i", [layertext.layer(x) if isinstance(x, str) else x for x in layers], **kw)
        return self.image.path

    def refused(self, word, *layers, options=(), **kw):
        """The import or the plan of it ends with status 4 and names the limit; nothing is left behind."""
        result = self.varve.run(*options, "import", self.have(*layers, **kw), "local/i:1", status=None)
        if result.status == 0:
            result = self.varve.run(*options, "install", "local/i:1", status=4)
        self.assertEqual(result.status, 4, result)
        self.assertIn(word, result.err)
        self.assertEqual(list(self.varve.roots.glob("*")), [])
        return result

    def taken(self, *layers, options=(), **kw):
        varve = self.new_varve()
        varve.run(*options, "import", self.have(*layers, **kw), "local/i:1")
        varve.run(*options, "install", "local/i:1", "--no-sync")

    def test_entries_of_a_layer(self):
        text = "; ".join(f"f f{i} x" for i in range(11))
        self.refused("limits.max_layer_entries", text, options=self.config(max_layer_entries=10))
        self.taken(text, options=self.config(max_layer_entries=11))

    def test_entries_of_an_image(self):
        layers = ["f a 1; f b 2", "f c 3; f a 4"]
        self.refused("limits.max_entries", *layers, options=self.config(max_entries=3))
        self.taken(*layers, options=self.config(max_entries=4))

    def test_size_of_a_layer(self):
        """While it is read, also if it says nothing in advance."""
        big = Tar().file("f", bytes(3 * MIB))
        self.refused("limits.max_layer_size", big, options=self.config(max_layer_size="2MiB"), compression="gzip")
        self.taken(big, options=self.config(max_layer_size="4MiB"), compression="gzip")

    def test_size_of_a_layer_that_is_pulled(self):
        self.have(Tar().file("f", bytes(3 * MIB)), compression="gzip")
        ref = self.registry().push(self.image, "i", "team/app", "1")
        result = self.varve.run(*self.config(max_layer_size="2MiB"), "install", ref, status=4)
        self.assertIn("limits.max_layer_size", result.err)
        self.assertEqual(list(self.varve.roots.glob("rootfs*")), [])
        self.varve.run("install", ref)
        # A layer that is stored already is judged by its table of contents.
        result = self.varve.run(*self.config(max_layer_size="2MiB"), "install", ref, "--name", "b", status=4)
        self.assertIn("limits.max_layer_size", result.err)

    def test_ratio(self):
        """1.2 GiB of zeros, compressed twice as far as the ratio allows."""
        member = gzip.compress(bytes(16 * MIB), 9)
        start = Tar().file("f", b"").bytes(end=False)[:512]
        size = 76 * 16 * MIB
        header = bytearray(start)
        header[124:136] = b"%011o\0" % size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        blob = gzip.compress(bytes(header)) + member * 76 + gzip.compress(bytes(1024))
        self.assertGreater((size - (1 << 30)) // len(blob), 100)
        path = self.path("bomb.tar.gz")
        path.write_bytes(blob)
        options = self.config(max_ratio=100)
        result = self.varve.run(*options, "import", path, "local/i:1", status=None)
        if result.status == 0:
            result = self.varve.run(*options, "plan", "local/i:1", status=4)
        self.assertEqual(result.status, 4, result)
        self.assertIn("limits.max_ratio", result.err)

    def test_target_of_a_symlink(self):
        self.taken(Tar().symlink("l", "t" * 4095))
        self.refused("symlink", Tar().symlink("l", "t" * 4096))

    def test_path(self):
        deep = "/".join(["d" * 100] * 20) + "/f"
        self.refused("limits.max_path", Tar().file(deep), options=self.config(max_path=1000))
        self.taken(Tar().file(deep), options=self.config(max_path=2100))
        self.refused("limits.max_path", Tar().file("/".join(["d" * 200] * 170)))

    def test_depth(self):
        self.refused("limits.max_depth", Tar().file("/".join("d" * 11)), options=self.config(max_depth=10))
        self.taken(Tar().file("/".join("d" * 10)), options=self.config(max_depth=10))
        self.refused("limits.max_depth", Tar().file("/".join("d" * 1100)))

    def test_link_work(self):
        many = Tar().symlink("s", "/".join(["d"] * 100)).dir("/".join(["d"] * 100))
        for k in range(100):
            many.file(f"s/{k}/f")
        self.refused("limits.max_link_work", many, options=self.config(max_link_work=1000))
        self.taken(many, options=self.config(max_link_work=100_000))

    def test_layers(self):
        self.refused("more than 1000", *["f f 1"] * 1001)

    def test_config_document(self):
        layout = self.layout()
        layout.image("i", [layertext.layer("f f 1")], config={"config": {"Labels": {"x": "y" * (5 * MIB)}}})
        result = self.varve.run("import", layout.path, "local/i:1", status=4)
        self.assertRegex(result.err, "limit|larger")

    def test_documents(self):
        """Counted as often as images name them; the same image under several names is read once."""
        layout = self.layout()
        for k in range(4):
            layout.image(f"a/b:{k}", [Tar().file("f")], annotations={"n": str(k), "text": "x" * 4000})
            layout.tag(f"a/c:{k}", layout.find("a/b:0"))
        result = self.varve.run(*self.config(max_documents="10KiB"), "import", layout.path, status=4)
        self.assertIn("limits.max_documents", result.err)
        self.new_varve().run(*self.config(max_documents="24KiB"), "import", layout.path)

    def test_configuration_is_checked(self):
        for limits, member in (({"max_depth": 0}, "limits.max_depth"), ({"max_path": 70000}, "limits.max_path"),
                               ({"max_layer_size": "much"}, "limits.max_layer_size"), ({"max_link_work": 0}, "limits.max_link_work"), ({"depth": 1}, "limits.depth")):
            result = self.varve.run(*self.config(**limits), "config", "check", status=None)
            self.assertNotEqual(result.status, 0)
            self.assertIn(member, result.out + result.err)
        self.varve.run(*self.config(max_layer_size="1TiB", max_ratio=10, max_entries=1), "config", "check")


class Cache(Case):
    def test_aux_removed(self):
        """What derives from layers may vanish at any time, with its directory (store-format)."""
        layout = self.layout()
        layout.image("i", [layertext.layer("f f 1")])
        self.varve.run("import", layout.path, "local/i:1")
        shutil.rmtree(self.varve.store / "aux")
        self.varve.run("install", "local/i:1")
        self.assertTrue(list((self.varve.store / "aux").rglob("*")))
        self.assertCleanStore()
