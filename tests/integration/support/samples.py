# SPDX-License-Identifier: Apache-2.0
"""Images of differing shape, each made once per call into a layout. SAMPLES names them all.

A sample is a function (layout, name) that puts an image under `name`; what only real tools can make is made by them.
"""

import gzip
import os
import pathlib
import subprocess
import sys
import tempfile

from .image import EMPTY_LAYER, Layout, compress
from .tarball import Tar

TOP = pathlib.Path(__file__).resolve().parents[3]
NS = "1234567890.123456789"


def flat(layout, name, compression="gzip", **kw):
    """One small layer with every plain type."""
    tar = Tar().dir(".", mode=0o755, mtime=1000).dir("etc", mtime=1001).file("etc/hostname", "box\n", mtime=NS)
    tar.file("etc/empty", mtime=5).symlink("etc/mtab", "/proc/mounts", mtime=7).dir("tmp", mode=0o1777, mtime=8)
    tar.file("big", os.urandom(300_000) + b"\0" * 700_000, mode=0o600, uid=1000, gid=1001, mtime=9)
    layout.image(name, [tar], compression=compression, **kw)


def usrmerge(layout, name):
    """Debian's merged /usr: the upper layers write through /bin and /lib, which are links."""
    base = Tar().dir(".", mtime=1).dir("usr", mtime=2)
    for part in ("bin", "lib", "sbin"):
        base.dir(f"usr/{part}", mtime=3).symlink(part, f"usr/{part}", mtime=4)
    base.symlink("lib64", "/usr/lib", mtime=4).file("usr/bin/ls", "old ls", mode=0o755, mtime=5)
    base.file("usr/lib/libc.so", "c", mtime=5).dir("var", mtime=6).symlink("var/run", "../run", mtime=6).dir("run", mtime=6)
    upper = Tar().file("bin/ls", "new ls", mode=0o755, mtime=10).file("lib64/ld.so", "ld", mode=0o755, mtime=11)
    upper.file("lib/extra", "x", mtime=12).whiteout("lib/libc.so").file("var/run/pid", "1", mtime=13)
    upper.symlink("sbin/init", "../bin/ls", mtime=14).dir("usr/bin", mtime=20).dir("usr/lib", mtime=21)
    upper.dir("usr/sbin", mtime=22).dir("run", mtime=23)
    layout.image(name, [base, upper])


def whiteouts(layout, name):
    """Files, trees, opaque directories, a name that goes and comes again, links that lose their target."""
    base = Tar().dir(".", mtime=1)
    for top in "abcdef":
        base.dir(top, mtime=2).dir(f"{top}/sub", mtime=3).dir(f"{top}/sub/deep", mtime=4)
        for part in ("f1", "f2", "sub/g", "sub/deep/h"):
            base.file(f"{top}/{part}", f"{top}/{part}", mtime=5)
    base.symlink("la", "a", mtime=6).file("top", "t", mtime=7)
    second = Tar().whiteout("a/f1").whiteout("b/sub").opaque("c").file("c/new", "n", mtime=8)
    second.file("d/f1", "again", mtime=9).whiteout("top").whiteout("nowhere/to/be/found").whiteout("la/f2")
    second.dir("c", mtime=10).dir("a", mtime=11).dir("b", mtime=12).dir("d", mtime=13)
    third = Tar().whiteout("d").whiteout("e/sub/deep").dir("b/sub", mtime=14).file("b/sub/g", "third", mtime=15)
    third.whiteout("la").opaque("f/sub").dir("e/sub", mtime=16).dir("e", mtime=17).dir("f/sub", mtime=18)
    third.dir("b", mtime=19).dir("f", mtime=20).dir(".", mode=0o750, mtime=21)
    layout.image(name, [base, second, third])


def replaced(layout, name):
    """Every type over every other type."""
    kinds = ("file", "dir", "symlink", "fifo", "hardlink")

    def put(tar, kind, path, salt):
        if kind == "file":
            tar.file(path, f"{salt} {path}", mode=0o640, mtime=30 + len(salt))
        elif kind == "dir":
            tar.dir(path, mode=0o711, mtime=40).file(path + "/in", salt, mtime=41).dir(path, mode=0o711, mtime=42)
        elif kind == "symlink":
            tar.symlink(path, "target-" + salt, mtime=43)
        elif kind == "fifo":
            tar.fifo(path, mode=0o622, mtime=44)
        else:
            tar.hardlink(path, "anchor")

    base, upper = Tar().dir(".", mtime=1).file("anchor", "anchor", mtime=2), Tar()
    for one in kinds:
        for other in kinds:
            put(base, one, f"{one}-{other}", "lower")
            put(upper, other, f"{one}-{other}", "up")
    upper.dir(".", mtime=50)
    layout.image(name, [base, upper])


