# SPDX-License-Identifier: Apache-2.0
"""Bits that flip, files that shrink or vanish: found, reported by name, repaired; nothing crashes, nothing wrong is used."""

import json
import os
import random
import shutil
import subprocess

from faults import FaultCase, small_layers
from support import Tar, binary, tree


class CorruptCase(FaultCase):
    def setUp(self):
        super().setUp()
        self.images = self.layout()
        base, upper = small_layers()
        self.images.image("one", [base, upper])
        self.images.image("two", [base, Tar().file("second", os.urandom(70_000), mtime=5).dir(".", mtime=6)], compression="none")
        self.server = self.registry()
        self.one = self.server.push(self.images, "one", "team/one", "1")
        self.two = self.server.push(self.images, "two", "team/two", "1")
        self.varve.run("install", "--switch", self.one)
        self.varve.run("install", self.two)
        self.varve.run("pin", self.two)
        self.tree = tree.scan(self.varve.roots / "rootfs")

    def blobs(self):
        return sorted((self.varve.store / "blobs/sha256").iterdir())

    def assertWhole(self):
        self.varve.run("check", "--read-data")
        self.varve.run("--offline", "install", "--force", "--name", "probe", self.one)
        self.assertEqual(tree.diff(self.varve.roots / "rootfs_probe", self.tree), [])
        names = json.dumps(self.varve.json("list"))
        self.assertIn(self.one, names)
        self.assertIn(self.two, names)


