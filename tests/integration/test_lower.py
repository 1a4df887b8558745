# SPDX-License-Identifier: Apache-2.0
"""Lower stores, and stores and roots dirs, that another user owns or may write to: nothing of them is believed but what digests prove."""

import hashlib
import json
import os
import stat
import struct
import subprocess
import zlib

from support import Case, Tar, Varve, compress, need_root

OTHER = 65533


def chown(top, uid=OTHER):
    subprocess.run(["chown", "-R", f"{uid}:{uid}", top], check=True)


def crc32c(*parts):
    crc = 0xffffffff
    for byte in b"".join(parts):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def forge_toc(toc, diff_id):
    """A toc that says it is of another layer, with right checksums."""
    toc = bytearray(toc)
    toc[45:109] = bytes.fromhex(diff_id).ljust(64, b"\0")
    toc[40:44] = b"\0" * 4
    toc[40:44] = struct.pack("<I", zlib.crc32(toc[:112]))
    return bytes(toc)


def forge_record(data, table, key, old, new):
    """In an LMDB file: replace old in the value of the key, with a right checksum. How many there were (old pages among them)."""
    n = at = 0
    while (at := data.find(key, at)) >= 0:
        size, flags, key_n = struct.unpack_from("<IHH", data, at - 8)
        start = at + len(key)
        value = data[start + 5:start + size]
        if flags == 0 and key_n == len(key) and 5 < size < 2000 and old in value and data[start] == 1:
            value = value.replace(old, new)
            data[start + 1:start + size] = struct.pack("<I", crc32c(bytes([table]), key, value)) + value
            n += 1
        at = start
    return n


def good():
    return (Tar().dir(".").dir("etc").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("bin/tool", "#!/bin/sh\n", mode=0o755)
            .file("etc/example", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).symlink("bin/sh", "tool"))


