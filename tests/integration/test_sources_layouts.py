# SPDX-License-Identifier: Apache-2.0
"""import: layouts that list more than one image, things that are no image, and sizes that are wrong."""

import json
import shutil
import unittest

from support import Case, Tar, oracle
from support.image import OCI_INDEX, OCI_MANIFEST

LAYER = Tar().file("f", "f")
EMPTY = "application/vnd.oci.empty.v1+json"


class Layouts(Case):
    def setUp(self):
        super().setUp()
        self.lay = self.layout()

    def write(self, *entries):
        """index.json with these entries: (descriptor, name or None, platform or None)."""
        out = []
        for descriptor, name, *platform in entries:
            descriptor = dict(descriptor)
            if name:
                descriptor["annotations"] = {"org.opencontainers.image.ref.name": name}
            if platform and platform[0]:
                descriptor["platform"] = dict(zip(("os", "architecture", "variant"), platform[0].split("/")))
            out.append(descriptor)
        (self.lay.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": out}))

    def image(self, text, arch="amd64", **kw):
        return self.lay.manifest([Tar().file("arch", text)], platform=("linux", arch, ""), **kw)

    def list(self, *entries, **more):
        return self.lay.blob(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}).encode(), OCI_INDEX)

    def artifact(self, config, layers=("text/plain",), **more):
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.lay.blob(b"{}", config),
                "layers": [self.lay.blob(f"x{i}".encode(), t) for i, t in enumerate(layers)], **more}
        return self.lay.blob(json.dumps(body).encode(), OCI_MANIFEST)

    def take(self, *args, status=0):
        """What an import makes: [(name, manifest)]."""
        got = self.varve.json("import", self.lay.path, "--platform", "linux/amd64", *args, status=status)
        return [(i["reference"], i["manifest"]) for i in got["images"]]

    def arch(self, name):
        self.varve.run("install", "-f", "--no-keep", "-n", "t", name)
        return (self.varve.roots / "rootfs_t/arch").read_text()

    # --- more than one thing ---

    def test_children_of_a_listed_index(self):
        """As oras cp writes them."""
        amd, arm = self.image("amd64"), self.image("arm64", "arm64")
        both = self.list(dict(amd, platform={"os": "linux", "architecture": "amd64"}), dict(arm, platform={"os": "linux", "architecture": "arm64"}))
        for entries in ([(arm, None), (amd, None), (both, "v1")], [(both, "v1"), (amd, None, "linux/amd64"), (arm, None, "linux/arm64/v8")]):
            self.write(*entries)
            self.assertEqual(self.take("team/app:v1"), [("docker.io/team/app:v1", amd["digest"])])
            self.assertEqual(self.arch("team/app:v1"), "amd64")
        self.assertIn("listed, too", self.varve.run("-v", "import", self.lay.path, "team/app:v1").err)
        # A child with a name of its own is an image of its own.
        self.write((arm, "v1-arm64"), (both, "v1"))
        self.assertEqual({m for _, m in self.take()}, {amd["digest"], arm["digest"]})

    def test_one_name_for_several_platforms(self):
        amd, arm = self.image("amd64"), self.image("arm64", "arm64")
        for said in (True, False):
            for order in ((amd, arm), (arm, amd)):
                self.write(*((d, "v1", ("linux/amd64" if d is amd else "linux/arm64/v8") if said else None) for d in order))
                self.assertEqual([m for _, m in self.take()], [amd["digest"]])
                self.assertEqual([m for _, m in self.take("--platform", "linux/arm64")], [arm["digest"]])
                self.assertEqual([m for _, m in self.take("--path", "v1")], [amd["digest"]])
        self.assertIn("linux/arm64", self.varve.run("-v", "import", self.lay.path, "--platform", "linux/amd64").err)
        err = self.varve.run("import", self.lay.path, "--platform", "linux/s390x", status=3).err
        self.assertIn("linux/arm64", err)
        # The same without a name.
        self.write((arm, None), (amd, None))
        self.assertEqual([m for _, m in self.take("x:1")], [amd["digest"]])

    def test_one_name_twice(self):
        one, two = self.image("one"), self.image("two")
        self.write((one, "v1"), (two, "v1"))
        run = self.varve.run("import", self.lay.path, "x:1")
        self.assertIn("lists v1 2 times", run.err)
        self.assertEqual(self.arch("x:1"), "two")

    def test_what_is_no_image_is_left_out(self):
        image = self.image("amd64")
        sign = self.artifact("application/vnd.oci.image.config.v1+json", ["application/vnd.dev.cosign.simplesigning.v1+json"])
        others = [
            (sign, "sha256-" + image["digest"][7:] + ".sig"),
            (sign, None),
            (self.artifact(EMPTY, artifactType="application/spdx+json", subject=image), None),
            (self.artifact(EMPTY, ["application/vnd.in-toto+json"]), "att"),
            (self.lay.manifest([LAYER], extra={"subject": image}), None),
            (self.list(dict(sign, artifactType="application/x.sbom")), "sha256-" + image["digest"][7:]),
            (self.list(dict(sign, artifactType="application/x.sbom")), None),
            (self.artifact("application/vnd.cncf.helm.config.v1+json", ["application/vnd.cncf.helm.chart.content.v1.tar+gzip"]), "chart"),
            (dict(self.lay.blob(b"blob", "application/x-thing")), "thing"),
            (dict(image, digest="sha999:abc"), None),
        ]
        self.write(*others, (image, "v1"))
        self.assertEqual(self.take("x:1"), [("docker.io/library/x:1", image["digest"])])
        said = self.varve.run("-v", "import", self.lay.path, "x:2").err
        for word in ("signature", "SPDX", "attestation", "Helm chart", "belongs to another", "application/x-thing", "list without an image"):
            self.assertIn(word, said)
        # Nothing else is there: it is said what there is.
        self.write(*others)
        err = self.new_varve().run("import", self.lay.path, status=1).err
        self.assertIn("without an image of a root filesystem", err)
        self.assertIn("chart (a Helm chart (application/vnd.cncf.helm.config.v1+json))", err)

    def test_an_index_that_says_what_it_is_for(self):
        """artifactType in an index and in its entry do not make its image none."""
        image = self.image("amd64")
        inner = self.list(dict(image, platform={"os": "linux", "architecture": "amd64"}), artifactType="application/x.release")
        self.write((dict(inner, artifactType="application/x.release"), "v1"))
        self.assertEqual([m for _, m in self.take()], [image["digest"]])
        outer = self.list(dict(inner, artifactType="application/x.release"))
        self.write((outer, "v1"))
        self.assertEqual([m for _, m in self.take()], [image["digest"]])

    # --- what cannot be a tree ---

    def test_named_as_what_it_is(self):
        tar = "application/vnd.oci.image.layer.v1.tar"
        cases = {
            "layer 1 of 1 is encrypted": self.lay.manifest([LAYER], media=[tar + "+gzip+encrypted"]),
            "layer 2 of 2 is encrypted": self.lay.manifest([LAYER, LAYER], media=[tar + "+gzip", tar + "+encrypted"]),
            "a WebAssembly module": self.artifact("application/vnd.wasm.config.v0+json", ["application/wasm"]),
            "a Helm chart": self.artifact("application/vnd.cncf.helm.config.v1+json", ["application/vnd.cncf.helm.chart.content.v1.tar+gzip"]),
            "layer 1 of 1 is of the type application/vnd.stacker.image.layer.erofs": self.lay.manifest(
                [LAYER], media=["application/vnd.stacker.image.layer.erofs"]),
            "an artifact of the type application/vnd.example+type": self.artifact(EMPTY, artifactType="application/vnd.example+type"),
        }
        registry = self.registry()
        for i, (says, descriptor) in enumerate(cases.items()):
            with self.subTest(says):
                self.write((descriptor, "thing"))
                # Stored and handed on as it is; only a tree cannot be made.
                self.varve.run("import", "--path", "thing", self.lay.path, f"thing:{i}")
                self.assertIn(says, self.varve.run("install", f"thing:{i}", status=1).err)
                self.assertIn(says, self.varve.run("install", "--path", "thing", self.lay.path, "-n", "t", status=1).err)
                out = self.path("out")
                self.varve.run("export", f"thing:{i}", "-o", out, "--format", "oci")
                for blob in (self.lay.path / "blobs/sha256").iterdir():
                    if (out / "blobs/sha256" / blob.name).exists():
                        self.assertEqual(blob.read_bytes(), (out / "blobs/sha256" / blob.name).read_bytes())
                self.assertTrue((out / "blobs/sha256" / descriptor["digest"][7:]).exists())
                reference = f"{registry.host}:{registry.port}/t/thing:{i}"
                self.varve.run("push", f"thing:{i}", reference)
                self.assertIn(says, self.new_varve().run("pull", reference, status=1).err)
        self.assertCleanStore(None, "--read-data")

    # --- sizes ---

    def wrong(self, where):
        """An image with a size that is wrong: of config, layer, manifest or entry of an index."""
        good = self.image("amd64")
        if where == "entry":
            return dict(good, size=good["size"] + 1), good
        if where == "nested":
            return self.list(dict(good, size=good["size"] + 1, platform={"os": "linux", "architecture": "amd64"})), good
        body = json.loads(self.lay.read(good))
        (body["config"] if where == "config" else body["layers"][0])["size"] += 1
        return self.lay.blob(json.dumps(body).encode(), OCI_MANIFEST), good

    def test_wrong_sizes_are_refused(self):
        for where in ("config", "layer", "entry", "nested"):
            with self.subTest(where):
                descriptor, good = self.wrong(where)
                self.write((descriptor, "v1"))
                varve = self.new_varve()
                self.assertIn("bytes, not", varve.run("import", self.lay.path, "x:1", status=4).err)
                self.assertNothingLeft(varve)
                # Also where the blobs are there already.
                self.write((good, "v1"))
                varve.run("import", self.lay.path, "x:1")
                self.write((descriptor, "v1"))
                self.assertIn("bytes, not", varve.run("import", self.lay.path, "x:2", status=4).err)

    def test_wrong_sizes_in_a_store(self):
        """check finds what an earlier version took, and push does not publish it."""
        registry = self.registry()
        for where in ("config", "layer", "nested"):
            with self.subTest(where):
                descriptor, good = self.wrong(where)
                self.write((good, "v1"))
                varve = self.new_varve()
                varve.run("import", self.lay.path, "x:1")
                index = json.loads((varve.store / "index.json").read_text())
                entry = index["manifests"][0]
                if where == "nested":
                    entry["annotations"]["dev.varve.target"] = descriptor["digest"]
                else:
                    entry.update({k: descriptor[k] for k in ("digest", "size")})
                del entry["platform"]
                # Nothing but the layout that a store is, as it would be after a backup.
                shutil.rmtree(varve.store)
                shutil.copytree(self.lay.path, varve.store)
                (varve.store / "index.json").write_text(json.dumps(index))
                varve.run("check", "--rebuild", status=None)
                found = varve.run("check", "--read-data", status=4)
                self.assertRegex(found.out + found.err, r"bytes, and it has \d+")
                reference = f"{registry.host}:{registry.port}/t/x:{where}"
                said = varve.run("push", *(["--all"] if where == "nested" else []), "x:1", reference, status=4).err
                self.assertIn("nobody could pull it", said)
                self.new_varve().run("pull", reference, status=3)

    def test_another_tool_agrees(self):
        """What is taken, skopeo takes."""
        self.write((self.image("amd64"), "v1"))
        self.varve.run("import", self.lay.path, "x:1")
        self.varve.run("export", "x:1", "-o", self.dir / "out", "--format", "oci")
        oracle.skopeo_copy(f"oci:{self.dir}/out", f"dir:{self.dir}/copied")


if __name__ == "__main__":
    unittest.main()
