# SPDX-License-Identifier: Apache-2.0
"""push: against docker-registry; other tools find the same digests."""

import json
import os
import unittest

from support import Case, Tar, digest_of, oracle, tree
from support.image import Layout


class Push(Case):
    def setUp(self):
        super().setUp()
        self.layout_ = self.layout()
        base = Tar().dir("etc", mtime=1).file("etc/a", os.urandom(200_000), mtime=2)
        upper = Tar().whiteout("etc/a").file("etc/b", "b" * 1000, mtime=3)
        self.image = self.layout_.image("one", [base, upper])
        self.manifest = json.loads(self.layout_.read(self.image))
        self.varve.run("import", self.layout_.path, "example.com/team/one:1")

    def blobs(self):
        return [self.manifest["config"]["digest"]] + [l["digest"] for l in self.manifest["layers"]]

    def test_same_digests(self):
        registry = self.registry()
        ref = f"{registry.address}/copy/one:2"
        out = self.varve.json("push", "example.com/team/one:1", ref)
        self.assertEqual(out["digest"], self.image["digest"])
        self.assertEqual((out["blobs"], out["blobs_uploaded"], out["blobs_present"]), (3, 3, 0))
        self.assertEqual(out["bytes_uploaded"], self.manifest["config"]["size"]
                         + sum(l["size"] for l in self.manifest["layers"]))
        raw = oracle.skopeo_inspect(f"docker://{ref}", "--raw")
        self.assertEqual(digest_of(raw.encode()), self.image["digest"])
        theirs = oracle.pull(ref, self.path("theirs"))
        self.varve.run("install", "example.com/team/one:1")
        self.assertSameTree(self.varve.tree("example.com/team/one:1"), theirs)

    def test_only_what_is_lacking(self):
        registry = self.registry()
        ref = f"{registry.address}/copy/one:2"
        self.varve.run("push", "example.com/team/one:1", ref)
        registry.forget_log()
        out = self.varve.json("push", "example.com/team/one:1", ref)
        self.assertEqual((out["blobs_uploaded"], out["blobs_present"], out["bytes_uploaded"]), (0, 3, 0))
        self.assertEqual(len(registry.requests("POST")), 0)
        # The manifest goes last, after every blob was asked for.
        lines = registry.requests()
        puts = [i for i, l in enumerate(lines) if "PUT" in str(l) and "manifests" in str(l)]
        self.assertEqual(len(puts), 1)
        self.assertTrue(all(i < puts[0] for i, l in enumerate(lines) if "/blobs/" in str(l)))

    def test_mount(self):
        """Pulled from one repository, pushed to another of the same registry: nothing is sent."""
        registry = self.registry()
        ref = registry.push(self.layout_, "one", "team/app", "1")
        self.varve.run("pull", ref)
        out = self.varve.json("push", ref, f"{registry.address}/team/other:1")
        self.assertEqual((out["blobs_mounted"], out["blobs_uploaded"], out["bytes_uploaded"]), (3, 0, 0))
        oracle.skopeo_inspect(f"docker://{registry.address}/team/other:1")

    def test_to_a_digest_and_pull_back(self):
        registry = self.registry()
        self.varve.run("push", "example.com/team/one:1", f"{registry.address}/x/y:latest")
        other = self.new_varve()
        other.run("pull", f"{registry.address}/x/y@{self.image['digest']}")
        self.assertCleanStore(other)

    def test_index(self):
        registry = self.registry()
        layout = self.layout()
        arm = layout.manifest([Tar().file("arm", "1")], platform=("linux", "arm64", "v8"))
        amd = layout.manifest([Tar().file("amd", "1")])
        index = layout.index("both", [(("linux", "amd64", ""), amd), (("linux", "arm64", "v8"), arm)])
        ref = registry.push(layout, "both", "team/both", "1")
        self.varve.run("pull", ref)
        to = f"{registry.address}/copy/both:1"
        # Without the other platform the index cannot be sent.
        self.assertIn("pull that platform", self.varve.run("push", "--all", ref, to, status=1).err)
        self.varve.run("pull", "--platform", "linux/arm64", ref)
        out = self.varve.json("push", "--all", ref, to)
        self.assertEqual(out["digest"], index["digest"])
        raw = oracle.skopeo_inspect(f"docker://{to}", "--raw")
        self.assertEqual(digest_of(raw.encode()), index["digest"])
        out = self.varve.json("push", ref, f"{registry.address}/copy/one:1")
        self.assertEqual(out["digest"], amd["digest"])

    def test_rotten_blob(self):
        """A blob that has changed on disk: the registry refuses it, the tag does not appear."""
        registry = self.registry()
        blob = self.varve.blob(self.blobs()[1])
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.seek(100)
            file.write(b"rotten")
        result = self.varve.run("push", "example.com/team/one:1", f"{registry.address}/copy/one:2", status=(4, 5))
        self.assertIn(self.blobs()[1], result.err)
        self.varve.run("pull", f"{registry.address}/copy/one:2", status=3)

    def test_bad(self):
        self.varve.run("push", "nothing/here", "127.0.0.1:1/x", status=3)
        self.varve.run("push", "example.com/team/one:1", "127.0.0.1:1/x:1", status=5)
        self.varve.run("push", "example.com/team/one:1", "UPPER/x", status=(2, 5))
        self.varve.run("--offline", "push", "example.com/team/one:1", "127.0.0.1:1/x:1", status=5)


if __name__ == "__main__":
    unittest.main()