def hardlinks(layout, name):
    """Groups within a layer, across layers, to symbolic links; a name replaced, a name removed."""
    base = Tar().dir(".", mtime=1).dir("d", mtime=2).file("d/one", "content", mode=0o4755, uid=5, gid=6, mtime=NS)
    base.hardlink("d/two", "d/one", mode=0o600, uid=9, mtime=99).hardlink("three", "/d/one").file("d/gone", "g", mtime=3)
    base.symlink("d/link", "one", mtime=4).hardlink("d/link2", "d/link").fifo("d/fifo", mtime=4).hardlink("d/fifo2", "d/fifo")
    upper = Tar().hardlink("d/four", "d/two").file("d/two", "replaced", mtime=5).hardlink("kept", "d/gone")
    upper.whiteout("d/one").dir("d", mtime=6)
    third = Tar().whiteout("d/gone").hardlink("five", "three").dir("d", mtime=7).dir(".", mtime=8)
    layout.image(name, [base, upper, third])


def devices(layout, name):
    """Devices, FIFOs, setuid, setgid, sticky, owners, directories that nobody may enter."""
    tar = Tar().dir(".", mtime=1).dir("dev", mtime=2)
    for device, major, minor, mode in (("null", 1, 3, 0o666), ("zero", 1, 5, 0o666), ("tty", 5, 0, 0o620)):
        tar.chardev(f"dev/{device}", major, minor, mode=mode, gid=5, mtime=3)
    tar.blockdev("dev/sda1", 8, 1, mode=0o660, gid=6, mtime=NS).blockdev("dev/big", 259, 70000, mtime=3)
    tar.chardev("dev/whiteout-like", 0, 0, mode=0, mtime=3)
    tar.fifo("run.fifo", mode=0o1622, uid=42, mtime=4)
    tar.file("su", "#!", mode=0o4755, mtime=5).file("wall", "#!", mode=0o2755, gid=5, mtime=5)
    tar.file("both", "#!", mode=0o6751, uid=7, gid=8, mtime=5).file("none", "secret", mode=0, mtime=6)
    tar.dir("closed", mode=0o000, uid=1, mtime=7).file("closed/in", "in", mode=0o400, uid=2, mtime=8)
    tar.dir("closed", mode=0o000, uid=1, mtime=9).dir("shared", mode=0o3775, gid=50, mtime=10)
    tar.file("far", "x", uid=3_000_000, gid=4_000_000_000, mtime=11).dir("dev", mtime=12)
    layout.image(name, [tar])


CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


def xattrs(layout, name):
    """user.*, binary and empty values, file capabilities, ACLs; an upper entry clears what it does not name."""
    acl = bytes.fromhex("02000000" "01000600ffffffff" "02000400e8030000" "04000400ffffffff" "10000400ffffffff" "20000000ffffffff")
    base = Tar().dir(".", mtime=1, xattrs={"user.root": "r"}).dir("d", mtime=2, xattrs={"user.a": "1", "user.b": "2"})
    base.file("ping", "#!ping", mode=0o755, mtime=NS, xattrs={"security.capability": CAP_NET_RAW})
    base.file("ping2", "#!ping", mode=0o4755, uid=3, gid=4, mtime=3, xattrs={"security.capability": CAP_NET_RAW})
    base.file("many", "x", mtime=4, xattrs={"user.bin": bytes(range(256)), "user.empty": "", "user.text": "äöü",
                                            "user.long": b"v" * 3000, "trusted.t": "t"})
    base.file("acl", "x", mode=0o640, mtime=5, xattrs={"system.posix_acl_access": acl})
    base.hardlink("ping3", "ping")
    upper = Tar().dir("d", mode=0o700, mtime=6, xattrs={"user.b": "3"}).file("many", "y", mtime=7)
    layout.image(name, [base, upper])