# What an owner of the store would like the same bytes to be.
FORGED = {
    "mode": (Tar().dir(".").dir("etc").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("bin/tool", "#!/bin/sh\n", mode=0o4755)
             .file("etc/example", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).symlink("bin/sh", "tool")),
    "owner": (Tar().dir(".").dir("etc").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n", uid=77).file("bin/tool", "#!/bin/sh\n", mode=0o755)
              .file("etc/example", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).symlink("bin/sh", "tool")),
    "name": (Tar().dir(".").dir("etc").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("bin/tool", "#!/bin/sh\n", mode=0o755)
             .file("etc/sudoers", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).symlink("bin/sh", "tool")),
    "added": (Tar().dir(".").dir("etc").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("bin/tool", "#!/bin/sh\n", mode=0o755)
              .file("etc/example", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).symlink("bin/sh", "tool").symlink("etc/shadow", "/tmp/x")),
    "link": (Tar().dir(".").dir("etc").dir("bin").file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file("bin/tool", "#!/bin/sh\n", mode=0o755)
             .file("etc/example", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).symlink("bin/sh", "/tmp/sh")),
    "offset": (Tar().dir(".").dir("etc").dir("bin").file("etc/example", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440).file("bin/tool", "#!/bin/sh\n", mode=0o755)
               .file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").symlink("bin/sh", "tool")),
}


class LowerCase(Case):
    """self.low is a store with the image low:1; self.varve stands on it."""

    def setUp(self):
        super().setUp()
        need_root()
        self.low = Varve(self.path("low"))
        self.config = self.path("config.json")
        self.configure()
        self.varve.extra["VARVE_CONFIG"] = os.fspath(self.config)

    def configure(self, **more):
        self.config.write_text(json.dumps({"lower": [os.fspath(self.low.store)], **more}))

    def have(self, *tars, varve=None, **image):
        """The image in the lower store; the diffIDs of its layers and what it is pinned to."""
        layout = self.layout()
        layout.image("i", list(tars), **image)
        (varve or self.low).run("import", layout.path, "low:1")
        self.ids = [hashlib.sha256(t.bytes()).hexdigest() if isinstance(t, Tar) else None for t in tars]
        return next(i["manifest"] for i in (varve or self.low).json("list")["images"])

    def give_away(self):
        chown(self.low.store)

    def layer(self):
        """The file of the first layer in the lower store."""
        return self.low.blob(self.low.json("inspect", "low:1")["layers"][0]["digest"])

    def aux(self, kind, varve=None):
        return sorted(((varve or self.low).store / "aux" / kind).glob("*"))

    def install(self, *args, status=0, timeout=60):
        result = self.varve.run("--offline", "install", "low:1", "--force", *args, status=status, timeout=timeout)
        return self.varve.tree("low:1") if result.status == 0 else None

    def scan(self, tree):
        """path -> mode, owner, link target or content."""
        out = {}
        for path in sorted(tree.rglob("*")):
            st = path.lstat()
            what = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else None
            out[os.fspath(path.relative_to(tree))] = (oct(st.st_mode), st.st_uid, what)
        return out


class Forged(LowerCase):
    def test_tocs(self):
        manifest = self.have(good(), compression="none")
        self.give_away()
        expected = self.scan(self.install())
        toc, = self.aux("toc")
        for what, tar in FORGED.items():
            with self.subTest(what):
                scratch = self.new_varve()
                self.have(tar, varve=scratch, compression="none")
                other, = self.aux("toc", scratch)
                toc.unlink()
                toc.write_bytes(forge_toc(other.read_bytes(), toc.name))
                os.chown(toc, OTHER, OTHER)
                self.varve = self.new_varve(VARVE_CONFIG=self.config)
                self.varve.run("--offline", "install", f"low:1@{manifest}", "--name", "low_1")
                self.assertEqual(self.scan(self.varve.tree("low:1")), expected)
                self.assertEqual(self.varve.json("diff", "low_1")["added"], 0)

    def test_toc_in_a_store_of_root_that_another_wrote(self):
        """The directory is root's; the file is not, or the group may write it."""
        self.have(good(), compression="none")
        expected = self.scan(self.install())
        toc, = self.aux("toc")
        scratch = self.new_varve()
        self.have(FORGED["mode"], varve=scratch, compression="none")
        forged = forge_toc(self.aux("toc", scratch)[0].read_bytes(), toc.name)
        for owner, mode in ((OTHER, 0o644), (0, 0o664), (0, 0o646)):
            toc.unlink()
            toc.write_bytes(forged)
            os.chown(toc, owner, owner)
            toc.chmod(mode)
            self.varve = self.new_varve(VARVE_CONFIG=self.config)
            self.assertEqual(self.scan(self.install()), expected)

    def test_records(self):
        """The database says another diffID of the layer, or another layer of the image."""
        self.have(good(), compression="gzip")
        image = self.low.json("inspect", "low:1")
        blob, diff_id = b"\x01" + bytes.fromhex(self.layer().name), b"\x01" + bytes.fromhex(self.ids[0])
        manifest = b"\x01" + bytes.fromhex(image["image"]["manifest"].removeprefix("sha256:"))
        file = self.low.store / "db/data.mdb"
        before = file.read_bytes()
        for table, key, old in ((2, blob, diff_id), (3, manifest, blob)):
            data = bytearray(before)
            self.assertGreater(forge_record(data, table, key, old, b"\x01" + b"\x07" * 32), 0)
            file.write_bytes(data)
            self.give_away()
            self.varve = self.new_varve(VARVE_CONFIG=self.config)
            self.assertEqual((self.install() / "bin/sh").readlink().name, "tool")
            shown = self.varve.json("inspect", "low:1")
            self.assertEqual(shown["layers"][0]["digest"], image["layers"][0]["digest"])

    def test_restart_points(self):
        tar = Tar().dir(".")
        for i in range(24):
            tar.file(f"f{i}", os.urandom(1 << 19).hex())
        self.have(tar, compression="gzip")
        self.give_away()
        points, = self.aux("zran")
        content = bytearray(points.read_bytes())
        content[200:4000] = os.urandom(3800)
        points.unlink()
        points.write_bytes(content)
        os.chown(points, OTHER, OTHER)
        tree = self.install()
        for i in (0, 23):
            self.assertEqual(self.varve.run("cat", "low:1", f"f{i}").out, (tree / f"f{i}").read_text())
        self.assertEqual([p.name for p in self.aux("zran", self.varve)], [points.name])


class Untouched(LowerCase):
    def test_nothing_derived_is_opened(self):
        """What is not opened can be no FIFO, and cannot shrink below a mapping."""
        self.have(good())
        self.give_away()
        log = self.path("strace")
        self.varve.run("--offline", "install", "low:1", prefix=["strace", "-f", "-y", "-o", log, "-e", "trace=open,openat,openat2"])
        opened = [l for l in log.read_text().splitlines() if os.fspath(self.low.store) in l]
        self.assertTrue(opened)
        for line in opened:
            self.assertNotRegex(line, r'"(aux/|db|data\.mdb|lock|gate)')

    def test_a_toc_that_shrinks(self):
        """Its owner truncates the toc after it was looked at and before it is read again."""
        tar = Tar().dir(".")
        for i in range(300):
            tar.dir(f"d{i}").file(f"d{i}/f", str(i))
        self.have(tar)
        self.give_away()
        toc, = self.aux("toc")
        log = self.path("strace")
        process = self.varve.popen("--offline", "install", "low:1", prefix=[
            "strace", "-f", "-o", log, "-e", "trace=madvise", "-e", "inject=madvise:delay_exit=1000000:when=1"])
        while process.poll() is None and not (log.exists() and "MADV_DONTNEED" in log.read_text(errors="replace")):
            pass
        os.truncate(toc, 0)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)

    def test_what_was_found_out_is_kept(self):
        """The layer is read once: its toc and facts are in the own store, also after a gc."""
        self.have(good())
        layer = self.layer()
        self.give_away()
        self.install()
        files = self.aux("toc", self.varve) + self.aux("facts", self.varve)
        self.assertEqual(len(files), 2)
        for path in files:
            os.utime(path, (1, 1))
        self.varve.run("gc")
        self.varve.run("plan", "low:1")
        self.assertEqual({p.stat().st_mtime for p in self.aux("toc", self.varve) + self.aux("facts", self.varve)}, {1})
        # Facts that are cut or of another layer are none.
        facts, = self.aux("facts", self.varve)
        whole = facts.read_bytes()
        self.assertEqual(facts.name, layer.name)
        for content in (whole[:-1], whole[:40], b"", whole[:-5] + b"\x01" + whole[-4:]):
            facts.chmod(0o644)
            facts.write_bytes(content)
            self.varve.run("plan", "low:1")
            self.assertEqual(facts.read_bytes(), whole)
        # No layer that only the lower store has, no facts of it.
        self.configure(lower=[])
        os.utime(facts, (1, 1))
        self.varve.run("gc")
        self.assertFalse(facts.exists())

    def test_trusted_owners(self):
        self.have(good())
        self.give_away()
        self.configure(trusted_owners=[OTHER])
        self.install()
        self.assertEqual(self.aux("toc", self.varve), [])
        self.assertIn("believed", self.varve.run("check").out)
        for wrong in ("nobody", ["nobody"], [-1], [1.5], [1 << 32]):
            self.configure(trusted_owners=wrong)
            self.assertIn("trusted_owners", self.varve.run("list", status=2).err)

    def test_check_says_what_it_did_not_check(self):
        self.have(good())
        self.give_away()
        self.install()
        report = self.varve.json("check")
        self.assertEqual([(f["what"], f["severity"]) for f in report["findings"]], [("lower store", "note")])
        self.assertIn(str(OTHER), report["findings"][0]["message"])


