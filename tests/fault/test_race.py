#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Eight pullers, two installers, gc with and without a budget, remove, tag, pin, import, check and repair in loops on one
store, with random kill -9.

    tests/fault/test_race.py [--minutes N]      VARVE_RACE_SECONDS when run by the runner: 60
"""

import os
import random
import sys
import threading
import time
import unittest

from faults import FaultCase
from support import Tar, tree

SECONDS = float(os.environ.get("VARVE_RACE_SECONDS", "60"))
PULLERS, INSTALLERS, IMAGES = 8, 2, 12


class Race(FaultCase):
    def setUp(self):
        super().setUp()
        seed = int(os.environ.get("VARVE_RACE_SEED", random.randrange(1 << 30)))
        print(f"VARVE_RACE_SEED={seed}", file=sys.stderr)
        self.dice = random.Random(seed)
        layout = self.layout()
        bases = [Tar().dir(".", mtime=1).file(f"base{i}", self.dice.randbytes(200_000), mtime=2) for i in range(3)]
        middles = [Tar().dir("m", mtime=3).file(f"m/{i}", self.dice.randbytes(50_000), mtime=4) for i in range(4)]
        self.server = self.registry()
        self.refs = []
        for i in range(IMAGES):
            own = Tar().file("own", f"image {i} " * 3000, mtime=5).dir(".", mtime=6)
            layout.image(f"i{i}", [bases[i % 3], middles[i % 4], own])
            self.refs.append(self.server.push(layout, f"i{i}", f"team/i{i}", "1"))
        self.archive = self.path("own.tar")
        self.archive.write_bytes(Tar().file("own", self.dice.randbytes(300_000)).bytes())
        self.locks = {ref: threading.Lock() for ref in self.refs}
        self.pulled, self.running, self.guard = set(), [], threading.Lock()
        self.counts, self.failures = {}, []
        self.end = time.monotonic() + SECONDS
        # The store is made before the race, so that it is one.
        self.varve.run("pull", self.refs[0])
        self.pulled.add(self.refs[0])

    def run_one(self, *args):
        """Run a command that the killer may take; returns (status, stderr)."""
        process = self.varve.popen(*args)
        with self.guard:
            self.running.append(process)
        try:
            out, err = process.communicate(timeout=120)
        except Exception:
            process.kill()
            process.communicate()
            self.failures.append(f"{args}: no end after 120 s")
            return -1, ""
        finally:
            with self.guard:
                self.running.remove(process)
        key = args[0] if not args[0].startswith("-") else args[1]
        self.counts[key] = self.counts.get(key, 0) + 1
        text = err.decode("utf-8", "replace")
        if args[0] == "check":
            text += (out or b"").decode("utf-8", "replace") # what it found
        if process.returncode == -9:
            self.counts["killed"] = self.counts.get("killed", 0) + 1
        elif process.returncode < 0 or process.returncode in (4, 99):
            self.failures.append(f"{args}: status {process.returncode}\n{text}")
        return process.returncode, text

    def loop(self, work):
        while time.monotonic() < self.end and not self.failures:
            try:
                work()
            except Exception as error:
                self.failures.append(repr(error))

    def pull(self):
        ref = self.dice.choice(self.refs)
        status, err = self.run_one("pull", ref)
        if status == 0:
            # Under the lock: `remove` must not come between the success and its record.
            with self.locks[ref]:
                self.pulled.add(ref)
        elif status != -9:
            self.failures.append(f"pull {ref}: status {status}\n{err}")

    def install(self, number):
        image = self.dice.randrange(IMAGES)
        ref = self.refs[image]
        # A label belongs to one reference.
        status, err = self.run_one("install", "--force", "--name", f"worker{number}-{image}", ref)
        if status not in (0, -9):
            self.failures.append(f"install {ref}: status {status}\n{err}")

    def gc(self):
        status, err = self.run_one("gc")
        if status not in (0, -9):
            self.failures.append(f"gc: status {status}\n{err}")

    def remove(self):
        time.sleep(self.dice.uniform(0, 0.5))
        ref = self.dice.choice(self.refs[IMAGES // 2:])
        status, err = self.run_one("remove", ref)
        if status not in (0, 3, -9) and "is pinned" not in err:
            self.failures.append(f"remove {ref}: status {status}\n{err}")

    def budget(self):
        """Names of the second half may go; the first half is kept."""
        time.sleep(self.dice.uniform(0, 1))
        keep = [word for ref in self.refs[:IMAGES // 2] for word in ("--keep", ref)]
        status, err = self.run_one("gc", *self.dice.choice((["--max-size", "500K"], ["--older-than", "0s"])), *keep)
        if status not in (0, 3, -9):
            self.failures.append(f"gc with a budget: status {status}\n{err}")

    def name(self):
        """Names and pins come and go; what they are given to may be gone."""
        time.sleep(self.dice.uniform(0, 0.3))
        ref = self.dice.choice(self.refs[IMAGES // 2:])
        command = self.dice.choice((["tag", ref, "other:1"], ["remove", "other:1"], ["pin", ref], ["unpin", ref]))
        status, err = self.run_one(*command)
        if status not in (0, 3, -9) and "is pinned" not in err:
            self.failures.append(f"{command}: status {status}\n{err}")

    def bring(self):
        time.sleep(self.dice.uniform(0, 0.5))
        status, err = self.run_one("import", self.archive, f"own{self.dice.randrange(2)}:1")
        if status not in (0, -9):
            self.failures.append(f"import: status {status}\n{err}")

    def repair(self):
        time.sleep(self.dice.uniform(0, 1))
        status, err = self.run_one("check", "--repair")
        if status not in (0, -9):
            self.failures.append(f"check --repair: status {status}\n{err}")

    def look(self):
        time.sleep(self.dice.uniform(0, 0.3))
        command = self.dice.choice([["list"], ["check"], ["df"], ["list", "--blobs"], ["gc", "--dry-run"]])
        status, err = self.run_one(*command)
        if status not in (0, -9):
            self.failures.append(f"{command}: status {status}\n{err}")

    def kill(self):
        time.sleep(self.dice.uniform(0.01, 0.4))
        with self.guard:
            if self.running:
                self.dice.choice(self.running).kill()

    def test_race(self):
        works = [self.pull] * PULLERS + [lambda n=n: self.install(n) for n in range(INSTALLERS)]
        works += [self.gc, self.budget, self.remove, self.name, self.bring, self.repair, self.look, self.kill]
        threads = [threading.Thread(target=self.loop, args=(w,)) for w in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"race of {SECONDS:.0f} s: " + ", ".join(f"{n} {k}" for k, n in sorted(self.counts.items())), file=sys.stderr)
        self.assertEqual(self.failures, [], "\n".join(self.failures[:5]))
        self.varve.run("check", "--read-data")
        # Those of the first half were never removed: what pull called a success must install without the network.
        self.server.stop()
        kept = sorted(self.pulled & set(self.refs[:IMAGES // 2]))
        self.assertTrue(kept)
        for i, ref in enumerate(kept):
            self.varve.run("--offline", "install", "--name", f"probe{i}", ref)
            self.assertIn(b"own", tree.scan(self.varve.roots / f"rootfs_probe{i}"))
        for ref in self.refs[IMAGES // 2:]:
            self.varve.run("unpin", ref, status=(0, 3))
            self.varve.run("remove", ref, status=(0, 3))
        self.varve.run("gc")
        self.varve.run("check", "--read-data")
        leftover = [p.name for part in ("tmp", "trash", "leases") for p in (self.varve.store / part).rglob("*") if p.is_file()]
        self.assertEqual(leftover, [], "gc leaves files of killed commands behind")


if __name__ == "__main__":
    if "--minutes" in sys.argv:
        at = sys.argv.index("--minutes")
        SECONDS = float(sys.argv[at + 1]) * 60
        del sys.argv[at:at + 2]
    unittest.main()
