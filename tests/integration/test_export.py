# SPDX-License-Identifier: Apache-2.0
"""export: what is written is read by the tools of others, and gives the same tree when it comes back."""

import gzip
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tarfile
import unittest

from support import Case, Tar, need_root, oracle, tree

LONG = "d" * 60 + "/" + "e" * 70 + "/" + "f" * 50
ODD = "od\udcff d \n\u00e4"


def layers():
    """Two layers with everything a tree can hold: the upper one reorders what comes first."""
    base = Tar().dir(".", mode=0o751, mtime=1000).dir("a", mtime=1001).file("z", os.urandom(400_000), mtime=5)
    base.file("a/one", "one", mode=0o4755, uid=10, gid=20, mtime="1234567890.123456789", xattrs={"user.k": b"v\0\xff"})
    base.hardlink("a/two", "a/one").symlink("a/ln", "../" + "t" * 150, mtime=6).fifo("a/pipe", mtime=7)
    base.chardev("null", 1, 3, mode=0o666, mtime=8).blockdev("blk", 259, 70000, mtime=9)
    base.file("gone", "gone").file(ODD, "odd", mtime=10).file("empty", mtime=11)
    base.file("big-id", "x", uid=3_000_000, gid=4_000_000, mtime=12).file("old", "x", mtime=0)
    for part in (LONG.split("/")[0], "/".join(LONG.split("/")[:2])):
        base.dir(part, mtime=13)
    base.file(LONG, "long", mtime=14)
    base.sparse("holes", 3_000_000, [(500_000, b"mid" * 1000), (2_000_000, b"end")], mtime=15)
    base.sparse("allhole", 100_000, [], mtime=16)
    upper = Tar().whiteout("gone").file("a/new", os.urandom(50_000), mtime=20).hardlink("a/three", "a/new")
    upper.dir("a", mode=0o700, mtime=21).file("big", os.urandom(2_000_000), mtime=22).dir(".", mode=0o755, mtime=23)
    return [base, upper]


def whole_seconds(path, key, a, b):
    """squashfs has no fractions of seconds."""
    return key == "mtime" and a // 10**9 == b // 10**9