class Bytes(LowerCase):
    """A blob that was proven is another one the next time."""

    def swap(self, path, new):
        """Replace the layer."""
        old = path.read_bytes()
        path.unlink()
        path.write_bytes(new(old))
        os.chown(path, OTHER, OTHER)

    def refuse(self):
        self.install(status=4)
        for args in (("cat", "low:1", "etc/example"), ("cat", "low:1", "etc/passwd"), ("export", "low:1", "-o", self.dir / "x.oci.tar")):
            result = self.varve.run("--offline", *args, status=4)
            self.assertEqual(result.out, "")
            self.assertIn("lower store", result.err)

    def test_a_tar(self):
        self.have(good(), compression="none")
        layer = self.layer()
        self.give_away()
        self.install()
        self.assertEqual(self.varve.run("cat", "low:1", "etc/example").out, "ALL ALL=(ALL) NOPASSWD: ALL\n")
        self.swap(layer, lambda old: old.replace(b"root:x:0:0::", b"root::00:00:"))
        self.refuse()

    def test_a_hole(self):
        """8 TiB of nothing are not hashed first, nor read as documents."""
        self.have(good(), compression="none")
        layer = self.layer()
        self.give_away()
        os.truncate(layer, 8 << 40)
        for args in (("install", "low:1"), ("files", "low:1"), ("cat", "low:1", "etc/example"),
                     ("export", "low:1", "-o", self.dir / "x.oci.tar"), ("export", "low:1", "-o", self.dir / "x.tar"),
                     ("export", "low:1", "--format", "docker-archive", "-o", self.dir / "d.tar"), ("check", "--read-data")):
            result = self.varve.run("--offline", *args, status=(0,) if args[0] == "check" else (4, 5), timeout=30)
            if args[0] == "check":
                continue
            self.assertIn("lower store", result.err)
        os.truncate(self.low.store / "index.json", 8 << 40)
        self.varve.run("list", timeout=10)

    def test_a_squashfs(self):
        source = self.path("source")
        (source / "etc").mkdir(parents=True)
        (source / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (source / "etc/example").write_text("ALL\n" * 50_000)
        image = self.path("image.squashfs")
        subprocess.run(["mksquashfs", source, image, "-quiet", "-noD", "-noF", "-no-progress"], check=True, stdout=subprocess.DEVNULL)
        self.low.run("import", image, "low:1")
        layer = self.layer()
        self.give_away()
        self.assertEqual((self.install() / "etc/passwd").read_text(), "root:x:0:0::/root:/bin/sh\n")
        self.swap(layer, lambda old: old.replace(b"root:x:0:0::", b"root::00:00:"))
        self.refuse()


class Fifos(LowerCase):
    """A FIFO in place of any file keeps nobody waiting."""

    def files(self, top):
        return [p for p in sorted(top.rglob("*")) if p.is_file() and not p.is_symlink()]

    def as_fifo(self, path, run):
        content, st = path.read_bytes(), path.stat()
        path.unlink()
        os.mkfifo(path)
        os.chown(path, st.st_uid, st.st_gid)
        run()
        if path.exists():
            path.unlink()
        path.write_bytes(content)
        path.chmod(stat.S_IMODE(st.st_mode))
        os.chown(path, st.st_uid, st.st_gid)

    def test_in_a_lower_store(self):
        self.have(good())
        self.low.run("install", "low:1")
        self.give_away()
        for path in self.files(self.low.store):
            with self.subTest(path.relative_to(self.low.store)):
                self.varve = self.new_varve(VARVE_CONFIG=self.config)
                self.as_fifo(path, lambda: self.install(status=(0, 1, 3, 4, 5), timeout=30))

    def test_in_the_own_store(self):
        self.have(good())
        self.low.run("install", "low:1")
        for path in self.files(self.low.store):
            for args in (("list",), ("check", "--read-data"), ("plan", "low:1"), ("gc", "--dry-run")):
                with self.subTest(f"{path.relative_to(self.low.store)} {args[0]}"):
                    self.as_fifo(path, lambda: self.low.run("--offline", *args, status=(0, 1, 3, 4, 5), timeout=30))

    def test_in_a_roots_dir(self):
        self.have(good())
        self.low.run("install", "low:1")
        sidecar, = self.low.roots.glob(".rootfs_*.varve.json")
        fresh = Varve(self.path("other"), roots=self.low.roots)
        self.as_fifo(sidecar, lambda: fresh.run("list", "--installed", timeout=30))
        os.mkfifo(self.low.roots / ".rootfs_x.lock")
        result = self.low.run("install", "low:1", "--name", "x", status=(1, 4), timeout=30)
        self.assertIn("is not a regular file", result.err)

    def test_symlinks(self):
        """A symlink would be read with the rights of who reads."""
        self.have(good())
        self.give_away()
        index = self.low.store / "index.json"
        elsewhere = self.path("elsewhere")
        index.rename(elsewhere)
        index.symlink_to(elsewhere)
        self.assertIn("is not a regular file", self.varve.run("-v", "--offline", "install", "low:1", status=5).err)


class Own(LowerCase):
    """root, and a store or a roots dir that is not root's alone."""

    def test_store(self):
        self.have(good())
        self.give_away()
        for args in (("install", "low:1"), ("list",), ("gc",), ("check", "--repair")):
            result = self.low.run("--offline", *args, status=1)
            self.assertIn(f"belongs to user {OTHER}", result.err)
            self.assertIn("lower", result.err)

    def test_store_that_others_may_write(self):
        self.have(good())
        for path in (self.low.store, self.low.store / "aux", self.low.store / "blobs/sha256", self.low.store / "db/data.mdb"):
            mode = stat.S_IMODE(path.stat().st_mode)
            for more in (0o020, 0o002):
                path.chmod(mode | more)
                self.assertIn("chmod -R go-w", self.low.run("list", status=4).err)
            path.chmod(mode)
        self.low.run("list")

    def test_new_store_is_its_owners(self):
        """Made in a directory that a umask of 002 left to the group."""
        self.low.store.mkdir(parents=True)
        self.low.store.chmod(0o775)
        self.have(good())
        self.assertEqual(stat.S_IMODE(self.low.store.stat().st_mode), 0o755)

    def test_roots(self):
        self.have(good())
        self.low.roots.mkdir()
        os.chown(self.low.roots, OTHER, OTHER)
        result = self.low.run("install", "low:1", status=1)
        self.assertIn("trusted_owners", result.err)
        self.low.run("install", "low:1", env={"VARVE_CONFIG": self.config}, status=1)
        self.config.write_text(json.dumps({"trusted_owners": [OTHER]}))
        self.low.run("install", "low:1", env={"VARVE_CONFIG": self.config})
        os.chown(self.low.roots, 0, OTHER)
        self.low.roots.chmod(0o775)
        self.assertIn("chmod g-w", self.low.run("list", "--installed", status=4).err)
        os.chown(self.low.roots, 0, 0)
        self.low.run("list", "--installed")

    def test_tree_of_another(self):
        """In /tmp anybody can put a directory where a tree, an old one or the active one is looked for."""
        self.have(good())
        self.low.roots.mkdir()
        self.low.roots.chmod(0o1777)
        self.low.run("install", "low:1", "--name", "mine")
        for name, command in (("rootfs_x", ("switch", "x")), (".rootfs_mine.old.7", ("rollback", "mine"))):
            planted = self.low.roots / name
            planted.mkdir()
            os.chown(planted, OTHER, OTHER)
            self.assertIn(f"belongs to user {OTHER}", self.low.run(*command, status=4).err)
            self.assertEqual(planted.stat().st_uid, OTHER)
        active = self.low.roots / "rootfs"
        self.assertFalse(active.exists())
        for make in (active.mkdir, lambda: active.symlink_to("rootfs_x")):
            make()
            os.chown(active, OTHER, OTHER, follow_symlinks=False)
            result = self.low.run("install", "low:1", "--name", "u", "--user", "root", status=4)
            self.assertIn("--user-from", result.err)
            active.unlink() if active.is_symlink() else active.rmdir()
        self.config.write_text(json.dumps({"trusted_owners": [OTHER]}))
        self.low.run("switch", "x", env={"VARVE_CONFIG": self.config})

    def test_sidecar_of_another(self):
        """In /tmp anybody can say what a tree was made from."""
        self.have(good())
        self.low.run("install", "low:1")
        self.low.roots.chmod(0o1777)
        sidecar, = self.low.roots.glob(".rootfs_*.varve.json")
        fresh = Varve(self.path("other"), roots=self.low.roots)
        self.assertIsNotNone(fresh.json("list", "--installed")["trees"][0]["reference"])
        os.chown(sidecar, OTHER, OTHER)
        fresh = Varve(self.path("other"), roots=self.low.roots)
        self.assertIsNone(fresh.json("list", "--installed")["trees"][0]["reference"])
