# SPDX-License-Identifier: Apache-2.0
"""import: rootfs archives, squashfs, ISO images, OCI layouts and docker-archives, right and wrong ones."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import unittest

from support import Case, Tar, compress, digest_of, need_root, oracle, samples
from support.image import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Layout


def rootfs():
    return (Tar().dir(".", mtime=1).dir("etc", mtime=2).file("etc/os-release", "ID=box\n", mtime=3)
            .file("bin", os.urandom(300_000), mode=0o755, mtime=4).symlink("ln", "etc/os-release", mtime=5)
            .hardlink("bin2", "bin"))


def run(*args, **kw):
    subprocess.run([os.fspath(a) for a in args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kw)


class Sources(Case):
    def write(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        return path

    def untar(self, *archives):
        out = self.path("tree")
        out.mkdir()
        for a in archives:
            run("tar", "-xpf", "-", "--ignore-zeros", "-C", out, input=a)
        return out

    def blobs(self, varve=None):
        folder = (varve or self.varve).store / "blobs/sha256"
        return sorted(os.listdir(folder)) if folder.exists() else []

    # --- rootfs archives ---

    def test_every_compression(self):
        data = rootfs().bytes()
        tree = self.untar(data)
        forms = {"none": data, "gz": gzip.compress(data), "xz": lzma.compress(data), "bz2": bz2.compress(data),
                 "zst": compress(data, "zstd")}
        for name, packed in forms.items():
            with self.subTest(name):
                # The name lies on purpose: content decides.
                path = self.write(f"x_{name}.tar.gz", packed)
                out = self.varve.json("import", path)["images"][0]
                self.assertEqual(out["reference"], f"localhost/x:{name}")
                self.assertIn(hashlib.sha256(packed).hexdigest(), self.blobs())
                self.varve.run("install", f"localhost/x:{name}")
                self.assertSameTree(self.varve.tree(f"localhost/x:{name}"), tree)

    def test_concatenated(self):
        first = rootfs().bytes()
        second = Tar().dir("etc", mode=0o700, mtime=9).file("etc/os-release", "ID=new\n", mtime=10).file("more", "m", mtime=11).bytes()
        third = Tar().file("last", "l", mtime=12).hardlink("last2", "etc/os-release").bytes()
        tree = self.untar(first + second + third)
        cases = {
            "gz": gzip.compress(first) + gzip.compress(second) + gzip.compress(third),
            "tar": first + second + third,
            "padded": first + b"\0" * 10240 + second + b"\0" * 512 * 7 + third + b"\0" * 5120,
            "one": gzip.compress(first + second + third),
            "zst": compress(first, "zstd") + compress(second, "zstd") + compress(third, "zstd"),
            "xz": lzma.compress(first) + lzma.compress(second) + lzma.compress(third),
            "bz2": bz2.compress(first) + bz2.compress(second) + bz2.compress(third),
        }
        for name, data in cases.items():
            with self.subTest(name):
                self.varve.run("import", self.write(f"c_{name}.tar", data))
                self.varve.run("install", f"localhost/c:{name}")
                self.assertSameTree(self.varve.tree(f"localhost/c:{name}"), tree)
        # Other tools see all of it, too.
        self.varve.run("export", "localhost/c:gz", "-o", self.dir / "layout")
        self.assertSameTree(oracle.umoci_unpack(self.dir / "layout", "localhost/c:gz", self.path("b")), tree)

    def test_mixed_compressions(self):
        """Other tools drop or refuse what follows: it is not dropped silently."""
        first, second = rootfs().bytes(), Tar().file("more", "m").bytes()
        forms = {"tar": lambda d: d, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": lambda d: compress(d, "zstd")}
        for a, pack in forms.items():
            for b, pack_other in forms.items():
                if a == b:
                    continue
                with self.subTest(f"{b} behind {a}"):
                    err = self.varve.run("import", self.write("m.tar", pack(first) + pack_other(second)), status=4).err
                    self.assertRegex(err, "behind its end follows another archive|follows behind it")
                    self.assertNothingLeft()
            with self.subTest(f"zeros behind {a}"):
                if a != "zst":  # where zstd itself refuses them
                    self.new_varve().run("import", self.write("m.tar", pack(first) + b"\0" * 10240))

    def test_stdin(self):
        data = gzip.compress(rootfs().bytes())
        self.varve.run("import", "-", "piped:1", input=data)
        self.assertIn(hashlib.sha256(data).hexdigest(), self.blobs())
        self.assertIn("name", self.varve.run("import", "-", input=data, status=2).err)

    def test_twice_is_stored_once(self):
        path = self.write("a.tar", rootfs().bytes())
        self.varve.run("import", path, "a:1")
        before = self.blobs()
        out = self.varve.json("import", path, "b:1")["images"][0]
        self.assertEqual((out["bytes_new"], self.blobs()), (0, before))

    def test_labels(self):
        data = rootfs().bytes()
        for name, want in (("rootfs_debian_sid.tar.gz", "debian:sid"), ("ROOTFS_Debian_9.TAR", "debian:9"), ("plain.tar", "plain:latest"),
                           ("rootfs_a_b_c.tar.xz", "a:b_c"), ("x.sfs.tar", "x.sfs:latest"),
                           ("alpine-3.19-x86_64.tar.gz", "alpine-3.19-x86_64:latest"), ("deb_x86_64.tar", "deb:x86_64"),
                           ("My  Rootfs .tar", "my-rootfs:latest"), ("a:b.tar", "a-b:latest")):
            out = self.varve.json("import", self.write(name, data))["images"][0]
            self.assertEqual(out["reference"], "localhost/" + want)

    def test_a_file_that_exists_is_a_file(self):
        for i, name in enumerate(("a:b.tar", "a@b.tar", "@@.tar", "My Rootfs.tar")):
            self.write(name, rootfs().bytes())
            self.assertIn(f"rootfs_l{i}", self.varve.run("install", "-n", f"l{i}", name, cwd=self.dir).out)
        self.assertIn("a-b_latest", self.varve.run("install", "a:b.tar", cwd=self.dir).out)

    def test_real_tarball(self):
        """A tree as mmdebstrap or any tool would pack it: sorted, with all attributes."""
        top = self.path("top")
        (top / "usr/lib").mkdir(parents=True)
        (top / "usr/lib/a").write_text("a" * 5000)
        os.link(top / "usr/lib/a", top / "usr/b")
        os.symlink("usr/lib", top / "lib")
        os.mkfifo(top / "fifo")
        path = self.dir / "real.tar.xz"
        run("tar", "--sort=name", "--format=pax", "-cJf", path, "-C", top, ".")
        self.varve.run("import", path)
        self.varve.run("install", "localhost/real")
        self.assertSameTree(self.varve.tree("localhost/real:latest"), top)

    # --- squashfs and ISO ---

    def tree(self):
        top = self.path("top")
        (top / "etc/deep").mkdir(parents=True)
        (top / "etc/os-release").write_text("ID=live\n")
        (top / "etc/deep/big").write_bytes(os.urandom(700_000))
        (top / "same").write_bytes((top / "etc/deep/big").read_bytes())
        for i in range(300):
            (top / f"f{i}").write_text(f"file {i}\n" * (i % 7))
        os.link(top / "f3", top / "etc/link")
        os.symlink("../f1", top / "etc/sym")
        with open(top / "holes", "wb") as file:
            file.truncate(2_000_000)
            file.seek(1_000_000)
            file.write(b"middle")
        if os.geteuid() == 0:
            os.mknod(top / "null", 0o20666, os.makedev(1, 3))
            os.setxattr(top / "f4", "user.x", b"\0v")
            os.chown(top / "f5", 1234, 5678)
        for path, folders, names in os.walk(top, topdown=False):
            for name in folders + names:
                os.utime(os.path.join(path, name), (1e9, 1_000_000_000), follow_symlinks=False)
        os.utime(top, (1e9, 1_000_000_000))
        return top

    def test_squashfs(self):
        top = self.tree()
        for compressor in ("gzip", "xz", "zstd", "lz4", "lzma"):
            with self.subTest(compressor):
                path = self.dir / f"s_{compressor}.img.tar.gz"
                run("mksquashfs", top, path, "-comp", compressor)
                out = self.varve.json("import", path)["images"][0]
                self.assertEqual(out["kind"], "squashfs")
                # The file itself is the blob: it is read in place.
                self.assertEqual(len(self.blobs()), 3)
                self.assertIn(hashlib.sha256(path.read_bytes()).hexdigest(), self.blobs())
                self.varve.run("install", out["reference"].removeprefix("docker.io/library/"), "--name", f"s_{compressor}")
                self.assertSameTree(self.varve.roots / f"rootfs_s_{compressor}", top)
                self.varve.run("cat", out["reference"], "etc/os-release")
                self.varve = self.new_varve()

    def iso(self, files):
        """An ISO of {path: file}."""
        folder, path = self.path("isodir"), self.path("image").with_suffix(".iso")
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
        folder.mkdir(exist_ok=True)
        (folder / "README.TXT").write_text("hsq but no more")
        run("xorriso", "-as", "mkisofs", "-R", "-J", "-o", path, folder)
        return path

    def test_iso(self):
        top = self.tree()
        image = self.dir / "i.squashfs"
        run("mksquashfs", top, image)
        for place in ("LiveOS/squashfs.img", "casper/filesystem.squashfs", "live/filesystem.squashfs", "arch/x86_64/airootfs.sfs",
                      "deep/er/than/that/odd name.bin"):
            with self.subTest(place):
                varve = self.new_varve()
                out = varve.json("import", self.iso({place: image}), "live:1")["images"][0]
                self.assertEqual((out["kind"], out["member"]), ("iso", place))
                self.assertIn(hashlib.sha256(image.read_bytes()).hexdigest(), self.blobs(varve))
                varve.run("install", "live:1")
                self.assertSameTree(varve.tree("live:1"), top)

    def test_iso_of_debian(self):
        """The real thing: a tree of mmdebstrap, as a live ISO has it."""
        need_root()
        top = self.untar(samples.minbase_tar())
        image = self.dir / "fs.squashfs"
        run("mksquashfs", top, image, "-comp", "zstd", "-Xcompression-level", "1")
        path = self.iso({"live/filesystem.squashfs": image, "live/vmlinuz": self.write("vmlinuz", b"k" * 5000)})
        out = self.varve.json("import", path, "debian:live")["images"][0]
        self.assertEqual((out["kind"], out["member"]), ("iso", "live/filesystem.squashfs"))
        self.varve.run("install", "debian:live")
        self.assertSameTree(self.varve.tree("debian:live"), top, [lambda p, k, a, b: k == "mtime" and a // 10**9 == b // 10**9])

    def test_squashfs_of_a_disk_image(self):
        """As Fedora's live systems had it."""
        for name in ("LiveOS/rootfs.img", "LiveOS/ext3fs.img", "rootfs.ext4"):
            with self.subTest(name):
                top = self.path("top")
                (top / name).parent.mkdir(parents=True)
                with open(top / name, "wb") as file:
                    file.truncate(5_000_000)
                image = self.path("image")
                run("mksquashfs", top, image)
                for path in (image, self.iso({"LiveOS/squashfs.img": image})):
                    err = self.varve.run("import", path, "x:1", status=1).err
                    self.assertIn(f"one disk image, {name}", err)
                    self.assertNothingLeft()

    def test_iso_without_rock_ridge(self):
        image = self.dir / "i.squashfs"
        run("mksquashfs", self.tree(), image)
        folder, path = self.path("isodir"), self.dir / "plain.iso"
        (folder / "LIVE").mkdir(parents=True)
        shutil.copy(image, folder / "LIVE/FS.SFS")
        run("xorriso", "-as", "mkisofs", "--norock", "-o", path, folder)
        out = self.varve.json("import", "--path", "LIVE/FS.SFS", path, "x:1")["images"][0]
        self.assertEqual(out["kind"], "iso")

    def test_iso_with_several(self):
        one, two = self.dir / "1.sfs", self.dir / "2.sfs"
        top = self.tree()
        run("mksquashfs", top, one)
        (top / "more").write_text("more")
        run("mksquashfs", top, two)
        path = self.iso({"casper/minimal.squashfs": one, "casper/standard.squashfs": two})
        err = self.varve.run("import", path, "x:1", status=2).err
        self.assertIn("casper/minimal.squashfs", err)
        self.assertIn("--path", err)
        out = self.varve.json("import", path, "x:1", "--path", "/casper/standard.squashfs")["images"][0]
        self.assertEqual(out["member"], "casper/standard.squashfs")
        self.assertEqual(self.varve.run("cat", "x:1", "more").out, "more")
        self.assertIn("casper/minimal", self.varve.run("import", path, "x:1", "--path", "nothing", status=3).err)
        # One of them in a known place is the one that is meant.
        path = self.iso({"live/filesystem.squashfs": one, "other/x.squashfs": two})
        self.assertEqual(self.varve.json("import", path, "y:1")["images"][0]["member"], "live/filesystem.squashfs")

    def test_bad_iso(self):
        other = self.write("other", b"x" * 3000)
        err = self.varve.run("import", self.iso({"boot/vmlinuz": other, "pool/a.deb": other}), "x:1", status=3).err
        self.assertIn("holds no squashfs", err)
        for name in ("README.TXT", "boot/vmlinuz", "pool/a.deb"):
            self.assertIn(name, err)
        err = self.varve.run("import", self.iso({f"many/file{i:03}": other for i in range(50)}), "x:1", status=3).err
        self.assertIn("51 files", err)
        self.assertIn("and others", err)
        self.assertNothingLeft()
        image = self.dir / "i.squashfs"
        run("mksquashfs", self.tree(), image)
        whole = self.iso({"live/filesystem.squashfs": image}).read_bytes()
        at = whole.index(image.read_bytes()[:96])
        for size in (33_000, 40_000, at + 1000, len(whole) // 2):
            self.varve.run("import", self.write("cut.iso", whole[:size]), "x:1", status=(3, 4))
            self.assertNothingLeft()
        for i in range(0, 400, 7):
            bad = bytearray(whole[:at])
            bad[16 * 2048 + (i * 131) % (len(bad) - 16 * 2048)] ^= 0xFF
            self.varve.run("import", self.write("bad.iso", bytes(bad) + whole[at:]), "x:1", status=None, timeout=20)

    def test_bad_squashfs(self):
        path = self.dir / "good.sfs"
        run("mksquashfs", self.tree(), path)
        good = path.read_bytes()
        for size in (50, 96, 1000, len(good) // 2, len(good) - 5000):
            self.varve.run("import", self.write("cut.sfs", good[:size]), status=(1, 4))
            self.assertNothingLeft()
        end = good[: int.from_bytes(good[40:48], "little")]
        for at in (len(end) - 3000, len(end) - 1000, len(end) - 10, 48, 64, 72, 20):
            bad = bytearray(good)
            bad[at : at + 8] = b"\xff" * 8
            self.varve.run("import", self.write("bad.sfs", bytes(bad)), status=None)
        # Content that has rotted is found when it is read.
        self.varve.run("import", path, "good:1")
        blob = self.varve.store / "blobs/sha256" / hashlib.sha256(good).hexdigest()
        os.chmod(blob, 0o600)
        with open(blob, "r+b") as file:
            file.seek(5000)
            file.write(b"rotten rotten")
        self.varve.run("install", "good:1", status=4)
        self.assertFalse(self.varve.tree("good:1").exists())

    # --- OCI layouts ---

    def test_layout(self):
        layout = self.layout()
        layer = rootfs()
        image = layout.image("example.com/app:1", [layer])
        second = layout.image("example.com/app:2", [layer, Tar().whiteout("bin")])
        tar = self.dir / "layout.tar"
        run("tar", "-cf", tar, "-C", layout.path, ".")
        packed = self.dir / "layout.tgz"
        run("tar", "-czf", packed, "-C", layout.path, ".")
        for path in (layout.path, tar, packed):
            with self.subTest(str(path)):
                varve = self.new_varve()
                out = {i["reference"]: i for i in varve.json("import", path)["images"]}
                self.assertEqual(out["example.com/app:1"]["manifest"], image["digest"])
                self.assertEqual(out["example.com/app:2"]["manifest"], second["digest"])
                varve.run("install", "example.com/app:2")
                self.assertSameTree(varve.tree("example.com/app:2"),
                                    oracle.umoci_unpack(layout.path, "example.com/app:2", self.path("b")))
                self.assertIn("several", varve.run("import", path, "one:1", status=2).err)
                out = varve.json("import", path, "one:1", "--path", "example.com/app:1")["images"]
                self.assertEqual(out[0]["manifest"], image["digest"])
                self.assertIn("app:1", varve.run("import", path, "--path", "no", status=3).err)

    def test_layout_of_skopeo(self):
        """Only a tag for a name: the file says whose."""
        layout = self.layout()
        image = layout.image("x", [rootfs()])
        path = self.dir / "tool.tar"
        oracle.skopeo_copy(f"oci:{layout.path}:x", f"oci-archive:{path}:v1")
        out = self.varve.json("import", path)["images"][0]
        self.assertEqual((out["reference"], out["manifest"]), ("localhost/tool:v1", image["digest"]))

    def test_layout_with_platforms(self):
        layout = self.layout()
        amd = layout.manifest([Tar().file("amd", "1")])
        arm = layout.manifest([Tar().file("arm", "1")], platform=("linux", "arm64", "v8"))
        layout.index("multi:1", [(("linux", "amd64", ""), amd), (("linux", "arm64", "v8"), arm)])
        for platform, want in (("linux/amd64", amd), ("linux/arm64", arm)):
            out = self.varve.json("import", layout.path, "--platform", platform)["images"][0]
            self.assertEqual(out["manifest"], want["digest"])
        self.assertIn("linux/amd64", self.varve.run("import", layout.path, "--platform", "linux/s390x", status=3).err)

    def test_git_checkout(self):
        """The blobs are symlinks, as in debian's repository."""
        layout = self.layout()
        image = layout.image("deb:1", [rootfs()])
        blobs = layout.path / "blobs/sha256"
        for i, name in enumerate(sorted(os.listdir(blobs))):
            (blobs / name).rename(layout.path / f"file{i}")
            os.symlink(f"../../file{i}", blobs / name)
        self.assertEqual(self.varve.json("import", layout.path)["images"][0]["manifest"], image["digest"])
        # A link that leads out of the layout stays inside of it.
        victim = sorted(os.listdir(blobs))[0]
        (blobs / victim).unlink()
        os.symlink("/etc/passwd", blobs / victim)
        self.assertIn("not followed", self.new_varve().run("import", layout.path, status=4).err)

    def test_blobs_that_are_links_out_of_the_layout(self):
        """As bazel's rules_oci and link farms of nix make them."""
        for how in ("relative", "absolute", "folder"):
            with self.subTest(how):
                layout, cas = self.layout(), self.path("cas")
                layout.image("i", [rootfs()])
                blobs = layout.path / "blobs/sha256"
                shutil.move(blobs, cas)
                if how == "folder":
                    os.symlink(cas, blobs)
                else:
                    blobs.mkdir()
                    for blob in cas.iterdir():
                        os.symlink(os.path.relpath(blob, blobs) if how == "relative" else blob, blobs / blob.name)
                err = self.new_varve().run("import", layout.path, "x:1", status=4).err
                self.assertIn("is a symbolic link to", err)
                self.assertIn("cp -rL", err)
                copy = self.path("copy")
                run("cp", "-rL", layout.path, copy)
                self.new_varve().run("import", copy, "x:1")
                os.symlink(copy, self.dir / f"link-{how}")
                self.new_varve().run("import", self.dir / f"link-{how}", "x:1")

    def test_bad_layout(self):
        layer = rootfs()

        def bad(change, status, says):
            layout = self.layout()
            descriptor = layout.image("bad:1", [layer])
            manifest = json.loads(layout.read(descriptor))
            change(layout, descriptor, manifest)
            varve = self.new_varve()
            self.assertIn(says, varve.run("import", layout.path, status=status).err)
            self.assertNothingLeft(varve)

        def blob(layout, d):
            return layout.path / "blobs/sha256" / d["digest"][7:]

        bad(lambda l, d, m: blob(l, m["layers"][0]).write_bytes(b"other"), 4, "bytes, not")
        bad(lambda l, d, m: blob(l, m["layers"][0]).write_bytes(b"x" * m["layers"][0]["size"]), 4, "")
        bad(lambda l, d, m: blob(l, m["layers"][0]).unlink(), 1, "neither in it nor in the store")
        bad(lambda l, d, m: blob(l, m["config"]).write_bytes(b"{}"), 4, "has 2 bytes, not")
        bad(lambda l, d, m: blob(l, m["config"]).write_bytes(b"{}".ljust(m["config"]["size"])), 4, "digest")
        bad(lambda l, d, m: blob(l, d).write_bytes(b"{}".ljust(d["size"])), 4, "digest")
        bad(lambda l, d, m: (l.path / "oci-layout").write_text('{"imageLayoutVersion":"2"}'), 1, "version")
        bad(lambda l, d, m: (l.path / "index.json").write_text("{"), 4, "")
        bad(lambda l, d, m: (l.path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}'), 4, "without an image")
        layout = self.layout()
        layout.image("bad:1", [layer], diff_ids=["sha256:" + "0" * 64])
        self.assertIn("config says", self.varve.run("import", layout.path, status=4).err)
        self.assertNothingLeft()

    def test_digest_of_another_algorithm(self):
        """An entry of index.json whose content cannot be verified is refused by name; nobody needs one beside it."""
        layout = self.layout()
        layout.image("good:1", [rootfs()])
        layout.tag("odd:1", dict(layout.find("good:1"), digest="blake3:" + "a" * 64))
        self.assertIn("algorithm", self.varve.run("import", layout.path, "--path", "odd:1", status=1).err)
        self.assertNothingLeft()
        self.varve.run("import", layout.path, "--path", "good:1")
        self.varve.run("--offline", "install", "good:1")

    def test_zstd_windows(self):
        """Those of --long=28 are read, larger ones are refused by name."""
        data = rootfs().bytes()
        for log, status in ((27, 0), (28, 0), (29, 4), (31, 4)):
            # A stream of unknown size: its frame declares the window.
            packed = subprocess.run(["zstd", "-q", "-c", f"--long={log}", "--no-content-size"], input=data, stdout=subprocess.PIPE, check=True).stdout
            found = self.varve.run("import", self.write("z.tar.zst", packed), f"z:{log}", status=status)
            if status:
                self.assertIn("above 256 MiB", found.err)

    # --- what a file is ---

    def test_a_tree_that_looks_like_an_archive_of_images(self):
        for name, text in (("manifest.json", '{"name":"my app","version":1}'), ("manifest.json", '[{"id":1}]'), ("manifest.json", "no json"),
                           ("index.json", '{"a":1}'), ("index.json", '{"manifests":[]}'), ("repositories", "x"), ("blobs/a", "x"),
                           ("blobs/sha256", "x"), ("a" * 64 + "/layer.tar", "x")):
            with self.subTest(f"{name} {text}"):
                tar = Tar().dir("./").dir("./bin").file("./bin/sh", "#!").file("./" + name, text)
                out = self.varve.json("import", self.write("t.tar", tar.bytes()), "t:1")["images"][0]
                self.assertEqual(out["kind"], "tar")
                self.assertIn(name, self.varve.run("files", "t:1").out)

    def test_almost_an_archive_of_images(self):
        layout = self.layout()
        layout.image("i", [rootfs()])
        bad = {}
        run("tar", "-cf", self.dir / "folder.tar", "-C", layout.path.parent, layout.path.name)
        run("tar", "-cf", self.dir / "last.tar", "-C", layout.path.parent, layout.path.name + "/blobs", layout.path.name + "/index.json", layout.path.name + "/oci-layout")
        run("tar", "-czf", self.dir / "folder.tgz", "-C", layout.path.parent, layout.path.name)
        run("tar", "-cf", self.dir / "marker.tar", "-C", layout.path, "index.json", "blobs")
        for name in ("folder.tar", "last.tar", "folder.tgz"):
            bad[self.dir / name] = (4, "tar -C FOLDER -cf FILE .")
        bad[self.dir / "marker.tar"] = (4, "has no file oci-layout")
        without = self.path("without")
        shutil.copytree(layout.path, without)
        (without / "oci-layout").unlink()
        bad[without] = (4, "has no file oci-layout")
        ident = "a" * 64
        old = (Tar().dir(ident).file(f"{ident}/VERSION", "1.0").file(f"{ident}/json", json.dumps({"id": ident}))
               .file(f"{ident}/layer.tar", rootfs().bytes()).file("repositories", json.dumps({"old/image": {"latest": ident}})))
        bad[self.write("old.tar", old.bytes())] = (1, "docker load")
        copied = self.path("dir")
        oracle.skopeo_copy(f"oci:{layout.path}:i", f"dir:{copied}")
        run("tar", "-cf", self.dir / "dir.tar", "-C", copied, ".")
        bad[copied] = bad[self.dir / "dir.tar"] = (1, "skopeo copy dir:DIR oci:NEW:TAG")
        for path, (status, says) in bad.items():
            with self.subTest(path.name):
                varve = self.new_varve()
                self.assertIn(says, varve.run("import", path, "x:1", status=status).err)
                self.assertNothingLeft(varve)
                if path.is_file():
                    self.assertEqual(varve.json("import", "--type", "rootfs", path, "x:1")["images"][0]["kind"], "tar")

    def test_type(self):
        layout = self.layout()
        image = layout.image("i", [rootfs()])
        run("tar", "-cf", self.dir / "lay.tar", "-C", layout.path, ".")
        tree = self.write("tree.tar", rootfs().bytes())
        oracle.skopeo_copy(f"oci:{layout.path}:i", f"docker-archive:{self.dir}/docker.tar:x:1")
        self.varve.run("export", "x:1", "-o", self.dir / "x.sfs", status=None)
        for kind, path, want in (("oci", "lay.tar", "oci-layout"), ("docker-archive", "docker.tar", "docker-archive"), ("rootfs", "tree.tar", "tar"),
                                 ("rootfs", "lay.tar", "tar"), ("auto", "lay.tar", "oci-layout"), ("auto", "tree.tar", "tar")):
            got = self.varve.json("import", "--type", kind, self.dir / path, "x:1")["images"][0]
            self.assertEqual(got["kind"], want)
            self.varve.run("install", "-f", "--no-keep", "--type", kind, self.dir / path, "-n", kind + path[:4].strip("."))
        for kind in ("oci", "docker-archive", "squashfs", "iso"):
            self.varve.run("import", "--type", kind, tree, "y:1", status=4)
        self.varve.run("import", "--type", "what", tree, "y:1", status=2)
        self.varve.run("import", "--type", "rootfs", layout.path, "y:1", status=2)
        self.assertIn("--type", self.varve.run("install", "--type", "oci", "debian:sid", status=2).err)
        self.assertTrue(image)

    # --- docker-archives ---

    def archive(self, images, old=False, extra=()):
        """docker save: [(names, [tar bytes], config)]."""
        out, listing = io.BytesIO(), []
        with tarfile.open(fileobj=out, mode="w") as tar:
            def add(name, data):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

            seen = {}
            for names, layers, config in images:
                files = []
                for data in layers:
                    ident = hashlib.sha256(data + bytes([len(listing)])).hexdigest()
                    name = f"{ident}/layer.tar"
                    if old and data in seen:  # docker links a layer that is there already
                        info = tarfile.TarInfo(name)
                        info.type, info.linkname = tarfile.SYMTYPE, "../" + seen[data]
                        tar.addfile(info)
                    else:
                        add(name, data)
                    seen.setdefault(data, name)
                    files.append(name)
                text = json.dumps(config).encode()
                add(hashlib.sha256(text).hexdigest() + ".json", text)
                listing.append({"Config": hashlib.sha256(text).hexdigest() + ".json", "RepoTags": names, "Layers": files})
            add("manifest.json", json.dumps(listing).encode())
            for name, data in extra:
                add(name, data)
        return out.getvalue()

    @staticmethod
    def config(layers):
        return {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest_of(l) for l in layers]}}

    def test_docker_archive(self):
        one, two = rootfs().bytes(), Tar().file("two", "2").whiteout("bin").bytes()
        data = self.archive([(["a:1", "a:latest"], [one], self.config([one])), (["example.com/b:2"], [one, two], self.config([one, two]))],
                            old=True)
        for name, packed in (("d.tar", data), ("d.tar.gz", gzip.compress(data))):
            with self.subTest(name):
                varve = self.new_varve()
                out = [i["reference"] for i in varve.json("import", self.write(name, packed))["images"]]
                self.assertEqual(out, ["docker.io/library/a:1", "docker.io/library/a:latest", "example.com/b:2"])
                varve.run("install", "example.com/b:2")
                self.assertEqual((varve.tree("example.com/b:2") / "two").read_text(), "2")
                self.assertFalse((varve.tree("example.com/b:2") / "bin").exists())

    def test_skopeo_docker_archive(self):
        layout = self.layout()
        layout.image("x", [rootfs(), Tar().file("more", "m")])
        path = self.dir / "d.tar"
        oracle.skopeo_copy(f"oci:{layout.path}:x", f"docker-archive:{path}:example.com/x:1")
        self.varve.run("import", path)
        self.varve.run("install", "example.com/x:1")
        self.assertSameTree(self.varve.tree("example.com/x:1"), oracle.umoci_unpack(layout.path, "x", self.path("b")))

    def test_docker_archive_with_keys_in_another_case(self):
        """Go programs write and read them so; podman and skopeo take it."""
        one = rootfs().bytes()
        archive = io.BytesIO()
        config = json.dumps(self.config([one])).encode()
        listing = json.dumps([{"config": "config.json", "repoTags": ["a:1"], "layers": ["layer.tar"]}]).encode()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, data in (("layer.tar", one), ("config.json", config), ("manifest.json", listing)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        path = self.write("d.tar", archive.getvalue())
        self.assertEqual(self.varve.json("import", path)["images"][0]["reference"], "docker.io/library/a:1")
        oracle.skopeo_copy(f"docker-archive:{path}", f"oci:{self.path('o')}:x")

    def test_docker_archive_with_a_useless_index(self):
        """docker save of 25.0.0 to 25.0.2: an index without manifests, or a manifest without layers; manifest.json is right."""
        one = rootfs().bytes()
        config = json.dumps(self.config([one])).encode()
        manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": None,
                               "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)}}).encode()
        named = [{"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest),
                  "annotations": {"io.containerd.image.name": "docker.io/library/x:1"}}]
        blob = "blobs/sha256/%s"
        for manifests, tags, want in ((None, None, "localhost/d:latest"), (named, ["x:1"], "x:1")):
            files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
                     "index.json": json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode(),
                     "manifest.json": json.dumps([{"Config": blob % digest_of(config)[7:], "RepoTags": tags,
                                                   "Layers": [blob % digest_of(one)[7:]]}]).encode()}
            files.update({blob % digest_of(data)[7:]: data for data in (one, config, manifest)})
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for name, data in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            varve = self.new_varve()
            path = self.write("d.tar", archive.getvalue())
            result = varve.run("import", path)
            self.assertIn("manifest.json beside it is taken instead", result.err)
            varve.run("install", want)
            self.assertTrue((varve.tree(want) / "bin").exists())
            # Without it the index counts, and says what is wrong.
            del files["manifest.json"]
            folder = self.path("folder" + str(len(tags or [])))
            for name, data in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
            self.assertIn("has no list", varve.run("import", folder, status=4).err)

    def test_bad_docker_archive(self):
        one = rootfs().bytes()
        good = self.config([one])
        for config, status, says in ((dict(good, rootfs={"type": "layers", "diff_ids": []}), 4, "diffIDs"),
                                     (self.config([b"other"]), 4, "config says")):
            path = self.write("d.tar", self.archive([(["a:1"], [one], config)]))
            self.assertIn(says, self.varve.run("import", path, status=status).err)
            self.assertNothingLeft()
        listing = json.dumps([{"Config": "../../etc/passwd", "RepoTags": ["a:1"], "Layers": []}]).encode()
        path = self.write("d.tar", self.archive([], extra=[("manifest.json", listing)]))
        self.varve.run("import", path, status=4)
        for text in (b"[]", b"{}", b"nonsense", b"[1]"):
            self.varve.run("import", self.write("d.tar", self.archive([], extra=[("manifest.json", text)])), status=4)
        self.assertNothingLeft()

    def test_bad_beside_good(self):
        """What fails takes nothing from an image that is stored, and a layer of both stays."""
        layout = self.layout()
        layer = rootfs()
        layout.image("good:1", [layer])
        self.varve.run("import", layout.path)
        before = self.blobs()
        descriptor = layout.image("bad:1", [layer, Tar().file("more", "m")])
        lost = json.loads(layout.read(descriptor))["layers"][1]
        (layout.path / "blobs/sha256" / lost["digest"][7:]).unlink()
        self.varve.run("import", layout.path, "--path", "bad:1", status=1)
        self.assertEqual(self.blobs(), before)
        self.assertCleanStore(self.varve, "--read-data")

    # --- nothing known ---

    def test_bad_files(self):
        data = rootfs().bytes()
        packed = gzip.compress(data)
        empty = self.path("empty")
        empty.mkdir()
        for path, status, says in (
                (self.write("junk", os.urandom(100_000)), 4, "neither a tar"),
                (self.write("page.tar.gz", b"<html>404</html>" * 100), 4, "neither a tar"),
                (self.write("zip.tar", b"PK\x03\x04" + os.urandom(10_000)), 4, "neither a tar"),
                (self.write("nothing.tar", b""), 4, "is empty"),
                (self.write("cut.tar.gz", packed[: len(packed) // 2]), 4, ""),
                (self.write("cut.tar", data[:100_000]), 4, "cut off"),
                (self.write("damaged.tar.gz", packed[:5000] + b"xxxx" + packed[5004:]), 4, ""),
                (empty, 4, "a directory that is neither"),
                (self.dir / "absent.tar", 3, "no such file")):
            with self.subTest(os.path.basename(path)):
                self.assertIn(says, self.varve.run("import", path, "x:1", status=status).err)
                self.assertNothingLeft()
        self.varve.run("import", self.write("ok.tar", data), "UPPER CASE", status=2)
        self.varve.run("import", self.write("_.tar", data), status=2)

    def test_no_archive_is_no_empty_tree(self):
        """What begins with zeros is no empty tar; disk images and file systems are named, with what to do, compressed too."""
        def image(name, size, *mkfs):
            with open(self.dir / name, "wb") as file:
                file.truncate(size)
            run(*mkfs, self.dir / name)
            return (self.dir / name).read_bytes()

        def disk(*places, size=1 << 20):
            data = bytearray(size)
            for at, text in places:
                data[at:at + len(text)] = text
            return bytes(data)

        known = {"ext4": (image("a", 4 << 20, "mkfs.ext4", "-q"), "ext4"), "xfs": (image("b", 300 << 20, "mkfs.xfs", "-q")[:1 << 20], "XFS"),
                 "btrfs": (image("c", 128 << 20, "mkfs.btrfs", "-q")[:1 << 20], "Btrfs"), "qcow2": (disk((0, b"QFI\xfb\0\0\0\3")), "qcow2"),
                 "vhdx": (disk((0, b"vhdxfile")), "VHDX"), "mbr": (disk((510, b"\x55\xaa")), "boot sector"),
                 "gpt": (disk((510, b"\x55\xaa"), (512, b"EFI PART")), "GPT")}
        for name, (data, says) in known.items():
            for suffix, pack in ((".img", bytes), (".img.gz", gzip.compress), (".img.xz", lzma.compress)):
                if suffix != ".img" and name == "qcow2":
                    continue
                with self.subTest(name + suffix):
                    err = self.varve.run("import", self.write(name + suffix, pack(data)), "x:1", status=4).err
                    self.assertIn(says, err)
                    self.assertIn("varve import - NAME", err)
                    self.assertNothingLeft()
        for data in (b"\0" * (1 << 20), b"\0" * 512, b"\0" * 1024 + os.urandom(100_000), b"\0" * 1024 + b"x", b"\0" * 1536 + b"\0\1"):
            for pack in (bytes, gzip.compress):
                self.assertIn("no entry", self.varve.run("import", self.write("z.tar", pack(data)), "x:1", status=4).err)
                self.assertNothingLeft()
        self.varve.run("import", self.write("e.gz", gzip.compress(b"")), "x:1", status=4)
        for n, data in enumerate((b"\0" * 1024, gzip.compress(b"\0" * 10240))):
            self.varve.run("import", self.write("empty.tar", data), f"empty:{n}")
            self.varve.run("install", f"empty:{n}")

    def test_no_such_file(self):
        """install: a path, or a name that only an archive has, is never asked for at a registry."""
        config = self.write("c.json", json.dumps({"registries": {"docker.io": {"location": "127.0.0.1:1"}}}).encode())
        for name in ("./x.sfs", "./x", "../x.tar", "/x", self.dir / "x.iso"):
            err = self.varve.run("--config", config, "install", name, status=3, cwd=self.dir).err
            self.assertIn("no such file", err)
        for name in ("rootfs_missing.tar.gz", "x.tar", "x.sfs", "x.squashfs", "live.iso", "sub/x.tar.xz", "x.tgz", "x.wsl"):
            err = self.varve.run("--config", config, "install", name, status=3, cwd=self.dir).err
            self.assertIn("no such file", err)
            self.assertIn(f"{name}:latest", err)
        # The other reading.
        self.assertIn("127.0.0.1:1", self.varve.run("--config", config, "install", "x.tar:latest", status=5, cwd=self.dir).err)
        self.assertIn("127.0.0.1:1", self.varve.run("--config", config, "install", "node.js", status=5, cwd=self.dir).err)
        self.write("rootfs_box_1.tar", rootfs().bytes())
        self.varve.run("install", "rootfs_box_1.tar", cwd=self.dir)
        self.assertTrue((self.varve.roots / "rootfs_box_1").is_dir())

    def test_bomb(self):
        """A terabyte of zeros in a few megabytes."""
        bomb = subprocess.run("head -c 3000000000 /dev/zero | gzip -9", shell=True, stdout=subprocess.PIPE, check=True).stdout
        header = Tar().file("f", b"", size=0o77777777777).bytes(end=False)
        self.varve.run("import", self.write("bomb.tar.gz", gzip.compress(header) + bomb), "x:1", status=4)
        self.assertNothingLeft()

    def test_full_disk(self):
        small = self.tmpfs("2m")
        varve = self.new_varve(VARVE_STORE=small / "store")
        path = self.write("big.tar", Tar().file("big", os.urandom(3_000_000)).bytes())
        varve.run("import", path, "x:1", status=7)

    def test_full_disk_has_its_room_again(self):
        """Of every source and on every file system: after a failure the disk has as much as before, and a small import fits."""
        folder = self.path("folder")
        folder.mkdir()
        (folder / "f").write_bytes(os.urandom(40 << 20))
        run("tar", "-C", folder, "-cf", self.dir / "big.tar", ".")
        run("mksquashfs", folder, self.dir / "big.squashfs", "-noD", "-noI")
        layout = self.layout()
        layout.image("big:1", [Tar().file("small", "s"), (self.dir / "big.tar").read_bytes()], compression="none")
        run("tar", "-C", layout.path, "-cf", self.dir / "big.oci.tar", ".")
        run("skopeo", "copy", f"oci:{layout.path}:big:1", f"docker-archive:{self.dir}/big.docker.tar:big:1")
        iso = self.path("iso")
        iso.mkdir()
        os.link(self.dir / "big.squashfs", iso / "root.squashfs")
        run("xorrisofs", "-R", "-o", self.dir / "big.iso", iso)
        small = self.write("small.tar", rootfs().bytes())
        for mkfs, size in ((("mkfs.ext4", "-q", "-F", "-m0"), 16 << 20), (("mkfs.xfs", "-q", "-f"), 300 << 20),
                           (("mkfs.btrfs", "-q", "-f"), 128 << 20)):
            place = self.loop(size, mkfs)
            varve = self.new_varve()
            varve.store = place / "store"
            varve.run("import", self.write("tiny.tar", Tar().file("t", "t").bytes()), "tiny:1")  # its folders are there
            filler = place / "filler"
            with open(filler, "wb") as file:
                room = os.statvfs(place)
                os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - (12 << 20)))
            os.sync()
            before = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
            for source in ("big.tar", "big.squashfs", "big.oci.tar", "big.docker.tar", "big.iso", layout.path, "-"):
                with self.subTest(mkfs[0], source=os.fspath(source)):
                    with open(self.dir / "big.tar", "rb") as stdin:
                        result = varve.run("import", source if source == "-" else self.dir / source, "x:1", status=7, stdin=stdin)
                    self.assertEqual(os.listdir(varve.store / "tmp/partial"), [], result.err)
                    os.sync()
                    after = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
                    self.assertGreater(after, before - (1 << 20))
            varve.run("import", small, "small:1")
            self.assertCleanStore(varve)

    def test_read_only_and_gone(self):
        path = self.write("a.tar", rootfs().bytes())
        self.varve.run("import", path, "a:1")
        path.unlink()
        self.varve.run("--offline", "install", "a:1")
        self.assertCleanStore()


if __name__ == "__main__":
    unittest.main()
