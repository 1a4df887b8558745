# SPDX-License-Identifier: Apache-2.0
"""Metadata (docs/layers.md). Every row is a test; umoci, and where it agrees podman, make the same tree.

Where neither is asked, they differ: M05 umoci's time wraps, M07 its owner does, M15 and M16 both fail, M18 umoci
does not know the type of a global header, nor M21 that of an old sparse file.
"""

import os
import stat
import subprocess

from support import Tar, samples
from support.applied import Applied
from support.tarball import CHR, REG, header, patched

ROOT = "d . m=755 u=0:0 t=1\n"
ACL = bytes.fromhex("02000000" "01000600ffffffff" "02000400e8030000" "04000400ffffffff" "10000400ffffffff" "20000000ffffffff")


def top():
    return Tar().dir(".", mtime=1)


class Metadata(Applied):
    def test_m01_everything_at_once_survives_the_others(self):
        """chown clears setuid and capabilities, writing clears them too, and a child changes its directory's time."""
        caps = {"security.capability": samples.CAP_NET_RAW, "user.k": "v"}
        base = top().dir("d", mtime=1000).file("d/f", "content", mode=0o6755, uid=3, gid=4, mtime=samples.NS, xattrs=caps)
        upper = Tar().file("d/g", "new", mode=0o4711, uid=5, gid=6, mtime=9)
        made = self.apply([base, upper])
        st = os.stat(made / "d/f")
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns), (0o6755, 3, 4, 1234567890123456789))
        self.assertEqual(os.getxattr(made / "d/f", "security.capability"), samples.CAP_NET_RAW)
        self.assertEqual(os.stat(made / "d").st_mtime, 1000, "the last entry of the directory, whatever came into it later")
        self.assertEqual(stat.S_IMODE(os.stat(made / "d/g").st_mode), 0o4711)

    def test_m02_special_bits_and_no_others(self):
        self.apply([top().file("su", "x", mode=0o4755, mtime=2).file("sg", "x", mode=0o2755, mtime=2)
                    .dir("sticky", mode=0o1777, mtime=2).dir("group", mode=0o2770, uid=1, gid=2, mtime=2)
                    .file("type", "x", mode=0o100640, mtime=2)],
                   ROOT + "d group m=2770 u=1:2 t=2\nf sg x m=2755 u=0:0 t=2\nd sticky m=1777 u=0:0 t=2\n"
                   "f su x m=4755 u=0:0 t=2\nf type x m=640 u=0:0 t=2\n", podman=True)

    def test_m03_nanoseconds(self):
        self.apply([top().file("f", "x", mtime=samples.NS).symlink("s", "f", mtime="5.000000001").dir("d", mtime="6.5")
                    .fifo("p", mtime="7.25").chardev("c", 1, 3, mtime="8.125")],
                   ROOT + "c c 1:3 m=644 u=0:0 t=8.125000000\nd d m=755 u=0:0 t=6.500000000\n"
                   "f f x m=644 u=0:0 t=1234567890.123456789\np p m=644 u=0:0 t=7.250000000\ns s f m=777 u=0:0 t=5.000000001\n")

    def test_m04_before_1970(self):
        self.apply([top().file("f", "x", mtime="-1000.5").file("g", "x", mtime=-3)],
                   ROOT + "f f x m=644 u=0:0 t=-1001.500000000\nf g x m=644 u=0:0 t=-3\n")

    def test_m04_before_1970_in_base_256(self):
        block = patched(header(b"f", REG), 136, b"\xff" * 11 + b"\xfd")  # -3
        self.apply([top().raw(block)], ROOT + "f f m=644 u=0:0 t=-3\n")

    def test_m05_far_future_is_the_latest_that_the_file_system_knows(self):
        probe = self.path("probe")
        probe.touch()
        os.utime(probe, (99999999999999, 99999999999999))
        latest = int(os.stat(probe).st_mtime)
        self.apply([top().file("f", "x", mtime="99999999999999").file("g", "x", pax={"mtime": "9" * 40})],
                   ROOT + f"f f x m=644 u=0:0 t={latest}\nf g x m=644 u=0:0 t={latest}\n", umoci=False)
        self.assertEqual(self.last.json["warnings"], [f"{n}: its time is beyond what file systems keep" for n in "fg"])

    def test_m06_no_time_is_1970(self):
        blank = patched(header(b"f", REG), 136, b"\0" * 12)
        spaces = patched(header(b"g", REG), 136, b" " * 12)
        self.apply([top().raw(blank).raw(spaces)], ROOT + "f f m=644 u=0:0 t=0\nf g m=644 u=0:0 t=0\n")

    def test_m07_ids_that_do_not_fit(self):
        """CVE-2024-40635: 2^32+5 must not become 5, nor 2^32-1 "leave it"."""
        for field in ("uid", "gid"):
            for value in (2 ** 32 + 5, 2 ** 32 - 1, -1):
                self.refuse([top().file("f", "x", pax={field: str(value)})], "below 4294967295", umoci=False)
        base256 = patched(header(b"f", REG), 108, b"\x80\0\0\x01\0\0\0\x05")
        self.refuse([top().raw(base256)], "below 4294967295", umoci=False)

    def test_m08_large_ids_count_and_names_do_not(self):
        named = header(b"n", REG, uid=12, gid=13, mtime=2, uname=b"root", gname=b"nobody-knows-it")
        self.apply([top().file("b", "x", uid=3_000_000, gid=2 ** 32 - 2, mtime=2)
                    .file("p", "x", mtime=2, pax={"uid": "4000000000", "gid": "7", "uname": "daemon", "gname": "root"}).raw(named)],
                   ROOT + f"f b x m=644 u=3000000:{2 ** 32 - 2} t=2\nf n m=644 u=12:13 t=2\nf p x m=644 u=4000000000:7 t=2\n")

    # M09 and M10: test_layers_user.py.

    def test_m11_xattr_values(self):
        """Binary, empty and long values; the first '=' ends the name."""
        made = self.apply([top().file("f", "x", mtime=2, xattrs={"user.bin": bytes(range(256)),
                                                                 "user.long": b"v" * 3000, "user.a=b": b"c=d"})])
        self.assertEqual({n: os.getxattr(made / "f", n) for n in os.listxattr(made / "f")},
                         {"user.bin": bytes(range(256)), "user.long": b"v" * 3000, "user.a": b"b=c=d"})

    def test_m11_empty_value(self):
        """An attribute without a value is one; the tar library of umoci and podman takes it for none."""
        made = self.apply([top().file("f", "x", mtime=2, xattrs={"user.empty": b""})], umoci=False)
        self.assertEqual({n: os.getxattr(made / "f", n) for n in os.listxattr(made / "f")}, {"user.empty": b""})

    def test_m12_attributes_of_other_namespaces_are_ignored(self):
        """LIBARCHIVE.xattr.* and RHT.security.selinux: libarchive applies them, no container tool does."""
        self.apply([top().file("f", "x", mtime=2, pax={"LIBARCHIVE.xattr.user.l": "dg", "RHT.security.selinux": "a:b:c:s0"},
                               xattrs={"user.s": "1"})],
                   ROOT + "f f x m=644 u=0:0 t=2 x=user.s:1\n", podman=True)

    def test_m13_file_capabilities(self):
        """They need root, and outlive the owner; an ordinary user's install counts them (test_layers_user.py)."""
        made = self.apply([top().file("f", "x", mode=0o755, uid=3, gid=4, mtime=2,
                                      xattrs={"security.capability": samples.CAP_NET_RAW})], podman=True)
        self.assertIn("cap_net_raw", subprocess.run(["getcap", made / "f"], stdout=subprocess.PIPE, text=True).stdout)
        self.assertEqual(self.losses(), [])

    def test_m14_filtered_attributes(self):
        self.apply([top().file("f", "x", mtime=2, xattrs={"security.selinux": "a:b:c:s0\0", "system.nfs4_acl": "\0", "user.k": "v"})],
                   ROOT + "f f x m=644 u=0:0 t=2 x=user.k:v\n")
        self.apply([top().dir("d", mtime=2, xattrs={"trusted.overlay.origin": "\0", "user.overlay.redirect": "/x"})],
                   ROOT + "d d m=755 u=0:0 t=2\n", umoci=False)
        self.assertEqual(self.losses(), [])
        self.assertEqual(self.last.json["warnings"], ["2 extended attributes of SELinux, NFSv4 or overlayfs left out"])

    def test_m15_user_attribute_of_a_symlink(self):
        """The kernel refuses it: a loss that is counted and listed. umoci and podman fail."""
        self.apply([top().symlink("s", "x", mtime=2, xattrs={"user.k": "v"})], ROOT + "s s x m=777 u=0:0 t=2\n", umoci=False)
        self.assertEqual(self.losses(), [("s", "user.k")])

    def test_m16_a_file_system_without_attributes(self):
        """Warned once, each counted."""
        place = self._mount(["-t", "ramfs", "ramfs"])
        tar = top()
        for i in range(5):
            tar.file(f"f{i}", "x", mtime=2, xattrs={"user.k": "v", "user.l": "v"})
        self.varve.roots = place / "roots"
        self.varve.roots.mkdir()
        self.apply([tar], ROOT + "".join(f"f f{i} x m=644 u=0:0 t=2\n" for i in range(5)), umoci=False)
        self.assertEqual(self.last.err.count("takes no extended attribute"), 1, self.last.err)
        self.assertEqual(len(self.losses()), 10)

    def test_m17_acls(self):
        """As docker writes them (system.posix_acl_access) they are set; SCHILY.acl.access of star and bsdtar is not."""
        made = self.apply([top().file("docker", "x", mode=0o640, mtime=2, xattrs={"system.posix_acl_access": ACL})
                           .file("star", "x", mode=0o640, mtime=2, pax={"SCHILY.acl.access": "user::rw-,group::r--,other::r--,"
                                                                        "user:daemon:rwx:1,mask::rwx"})])
        self.assertEqual(os.getxattr(made / "docker", "system.posix_acl_access"), ACL)
        self.assertEqual(os.listxattr(made / "star"), [])
        self.assertEqual(self.last.json["warnings"], ["layer 0: the ACLs of 1 entries in star's form are not applied"])

    def test_m18_global_headers_count_for_nothing(self):
        """Docker's TestTypeXGlobalHeaderDoesNotFail, TestXGlobalNoParent."""
        tar = top().pax_header([(b"mtime", b"77"), (b"SCHILY.xattr.user.k", b"v"), (b"uid", b"9")], b"g", b"pax_global_header")
        self.apply([tar.file("f", "x", mtime=2)], ROOT + "f f x m=644 u=0:0 t=2\n", umoci=False, podman=True)
        alone = Tar().raw(header(b"foo/pax_global_header", b"g"))
        self.apply([alone], "", attributes=False, umoci=False)

    def test_m19_fifos_and_devices(self):
        self.apply([top().fifo("p", mode=0o622, mtime=2).chardev("c", 4095, 1048575, mtime=2).blockdev("b", 8, 1, mtime=2)
                    .chardev("zero", 0, 0, mtime=2)],
                   ROOT + "b b 8:1 m=644 u=0:0 t=2\nc c 4095:1048575 m=644 u=0:0 t=2\np p m=622 u=0:0 t=2\n"
                   "c zero 0:0 m=644 u=0:0 t=2\n")

    def test_m19_device_numbers_that_do_not_fit(self):
        """Docker's TestHandleTarTypeBlockCharFifoDeviceRange."""
        for major, minor, words in ((4096, 0, "device major"), (1, 1 << 20, "device minor"), (-1, 0, "device major"),
                                    (1, -1, "device minor")):
            self.refuse([top().entry("c", CHR, dev=(major, minor))], words, umoci=False)

    def test_m20_nodev_mount(self):
        """Making a device needs no right to open it."""
        place = self.path("mount")
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev,size=16m", "tmpfs", place], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
        self.varve.roots = place
        self.apply([top().chardev("c", 1, 3, mtime=2)], ROOT + "c c 1:3 m=644 u=0:0 t=2\n")

    def sparse(self, name):
        """The same 8 MiB with two islands, in the four formats of GNU tar. Returns (Tar, content)."""
        size, islands = 8 << 20, [(1 << 20, b"a" * 5120), (4 << 20, b"b" * 4096)]
        body, content = b"".join(d for _, d in islands), bytearray(size)
        for offset, data in islands:
            content[offset:offset + len(data)] = data
        tar = top()
        if name == "1.0":
            tar.sparse("f", size, islands, mtime=2)
        elif name == "0.1":
            spots = ",".join(f"{o},{len(d)}" for o, d in islands)
            tar.entry("GNUSparseFile/f", REG, body, mtime=2, pax={"GNU.sparse.size": str(size), "GNU.sparse.numblocks": "2",
                                                                   "GNU.sparse.map": spots, "GNU.sparse.name": "f"})
        elif name == "0.0":
            records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"2")]
            for offset, data in islands:
                records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % len(data))]
            tar.pax_header(records).file("f", body, mtime=2)
        else:
            slots = b"".join(b"%011o\0%011o\0" % (o, len(d)) for o, d in islands)
            tail = b"\0" * 41 + slots.ljust(96, b"\0") + b"\0" + b"%011o\0" % size
            tar.raw(header(b"f", b"S", len(body), mtime=2, magic=b"ustar  \0", tail=tail.ljust(167, b"\0")) + body)
        return tar, bytes(content)

    def check_sparse(self, name, umoci=True):
        tar, content = self.sparse(name)
        made = self.apply([tar], umoci=umoci)
        self.assertEqual((made / "f").read_bytes(), content)
        self.assertLess(os.stat(made / "f").st_blocks * 512, 200_000, "holes stay holes")

    def test_m21_sparse_old(self):
        self.check_sparse("old", umoci=False)  # it does not know the type

    def test_m21_sparse_0_0(self):
        self.check_sparse("0.0")

    def test_m21_sparse_0_1(self):
        self.check_sparse("0.1")

    def test_m21_sparse_1_0(self):
        self.check_sparse("1.0")

    def test_m21_sparse_old_with_more_blocks_of_map(self):
        """More islands than the header has slots: blocks of 21 slots follow it."""
        islands = [(i << 16, bytes([65 + i]) * 512) for i in range(40)]
        size, body = 40 << 16, b"".join(d for _, d in islands)
        slots = [b"%011o\0%011o\0" % (o, len(d)) for o, d in islands]
        tail = b"\0" * 41 + b"".join(slots[:4]) + b"\1" + b"%011o\0" % size
        blocks = b""
        for i in range(4, 40, 21):
            blocks += b"".join(slots[i:i + 21]).ljust(504, b"\0") + (b"\1" if i + 21 < 40 else b"\0") + b"\0" * 7
        made = self.apply([top().raw(header(b"f", b"S", len(body), mtime=2, magic=b"ustar  \0", tail=tail.ljust(167, b"\0"))
                                     + blocks + body)], umoci=False)
        got = (made / "f").read_bytes()
        self.assertEqual(len(got), size)
        self.assertEqual([got[i << 16] for i in range(40)], [65 + i for i in range(40)])

    def test_m22_file_flags_are_ignored(self):
        made = self.apply([top().file("f", "x", mtime=2, pax={"SCHILY.fflags": "immutable,append"})],
                          ROOT + "f f x m=644 u=0:0 t=2\n", podman=True)
        (made / "f").write_text("not immutable")

    def test_m22_an_old_tree_with_immutable_files_is_replaced_and_removed(self):
        self.varve.roots = self.loop(16 << 20)
        made = self.apply([top().dir("d", mtime=2).file("d/f", "x", mtime=2)])
        subprocess.run(["chattr", "+i", made / "d/f", made / "d"], check=True)
        self.addCleanup(subprocess.run, ["chattr", "-R", "-i", self.varve.roots], stderr=subprocess.DEVNULL)
        self.varve.run("install", "--force", "--no-keep", "test:1")
        self.assertEqual([p.name for p in self.varve.roots.iterdir() if "rootfs" in p.name and p.is_dir()], ["rootfs_test_1"])
        subprocess.run(["chattr", "+a", made / "d"], check=True)
        self.varve.run("remove", "--installed", "test_1")
        self.assertFalse(made.exists())

    def test_m23_access_time_is_the_modification_time(self):
        made = self.apply([top().file("f", "x", mtime=samples.NS, pax={"atime": "5"}).dir("d", mtime=9).symlink("s", "f", mtime=10)],
                          umoci=False)
        for name in "fds":
            st = os.lstat(made / name)
            self.assertEqual(st.st_atime_ns, st.st_mtime_ns, name)

    def test_m24_the_umask_does_not_matter(self):
        for mask in (0, 0o22, 0o27, 0o77, 0o777):
            self.apply([top().dir("d", mode=0o777, mtime=2).file("d/f", "x", mode=0o666, mtime=2).file("i/f", "x", mode=0o6777, mtime=3)
                        .fifo("p", mode=0o666, mtime=2).chardev("c", 1, 3, mode=0o622, mtime=2)],
                       ROOT + "c c 1:3 m=622 u=0:0 t=2\nd d m=777 u=0:0 t=2\nf d/f x m=666 u=0:0 t=2\nd i m=755 u=0:0 t=3\n"
                       "f i/f x m=6777 u=0:0 t=3\np p m=666 u=0:0 t=2\n", umoci=mask == 0o22, popen={"umask": mask})

    def test_m25_directories_that_their_owner_cannot_enter(self):
        """They are made so that we can work in them, and get their mode when everything is inside."""
        tar = top().dir("none", mode=0, mtime=2).file("none/f", "x", mtime=3).dir("read", mode=0o500, uid=9, mtime=2)
        self.apply([tar.dir("read/in", mode=0o111, mtime=4).file("read/in/f", "x", mtime=3).dir("read", mode=0o500, uid=9, mtime=2)
                    .dir("read/in", mode=0o111, mtime=4)],
                   ROOT + "d none m=0 u=0:0 t=2\nf none/f x m=644 u=0:0 t=3\nd read m=500 u=9:0 t=2\n"
                   "d read/in m=111 u=0:0 t=4\nf read/in/f x m=644 u=0:0 t=3\n")

    def test_m25_what_is_being_made_is_born_closed(self):
        """No directory of the tree is ever open to others before its metadata is set, but inside of one that is closed."""
        trace = self.path("trace")
        self.apply([top().dir("open", mode=0o777, mtime=2).file("open/f", "x", mtime=3)], umoci=False,
                   prefix=("strace", "-f", "-e", "trace=mkdirat,mkdir", "-o", trace))
        made = [l for l in trace.read_text().splitlines() if ".rootfs_test_1.new." in l]
        self.assertTrue(made)
        self.assertTrue(all("0700" in l for l in made), made)

    def test_m26_the_body_is_larger_than_its_header_says(self):
        self.refuse([top().file("f", "x" * 700, size=100).file("g", "y")], "checksum")

    def test_m26_the_body_is_smaller_than_its_header_says(self):
        self.refuse([top().file("f", "x" * 100, size=70000)], "cut off")
        self.refuse([top().file("f", "x" * 100, size=1100).file("g", b"y" * 2000)], "checksum")

    def test_m26_the_sparse_map_says_another_size(self):
        tar = top().entry("x", REG, b"a" * 512, pax={"GNU.sparse.size": "4096", "GNU.sparse.map": "0,1024", "GNU.sparse.name": "f"})
        self.refuse([tar], "sparse map of 1024 bytes, but 512 are stored")