class Exports(Case):
    def setUp(self):
        super().setUp()
        need_root()
        self.layout_ = self.layout()
        self.layout_.image("all", layers())
        self.varve.run("import", self.layout_.path, "example.com/all:1")
        self.varve.run("install", "example.com/all:1")
        self.tree = self.varve.tree("example.com/all:1")

    def export(self, name, *options, varve=None):
        path = self.dir / name
        (varve or self.varve).run("export", "example.com/all:1", "-o", path, *options)
        return path

    def test_tree_is_right(self):
        theirs = oracle.umoci_unpack(self.layout_.path, "all", self.path("theirs"))
        self.assertSameTree(self.tree, theirs)

    def test_tar(self):
        for name, option in (("t.tar", "-xpf"), ("t.tar.gz", "-xpzf"), ("t.tar.zst", "-xpf")):
            path = self.export(name)
            out = self.path("x")
            out.mkdir()
            subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "--same-owner", option, path, "-C", out], check=True)
            self.assertSameTree(self.tree, out)
            self.assertEqual([p for p in self.dir.iterdir() if p.name.endswith(".part")], [])

    def test_tar_is_sparse(self):
        """Holes are no zeros in the archive, and holes again when it is unpacked."""
        path = self.export("t.tar")
        self.assertLess(path.stat().st_size, 2_700_000)
        out = self.path("x")
        out.mkdir()
        subprocess.run(["tar", "-xf", path, "-C", out], check=True)
        self.assertLess(tree.allocated(out / "holes"), 100_000)

    def test_bsdtar(self):
        path = self.export("t.tar.gz")
        out = self.path("x")
        out.mkdir()
        subprocess.run(["bsdtar", "-xpf", path, "-C", out], check=True)
        # bsdtar leaves the attributes of "." alone.
        self.assertSameTree(self.tree, out, [lambda p, k, a, b: p == b"."])

    def test_same_bytes(self):
        for name in ("a.tar", "a.tar.gz", "a.tar.zst", "a.squashfs", "a.wsl"):
            first = self.export(name, "--threads", "1").read_bytes()
            other = self.new_varve()
            other.run("import", self.layout_.path, "example.com/all:1")
            second = self.export("again-" + name, "--threads", "3", varve=other).read_bytes()
            self.assertEqual(hashlib.sha256(first).digest(), hashlib.sha256(second).digest(), name)

    def test_stdout(self):
        for form in ("tar", "squashfs", "oci-tar"):
            run = self.varve.popen("-q", "export", "example.com/all:1", "-o", "-", "--format", form)
            out, err = run.communicate(timeout=100)
            self.assertEqual(run.returncode, 0, err)
            path = self.dir / ("f." + {"oci-tar": "oci"}.get(form, form))
            self.export(path.name, "--format", form)
            self.assertEqual(out, path.read_bytes())

    def test_nodes(self):
        """A device or a pipe is written as it is; a link goes on leading to its file."""
        want = {form: self.export("want." + form).read_bytes() for form in ("tar", "squashfs")}
        null, full, pipe = self.dir / "null", self.dir / "full", self.dir / "pipe"
        os.mknod(null, 0o20666, os.makedev(1, 3))
        os.mknod(full, 0o20666, os.makedev(1, 7))
        os.mkfifo(pipe)
        for form, data in want.items():
            with self.subTest(form):
                self.export(null.name, "--format", form)
                self.varve.run("export", "example.com/all:1", "-o", full, "--format", form, status=7)
                with self.varve.popen("export", "example.com/all:1", "-o", pipe, "--format", form) as process:
                    self.assertEqual(pipe.read_bytes(), data)
                    self.assertEqual(process.wait(100), 0)
        self.assertEqual([os.lstat(p).st_rdev for p in (null, full)], [os.makedev(1, 3), os.makedev(1, 7)])
        self.assertTrue(stat.S_ISFIFO(os.lstat(pipe).st_mode))
        self.assertIn("--format", self.varve.run("export", "example.com/all:1", "-o", null, status=2).err)
        self.varve.run("export", "example.com/all:1", "-o", null, "--format", "oci", status=2)

    def test_links(self):
        (self.dir / "sub").mkdir()
        (self.dir / "sub/real.tar").write_text("old")
        os.symlink("sub/real.tar", self.dir / "link.tar")
        want = self.export("want.tar").read_bytes()
        self.export("link.tar")
        self.assertEqual(os.readlink(self.dir / "link.tar"), "sub/real.tar")
        self.assertEqual((self.dir / "sub/real.tar").read_bytes(), want)
        os.symlink("nowhere", self.dir / "dangling.tar")
        self.assertIn("symlink", self.varve.run("export", "example.com/all:1", "-o", self.dir / "dangling.tar", status=3).err)
        self.assertFalse((self.dir / "nowhere").exists())
        # Standard output by its other name: nothing is printed between the bytes.
        with open(self.dir / "out", "wb") as file:
            self.varve.run("export", "example.com/all:1", "-o", "/dev/stdout", "--format", "tar", stdout=file)
        self.assertEqual((self.dir / "out").read_bytes(), want)
        self.assertEqual(sorted(os.listdir(self.dir / "sub")), ["real.tar"])

    def test_squashfs(self):
        for compressor in ("zstd", "gzip", "xz", "lz4"):
            path = self.export(f"{compressor}.squashfs", "--compressor", compressor)
            out = self.path("x")
            subprocess.run(["unsquashfs", "-q", "-n", "-no-progress", "-d", out, path], check=True, stdout=subprocess.DEVNULL)
            self.assertSameTree(self.tree, out, [whole_seconds])

    def _point(self):
        point = self.path("mount")
        point.mkdir()
        self.addCleanup(subprocess.run, ["umount", "-l", point], stderr=subprocess.DEVNULL)
        return point

    def test_kernel_reads_squashfs(self):
        path, point = self.export("k.squashfs"), self._point()
        if subprocess.run(["mount", "-o", "loop,ro", path, point], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no loop mounts here")
        self.assertSameTree(self.tree, point, [whole_seconds])

    def test_round_trips(self):
        """image -> file -> install: the same tree."""
        for name in ("r.tar", "r.tar.gz", "r.tar.zst", "r.squashfs"):
            path = self.export(name)
            other = self.new_varve()
            other.run("import", path, "back:1")
            other.run("install", "back:1")
            ignore = [whole_seconds] if name.endswith("squashfs") else []
            self.assertSameTree(self.tree, other.tree("back:1"), ignore)
            other.run("import", "-", "again:1", input=path.read_bytes())

    def test_docker_archive(self):
        path = self.export("d.tar", "--format", "docker-archive")
        registry = self.registry()
        ref = f"{registry.address}/from/docker:1"
        oracle.skopeo_copy(f"docker-archive:{path}", f"docker://{ref}")
        other = self.new_varve()
        other.run("pull", ref)
        other.run("install", ref)
        self.assertSameTree(self.tree, other.tree(ref))
        third = self.new_varve()
        third.run("import", path)
        third.run("install", "example.com/all:1")
        self.assertSameTree(self.tree, third.tree("example.com/all:1"))

    def test_docker_archive_of_several(self):
        """One layer for both: it is in the archive once; skopeo and a second store find each by its name."""
        self.layout_.image("more", [*layers()[:1], Tar().file("more", "m", mtime=30)])
        self.varve.run("import", self.layout_.path, "example.com/more:2", "--path", "more")
        path = self.dir / "two.tar"
        self.varve.run("export", "example.com/all:1", "example.com/more:2", "--format", "docker-archive", "-o", path)
        listed = json.loads(tarfile.open(path).extractfile("manifest.json").read())
        self.assertEqual([i["RepoTags"] for i in listed], [["example.com/all:1"], ["example.com/more:2"]])
        names = tarfile.open(path).getnames()
        self.assertEqual(len(names), len(set(names)))
        other = self.new_varve()
        other.run("import", path)
        for i, name in enumerate(("example.com/all:1", "example.com/more:2")):
            self.varve.run("install", "--force", name)
            oracle.skopeo_copy(f"docker-archive:{path}:@{i}", f"oci:{self.path('copied')}:x")
            other.run("install", name)
            self.assertSameTree(self.varve.tree(name), other.tree(name))

    def test_oci(self):
        path = self.dir / "layout"
        self.varve.run("export", "example.com/all:1", "-o", path)
        self.assertSameTree(self.tree, oracle.umoci_unpack(path, "example.com/all:1", self.path("b")))
        # A second image is added beside the first; a foreign directory is left alone.
        self.varve.run("tag", "example.com/all:1", "example.com/all:2")
        self.varve.run("export", "example.com/all:2", "-o", path)
        names = [m["annotations"]["org.opencontainers.image.ref.name"]
                 for m in json.loads((path / "index.json").read_text())["manifests"]]
        self.assertEqual(sorted(names), ["example.com/all:1", "example.com/all:2"])
        full = self.path("full")
        full.mkdir()
        (full / "file").write_text("mine")
        self.varve.run("export", "example.com/all:1", "-o", full, status=1)
        self.assertEqual(os.listdir(full), ["file"])
        archive = self.export("o.tar", "--format", "oci-tar")
        oracle.skopeo_copy(f"oci-archive:{archive}:example.com/all:1", f"oci:{self.path('c')}:x")

    @unittest.skipUnless(shutil.which("podman"), "no podman")
    def test_podman(self):
        for form in ("docker-archive", "oci-tar"):
            path = self.export(form + ".tar", "--format", form)
            store = self.path("podman")
            podman = ["podman", "--root", store, "--runroot", self.path("run"), "--tmpdir", self.path("tmp"), "--events-backend", "none",
                      "--storage-driver", "overlay"]
            out = subprocess.run([*podman, "load", "-i", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(out.returncode, 0, out.stdout)
            image = subprocess.run([*podman, "images", "-q"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]
            place = subprocess.run([*podman, "image", "mount", image], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
            self.addCleanup(subprocess.run, [*podman, "image", "umount", "-a", "-f"], stdout=subprocess.DEVNULL)
            # podman gives a file the attributes of its last hard-link entry, and its root some of its own.
            links = (b".", b"a/one", b"a/two", b"a/new", b"a/three")
            self.assertSameTree(self.tree, place, [lambda path, key, a, b: path in links and key in ("mode", "uid", "gid", "mtime")])

    def test_wsl(self):
        layout = self.layout()
        layout.image("w", [Tar().dir("etc").file("etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:1001:1001::/home/me:/bin/sh\n")
                           .file("etc/wsl.conf", "[network]\nhostname=box\n[user]\ndefault=root\n# end")])
        self.varve.run("import", layout.path, "w:1")
        icon = self.dir / "i.ico"
        icon.write_bytes(b"\0\0\1\0icon")
        path = self.dir / "w.wsl"
        self.varve.run("export", "w:1", "-o", path, "--wsl-user", "me", "--wsl-name", "Box", "--wsl-icon", icon,
                       "--wsl-systemd", "on")
        with tarfile.open(path, "r:gz") as tar:
            names = tar.getnames()
            self.assertEqual(len(names), len(set(names)))
            conf = tar.extractfile("etc/wsl.conf").read().decode()
            dist = tar.extractfile("etc/wsl-distribution.conf").read().decode()
            self.assertEqual(tar.extractfile("usr/share/wsl/icon.ico").read(), icon.read_bytes())
            self.assertIn("usr/share", names)
        self.assertEqual(conf, "[network]\nhostname=box\n[user]\ndefault=me\n# end\n[boot]\nsystemd=true\n")
        self.assertIn("defaultUid=1001\n", dist)
        self.assertIn("defaultName=Box\n", dist)
        self.assertIn("icon=/usr/share/wsl/icon.ico\n", dist)
        self.varve.run("export", "w:1", "-o", path, "--wsl-user", "nobody", status=3)
        # Without options the image's own settings stay.
        self.varve.run("export", "w:1", "-o", path)
        with tarfile.open(path, "r:gz") as tar:
            self.assertIn(b"default=root", tar.extractfile("etc/wsl.conf").read())

    def test_bundle(self):
        """Only what the other machine lacks travels."""
        there = self.new_varve()
        base = self.layout()
        base.image("base", [layers()[0]])
        there.run("import", self.layout_.path, "example.com/all:1")
        have = self.dir / "have"
        have.write_text(there.run("have").out)
        new = self.layout()
        first = [self.layout_.read(l) for l in json.loads(self.layout_.read(self.layout_.find("all")))["layers"]]
        new.image("new", first + [Tar().file("third", "3")])
        self.varve.run("import", new.path, "example.com/all:2")
        bundle = self.dir / "bundle.tar"
        out = self.varve.json("export", "example.com/all:2", "example.com/all:1", "--have", have, "-o", bundle)
        self.assertLess(bundle.stat().st_size, 20_000)
        there.run("import", bundle)
        there.run("--offline", "install", "example.com/all:2")
        self.varve.run("install", "example.com/all:2")
        self.assertSameTree(self.varve.tree("example.com/all:2"), there.tree("example.com/all:2"))
        # On a machine that lacks the rest it is refused, and says what is missing.
        self.assertIn("neither in it nor in the store", self.new_varve().run("import", bundle, status=1).err)
        self.varve.run("export", "example.com/all:1", "--have", have, "-o", self.dir / "x.tar.gz", status=2)

    def test_bundle_for_an_empty_machine(self):
        """A list of nothing is a new machine's; a name in .oci.tar or .oci is an OCI layout without it, too."""
        empty = self.dir / "list"
        empty.write_text(self.new_varve().run("have").out)
        self.assertEqual(empty.read_text(), "")
        for name, options, form in (("bundle.tar", ("--have", empty), "oci-tar"), ("plain.oci.tar", (), "oci-tar"),
                                    ("folder.oci", (), "oci"), ("a.b.oci", ("--have", empty), "oci")):
            with self.subTest(name):
                there, out = self.new_varve(), self.dir / name
                self.assertEqual(self.varve.json("export", "example.com/all:1", *options, "-o", out)["format"], form)
                self.assertEqual(out.is_dir(), form == "oci")
                there.run("import", out)
                there.run("--offline", "install", "example.com/all:1")
        self.assertIn("oci-tar", self.varve.run("export", "example.com/all:1", "-o", self.dir / "again.oci.tar").out)
        self.varve.run("export", "example.com/all:1", "--have", empty, "-o", self.dir / "x.squashfs", status=2)
        self.varve.run("export", "example.com/all:1", "-o", self.dir / "x.oci.tar.gz", status=2)
        self.varve.run("export", "example.com/all:1", "--have", empty, "--format", "tar", "-o", self.dir / "x.tar", status=2)

    def test_rotten(self):
        """A blob that has changed: no output appears."""
        layer = json.loads(self.layout_.read(self.layout_.find("all")))["layers"][0]["digest"]
        blob = self.varve.blob(layer)
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.seek(-30, 2)
            file.write(b"rotten")
        for name in ("n.tar", "n.squashfs", "n.oci"):
            path = self.dir / name
            form = ["--format", "oci-tar"] if name.endswith("oci") else []
            self.varve.run("export", "example.com/all:1", "-o", path, *form, status=(1, 4))
            self.assertFalse(path.exists())
        self.assertEqual([p.name for p in self.dir.iterdir() if ".part" in p.name], [])

    def test_bad(self):
        self.varve.run("export", "nothing:1", "-o", self.dir / "x.tar", status=3)
        self.varve.run("export", "example.com/all:1", "-o", self.dir / "x.what", status=2)
        self.varve.run("export", "example.com/all:1", "-o", self.dir / "x", "--format", "what", status=2)
        self.varve.run("export", "example.com/all:1", "-o", self.dir / "no/x.tar", status=(1, 3))
        self.varve.run("export", "example.com/all:1", "-o", self.dir, "--format", "tar", status=1)
        self.varve.run("export", "example.com/all:1", "-o", self.dir / "x.squashfs", "--compressor", "what", status=2)
        self.varve.run("export", "example.com/all:1", "example.com/all:1", "-o", self.dir / "x.tar.gz", status=2)

    def test_options_that_do_nothing(self):
        for name, *options in (("x.tar", "--wsl-user", "root"), ("x.squashfs", "--wsl-systemd", "on"), ("x.tar", "--compressor", "xz"),
                               ("x.wsl", "--compressor", "xz"), ("x.tar", "--level", "3"), ("x", "--level", "3"), ("x", "--strict"),
                               ("x.d", "--format", "docker-archive", "--keep-dirlinks")):
            with self.subTest(f"{name} {options}"):
                err = self.varve.run("export", "example.com/all:1", "-o", self.dir / name, *options, status=2).err
                self.assertIn("the form", err)
                self.assertFalse((self.dir / name).exists())

    def test_levels(self):
        """What no compressor has is said before anything is written; nor is there a form that no kernel mounts."""
        for name, *options, says in (("x.tar.gz", "--level", "10", "from 1 to 9"), ("x.tar.zst", "--level", "23", "from 1 to 22"),
                                     ("x.wsl", "--level", "99", "from 1 to 9"), ("x.squashfs", "--level", "99", "from 1 to 22"),
                                     ("x.squashfs", "--compressor", "gzip", "--level", "10", "from 1 to 9"),
                                     ("x.squashfs", "--compressor", "lz4", "--level", "1", "no levels"),
                                     ("x.squashfs", "--compressor", "lzma", "not one of"), ("x.squashfs", "--compressor", "lzo", "not one of")):
            with self.subTest(f"{name} {options}"):
                self.assertIn(says, self.varve.run("export", "example.com/all:1", "-o", self.dir / name, *options, status=2).err)
                self.assertFalse((self.dir / name).exists())
        for name, *options in (("a.tar.gz", "--level", "9"), ("a.tar.zst", "--level", "19"), ("g.squashfs", "--compressor", "gzip", "--level", "9"),
                               ("x.squashfs", "--compressor", "xz", "--level", "9"), ("z.squashfs", "--level", "22"),
                               ("l.squashfs", "--compressor", "lz4")):
            self.varve.run("export", "example.com/all:1", "-o", self.dir / name, *options)

    def test_full_disk(self):
        small = self.tmpfs("1m")
        self.varve.run("export", "example.com/all:1", "-o", small / "x.tar", status=7)
        self.varve.run("export", "example.com/all:1", "-o", small / "x.squashfs", status=7)
        self.assertEqual(os.listdir(small), [])


if __name__ == "__main__":
    unittest.main()
