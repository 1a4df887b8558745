# SPDX-License-Identifier: Apache-2.0
"""Archives that others made for their own tests (libarchive, Go, tar-rs): each gives a tree or a clear error, and nothing else.

They are no part of the project: $VARVE_FOREIGN_TARS names a folder that holds them, at any depth, as *.tar, *.tar.gz,
*.tgz or *.uu (uuencoded, as libarchive has them; those of compress are unpacked first). Without it there is nothing to do, and one line says so. See tests/README.md.
"""

import binascii
import gzip
import json
import os
import pathlib
import subprocess

from support import tree
from support.applied import Applied, undefined

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".uu")


def decoded(path):
    """The bytes of the archive; None: a .uu without one."""
    data = path.read_bytes()
    if path.suffix != ".uu":
        return data
    out, inside = bytearray(), False
    for line in data.splitlines():
        if line.startswith(b"begin "):
            inside = True
        elif line == b"end":
            return bytes(out)
        elif inside:
            try:
                out += binascii.a2b_uu(line)
            except binascii.Error:
                # Some encoders count wrongly: the length is that of the first byte (as Python's own uu module does).
                out += binascii.a2b_uu(line[:((line[0] - 32 & 63) * 4 + 5) // 3 + 1])
    return None


class Foreign(Applied):
    def test_archives_of_others(self):
        folder = os.environ.get("VARVE_FOREIGN_TARS")
        if not folder:
            print("VARVE_FOREIGN_TARS is not set: no archives of others are tried", flush=True)
            return
        paths = sorted(p for p in pathlib.Path(folder).rglob("*") if p.name.endswith(SUFFIXES) and "tar" in p.name or p.suffix == ".tgz")
        self.assertTrue(paths, f"no archives in {folder}")
        counts = {"tree": 0, "error": 0, "equal to umoci": 0}
        before = sorted(os.listdir(self.varve.roots))
        for path in paths:
            name = os.path.relpath(path, folder)
            data = decoded(path)
            if data is None:
                continue
            if data[:2] == b"\x1f\x9d":
                data = subprocess.run(["gzip", "-dc"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
            with self.subTest(name):
                self.one(name, data, before, counts)
        print(f"{len(paths)} archives: {counts}", flush=True)

    def one(self, name, data, before, counts):
        file = self.dir / "archive.tar"
        file.write_bytes(data)
        # Judged inside: a report of a sanitizer is a failure, and so is any other end than these.
        done = self.varve.run("install", file, "--name", "n", status=(0, 1, 4), timeout=60)
        for victim, was in zip(self.victims, self.before):
            self.assertEqual(tree.diff(was, victim), [], "nothing outside of the tree was touched")
        if done.status:
            counts["error"] += 1
            print(f"{name}: {done.err.strip().splitlines()[-1].partition('archive.tar: ')[2][:160]}")
            self.assertRegex(done.err, "(?m)^varve: .{20,}")
            self.assertEqual(sorted(os.listdir(self.varve.roots)), before)
            return
        counts["tree"] += 1
        try:
            self.compare(name, data, counts)
        finally:
            self.varve.run("remove", "--installed", "n")

    def compare(self, name, data, counts):
        """umoci's tree, where umoci can read it; a difference is printed, for judgement."""
        try:
            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        except (OSError, EOFError):
            return
        layout = self.layout()
        layout.image("i", [data])
        place = self.inner("umoci")
        # It writes holes out as zeros: 60 GiB of them in one archive.
        done = subprocess.run(["timeout", "20", "umoci", "raw", "unpack", "--image", f"{layout.path}:i", place],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(f"{name}: umoci cannot: {done.stdout.strip()[-120:]!r}")
            return
        lines = tree.diff(self.varve.roots / "rootfs_n", place, ignore=[undefined])
        counts["equal to umoci"] += not lines
        if lines:
            print(f"{name}: differs from umoci's: {json.dumps(lines[:4])[:300]}")
