# SPDX-License-Identifier: Apache-2.0
"""Each row of the table of past vulnerabilities has a test named after it.

Elsewhere: D03 test_install.Mistakes, D10 and D11 test_users.Users, D16 test_layers.Rules, D02 also in the unit tests.
The base class compares three victim directories, in every attribute, after each test.
"""

import ctypes
import json
import os
import random
import struct
import subprocess
import threading
import time

from support import Tar, tree
from support.applied import Applied
from support.tarball import LNK, REG, SYM, header

VICTIM_UP = "../victim"


def top():
    return Tar().dir(".", mtime=1)


class Swapper(threading.Thread):
    """Replaces directories of what is being built by links to a victim, as inotify reports them."""

    IN_CREATE, IN_MOVED_TO, IN_ONLYDIR = 0x100, 0x80, 0x01000000

    def __init__(self, roots, victim):
        super().__init__(daemon=True)
        self.roots, self.victim = os.fspath(roots), os.fspath(victim)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        self.folders = {}
        self.hits, self.depths, self.tops, self.ended = 0, set(), set(), threading.Event()
        self.watch(self.roots)

    def watch(self, folder):
        wd = self.libc.inotify_add_watch(self.fd, os.fsencode(folder), self.IN_CREATE | self.IN_MOVED_TO | self.IN_ONLYDIR)
        if wd >= 0:
            self.folders[wd] = folder

    def meet(self, path):
        """A new name: the tree's own top and the spool are only watched; what is in them is swapped."""
        if os.path.islink(path) or not os.path.isdir(path) or os.path.basename(path).startswith("away."):
            return
        depth = os.path.relpath(path, self.roots).count("/")
        if depth > 0 and random.random() < 0.2:
            try:
                away = os.path.join(os.path.dirname(path), f"away.{self.hits}")
                os.rename(path, away)
                os.symlink(self.victim, path)
            except OSError:
                return
            self.hits += 1
            self.depths.add(depth)
            self.tops.add(os.path.relpath(path, self.roots).split("/")[0].split(".")[-2])
            return
        self.watch(path)
        try:
            for name in os.listdir(path):
                self.meet(os.path.join(path, name))
        except OSError:
            pass

    def run(self):
        while not self.ended.is_set():
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                time.sleep(0.0002)
                continue
            while data:
                wd, _, _, length = struct.unpack("iIII", data[:16])
                name = os.fsdecode(data[16:16 + length].rstrip(b"\0"))
                if wd in self.folders and name not in ("", "victim"):  # "": of the watch itself, which ends with its folder
                    self.meet(os.path.join(self.folders[wd], name))
                data = data[16 + length:]

    def stop(self):
        self.ended.set()
        self.join()
        os.close(self.fd)