def sparse(layout, name):
    """Holes at the start, inside and at the end; a file that is one hole; PAX 1.0 format."""
    tar = Tar().dir(".", mtime=1)
    tar.sparse("holes", 8 << 20, [(1 << 20, b"a" * 5000), (4 << 20, b"b" * 4096)], mtime=2)
    tar.sparse("hole", 16 << 20, [(16 << 20, b"")], mtime=3, mode=0o600)
    tar.sparse("tail", 100_000, [(99_999, b"z")], mtime=NS)
    layout.image(name, [tar])


def names(layout, name):
    """Long names and paths, every way to write them; unicode in both forms, bytes that are no text."""
    tar = Tar().dir(".", mtime=1).dir("n" * 255, mtime=2).file("n" * 255 + "/" + "f" * 255, "long", mtime=3)
    deep = "/".join(f"level-{i:02d}-" + "x" * 40 for i in range(24))
    parts = deep.split("/")
    for i in range(len(parts)):
        tar.dir("/".join(parts[:i + 1]), mtime=4)
    tar.file(deep + "/leaf", "deep", mtime=5).symlink("deep", deep + "/leaf", mtime=6)
    tar.hardlink("hard-" + "h" * 120, deep + "/leaf")
    for i, odd in enumerate(("\u00e9", "e\u0301", "日本語", "new\nline", "tab\t", "back\\slash", "-dash", " space ", "esc\x1b[31m",
                             "quote'\"", "*?[", "wh.", "..almost", ".hidden", "a.wh.b")):
        tar.file(odd, odd, mtime=10 + i)
    tar.file(b"latin-\xe9", b"raw", mtime=30)
    tar.file("./dotted/../dotted.file", "d", mtime=31).file("//slashes", "s", mtime=32)
    layout.image(name, [tar])


def times(layout, name):
    """Nanoseconds, before 1970, far in the future."""
    tar = Tar().dir(".", mtime=NS).file("ns", "1", mtime=NS).file("before", "2", mtime="-1000.5").file("zero", "3", mtime=0)
    tar.file("far", "4", mtime="9000000000.999999999").symlink("link", "ns", mtime="99.000000001").dir("d", mtime="7.7")
    tar.file("d/after", "5", mtime=1)
    layout.image(name, [tar])


def forty(layout, name):
    """Forty layers over the same few names: the last one wins, some are taken away on the way."""
    layers = []
    for i in range(40):
        tar = Tar().dir("w", mode=0o700 + i % 8, mtime=100 + i).file(f"w/own-{i}", f"layer {i}", mtime=i)
        tar.file(f"w/shared-{i % 7}", f"from {i}" * 100, mode=0o600 + i % 64, mtime=i)
        if i % 5 == 4:
            tar.whiteout(f"w/own-{i - 3}")
        layers.append(tar.dir("w", mode=0o700 + i % 8, mtime=200 + i).dir(".", mtime=300 + i))
    layout.image(name, layers)


def empty_layers(layout, name):
    """What Docker made for years: the empty layer named several times between real ones."""
    first = Tar().dir(".", mtime=1).file("a", "1", mtime=2)
    second = Tar().file("b", "2", mtime=3).dir(".", mtime=4)
    layout.image(name, [first, EMPTY_LAYER, EMPTY_LAYER, second, EMPTY_LAYER], docker=True)


def repeated(layout, name):
    """The same real layer twice, with a layer that changes things between."""
    layer = Tar().dir(".", mtime=1).dir("d", mtime=2).file("d/f", "f", mtime=3)
    between = Tar().whiteout("d/f").file("d/g", "g", mtime=4).dir("d", mtime=5)
    layout.image(name, [layer, between, layer])


def members(layout, name):
    """A gzip layer of several members, and one whose tar has no closing blocks."""
    one = Tar().dir(".", mtime=1).file("first", os.urandom(200_000), mtime=2)
    data = one.file("second", b"s" * 100_000, mtime=3).bytes()
    cut = [data[i:i + 70_001] for i in range(0, len(data), 70_001)]
    other = Tar().file("third", "3", mtime=4).dir(".", mtime=5).bytes(end=False)
    layout.image(name, [b"".join(gzip.compress(c, 1, mtime=0) for c in cut), gzip.compress(other, 9, mtime=0)])


def mixed(layout, name):
    """Plain tar and gzip layers in one image."""
    layout.image(name, [Tar().dir(".", mtime=1).file("plain", "p" * 5000, mtime=2).bytes(),
                        compress(Tar().file("zipped", "z" * 5000, mtime=3).dir(".", mtime=4).bytes(), "gzip")])


