# SPDX-License-Identifier: Apache-2.0
"""Every allocation fails once (allocfail.c).

A command then says so with the status of a failure, or did without the memory and succeeded truly: it never crashes,
never takes its own lack of memory for damage, and loses no name, be it ours or another tool's.
"""

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

from faults import FaultCase, TOP
from support import Tar, Varve, binary, tree

REF_NAME = "org.opencontainers.image.ref.name"


def shim():
    """allocfail.so, which stands beside faultrun."""
    for build in (os.environ.get("FAULTRUN"), TOP / "build-test/tests/fault/x", TOP / "build/tests/fault/x"):
        path = build and pathlib.Path(build).with_name("allocfail.so")
        if path and path.exists():
            return path
    raise RuntimeError("no allocfail.so: build the tests without a sanitizer, or set FAULTRUN")


class AllocCase(FaultCase):
    """A store with two images and another tool's name; trees are made as a command wants them."""

    limit = 40

    def setUp(self):
        super().setUp()
        # Each point makes a store anew: in memory, if there may be files in it.
        if os.access("/dev/shm", os.W_OK):
            self.dir = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm", prefix="varve-alloc-"))
            self.addCleanup(shutil.rmtree, self.dir)
            self.varve = self.new_varve()
        base = Tar().dir(".", mtime=1).dir("d", mtime=2).file("d/f", os.urandom(40_000), mode=0o640, mtime="4.5")
        base.hardlink("d/h", "d/f").symlink("l", "d/f", mtime=6).fifo("p", mtime=7).file("x", "x", mtime=8)
        upper = Tar().whiteout("x").file("d/new", "new" * 5000, mtime=10).dir("d", mtime=11)
        self.images = self.layout()
        self.images.image("one", [base, upper])
        self.images.image("two", [base, Tar().file("second", "2" * 9000, mtime=14)])
        self.more = self.layout()
        self.more.image("three", [base, Tar().file("third", "3" * 5000, mtime=15)])
        self.varve.run("import", self.images.path)
        self.one, self.two = (f"localhost/{self.images.path.name}:{n}" for n in ("one", "two"))
        self.three = f"localhost/{self.more.path.name}:three"
        self.foreign(self.varve)
        self.varve.run("list")
        reference = Varve(self.dir / "reference", store=self.varve.store)
        reference.run("--offline", "install", "--name", "one", self.one)
        self.tree_one = tree.scan(reference.roots / "rootfs_one")
        reference.run("remove", "--installed", "one")

    def foreign(self, varve):
        """Another tool gives a name to an image of the store."""
        path = varve.store / "index.json"
        document = json.loads(path.read_text())
        theirs = {k: v for k, v in document["manifests"][0].items() if k != "annotations"}
        document["manifests"].append(dict(theirs, annotations={REF_NAME: "theirs", "their.own": "word"}))
        path.write_text(json.dumps(document))

    def names(self, varve):
        """What index.json names, ours and theirs."""
        document = json.loads((varve.store / "index.json").read_text())
        return sorted(json.dumps(d["annotations"], sort_keys=True) for d in document["manifests"])

    # --- states; each takes the number of a worker and gives a Varve ---

    def stored(self, worker):
        varve = Varve(self.dir / f"worker{worker}")
        for path in (varve.store, varve.roots):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.varve.store, varve.store, symlinks=True)
        return varve

    def installed(self, worker):
        varve = self.stored(worker)
        varve.run("--offline", "install", "--switch", "--name", "one", self.one)
        varve.run("--offline", "install", "--name", "two", self.two)
        return varve

    def switched(self, worker):
        varve = self.installed(worker)
        varve.run("switch", "two")
        return varve

    def garbage(self, worker):
        varve = self.stored(worker)
        varve.run("remove", self.two)
        return varve

    # --- one point ---

    def run_at(self, varve, args, at):
        """Returns (status, stdout, stderr, allocations, whether one failed)."""
        count = varve.home / "count"
        count.unlink(missing_ok=True)
        env = varve.env(LD_PRELOAD=shim(), ALLOCFAIL_AT=str(at), ALLOCFAIL_COUNT=count)
        with open(varve.home / "out", "wb+") as out, open(varve.home / "err", "wb+") as err:
            process = subprocess.Popen([binary(), *map(os.fspath, args)], env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            status = process.wait(60)
            out.seek(0)
            err.seek(0)
            said = [f.read().decode("utf-8", "backslashreplace") for f in (out, err)]
        calls, failed = struct.unpack("=QQ", count.read_bytes())
        return status, *said, calls, failed == 1

    def judge_end(self, args, status, out, err):
        self.assertGreaterEqual(status, 0, "a signal ended it")
        if status == 0:
            return
        self.assertEqual(status, 1, "no lack of memory has this status")
        self.assertRegex(err, "(?m)^varve: ", "it failed without a word")
        self.assertRegex(err + out, "(?i)memory|allocate|temporarily unavailable|libsquashfs error", "it does not say what it lacked")
        if "--json" in args and out:
            self.assertEqual(json.loads(out.splitlines()[-1])["schema"], "varve.error/1")

    def sweep_alloc(self, name, prepare, args, judge):
        """judge(varve, status, out, err) after each point."""
        varve = prepare(0)
        status, out, err, calls, _ = self.run_at(varve, args, 0)
        self.assertEqual(status, 0, f"{name} without a fault: {err}")
        self.assertGreater(calls, 20, f"{name}: hardly an allocation: is it watched?")
        points, share = self.points(calls)

        def one(worker, at):
            varve = prepare(worker)
            status, out, err, _, hit = self.run_at(varve, args, at)
            try:
                self.judge_end(args, status, out, err)
                judge(varve, status, out, err)
            except (AssertionError, ValueError) as failure:
                raise AssertionError(f"{name}, allocation {at} of {calls} (status {status}):\n{failure}\n"
                                     f"its stdout: {out[-500:]}\nits stderr: {err[-1500:]}") from None
            return hit

        hits, failures = self.spread(one, points)
        self.tried[name] = f"{hits} points of {calls} allocations ({share}), {len(failures)} failed"
        if failures:
            self.fail(f"{len(failures)} of {len(points)} points fail; the first three:\n\n" + "\n\n".join(failures[:3]))


class AllocReadCase(AllocCase):
    """Commands that change nothing: the same output, or an error."""

    changing = re.compile(r"just now|\d+ s ago|[\d.]+ \w+/s|\"(fs_free|last_used|used_at)\":[^,}]*")

    def reading(self, args):
        varve = self.installed(1)
        self.foreign_first = self.names(varve)
        args = [self.one if a == "ONE" else a for a in args]
        wanted = self.changing.sub("", varve.run(*args).out)

        def judge(varve, status, out, err):
            # A block that libsquashfs cannot compress stays as it is: another file, and a right one.
            if status == 0 and "squashfs" not in args:
                self.assertEqual(self.changing.sub("", out), wanted, "status 0 with another output")
            self.assertEqual(self.names(varve), self.foreign_first)

        def elsewhere(worker):
            """One store and one roots dir for all points and workers."""
            return Varve(self.dir / f"reader{worker}", store=varve.store, roots=varve.roots)

        self.sweep_alloc(" ".join(args).replace(self.one, "ONE"), elsewhere, args, judge)
        self.assertEqual(self.changing.sub("", varve.run(*args).out), wanted)
        varve.run("check", "--read-data")


def _add_reading(name, *commands):
    case = type(name, (AllocReadCase,), {"__module__": __name__})
    for command in commands:
        def test(self, command=command):
            self.reading(command)
        setattr(case, "test_" + re.sub("[^a-z]+", "_", " ".join(command)), test)
    globals()[name] = case


_add_reading("AllocList", ["list"], ["--json", "list"], ["list", "--blobs"], ["list", "--installed"], ["--json", "switch"], ["have"],
             ["df"], ["--json", "df"], ["inspect", "ONE"], ["--json", "inspect", "ONE"], ["inspect", "--raw", "config", "ONE"])
_add_reading("AllocLook", ["plan", "ONE"], ["--json", "plan", "ONE"], ["files", "-l", "ONE"], ["--json", "files", "ONE"],
             ["cat", "ONE", "d/f"], ["diff", "one"], ["--json", "diff", "--read-data", "one"])
_add_reading("AllocCheck", ["check"], ["--json", "check", "--read-data"], ["check", "--installed", "one"], ["--json", "gc", "--dry-run"])
_add_reading("AllocExport", ["export", "--format", "tar", "-o", "-", "ONE"], ["export", "--format", "oci-tar", "-o", "-", "ONE"],
             ["export", "--format", "docker-archive", "-o", "-", "ONE"], ["export", "--format", "squashfs", "-o", "-", "ONE"])


class AllocChangeCase(AllocCase):
    """Commands that change something: done, or not done and an error; no name is lost but the one to be removed."""

    limit = 60

    def commands(self):
        return {
            "tag": (self.stored, ["tag", self.one, "again:1"], lambda v: self.has(v, self.one, self.two, "docker.io/library/again:1")),
            "pin": (self.stored, ["pin", self.one], lambda v: self.has(v, self.one, self.two)),
            "remove": (self.stored, ["remove", self.two], lambda v: self.has(v, self.one)),
            "import": (self.stored, ["import", self.more.path], lambda v: self.has(v, self.one, self.two, self.three)),
            "gc": (self.garbage, ["gc"], lambda v: self.has(v, self.one)),
            "rebuild": (self.stored, ["check", "--rebuild"], lambda v: self.has(v, self.one, self.two)),
            "install": (self.stored, ["--offline", "install", "--name", "one", self.one], self.has_tree),
            "install over": (self.installed, ["--offline", "install", "--force", "--name", "one", self.one], self.has_tree),
            "switch": (self.installed, ["switch", "two"], lambda v: self.active(v, "second")),
            "rollback": (self.switched, ["rollback"], lambda v: self.active(v, "d/new")),
            "remove tree": (self.installed, ["remove", "--installed", "two"], lambda v: self.active(v, "d/new")),
        }

    def has(self, varve, *names):
        named = {json.loads(n).get("dev.varve.reference") for n in self.names(varve)} - {None}
        self.assertEqual(named, set(names))

    def has_tree(self, varve):
        path = next(p for p in (varve.roots / "rootfs_one", varve.roots / "rootfs") if p.is_dir())
        self.assertEqual(tree.diff(path, self.tree_one), [])

    def active(self, varve, file):
        self.assertTrue((varve.roots / "rootfs" / file).exists(), "another tree is active")

    def changing(self, name):
        prepare, args, holds = self.commands()[name]

        def judge(varve, status, out, err):
            # Not all names need be in the file at once, but theirs may never be gone: no one else knows it.
            self.assertIn('"their.own": "word"', "".join(self.names(varve)), "another tool's name is lost")
            self.assertFalse((varve.store / "index.json.bad").exists(), "a file that is whole is taken for damaged")
            if (varve.roots / "rootfs").exists() or prepare in (self.installed, self.switched):
                self.assertTrue((varve.roots / "rootfs").is_dir(), "no active tree")
            if status != 0:
                self.again(varve, args)
            varve.run("check")
            holds(varve)
            self.assertIn('"their.own": "word"', "".join(self.names(varve)), "another tool's name is lost afterwards")

        self.sweep_alloc(name, prepare, args, judge)

    def again(self, varve, args):
        """The command without a fault. A rollback that was done, and failed behind it, would go back again."""
        if args[0] == "rollback":
            varve.run("switch", "one", status=(0, 1))
        else:
            varve.run(*args, status={"remove": (0, 3), "--offline": (0, 1)}.get(args[0], 0))


def _add_changing(name, *commands):
    case = type(name, (AllocChangeCase,), {"__module__": __name__})
    for command in commands:
        def test(self, command=command):
            self.changing(command)
        setattr(case, "test_" + command.replace(" ", "_"), test)
    globals()[name] = case


_add_changing("AllocNames", "tag", "pin", "remove", "gc")
_add_changing("AllocBlobs", "import", "rebuild")
_add_changing("AllocTrees", "install", "install over")
_add_changing("AllocSwitch", "switch", "rollback", "remove tree")
