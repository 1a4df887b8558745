# SPDX-License-Identifier: Apache-2.0
"""Layers applied by an ordinary user: everything that such a user can keep is exact, everything else is counted and listed."""

import json
import os
import subprocess

from support import Tar, need_data, oracle, samples, tree
from support.user import GID, UID, UserCase


def top():
    return Tar().dir(".", mtime=1)


class User(UserCase):
    def have(self, layers, reference="test:1", **image):
        """The image in the user's store. Returns its layout."""
        layout = self.layout()
        layout.image("i", layers, **image)
        subprocess.run(["chmod", "-R", "a+rX", layout.path], check=True)
        self.user("import", layout.path, reference)
        return layout

    def tree(self):
        return tree.scan(self.varve.tree("test:1"))

    def test_m09_owners_devices_and_special_bits(self):
        tar = top().file("root", "r", mode=0o4755, mtime=2).file("other", "o", mode=0o2750, uid=7, gid=8, mtime=3)
        tar.hardlink("again", "other").dir("d", uid=1, mtime=4).chardev("null", 1, 3, mtime=5).blockdev("d/sda", 8, 0, mtime=5)
        tar.hardlink("d/null", "null").symlink("s", "x", gid=9, mtime=6).fifo("p", mode=0o622, mtime=7).dir("d", uid=1, mtime=8)
        self.have([tar])
        answer = self.install("test:1")
        found = self.tree()
        self.assertEqual({(n["uid"], n["gid"]) for n in found.values()}, {(UID, GID)})
        self.assertEqual(sorted(found), [b".", b"again", b"d", b"other", b"p", b"root", b"s"])
        self.assertEqual({p: n["mode"] for p, n in found.items() if p in (b"root", b"other", b"p")},
                         {b"root": "0o4755", b"other": "0o2750", b"p": "0o622"})
        self.assertEqual({p: n["mtime"] // 10 ** 9 for p, n in found.items()},
                         {b".": 1, b"again": 3, b"d": 8, b"other": 3, b"p": 7, b"root": 2, b"s": 6})
        self.assertEqual(found[b"again"]["links"], [b"again", b"other"])
        lost = sorted((l["path"], l["what"]) for l in answer["lost"])
        # A device under two names is two losses, an owner one for each inode.
        self.assertEqual([l for l in lost if l[1] == "device"], [("d/null", "device"), ("d/sda", "device"), ("null", "device")])
        self.assertEqual(len([l for l in lost if l[1] == "owner"]), 3)
        self.assertLessEqual({("d", "owner"), ("s", "owner")}, set(lost))
        self.assertEqual(answer["losses"], {"owners": 3, "devices": 3, "xattrs": 0, "others": 0})

    def test_m13_capabilities_and_other_attributes(self):
        tar = top().file("ping", "x", mode=0o755, mtime=2, xattrs={"security.capability": samples.CAP_NET_RAW, "user.k": "v"})
        tar.file("t", "x", mtime=2, xattrs={"trusted.t": "1"}).dir("d", mtime=2, xattrs={"user.d": "1", "trusted.u": "2"})
        self.have([tar])
        answer = self.install("test:1")
        found = self.tree()
        self.assertEqual({p: n["xattrs"] for p, n in found.items()},
                         {b".": {}, b"d": {"user.d": b"1"}, b"ping": {"user.k": b"v"}, b"t": {}})
        self.assertEqual(sorted((l["path"], l["what"]) for l in answer["lost"]),
                         [("d", "trusted.u"), ("ping", "security.capability"), ("t", "trusted.t")])
        self.assertEqual(answer["losses"]["xattrs"], 3)
        said = self.user("install", "test:1", "--force").err
        self.assertIn("could not be kept without root: 3 xattrs (", said)

    def closed(self):
        """Directories that their owner cannot enter, one below the other, and what makes and removes things in them."""
        base = top()
        for name in ("none", "read", "none/read", "none/none", "read/none"):
            base.dir(name, mode=0o700, mtime=2)
        for name in ("none/f", "read/f", "none/read/f", "none/none/f", "read/none/f", "none/gone", "read/none/gone"):
            base.file(name, name, mode=0o400, mtime=3)
        for name in ("none", "none/none", "read/none"):
            base.dir(name, mode=0, mtime=4)
        for name in ("read", "none/read"):
            base.dir(name, mode=0o500, mtime=4)
        upper = Tar().file("none/new", "n", mtime=5).whiteout("none/gone").whiteout("read/none/gone").hardlink("none/none/h", "read/f")
        return [base, upper.file("read/none/f", "other", mode=0, mtime=6)]

    def test_directories_of_mode_0000_and_0500(self):
        """Built, replaced and removed by their owner, who cannot enter them."""
        self.have(self.closed())
        for options in ((), ("--force",), ("--force", "--no-keep")):
            self.install("test:1", *options)
            found = self.tree()  # root may look
            self.assertEqual({p: n["mode"] for p, n in found.items() if n["type"] == "dir"},
                             {b".": "0o755", b"none": "0o0", b"read": "0o500", b"none/read": "0o500", b"none/none": "0o0", b"read/none": "0o0"})
            self.assertEqual(sorted(p for p, n in found.items() if n["type"] == "file"),
                             [b"none/f", b"none/new", b"none/none/f", b"none/none/h", b"none/read/f", b"read/f", b"read/none/f"])
            self.assertEqual({n["mtime"] for p, n in found.items() if n["type"] == "dir" and p != b"."}, {4 * 10 ** 9})
        self.have([top().file("x", "1")], "other:1")
        self.install("other:1", "--switch")
        self.user("switch", "test:1")
        self.user("switch", "other:1")
        self.user("remove", "--installed", "test_1")
        self.assertEqual([p for p in os.listdir(self.varve.roots) if "test" in p], [])

    def test_closed_directories_through_a_registry(self):
        """The same while the layers come: bodies are moved into directories that are closed afterwards."""
        layout = self.layout()
        layout.image("i", self.closed())
        reference = self.registry().push(layout, "i", "team/app", "1")
        self.install(reference, "--name", "a")
        self.have(self.closed())
        self.install("test:1")
        self.assertSameTree(self.varve.roots / "rootfs_a", self.varve.tree("test:1"))

    def compare(self, layers):
        """The whole tree is what umoci makes for the same user, and what is lost is what differs from root's tree."""
        layout = self.have(layers)
        answer = self.install("test:1")
        bundle = self.home / "bundle"
        done = self.as_user("umoci", "unpack", "--rootless", "--image", f"{layout.path}:i", bundle)
        self.assertEqual(done.returncode, 0, done.stderr)
        theirs = tree.scan(bundle / "rootfs")
        full = tree.scan(oracle.umoci_raw_unpack(layout.path, "i", self.path("full")))
        devices = {p for p, n in full.items() if n["type"] in ("char", "block")}
        for path in devices:
            del theirs[path]  # an empty file stands for it there
        for node in theirs.values():
            node["xattrs"].pop("user.rootlesscontainers", None)

        def undefined(path, attribute, ours, other):
            return attribute == "mtime" and other > 1_700_000_000 * 10 ** 9 and ours < other

        ours = self.tree()
        self.assertSameTree(ours, theirs, ignore=[undefined])
        lost = {(l["path"].encode(), l["what"]) for l in answer["lost"]}
        self.assertEqual({p for p, what in lost if what == "device"}, devices)
        self.assertEqual(answer["losses"]["devices"], len(devices))
        owned = {tuple(n.get("links", (p,))) for p, n in full.items() if (n["uid"] or n["gid"]) and p not in devices}
        self.assertEqual(answer["losses"]["owners"], len(owned))
        self.assertEqual({p for p, what in lost if what == "owner"} - {p for group in owned for p in group}, set())
        xattrs = {(tuple(n.get("links", (p,))), x) for p, n in full.items() for x in n["xattrs"] if not x.startswith("user.")}
        xattrs = {x for x in xattrs if not x[1].startswith("system.posix_acl")}
        self.assertEqual(answer["losses"]["xattrs"], len(xattrs))
        return answer["losses"]

    def test_samples(self):
        """Made images with every kind of entry that umoci's rootless mode knows."""
        for make in (samples.usrmerge, samples.whiteouts, samples.hardlinks, samples.times, samples.names):
            with self.subTest(make.__name__):
                layout = self.layout()
                make(layout, "i")
                self.run_sample(layout)

    def run_sample(self, layout):
        manifest = json.loads(layout.read(layout.find("i")))
        layers = [layout.read(l) for l in manifest["layers"]]
        self.fresh_home()
        self.compare(layers)

    def test_alpine(self):
        layout = self.layout()
        samples.alpine(layout, "i", need_data())
        self.run_sample(layout)

    def test_busybox(self):
        layout = self.layout()
        samples.busybox(layout, "i", need_data())
        self.run_sample(layout)

    def test_debian(self):
        layout = self.layout()
        samples.minbase(layout, "i")
        self.run_sample(layout)