class Security(Applied):
    def test_d01_traversal_by_names_and_links(self):
        """CVE-2014-6407, -9356, -9358: by a name, a hard link, a link and then through it, absolute and relative."""
        for target in (VICTIM_UP, "../" * 30 + os.fspath(self.victims[2])[1:], os.fspath(self.victims[2]), "/../victim"):
            self.apply([top().symlink("l", target).file("l/hello", "evil").file("l/new", "evil").dir("l/dir", mode=0o777)],
                       umoci=False)
            self.apply([top().symlink("l", target), Tar().file("l/hello", "evil").whiteout("l/dir").opaque("l")], umoci=False)
            self.apply([top().file(target + "/hello", "evil").dir(target, mode=0o777, mtime=3)], umoci=False)
            self.refuse([top().hardlink("h", target + "/hello")], "link", umoci=False)
            self.refuse([top().symlink("l", target).hardlink("h", "l/hello").file("h", "evil")] if target == "" else
                        [top().symlink("l", target).hardlink("h", "l/hello")], "link", umoci=False)

    def swapped(self, command, rounds=16):
        """Run installs while a process exchanges directories; every system call takes a little longer."""
        swapper = Swapper(self.varve.roots, self.victims[0])
        swapper.start()
        statuses = []
        try:
            for i in range(rounds):
                done = self.varve.run(*command(i), status=None, prefix=(
                    "strace", "-f", "-o", "/dev/null", "-e", "trace=mkdirat,renameat2",
                    "-e", "inject=mkdirat,renameat2:delay_exit=1500"))
                statuses.append(done.status)
        finally:
            swapper.stop()
        print(f"{swapper.hits} directories swapped, {swapper.depths} deep, in {swapper.tops}, statuses {set(statuses)}")
        self.assertGreater(swapper.hits, rounds // 2, "directories were swapped while the install worked")
        self.assertLessEqual(set(statuses), {0, 1, 3, 4})  # 3: what was to be opened is not there
        return swapper

    def nested(self):
        tar = top()
        for i in range(12):
            for path in (f"d{i}", f"d{i}/sub", f"d{i}/sub/deep"):
                tar.dir(path, mtime=2)
                for k in range(3):
                    tar.file(f"{path}/f{k}", b"evil" * 1000, mode=0o4755, uid=7, mtime=3)
            tar.symlink(f"d{i}/sub/l", "deep").hardlink(f"d{i}/sub/h", f"d{i}/f0").fifo(f"d{i}/deep", mode=0o666)
        return tar

    def test_d02_directories_are_swapped_in_the_staging_tree(self):
        """CVE-2018-15664, -2019-10152, -2025-47290, -2026-41568: links to a victim, at every level, at any time."""
        _, reference, _ = self.image([self.nested()])
        swapper = self.swapped(lambda i: ("install", reference, "--name", f"n{i}"))
        self.assertGreater(len(swapper.depths), 1)

    def test_d02_directories_are_swapped_in_the_spool(self):
        """The same where bodies are written while the layer still comes from the registry."""
        layout = self.layout()
        layout.image("i", [self.nested(), self.nested()])
        reference = self.registry().push(layout, "i", "team/app", "1")

        def command(i):
            self.varve.store = self.varve.home / f"store{i}"  # an empty one: the layers come again
            return ("install", reference, "--name", f"n{i}")
        self.assertIn("varve-spool", self.swapped(command).tops)

    def test_d04_chmod_through_a_hard_link_to_a_symlink(self):
        """CVE-2021-32760 (containerd's HardlinkSymlinkChmod)."""
        for target in (VICTIM_UP + "/hello", os.fspath(self.victims[2] / "hello")):
            made = self.apply([top().symlink("sym", target, mode=0o777, mtime=2).entry("hard", LNK, link="sym", mode=0o4777, uid=9, mtime=3)],
                              umoci=False)
            self.assertEqual(os.readlink(made / "hard"), target)
            self.assertEqual(os.lstat(made / "hard").st_ino, os.lstat(made / "sym").st_ino)
            made = self.apply([top().symlink("sym", target, mtime=2), Tar().entry("hard", LNK, link="sym", mode=0o4777, uid=9)], umoci=False)
            self.assertEqual(os.readlink(made / "hard"), target)

    def test_d05_the_root_as_a_symlink(self):
        """CVE-2021-29136."""
        for name in ("/.", ".", "./", "/", "./."):
            self.refuse([Tar().symlink(name, os.fspath(self.victims[2])).file("hello", "evil")], "root")
            self.refuse([top().file("x", "1"), Tar().symlink(name, os.fspath(self.victims[2])).file("hello", "evil")], "root")

    def test_d06_metadata_of_a_symlink_goes_to_the_symlink(self):
        """CVE-2021-23177, -31566: ACL, mode, times, flags and attributes of a link that leads out."""
        for target in (VICTIM_UP, VICTIM_UP + "/hello", os.fspath(self.victims[2]), os.fspath(self.victims[2] / "hello")):
            made = self.apply([top().symlink("l", target, mode=0o4000, uid=7, gid=8, mtime="99.5", xattrs={
                "user.k": "v", "system.posix_acl_access": bytes.fromhex("0200000001000700ffffffff04000700ffffffff20000700ffffffff"),
                "trusted.t": "v", "security.capability": b"\1\0\0\2" + b"\0" * 16}, pax={"SCHILY.acl.access": "user::rwx,other::rwx",
                                                                                          "SCHILY.fflags": "immutable"})], umoci=False)
            st = os.lstat(made / "l")
            self.assertEqual((st.st_uid, st.st_gid, st.st_mtime), (7, 8, 99.5))

    def test_d07_libarchive_744_many_long_links(self):
        """test_write_disk_secure744.c: links of growing length, a directory through each."""
        tar, names = top(), []
        for n in range(70):
            name = f"{n:04d}_" + "/".join(["x" * 95] * (n % 8 + 1)) if n % 2 else f"{n:04d}_" + "x" * (n * 2)
            names.append(name)
            tar.symlink(name, os.fspath(self.victims[2]), mtime=2).dir(f"{name}/target{n}", mode=0o777, mtime=3)
        made = self.apply([tar])
        inside = os.fspath(self.victims[2])[1:]
        self.assertEqual(sorted(os.listdir(made / inside)), sorted(f"target{n}" for n in range(70)))

    def test_d07_libarchive_745_a_directory_over_a_link(self):
        """test_write_disk_secure745.c: its mode must not reach the target."""
        made = self.apply([top().symlink("sym", VICTIM_UP, mtime=2).dir("sym", mode=0o777, mtime=3)])
        self.assertEqual((os.lstat(made / "sym").st_mode & 0o170777), 0o040777)
        self.apply([top().symlink("sym", VICTIM_UP, mtime=2).dir("sym/", mode=0o777, mtime=3).file("sym/hello", "evil", mtime=3)])

    def test_d07_libarchive_746_a_hard_link_with_a_body(self):
        """CVE-2016-5418, test_write_disk_secure746.c: straight (a) and through a link (b)."""
        for target in (VICTIM_UP + "/hello", "symlink/hello"):
            for name in ("bar", "symlink/../bar"):
                entry = header(name.encode(), LNK, 8, mode=0o777, link=target.encode()) + b"modified".ljust(512, b"\0")
                self.refuse([top().symlink("symlink", VICTIM_UP).raw(entry)], "link|checksum", umoci=False)

    def document(self, change, words, what="manifest"):
        """A changed manifest or config is refused by import, with these words."""
        layout = self.layout()
        descriptor = layout.image("i", [top()])
        manifest = json.loads(layout.read(descriptor))
        if what == "config":
            config = json.loads(layout.read(manifest["config"]))
            change(config)
            manifest["config"] = layout.blob(json.dumps(config).encode(), manifest["config"]["mediaType"])
        else:
            change(manifest)
        layout.tag("i", dict(layout.blob(json.dumps(manifest).encode(), descriptor["mediaType"])))
        done = self.varve.run("import", layout.path, "test:1", status=(1, 4))
        self.assertRegex(done.err, words)

    def test_d08_a_document_that_is_two(self):
        """CVE-2021-41190: `layers` and `manifests` in one document; a mediaType that is not the descriptor's."""
        self.document(lambda m: m.update(manifests=[]), "fit two types")
        self.document(lambda m: m.update(mediaType="application/vnd.oci.image.index.v1+json"), "was announced as")
        self.document(lambda m: m.update(mediaType="application/vnd.docker.distribution.manifest.v2+json"), "was announced as")

    def test_d09_digests_are_checked_before_they_are_used(self):
        """CVE-2024-3727: they become file names and URLs."""
        for digest in ("sha256:../../../victim/hello", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256",
                       "", "md5:" + "a" * 32, "../x:" + "a" * 64, "sha256:" + "a" * 62 + "/.", "sha256:" + "a" * 64 + "\n"):
            self.document(lambda m: m["layers"][0].update(digest=digest), "digest")
            self.document(lambda m: m["config"].update(digest=digest), "digest")
            self.document(lambda c: c["rootfs"].update(diff_ids=[digest]), "digest|diff_id", "config")

    def test_d12_nothing_is_open_to_others_at_any_moment(self):
        """CVE-2021-41091, -41103, -2024-25621: store, spool and staging, watched while they are made.

        The tree's own top gets its mode as the last thing before it is renamed: what is open then is complete.
        """
        layout = self.layout()
        layout.image("i", [self.nested(), Tar().file("su", "x", mode=0o4755).dir(".", mode=0o777, mtime=1)])
        reference = self.registry().push(layout, "i", "team/app", "1")
        self.varve.roots.chmod(0o755)
        seen, wrong, whole, ended = {}, [], [], threading.Event()

        def look(path, kind):
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                return
            seen[kind] = seen.get(kind, 0) + 1
            if mode & 0o77 and kind == "new" and not whole:
                whole.append(tree.scan(path))
            elif mode & 0o77 and kind != "new":
                wrong.append((os.fspath(path), oct(mode)))

        def watch():
            while not ended.is_set():
                look(self.varve.store, "store")
                for name in os.listdir(self.varve.roots):
                    if name.startswith((".rootfs_n.new.", ".varve-spool.")) and not name.endswith(".lock"):
                        look(self.varve.roots / name, name.split(".")[-2])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            # Before the sync the tree is complete; it takes long enough to look at it.
            self.varve.run("install", reference, "--name", "n", prefix=(
                "strace", "-f", "-o", "/dev/null", "-e", "trace=mkdirat,syncfs", "-e", "inject=mkdirat:delay_exit=1000",
                "-e", "inject=syncfs:delay_enter=500000"))
        finally:
            ended.set()
            watcher.join()
        print(f"watched: {seen}")
        self.assertEqual(wrong, [])
        for kind in ("store", "new", "varve-spool"):
            self.assertGreater(seen.get(kind, 0), 20, kind)
        for early in whole:
            early[b"."]["mtime"] = 1_000_000_000  # it is set right behind the mode, and may have come after the look
            self.assertSameTree(early, self.varve.roots / "rootfs_n")

    def test_d13_huge_files_of_the_image_are_not_read_whole(self):
        """CVE-2026-47262, -2020-1702: a user file of 1 GiB, all hole."""
        tar = top().dir("etc", mtime=2).file("etc/group", "root:x:0:\n", mtime=2)
        tar.sparse("etc/passwd", 1 << 30, [(0, b"root:x:0:0::/root:/bin/sh\n")], mtime=2)
        _, reference, _ = self.image([tar])
        process = self.varve.popen("install", reference, "--user", "daemon", "--user-from", "host")
        _, err = process.stdout.read(), process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertIn(process.returncode, (1, 4), err)
        self.assertLess(usage.ru_maxrss, 600 << 10, "KiB")

    def test_d13_documents_of_any_size_and_depth(self):
        """CVE-2017-14992, -2023-25153: padding and nesting."""
        self.document(lambda m: m.update(annotations={"a": "x" * (5 << 20)}), "4194304|MiB|large|more than")
        self.document(lambda c: c.update(history=[{"comment": "x" * (9 << 20)}]), "8388608|MiB|large|more than", "config")
        deep = "x"
        for _ in range(500):
            deep = [deep]
        self.document(lambda m: m.update(annotations=deep), "nest|deep|depth")

    def test_d14_headers_without_end(self):
        """CVE-2022-2879, -41715, -2025-58183: pax, long names and sparse maps have a limit."""
        tar = top()
        self.refuse([tar.pax_header([(b"comment", b"x" * (2 << 20))]).file("f")], "extended header|pax", umoci=False)
        name = b"n" * (2 << 20)
        self.refuse([top().raw(header(b"././@LongLink", b"L", len(name), magic=b"ustar  \0", tail=b"\0" * 167) + name).file("f")],
                    "extended header", umoci=False)
        table = b"200000\n" + b"".join(b"%d\n1\n" % (i * 2) for i in range(200_000))
        table += b"\0" * (-len(table) % 512)
        pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": "400000"}
        self.refuse([top().entry("f", REG, table + b"x" * 200_000, pax=pax)], "sparse", umoci=False)
        pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": str(1 << 60)}
        self.refuse([top().entry("f", REG, b"0\n".ljust(512, b"\0"), pax=pax)], "bytes|sparse|size", umoci=False)

    def test_d15_owners_beyond_32_bits(self):
        """CVE-2024-40635; more of it is M07."""
        for value in (2 ** 32, 2 ** 32 - 1, 2 ** 63, 2 ** 64):
            self.refuse([top().file("f", "x", pax={"uid": str(value)})], "id must be", umoci=False)

    def test_d17_a_directory_that_was_known_is_another_thing_now(self):
        """CVE-2021-32803, -32804, -37701, -37712, -37713: caches of directories, by case, slashes and unicode."""
        for name, again in (("d", "d"), ("d", "d//"), ("d", "./d"), ("d", "D"), ("\u00e9", "e\u0301"), ("caf\u00e9", "cafe\u0301"),
                            ("d\\x", "d/x"), ("x/../d", "d")):
            for target in (VICTIM_UP, os.fspath(self.victims[2])):
                one = top().dir(name, mtime=2).file(f"{name}/a", "1", mtime=2).entry(again, SYM, link=target, mtime=2)
                self.apply([one.file(f"{name}/hello", "evil", mtime=2).file(f"{again}/hello", "evil", mtime=2)], umoci=False)
                self.apply([top().dir(name, mtime=2).file(f"{name}/a", "1", mtime=2), Tar().entry(again, SYM, link=target, mtime=2),
                            Tar().file(f"{name}/hello", "evil", mtime=2).file(f"{again}/hello", "evil", mtime=2)], umoci=False)


class Squashfs(Applied):
    """D18, CVE-2021-40153, -41072: names in a squashfs that no file system gives, written into an image of mksquashfs."""

    def squashfs(self, fill, *patches):
        """The image of a directory that fill(path) fills; patches replace bytes that occur once in it."""
        folder, image = self.path("folder"), self.path("image.squashfs")
        folder.mkdir()
        fill(folder)
        subprocess.run(["mksquashfs", folder, image, "-noI", "-noD", "-noF", "-noX", "-no-progress", "-all-root"], check=True,
                       stdout=subprocess.DEVNULL)
        data = image.read_bytes()
        for old, new in patches:
            self.assertEqual((data.count(old), len(old)), (1, len(new)), old)
            data = data.replace(old, new)
        image.write_bytes(data)
        return image

    def check(self, words, fill, *patches):
        whole = self.squashfs(fill)
        self.varve.run("install", whole, "--name", "whole")
        self.varve.run("remove", "--installed", "whole")
        before = sorted(os.listdir(self.varve.roots))
        image = self.squashfs(fill, *patches)
        done = self.varve.run("install", image, "--name", "n", status=4)
        self.assertRegex(done.err, words)
        self.assertEqual(sorted(os.listdir(self.varve.roots)), before)

    def test_d18_dot_dot(self):
        def fill(path):
            (path / "QZ").mkdir()
            (path / "QZ/victim-x").write_text("evil")
        self.check(r'"\.\." is no name', fill, (b"QZ", b".."))

    def test_d18_dot(self):
        def fill(path):
            (path / "Q").write_text("evil")
        # Type of a file, size 1: a name of one byte alone may occur anywhere.
        self.check(r'"\." is no name', fill, (b"\x02\0\0\0Q", b"\x02\0\0\0."))

    def test_d18_slash(self):
        def fill(path):
            (path / "upQvictimQhello").write_text("evil")
        self.check("is no name", fill, (b"upQvictimQhello", b"../victim/hello"))
        self.check("is no name", fill, (b"upQvictimQhello", b"//victim//hello"))

    def test_d18_nul(self):
        def fill(path):
            (path / "nameQrest").write_text("evil")
        self.check("is no name", fill, (b"nameQrest", b"name\0rest"))

    def test_d18_twice_the_same_name(self):
        """A link, and a directory of its name: what is in the one would go where the other leads."""
        def fill(path):
            os.symlink("../victim", path / "nameA")
            (path / "nameB").mkdir()
            (path / "nameB/hello").write_text("evil")
        self.check("twice|duplicate|two", fill, (b"nameB", b"nameA"))
