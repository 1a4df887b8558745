#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The order of writing and syncing, read from strace: nothing gets a name before it is on disk, and no record says so before
its name is (docs/store-format.md, "Order of writing"). No power is cut here: what the kernel was asked for is judged."""

import os
import pathlib
import re
import subprocess
import unittest

from faults import FaultCase
from support import Tar, binary, need_root

CALLS = "write,pwrite64,writev,pwritev,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,linkat,openat,mkdirat,unlinkat,symlinkat"
_LINE = re.compile(r"^(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
_FD = re.compile(r"^(?:(\d+)|AT_FDCWD)<(.*?)>(?:\(deleted\))?(?:, |\)|$| <)")


class Trace:
    """Goes through the calls in their order and keeps what is written but not on disk."""

    def __init__(self, text, store, roots):
        self.store, self.roots = os.fspath(store), os.fspath(roots)
        self.dirty = set()      # files with bytes that no fsync has seen
        self.names = {}         # directory: names in it that no fsync of the directory has seen
        self.tree = set()       # trees that have changed since the last syncfs
        self.paths = {}         # of descriptors, for /proc/self/fd/N
        self.problems, self.published, self.commits, self.trees = [], 0, 0, 0
        waiting = {}
        for line in text.splitlines():
            match = _LINE.match(line)
            if not match:
                continue
            pid, name, rest, resumed, _ = match.groups()
            if resumed:
                name, rest = waiting.pop(pid, (None, None))
            elif rest.endswith("<unfinished ...>") and "sync" in name:
                waiting[pid] = name, rest  # done when it returns
                continue
            elif re.search(r"= -1 E", rest):
                continue
            if name:
                self.call(name, rest, line)

    def wrong(self, what, line):
        self.problems.append(f"{what}: {line}")

    def fd(self, rest):
        match = _FD.match(rest)
        if not match:
            return None
        if match[1]:
            self.paths[match[1]] = match[2]
        return match[2]

    def ends(self, rest):
        """The two names of a rename or link, in full."""
        match = re.match(r'^(?:\d+|AT_FDCWD)<(.*?)>, "(.*?)", (?:\d+|AT_FDCWD)<(.*?)>, "(.*?)"', rest)
        if not match:
            return None, None
        source = os.path.join(match[1], match[2])
        if match[2].startswith("/proc/self/fd/"):
            source = self.paths.get(match[2].rsplit("/", 1)[1])
        return source, os.path.join(match[3], match[4])

    def staging(self, path):
        """The tree that is being built, when the path is in one."""
        match = path and re.match(re.escape(self.roots) + r"/(\.[^/]+)", path)
        return match[0] if match else None

    def call(self, name, rest, line):
        if name in ("write", "pwrite64", "writev", "pwritev", "ftruncate"):
            path = self.fd(rest)
            if path:
                self.dirty.add(path)
                self.touched(path)
        elif name in ("fsync", "fdatasync"):
            path = self.fd(rest)
            if path and path.endswith("/data.mdb"):
                self.commit(line)
            self.dirty.discard(path)
            self.names.pop(path, None)
        elif name == "syncfs":
            self.tree.clear()
            self.dirty.clear()
        elif name in ("rename", "renameat", "renameat2", "linkat"):
            source, target = self.ends(rest)
            if "RENAME_EXCHANGE" in rest:
                source, target = target, source  # named first is the one that was there
            self.name(source, target, line)
        elif name in ("mkdirat", "symlinkat", "unlinkat") or "O_CREAT" in rest:
            self.touched(self.fd(rest))

    def touched(self, path):
        tree = self.staging(path)
        if tree:
            self.tree.add(tree)

    def commit(self, line):
        """A transaction of the index: whatever it speaks of has its name on disk."""
        self.commits += 1
        for directory, names in self.names.items():
            if "/blobs/" in directory:
                self.wrong(f"a transaction before the names {sorted(names)} are on disk", line)

    def name(self, source, target, line):
        if not source:
            return
        directory = os.path.dirname(target)
        if target.startswith(self.store + "/blobs/") or os.path.basename(target) in ("index.json", "installs.json"):
            if source in self.dirty:
                self.wrong(f"{target} gets its name before its bytes are on disk", line)
            self.names.setdefault(directory, set()).add(os.path.basename(target))
            self.published += 1
        elif directory == self.roots and os.path.basename(target).startswith("rootfs"):
            if self.staging(source) in self.tree:
                self.wrong(f"{target} appears before it is on disk", line)
            self.names.setdefault(directory, set()).add(os.path.basename(target))
            self.trees += 1
        else:
            self.touched(target)

    def end(self):
        for directory, names in self.names.items():
            self.problems.append(f"at the end {sorted(names)} in {directory} are not on disk")
        return self.problems


class Durability(FaultCase):
    def setUp(self):
        super().setUp()
        need_root()
        layout = self.layout()
        base = Tar().dir(".").dir("d").file("d/a", os.urandom(300_000))
        layout.image("one", [base, Tar().file("d/b", "b" * 5000).symlink("l", "d")])
        layout.image("two", [base, Tar().file("d/c", os.urandom(2 << 20))])
        registry = self.registry()
        self.refs = [registry.push(layout, name, name, "1") for name in ("one", "two")]

    def traced(self, *command, **expect):
        out = self.path("strace")
        env = self.varve.env()
        done = subprocess.run(["strace", "-f", "-y", "-s", "400", "-o", out, "-e", "trace=" + CALLS, binary(), *command],
                              env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        trace = Trace(pathlib.Path(out).read_text(), self.varve.store, self.varve.roots)
        self.assertEqual(trace.end(), [], command)
        for what, least in expect.items():
            self.assertGreaterEqual(getattr(trace, what), least, (what, command))
        return trace

    def test_pull_and_install(self):
        self.traced("pull", self.refs[0], published=5, commits=1)  # manifest, config, two layers, index.json
        self.traced("install", "--name", "a", self.refs[0], trees=1, commits=1)
        self.traced("install", "--name", "b", self.refs[1], trees=1, published=4, commits=1)  # cold
        self.traced("--offline", "install", "--force", "--name", "a", self.refs[0], trees=1)
        self.traced("tag", self.refs[0], "x/y:1", published=1, commits=1)
        self.traced("remove", self.refs[1], published=1, commits=1)

    def test_the_judge(self):
        """It sees what it is there to see."""
        store, roots = "/s", "/r"

        def judge(*lines):
            return len(Trace("\n".join("1 " + line for line in lines), store, roots).end())

        good = ["write(5</s/tmp/x>, 1) = 1", "fsync(5</s/tmp/x>) = 0", 'renameat(3</s>, "tmp/x", 3</s>, "blobs/sha256/x") = 0',
                "fsync(6</s/blobs/sha256>) = 0", "fdatasync(7</s/db/data.mdb>) = 0"]
        self.assertEqual(judge(*good), 0)
        self.assertEqual(judge(good[0], *good[2:]), 1)              # no fsync of the file
        self.assertEqual(judge(*good[:2], good[0], *good[2:]), 1)   # written again behind it
        self.assertEqual(judge(*good[:3], good[4], good[3]), 1)     # the record first
        self.assertEqual(judge(*good[:3]), 1)                       # the name is never synced
        tree = ['openat(9</r/.stage>, "f", O_WRONLY|O_CREAT) = 10</r/.stage/f>', "syncfs(9</r/.stage>) = 0",
                'renameat2(4</r>, ".stage", 4</r>, "rootfs_a", RENAME_NOREPLACE) = 0', "fsync(4</r>) = 0"]
        self.assertEqual(judge(*tree), 0)
        self.assertEqual(judge(tree[1], tree[0], *tree[2:]), 1)


if __name__ == "__main__":
    unittest.main()
