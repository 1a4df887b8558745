# SPDX-License-Identifier: Apache-2.0
"""Streams (docs/layers.md), and those rows of names and links that need raw bytes or a file system of their own."""

import gzip
import hashlib
import json
import os
import struct
import subprocess

from support import EMPTY_LAYER, Tar, compress, digest_of, layertext
from support.applied import Applied, descend
from support.tarball import LNK, REG, SYM, header, patched

ROOT = "d . m=755 u=0:0 t=1\n"
JUNK = hashlib.sha512(b"junk").digest() * 300


def top():
    return Tar().dir(".", mtime=1)


def skippable(data, kind=0):
    """A zstd frame that a decoder passes over (RFC 8878, 3.1.2)."""
    return struct.pack("<II", 0x184D2A50 + kind, len(data)) + data


class Stream(Applied):
    def test_t01_junk_behind_the_end_of_the_tar(self):
        """It belongs to the diffID, and to nothing else."""
        data = top().file("f", "x", mtime=2).bytes() + b"\0" * 9728 + JUNK
        for blob in (compress(data, "gzip"), data):
            self.apply([blob], ROOT + "f f x m=644 u=0:0 t=2\n", diff_ids=[digest_of(data)])

    def test_t01_junk_behind_the_gzip_stream(self):
        """zlib's own rule and that of GNU gzip: what follows the last member is passed over. umoci fails."""
        data = top().file("f", "x", mtime=2).bytes()
        for tail in (b"\0" * 512, b"\0" * 100_000):
            self.apply([compress(data, "gzip") + tail], ROOT + "f f x m=644 u=0:0 t=2\n", umoci=False, diff_ids=[digest_of(data)])

    def test_t01_a_wrong_diff_id(self):
        data = top().bytes()
        self.refuse([compress(data, "gzip")], "unpacks to sha256:.*the config says", diff_ids=[digest_of(data + b"\0")], umoci=False)

    def test_t02_gzip_members(self):
        """Cut anywhere, also within a header; an empty member; umoci and podman read them too."""
        data = top().file("f", "x" * 5000, mtime=2).dir("d", mtime=3).bytes()
        blob = b"".join(gzip.compress(data[i:i + 1111], 6, mtime=0) for i in range(0, len(data), 1111))
        self.apply([blob[:40] and gzip.compress(b"", mtime=0) + blob], ROOT + "d d m=755 u=0:0 t=3\n"
                   "f f " + "x" * 5000 + " m=644 u=0:0 t=2\n", podman=True, diff_ids=[digest_of(data)])

    def frames(self, data, size=1500):
        return [compress(data[i:i + size], "zstd") for i in range(0, len(data), size)]

    def test_t03_zstd_frames_and_skippable_frames(self):
        """umoci 0.4.7 knows no zstd."""
        data = top().file("f", "x" * 5000, mtime=2).bytes()
        parts = self.frames(data)
        for blob in (b"".join(parts), skippable(b"first") + b"".join(parts), b"".join(p + skippable(b"s" * 300, 3) for p in parts),
                     skippable(b"") + skippable(b"\0" * 100_000, 15) + b"".join(parts) + skippable(b"last")):
            self.apply([blob], ROOT + "f f " + "x" * 5000 + " m=644 u=0:0 t=2\n", umoci=False, diff_ids=[digest_of(data)])

    def test_t03_zstd_chunked(self):
        """As podman writes it: a frame for each file, the table of contents and the footer in skippable frames."""
        tar = top().file("a", "a" * 3000, mtime=2).file("b", "b" * 3000, mtime=3)
        data = tar.bytes()
        body = b"".join(self.frames(data))
        entries = [{"type": "reg", "name": n, "size": 3000, "digest": digest_of(n.encode() * 3000)} for n in "ab"]
        toc = compress(json.dumps({"version": 1, "entries": entries}).encode(), "zstd")
        footer = struct.pack("<QQQQ", len(body) + 8, len(toc), 200, 1) + b"GNUlInUx"
        blob = body + skippable(toc) + skippable(footer)
        self.apply([blob], ROOT + "f a " + "a" * 3000 + " m=644 u=0:0 t=2\nf b " + "b" * 3000 + " m=644 u=0:0 t=3\n", umoci=False,
                   podman=True, diff_ids=[digest_of(data)])

    def test_t03_estargz(self):
        """Its index and its landmark are entries like others: umoci, podman and docker make them, and so do we."""
        tar = top().file(".prefetch.landmark", b"\x0f", mtime=2).file("f", "x" * 3000, mtime=3)
        tar.file("stargz.index.json", json.dumps({"version": 1, "entries": []}), mtime=4)
        data = tar.bytes()
        members = [gzip.compress(data[i:i + 1024], 9, mtime=0) for i in range(0, len(data), 1024)]
        offset = sum(map(len, members[:-1]))
        # The footer: an empty member whose extra field SG says where the index begins.
        extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % offset
        footer = b"\x1f\x8b\x08\x04" + b"\0" * 4 + b"\0\xff" + struct.pack("<H", len(extra)) + extra + b"\x01\0\0\xff\xff" + b"\0" * 8
        made = self.apply([b"".join(members) + footer], podman=True, diff_ids=[digest_of(data)])
        self.assertEqual(sorted(os.listdir(made)), [".prefetch.landmark", "f", "stargz.index.json"])

    def retyped(self, blob, media):
        """An image whose layer has another media type than its bytes. Returns the reference."""
        layout = self.layout()
        descriptor = layout.image("i", [blob])
        manifest = json.loads(layout.read(descriptor))
        manifest["layers"][0]["mediaType"] = media
        layout.tag("i", layout.blob(json.dumps(manifest).encode(), manifest["mediaType"]))
        self.n_applied += 1
        self.varve.run("import", layout.path, f"test:{self.n_applied}")
        return f"test:{self.n_applied}"

    def install_and_see(self, reference, content="x"):
        self.varve.run("install", reference)
        self.assertEqual((self.varve.tree(reference) / "f").read_text(), content)

    def test_t04_the_bytes_decide_and_not_the_media_type(self):
        data = top().file("f", "x", mtime=2).bytes()
        layer = "application/vnd.oci.image.layer.v1.tar"
        for how in ("none", "gzip", "zstd"):
            for suffix in ("", "+gzip", "+zstd"):
                self.install_and_see(self.retyped(compress(data, how), layer + suffix))

    def test_t05_empty_layers(self):
        self.apply([Tar()], "", attributes=False)
        self.apply([top().file("f", "x", mtime=2), EMPTY_LAYER, Tar()], ROOT + "f f x m=644 u=0:0 t=2\n")
        self.apply([b""], "", attributes=False, umoci=False, diff_ids=[digest_of(b"")])
        self.apply([gzip.compress(b"", mtime=0)], "", attributes=False, umoci=False)

    def test_t06_cut_off(self):
        """In a header, in a body, in an extended header and its padding, in the compressed stream."""
        data = top().file("f", "x" * 3000, mtime=2, pax={"comment": "c" * 2000}).bytes()
        for length in (100, 700, 1024, 2000, 5000, 7000):
            self.refuse([data[:length]], "cut off|neither a tar", umoci=False)
        for how in ("gzip", "zstd"):
            blob = compress(data, how)
            self.refuse([blob[:len(blob) // 2]], "cut off|ends in|damaged", umoci=how == "gzip",
                        diff_ids=[digest_of(data)])

    def test_t06_no_padding(self):
        """All data are there, the padding behind them is not, or not all (umoci insert, stacker): a whole archive, with a warning."""
        data = top().file("a", "1", mtime=2).file("f", "x" * 700, mtime=2).bytes(end=False)
        for lacks in (1, 100, 1024 - 700):
            for how in ("none", "gzip", "zstd"):
                with self.subTest(lacks=lacks, how=how):
                    layout, reference, result = self.image([compress(data[:-lacks], how)], diff_ids=[digest_of(data[:-lacks])])
                    self.assertEqual(result.status, 0, result)
                    self.assertIn("without the padding", result.err)
                    self.varve.run("install", reference)
                    self.assertEqual(layertext.read(self.varve.tree(reference), True), ROOT + "f a 1 m=644 u=0:0 t=2\nf f " + "x" * 700 + " m=644 u=0:0 t=2\n")
        path = self.path("rootfs.tar")
        path.write_bytes(top().file("a", "1", mtime=2).bytes() + data[:-100])  # joined, so written anew
        self.varve.run("import", path, "joined:1")
        self.varve.run("install", "joined:1")
        self.assertEqual((self.varve.tree("joined:1") / "f").read_text(), "x" * 700)
        self.refuse([data[:-(1024 - 700) - 1]], "cut off", umoci=False)

    def test_t07_no_blocks_at_the_end(self):
        for end in (b"", b"\0" * 512):
            data = top().file("f", "x", mtime=2).bytes(end=False) + end
            self.apply([data], ROOT + "f f x m=644 u=0:0 t=2\n")

    def test_t08_bad_checksum(self):
        block = bytearray(header(b"f", REG, mtime=2))
        block[0] = ord("g")
        self.refuse([top().raw(bytes(block))], "checksum")
        self.refuse([b"no tar at all, but a text of some length. " * 50], "tar")

    def test_t08_signed_checksum(self):
        """Some old writers summed signed bytes."""
        block = header(b"\xe9", REG, mtime=2)
        total = sum(b if b < 128 else b - 256 for b in block[:148] + b" " * 8 + block[156:])
        self.apply([top().raw(block[:148] + b"%06o\0 " % total + block[156:])], ROOT + "f \\xe9 m=644 u=0:0 t=2\n")

    def test_t09_media_types(self):
        """Docker's, and those of layers that were not to be distributed."""
        data = top().file("f", "x", mtime=2).bytes()
        for media in ("application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                      "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"):
            self.install_and_see(self.retyped(compress(data, "gzip"), media))

    def test_t10_the_same_layer_twice(self):
        layer = top().dir("d", mtime=2).file("d/f", "f", mtime=3).hardlink("d/h", "d/f", mtime=3)
        self.apply([layer, Tar().whiteout("d/f").file("d/g", "g", mtime=4), layer],
                   ROOT + "d d m=755 u=0:0 t=2\nf d/f f m=644 u=0:0 t=3\nf d/g g m=644 u=0:0 t=4\nh d/h d/f\n", podman=True)

    def test_t11_empty_entries_of_the_history(self):
        """They have no layer and no diffID."""
        step = {"created": "2024-01-01T00:00:00Z", "created_by": "ENV"}
        history = [dict(step, empty_layer=True), step, dict(step, empty_layer=True), dict(step, empty_layer=True), step]
        self.apply([top().file("f", "x", mtime=2), Tar().file("g", "y", mtime=3)],
                   ROOT + "f f x m=644 u=0:0 t=2\nf g y m=644 u=0:0 t=3\n", podman=True, config={"history": history})

    def test_t12_layers_and_diff_ids_differ_in_number(self):
        data = [top().bytes(), Tar().file("f", "x").bytes()]
        for ids in ([digest_of(data[0])], [digest_of(d) for d in data] + [digest_of(b"")]):
            self.refuse([compress(d, "gzip") for d in data], "diff", diff_ids=ids, umoci=False)


class Names(Applied):
    def test_n08_longest_name(self):
        self.apply([top().dir("d" * 255, mtime=2).file("d" * 255 + "/" + "f" * 255, "x", mtime=3)], podman=True)
        self.refuse([top().file("f" * 256, "x")], "255")
        self.refuse([top().dir("d/" + "e" * 256)], "255", umoci=False)

    def test_n08_a_path_longer_than_path_max(self):
        """The kernel takes no such path: umoci and podman cannot be asked, and we go one name at a time."""
        names = [chr(97 + i) * 250 for i in range(20)]
        tar = top()
        for i in range(len(names)):
            tar.dir("/".join(names[:i + 1]), mode=0o710, mtime=4)
        deep = "/".join(names)
        tar.file(deep + "/leaf", "deep", mode=0o640, mtime=5).hardlink("near", deep + "/leaf").symlink(deep + "/s", "leaf", mtime=6)
        made = self.apply([tar, Tar().whiteout(deep + "/s").file(deep + "/more", "m", mtime=7)], umoci=False)
        fd = descend(made, names)
        try:
            self.assertEqual(sorted(os.listdir(fd)), ["leaf", "more"])
            leaf = os.stat("leaf", dir_fd=fd)
            self.assertEqual((leaf.st_mode & 0o7777, leaf.st_mtime, leaf.st_nlink), (0o640, 5, 2))
            self.assertEqual(leaf.st_ino, os.stat(made / "near").st_ino)
            self.assertEqual(os.fstat(fd).st_mode & 0o7777, 0o710)
        finally:
            os.close(fd)
        self.varve.run("install", "--force", "--no-keep", "test:1")
        self.varve.run("remove", "--installed", "test_1")
        self.assertFalse(made.exists())

    def test_n10_nul_in_a_name(self):
        """libarchive cuts it off there, and makes another file."""
        for key in ("path", "linkpath"):
            self.refuse([top().entry("x", SYM, link="y", pax={key: "a\0b"})], "NUL")

    def test_n11_a_regular_file_with_a_slash_at_its_end(self):
        """Type '0' is a file, whatever its name; the old type NUL with a slash is a directory."""
        old = header(b"old/", b"\0", mtime=2, mode=0o755, magic=b"\0" * 8)
        self.apply([top().raw(header(b"new/", REG, 1, mtime=2) + b"x".ljust(512, b"\0")).raw(old)],
                   ROOT + "f new x m=644 u=0:0 t=2\nd old m=755 u=0:0 t=2\n")

    def test_n12_a_file_system_that_ignores_case(self):
        """Two names of the image would become one file: refused, and said."""
        image, place = self.path("image"), self.path("mount")
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkntfs", "-q", "-F", image], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        place.mkdir()
        subprocess.run(["lowntfs-3g", "-o", "ignore_case,permissions,streams_interface=none", image, place], check=True)
        self.addCleanup(subprocess.run, ["umount", place], check=True)
        self.varve.roots = place / "roots"
        self.varve.roots.mkdir(mode=0o755)
        before = sorted(os.listdir(self.varve.roots))
        _, reference, _ = self.image([Tar().file("Readme", "1", mtime=2).file("README", "2", mtime=2)])
        done = self.varve.run("install", reference, status=1)
        self.assertRegex(done.err, "(?i)readme: a name like it is there already.*ignores case")
        self.assertEqual(sorted(os.listdir(self.varve.roots)), before)

    def long_gnu(self, kind, name):
        return header(b"././@LongLink", kind, len(name) + 1, magic=b"ustar  \0", tail=b"\0" * 167) + (name + b"\0").ljust(
            (len(name) // 512 + 1) * 512, b"\0")

    def test_n15_long_names_in_every_format(self):
        """GNU's L and K, pax path and linkpath, ustar's prefix: each made with a name that the others could not hold."""
        long, target = b"g" * 120 + b"/" + b"h" * 130, b"t" * 200
        gnu = self.long_gnu(b"L", long) + header(b"cut", REG, 1, mtime=2, magic=b"ustar  \0", tail=b"\0" * 167) + b"x".ljust(512, b"\0")
        both = (self.long_gnu(b"K", target) + self.long_gnu(b"L", long + b"s")
                + header(b"cut", SYM, mtime=3, link=b"cut", magic=b"ustar  \0", tail=b"\0" * 167))
        ustar = header(b"n" * 100, REG, 1, mtime=4, prefix=b"p" * 60 + b"/" + b"q" * 90) + b"y".ljust(512, b"\0")
        pax = Tar().file("x" * 150 + "/" + "y" * 150, "z", mtime=5).hardlink("hard", "x" * 150 + "/" + "y" * 150, mtime=5)
        dirs = Tar()
        for name in ("g" * 120, "p" * 60, "p" * 60 + "/" + "q" * 90, "x" * 150):
            dirs.dir(name, mtime=6)
        made = self.apply([top().raw(dirs.bytes(end=False)).raw(gnu + both + ustar).raw(pax.bytes(end=False))], podman=True)
        self.assertEqual((made / long.decode()).read_text(), "x")
        self.assertEqual(os.readlink(made / (long.decode() + "s")), target.decode())
        self.assertEqual((made / ("p" * 60) / ("q" * 90) / ("n" * 100)).read_text(), "y")
        self.assertEqual(os.stat(made / "hard").st_nlink, 2)

    def test_n15_a_prefix_under_the_magic_of_gnu(self):
        """Docker's TestUntarUstarGnuConflict (testdata/broken.tar): Go before 1.8 wrote such headers."""
        block = patched(header(b"broken-file.py", REG, 1, mtime=2, prefix=b"opt/salt/very/long/prefix"), 257, b"ustar  \0")
        self.apply([top().raw(block + b"x".ljust(512, b"\0"))], "d opt\nd opt/salt\nd opt/salt/very\nd opt/salt/very/long\n"
                   "d opt/salt/very/long/prefix\nf opt/salt/very/long/prefix/broken-file.py x\n", attributes=False)

    def test_h14_a_hard_link_with_a_body(self):
        """A size alone is passed over (old tars repeat that of the file); bytes that follow are no header."""
        self.apply([top().file("f", "x", mtime=2).entry("h", LNK, link="f", size=700)], ROOT + "f f x m=644 u=0:0 t=2\nh h f\n")
        self.refuse([top().file("f", "x", mtime=2).entry("h", LNK, b"y" * 700, link="f")], "checksum")

    def test_h15_more_links_than_the_file_system_allows(self):
        """ext4 has 65,000 for each file: the next ones are links of a copy, which is made inside of the tree."""
        self.varve.roots = self.loop(64 << 20)
        tar = top().file("f", "content", mode=0o6751, uid=3, gid=4, mtime="5.5", xattrs={"user.k": "v"})
        tar.raw(b"".join(header(b"h%d" % i, LNK, link=b"f") for i in range(65_100)))
        made = self.apply([tar], umoci=False)
        groups = {}
        with os.scandir(made) as entries:
            for entry in entries:
                groups.setdefault(entry.inode(), []).append(entry.name)
        self.assertEqual(sorted(map(len, groups.values())), [101, 65_000])
        for names in groups.values():
            st = os.stat(made / names[0])
            self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime), (0o6751, 3, 4, 5.5))
            self.assertEqual(os.getxattr(made / names[0], "user.k"), b"v")
            self.assertEqual((made / names[0]).read_text(), "content")
        self.assertEqual([what for _, what in self.losses()], ["hard link"])

    def test_h15_a_file_system_without_links(self):
        for error in ("EPERM", "EOPNOTSUPP"):
            made = self.apply([top().file("f", "x", mode=0o755, mtime=2).dir("d", mtime=4).hardlink("d/h", "f").hardlink("i", "f")],
                              ROOT + "d d m=755 u=0:0 t=4\nf d/h x m=755 u=0:0 t=2\nf f x m=755 u=0:0 t=2\nf i x m=755 u=0:0 t=2\n",
                              umoci=False, prefix=("strace", "-f", "-o", "/dev/null", "-e", f"inject=linkat:error={error}"))
            self.assertEqual(self.losses(), [("f", "hard link"), ("i", "hard link")])
            self.assertEqual([os.stat(made / n).st_nlink for n in ("f", "d/h", "i")], [1, 1, 1])
