# SPDX-License-Identifier: Apache-2.0
"""Small file systems that fill up at every stage, few inodes, quotas of the process: status 7, nothing lost."""

import hashlib
import json
import os
import resource
import subprocess

from faults import FaultCase
from support import Tar, need_root

KIB, MIB = 1 << 10, 1 << 20


def many_images(store, count):
    """Tiny images, as another tool would put them into the layout."""
    names = json.loads((store / "index.json").read_text())

    def put(data, media):
        digest = hashlib.sha256(data).hexdigest()
        (store / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media}", "digest": "sha256:" + digest, "size": len(data)}

    for i in range(count):
        layers = [put(Tar().file(f"f{i}-{k}", f"{i}").bytes(), "layer.v1.tar") for k in range(6)]
        config = put(json.dumps({"architecture": "amd64", "os": "linux", "n": i, "rootfs": {
            "type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}).encode(), "config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
        names["manifests"].append(dict(put(json.dumps(manifest).encode(), "manifest.v1+json"),
                                       annotations={"org.opencontainers.image.ref.name": f"localhost/many/i{i}:1"}))
    (store / "index.json").write_text(json.dumps(names))


class DiskFull(FaultCase):
    def setUp(self):
        super().setUp()
        need_root()
        layout = self.layout()
        layers = [Tar().dir(f"d{i}").file(f"d{i}/noise", os.urandom(300 * KIB)).file(f"d{i}/zero", b"\0" * MIB) for i in range(3)]
        layout.image("image", layers)
        self.server = self.registry()
        self.ref = self.server.push(layout, "image", "team/app", "1")

    def on(self, point, roots=None):
        varve = self.new_varve()
        varve.store = point / "store"
        varve.roots = roots or point / "roots"
        return varve

    def assertSaysFull(self, result):
        self.assertEqual(result.status, 7, str(result))
        self.assertRegex(result.err, "space|needs .* available")

    def test_every_size_of_store(self):
        """A tmpfs that grows: pull fails with status 7 until it is large enough, and needs no repair in between."""
        point = self.tmpfs(256 * KIB)
        varve = self.on(point, self.dir / "roots")
        statuses = []
        for size in range(256 * KIB, 4 * MIB, 64 * KIB):
            subprocess.run(["mount", "-o", f"remount,size={size}", point], check=True)
            result = varve.run("pull", self.ref, status=(0, 7))
            statuses.append(result.status)
            if result.status == 0:
                break
            self.assertSaysFull(result)
            if (varve.store / "VERSION").exists():
                varve.run("check")
        self.assertEqual(statuses[-1], 0, "never large enough")
        self.assertGreater(len(statuses), 3, "never full: the test tests nothing")
        varve.run("check", "--read-data")
        subprocess.run(["mount", "-o", f"remount,size={8 * MIB}", point], check=True)
        varve.run("--offline", "install", self.ref)

    def test_fresh_store_of_every_size(self):
        for size in range(64 * KIB, 3 * MIB, 192 * KIB):
            point = self.tmpfs(size)
            varve = self.on(point, self.dir / f"roots{size}")
            result = varve.run("pull", self.ref, status=(0, 7))
            subprocess.run(["mount", "-o", "remount,size=64m", point], check=True)
            varve.run("pull", self.ref)
            varve.run("check", "--read-data")
            self.assertIn(result.status, (0, 7))

    def test_ext4(self):
        """A real file system with a journal and reserved blocks; store and trees on one."""
        point = self.loop(6 * MIB)
        filler = point / "filler"
        for free in (100 * KIB, 400 * KIB, 800 * KIB, 1500 * KIB, 3 * MIB):
            varve = self.on(point)
            self.fill(filler, point, free)
            result = varve.run("install", self.ref, status=(0, 7))
            if result.status:
                self.assertSaysFull(result)
                self.assertFalse(varve.tree(self.ref).exists())
            filler.unlink()
            if (varve.store / "VERSION").exists():
                varve.run("check", "--read-data")
            varve.run("pull", self.ref)
            varve.run("check", "--read-data")
            subprocess.run(["rm", "-rf", point / "store", point / "roots"], check=True)

    def fill(self, path, point, free):
        st = os.statvfs(point)
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, st.f_bavail * st.f_frsize - free))

    def test_install_says_what_it_needs_before_it_writes(self):
        point = self.tmpfs(2 * MIB)
        varve = self.on(self.dir / "big", point / "roots")
        result = varve.run("install", self.ref, status=7)
        self.assertSaysFull(result)
        self.assertRegex(result.err, r"\d")
        left = sum(f.stat().st_blocks for f in point.rglob("*") if f.is_file())
        self.assertEqual(left, 0, "something was written before the space was counted")
        subprocess.run(["mount", "-o", "remount,size=16m", point], check=True)
        varve.run("--offline", "install", self.ref)

    def test_pull_says_what_it_needs_before_it_fetches(self):
        """Each layer has room and all three have not: no blob is asked for, and what is there already is not counted."""
        point = self.tmpfs(2 * MIB)
        varve = self.on(point, self.dir / "roots")
        filler = point / "filler"
        self.fill(filler, point, 700 * KIB)
        result = varve.run("pull", self.ref, status=7)
        self.assertRegex(result.err, r"not enough space: 9\d\d\.\d KiB more have to be downloaded")
        self.assertEqual(self.server.requests("GET", "/blobs/"), [])
        filler.unlink()
        varve.run("pull", self.ref)
        self.fill(filler, point, 500 * KIB)
        self.varve.run("pull", self.ref)
        digest = json.loads(self.varve.run("inspect", "--raw", "manifest", self.ref).out)["layers"][1]["digest"]
        varve.blob(digest).unlink()
        varve.run("pull", self.ref)  # one layer is missing: it has room
        varve.run("check", "--read-data")

    def test_too_few_inodes(self):
        layout = self.layout()
        tar = Tar()
        for i in range(300):
            tar.file(f"f{i}", "x")
        layout.image("many", [tar])
        ref = self.server.push(layout, "many", "team/many", "1")
        point = self.tmpfs(16 * MIB, inodes=200)
        varve = self.on(self.dir / "big", point / "roots")
        result = varve.run("install", ref, status=7)
        self.assertIn("inode", result.err)
        subprocess.run(["mount", "-o", "remount,nr_inodes=2000", point], check=True)
        varve.run("--offline", "install", ref)

    def test_gc_on_a_full_disk(self):
        for mkfs in (None, ("mkfs.ext4", "-q", "-F")):
            point = self.loop(8 * MIB, mkfs) if mkfs else self.tmpfs(6 * MIB)
            varve = self.on(point, self.dir / f"roots{bool(mkfs)}")
            varve.run("pull", self.ref)
            varve.run("remove", self.ref)
            try:
                with open(point / "filler", "wb", buffering=0) as file:
                    while True:
                        file.write(b"x" * 4096)
            except OSError:
                pass
            varve.run("check")
            varve.run("gc")
            self.assertEqual(os.listdir(varve.store / "blobs/sha256"), [])
            varve.run("check", "--read-data")

    def test_gc_of_many_images_on_a_full_disk(self):
        """Thousands of records go: their transaction alone needs more room than the ballast gives."""
        point = self.tmpfs(220 * MIB, inodes=80_000)
        varve = self.on(point, self.dir / "roots-many")
        varve.run("pull", self.ref)
        many_images(varve.store, 2500)
        varve.run("check", "--rebuild")
        varve.run("gc")  # the database before the rebuild would make room
        # One image in ten stays, so that hardly a page of the database becomes free as a whole.
        for keep, left in ((["--keep", "localhost/many/i*0:1"], 250), ([], 0)):
            try:
                with open(point / "filler", "wb", buffering=0) as file:
                    while True:
                        file.write(b"x" * 4096)
            except OSError:
                pass
            varve.run("gc", "--max-size", "1", *keep, status=3 if keep else 0)
            self.assertEqual(len(os.listdir(varve.store / "blobs/sha256")), left * 8)
            self.assertEqual(os.listdir(varve.store / "trash"), [])
            (point / "filler").unlink()
            varve.run("check", "--read-data")

    def test_file_size_limit(self):
        """ulimit -f: EFBIG is reported, SIGXFSZ does not kill."""
        varve = self.new_varve()
        process = varve.popen("pull", self.ref, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100 * KIB, 100 * KIB)))
        _, err = process.communicate(timeout=60)
        self.assertIn(process.returncode, (1, 7), err.decode())
        self.assertIn(b"varve: ", err)
        varve.run("pull", self.ref)
        varve.run("check", "--read-data")

    def test_partial_is_kept_for_resume(self):
        """What was downloaded before the disk was full is not downloaded again."""
        big = self.layout()
        layer = Tar().file("noise", os.urandom(3 * MIB))
        big.image("big", [layer])
        ref = self.server.push(big, "big", "team/big", "1")
        digest = json.loads(big.read(big.find("big")))["layers"][0]["digest"]
        point = self.tmpfs(2 * MIB)
        varve = self.on(point, self.dir / "roots")
        self.assertSaysFull(varve.run("pull", ref, status=7))
        subprocess.run(["mount", "-o", "remount,size=32m", point], check=True)
        varve.run("pull", ref)
        varve.run("check", "--read-data")
        self.assertTrue(varve.blob(digest).exists())