def quickstart(layout, name):
    """The two-layer image of the quickstart, from Debian packages."""
    with tempfile.TemporaryDirectory(prefix="varve-sample.") as made:
        subprocess.run([sys.executable, TOP / "tests/quickstart/images.py", made], check=True)
        _copy_from(Layout.existing(made), "tools", layout, name)


def _copy_from(source, source_name, layout, name):
    import json
    descriptor = source.find(source_name)
    data = source.read(descriptor)
    document = json.loads(data)
    for child in [document["config"], *document["layers"]]:
        layout.blob(source.read(child))
    layout.tag(name, layout.blob(data, descriptor["mediaType"]))


def umoci(layout, name):
    """Made by umoci alone: a base, then two repacks of a changed bundle, with its own whiteouts."""
    flat(layout, name + "-base")
    with tempfile.TemporaryDirectory(prefix="varve-sample.") as work:
        bundle = os.path.join(work, "bundle")
        _tool("umoci", "unpack", "--image", f"{layout.path}:{name}-base", bundle)
        rootfs = pathlib.Path(bundle) / "rootfs"
        (rootfs / "etc/hostname").unlink()
        (rootfs / "srv").mkdir(mode=0o2770)
        (rootfs / "srv/data").write_bytes(b"data" * 10_000)
        os.link(rootfs / "srv/data", rootfs / "srv/again")
        os.setxattr(rootfs / "srv/data", "user.note", b"made by hand")
        _tool("umoci", "repack", "--refresh-bundle", "--image", f"{layout.path}:{name}-step", bundle)
        (rootfs / "big").unlink()
        (rootfs / "big").mkdir()
        (rootfs / "etc/mtab").unlink()
        os.mkfifo(rootfs / "etc/mtab")
        _tool("umoci", "repack", "--image", f"{layout.path}:{name}", bundle)
    layout.reload()


def minbase(layout, name):
    """Debian itself: mmdebstrap's minbase, and over it a layer that umoci makes of a package's removal and other changes."""
    layout.image(name + "-base", [compress(minbase_tar(), "gzip")])
    with tempfile.TemporaryDirectory(prefix="varve-sample.") as work:
        bundle = os.path.join(work, "bundle")
        _tool("umoci", "unpack", "--image", f"{layout.path}:{name}-base", bundle)
        rootfs = pathlib.Path(bundle) / "rootfs"
        subprocess.run(["rm", "-rf", rootfs / "usr/share/doc", rootfs / "usr/share/man", rootfs / "usr/share/zoneinfo"], check=True)
        (rootfs / "etc/motd").write_text("changed\n")
        os.symlink("bash", rootfs / "usr/bin/also-bash")
        _tool("umoci", "repack", "--image", f"{layout.path}:{name}", bundle)
    layout.reload()


def minbase_tar():
    """A Debian minbase as tar, kept below build-test for the next run."""
    cache = TOP / "build-test/cache/minbase.tar"
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(f".{os.getpid()}")
        _tool("mmdebstrap", "--variant=minbase", "--format=tar", "--skip=cleanup/apt", "bookworm", part)
        part.rename(cache)
    return cache.read_bytes()


def alpine(layout, name, data):
    """Alpine's own root filesystem (real input), and a layer over it."""
    source = next(data.glob("raw/alpinelinux/docker-alpine/*/x86_64/alpine-minirootfs-*.tar.gz"))
    upper = Tar().file("etc/motd", "varve\n", mtime=NS).whiteout("etc/alpine-release").file("bin/sh2", "x", mode=0o755, mtime=3)
    layout.image(name, [source.read_bytes(), upper.dir("etc", mtime=4).dir("bin", mtime=5)])


def busybox(layout, name, data):
    """BusyBox of the Docker library (real input), one layer, hundreds of hard links."""
    source = next(data.glob("raw/docker-library/busybox/*/latest/glibc/amd64/rootfs.tar.gz"))
    layout.image(name, [source.read_bytes()])


def _tool(*command):
    done = subprocess.run([os.fspath(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"{command[0]}: status {done.returncode}\n{done.stdout[-3000:]}")


# Those that umoci 0.4.7 can unpack as they are.
SAMPLES = [flat, usrmerge, whiteouts, replaced, hardlinks, devices, xattrs, sparse, names, times, forty, empty_layers,
           repeated, members, mixed, quickstart, umoci]