class CorruptBlobs(CorruptCase):
    def heal(self, path, damage, fast=False):
        """Damage one blob; check names it; repair mends it and fetches nothing else."""
        before = path.read_bytes()
        path.chmod(0o644)
        damage(path)
        result = self.varve.run("check", "--read-data", status=4)
        self.assertIn(path.name[:12], result.out + result.err)
        if fast:
            self.varve.run("check", status=4)
        found = self.varve.json("check", "--read-data", status=4)
        self.assertIn(path.name, json.dumps(found))
        self.server.forget_log()
        self.varve.run("check", "--read-data", "--repair")
        fetched = set(self.server.downloads()) | {r["path"].rsplit("/", 1)[1] for r in self.server.requests("GET", "/manifests/")}
        self.assertLessEqual(fetched, {"sha256:" + path.name}, "only the damaged blob is fetched")
        self.assertEqual(path.read_bytes(), before)
        self.assertWhole()

    def flip_at(self, share):
        def damage(path):
            data = bytearray(path.read_bytes())
            data[min(len(data) - 1, int(len(data) * share))] ^= 0x10
            path.write_bytes(data)
        return damage

    def test_flipped_bits(self):
        for path in self.blobs():
            for share in (0, 0.3, 0.99):
                with self.subTest(path.name[:12], share=share):
                    self.heal(path, self.flip_at(share))

    def test_truncated(self):
        for path in self.blobs():
            with self.subTest(path.name[:12]):
                self.heal(path, lambda p: os.truncate(p, p.stat().st_size // 2), fast=True)
                self.heal(path, lambda p: os.truncate(p, 0), fast=True)

    def test_deleted(self):
        for path in self.blobs():
            with self.subTest(path.name[:12]):
                self.heal(path, os.unlink, fast=True)

    def test_replaced_by_something_else(self):
        def directory(path):
            path.unlink()
            path.mkdir()

        def link(path):
            path.unlink()
            path.symlink_to("/etc/passwd")

        for damage in (directory, link):
            path = self.blobs()[-1]
            with self.subTest(damage.__name__):
                self.heal(path, damage, fast=True)

    def test_rot_is_found_before_it_is_used(self):
        """An install from a rotten layer fails before anything becomes visible."""
        for path in self.blobs():
            if path.stat().st_size < 20_000:
                continue
            path.chmod(0o644)
            good = path.read_bytes()
            self.flip_at(0.6)(path)
            varve = self.varve
            # 5: what shares a layer that was just found rotten is not there as a whole.
            statuses = [varve.run("--offline", "install", "--name", f"bad{i}", ref, status=(0, 4, 5)).status
                        for i, ref in enumerate((self.one, self.two))]
            self.assertIn(4, statuses)
            for i, status in enumerate(statuses):
                self.assertEqual((varve.roots / f"rootfs_bad{i}").exists(), status == 0)
                if status == 0:
                    varve.run("remove", "--installed", f"bad{i}")
            varve.run("check", "--read-data", "--repair")
            self.assertEqual(path.read_bytes(), good)

    def test_repair_without_a_source(self):
        """Nowhere to fetch it from: said, the image shown as incomplete, the other one still works."""
        self.server.stop()
        own = {l["digest"] for l in json.loads(self.images.read(self.images.find("two")))["layers"]}
        own -= {l["digest"] for l in json.loads(self.images.read(self.images.find("one")))["layers"]}
        path = self.varve.blob(own.pop())
        path.unlink()
        result = self.varve.run("check", "--repair", status=(4, 5))
        self.assertIn(path.name[:12], result.out + result.err)
        self.varve.run("--offline", "install", "--name", "bad", self.two, status=(1, 4, 5))
        self.varve.run("--offline", "install", "--name", "good", self.one)
        self.server.start(self.server.port)
        self.varve.run("check", "--repair")
        self.assertWhole()


class CorruptIndex(CorruptCase):
    """LMDB zeroed, cut, flipped, deleted: no crash, and --rebuild brings tags, pins and installed trees back."""

    def data(self):
        return self.varve.store / "db/data.mdb"

    def survive(self, damage):
        damage(self.data())
        for command in (["list"], ["check"], ["--offline", "install", "--force", "--name", "x", self.one], ["df"],
                        ["gc", "--dry-run"]):
            result = self.varve.run(*command, status=None)
            self.assertGreaterEqual(result.status, 0, f"a signal ended it: {result}")
            self.assertLess(result.status, 128, str(result))
        self.varve.run("check", "--rebuild")
        self.assertWhole()
        installed = json.dumps(self.varve.json("list", "--installed"))
        self.assertIn(self.one, installed)
        self.assertIn(self.two, installed)
        self.varve.run("switch", self.two)
        self.varve.run("switch", self.one)
        # Nothing that an installed tree needs is collected after a rebuild.
        self.varve.run("gc")
        self.assertWhole()

    def test_zeroed(self):
        self.survive(lambda p: p.write_bytes(b"\0" * p.stat().st_size))

    def test_emptied(self):
        self.survive(lambda p: os.truncate(p, 0))

    def test_cut(self):
        for share in (0.9, 0.5, 0.1):
            self.survive(lambda p, share=share: os.truncate(p, int(p.stat().st_size * share)))

    def test_deleted(self):
        self.survive(lambda p: p.unlink())

    def test_lock_file_deleted(self):
        self.survive(lambda p: (p.parent / "lock").unlink())

    def test_directory_deleted(self):
        self.survive(lambda p: shutil.rmtree(p.parent))

    def test_random_noise(self):
        seed = random.randrange(1 << 30)
        dice = random.Random(seed)

        def noise(path):
            data = bytearray(path.read_bytes())
            for _ in range(dice.choice((1, 4, 64, 4096))):
                data[dice.randrange(len(data))] = dice.randrange(256)
            path.write_bytes(data)

        for attempt in range(15):
            with self.subTest(seed=seed, attempt=attempt):
                self.survive(noise)

    def test_rot_that_leaves_size_and_time(self):
        """A disk that rots changes no time stamp. No command may end by a signal or hang, whatever a page holds."""
        seed = random.randrange(1 << 30)
        dice = random.Random(seed)
        path = self.data()
        good = path.read_bytes()
        times = path.stat()
        commands = (["list"], ["df"], ["gc", "--dry-run"], ["tag", self.one, "rot:1"])

        def put(data):
            with path.open("r+b") as file:
                file.write(data)
                file.truncate(len(good))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

        found = 0
        for attempt in range(300):
            data = bytearray(good)
            page = dice.randrange(len(data) // 4096) * 4096
            # The head and the offsets of a page are what LMDB trusts; noise in the rest as well.
            width = dice.choice((16, 64, 4096))
            for _ in range(dice.choice((1, 2, 8, 256))):
                data[page + dice.randrange(width)] = dice.choice((0, 0xff, dice.randrange(256)))
            put(data)
            result = self.varve.run(*commands[attempt % len(commands)], status=None)
            self.assertIn(result.status, (0, 3, 4), f"seed {seed}, attempt {attempt}: {result}")
            if result.status == 4:
                found += 1
                self.assertIn("check --rebuild", result.err, f"seed {seed}, attempt {attempt}")
        self.assertGreater(found, 50, "the damage is met at all")
        data = bytearray(good)
        data[8192:] = b"\xa5" * (len(data) - 8192)
        put(data)
        self.assertEqual(self.varve.run("list", status=4).status, 4)
        self.varve.run("check", "--rebuild")
        self.assertWhole()

    def test_no_memory_is_no_damage(self):
        """What keeps us from reading the database is told as what it is: a rebuild would not help."""
        os.utime(self.data())  # so that it is verified
        limited = ["sh", "-c", 'ulimit -v 400000 && exec "$@"', "sh", binary(), "list"]
        done = subprocess.run(limited, env=self.varve.env(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("ulimit -v", done.stderr)
        self.assertNotIn("damaged", done.stderr)
        self.varve.run("list")

    def test_index_json_damaged(self):
        path = self.varve.store / "index.json"
        for text in ("", "{", "[]", '{"schemaVersion":2,"manifests":[{}]}'):
            with self.subTest(text):
                path.write_text(text)
                self.varve.run("list")
                self.varve.run("check", "--repair", status=(0, 4))
                self.varve.run("check")
                self.assertIn(self.one, path.read_text())

    def test_toc_damaged(self):
        """What is derived may rot: it is made again, never believed."""
        folder = self.varve.store / "aux/toc"
        for path in folder.iterdir():
            good = path.read_bytes()
            for data in (b"", good[:len(good) // 2], good[:-1] + b"\xff", b"\xff" * len(good), os.urandom(len(good))):
                path.chmod(0o644)
                path.write_bytes(data)
                self.varve.run("--offline", "install", "--force", "--name", "x", self.one)
                self.assertEqual(tree.diff(self.varve.roots / "rootfs_x", self.tree), [])
        self.varve.run("check", "--read-data", "--repair")
        self.assertWhole()

    def test_check_names_a_wrong_toc(self):
        """It is derived data: a note, no damage, and right afterwards."""
        for path in (self.varve.store / "aux/toc").iterdir():
            good = path.read_bytes()
            self.assertNotIn("toc", {f["what"] for f in self.varve.json("check", "--read-data")["findings"]})
            path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
            notes = [f for f in self.varve.json("check", "--read-data")["findings"] if f["what"] == "toc"]
            self.assertEqual([(f["name"], f["severity"]) for f in notes], [("sha256:" + path.name, "note")])
            self.assertEqual(path.read_bytes(), good)
