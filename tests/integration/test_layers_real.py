# SPDX-License-Identifier: Apache-2.0
"""Ten larger images of real software: the trees that umoci makes, as root and, for what a user can keep, as a user.

The layers are what installed Debian packages own, with the owners, modes, capabilities, links and nanoseconds that dpkg
gave them; above them lies a layer that deletes, replaces and hides as an image build does.
"""

import os
import pathlib
import shutil
import stat
import subprocess

from support import Tar, compress, oracle, tree
from support.user import UserCase


def packages(*patterns):
    """The installed packages of these name patterns."""
    out = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *patterns], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True).stdout
    return sorted({line.split()[0] for line in out.splitlines() if line.endswith(" installed")})


def owned(names):
    """Paths that the packages own, as they really lie on a system whose /bin is a link, parents first."""
    out = subprocess.run(["dpkg", "-L", *names], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = set()
    for line in out.splitlines():
        if line.startswith("/") and line != "/." and os.path.lexists(line):
            parent = os.path.realpath(os.path.dirname(line))
            found |= {parent, os.path.join(parent, os.path.basename(line))} - {"/"}
    return sorted(p for p in found if not os.path.ismount(p))


def when(st):
    return f"{st.st_mtime_ns // 10 ** 9}.{st.st_mtime_ns % 10 ** 9:09d}"


def layer(names):
    """(Tar, regular files in it) of the packages."""
    tar, inodes, files = Tar(), {}, []
    for path in owned(names):
        st, member = os.lstat(path), path.lstrip("/")
        common = {"mode": stat.S_IMODE(st.st_mode), "uid": st.st_uid, "gid": st.st_gid, "mtime": when(st)}
        if stat.S_ISDIR(st.st_mode):
            tar.dir(member, **common)
        elif stat.S_ISLNK(st.st_mode):
            tar.symlink(member, os.readlink(path), **common)
        elif not stat.S_ISREG(st.st_mode):
            continue
        elif (st.st_dev, st.st_ino) in inodes:
            tar.hardlink(member, inodes[st.st_dev, st.st_ino])
        else:
            xattrs = {n: os.getxattr(path, n) for n in os.listxattr(path) if n == "security.capability"}
            tar.file(member, pathlib.Path(path).read_bytes(), xattrs=xattrs, **common)
            inodes[st.st_dev, st.st_ino] = member
            files.append(member)
    return tar, files


def change(files):
    """What a build does to the layers below: deletes, replaces, empties a directory, adds attributes."""
    tar = Tar().dir("usr/share/doc", mtime="1700000000.5").opaque("usr/share/doc").file("usr/share/doc/only", "this", mtime=1700000001)
    files = [f for f in files if not f.startswith("usr/share/doc/")]
    for path in files[::7]:
        tar.whiteout(path)
    for i, path in enumerate(files[3::11]):
        if path not in files[::7]:
            tar.file(path, f"replaced {i}", mode=0o6711 if i % 3 == 0 else 0o600, uid=1000 + i, gid=i, mtime=f"{1700000000 + i}.123456789")
    tar.file("usr/bin/able", "x", mode=0o755, mtime=7, xattrs={"security.capability": bytes.fromhex("0100000200200000000000000000000000000000")})
    return tar.dir("var/empty", mode=0o1777, uid=42, mtime=1).symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC", mtime=2)


class Real(UserCase):
    def check(self, *patterns):
        names = packages(*patterns)
        self.assertGreater(len(names), 1, patterns)
        lower, base_files = layer(packages("base-files", "coreutils", "bash", "libc6"))
        upper, files = layer(names)
        self.assertGreater(len(files), 20)
        image = self.layout()
        image.image("i", [compress(t.bytes(), "gzip") for t in (lower, upper, change(sorted(files + base_files)))])
        subprocess.run(["chmod", "-R", "a+rX", image.path], check=True)
        theirs = tree.scan(oracle.umoci_unpack(image.path, "i", self.path("bundle")))
        # As root: every attribute; from the archive, and again from the store over the first.
        root = self.new_varve()
        root.run("import", image.path, "real:1")
        for options in ((), ("--force",)):
            root.run("install", *options, "real:1")
            self.assertSameTree(root.tree("real:1"), theirs)
        self.assertEqual(root.run("diff", "--read-data", "real_1").out, "")
        # As a user: what such a user can keep.
        self.user("import", image.path, "real:1")
        self.user("install", "real:1")
        self.assertSameTree(self.varve.tree("real:1"), {p: dict(n, xattrs={k: v for k, v in n["xattrs"].items() if k.startswith("user.")})
                                                        for p, n in theirs.items()}, ignore=("uid", "gid"))
        self.assertEqual(self.user("diff", "--read-data", "real_1").out, "")
        for path in (root.roots, root.store, self.varve.roots, image.path, *self.dir.glob("bundle*")):
            shutil.rmtree(path, ignore_errors=True)


class Languages(Real):
    def test_python(self):
        self.check("python3*", "libpython3*")

    def test_perl(self):
        self.check("perl*", "libperl*")

    def test_compiler(self):
        self.check("cpp-*", "libgcc-*-dev", "libc6-dev", "linux-libc-dev")

    def test_binutils(self):
        self.check("binutils*", "libbinutils*", "make")

    def test_git(self):
        self.check("git*", "less", "liberror-perl")


class Systems(Real):
    def test_containers(self):
        self.check("skopeo", "umoci", "docker-registry", "podman", "busybox-static", "golang-github-containers-*", "crun", "conmon")

    def test_web_server(self):
        self.check("nginx*", "libnginx*", "apache2-utils", "libluajit*", "lua-*", "openssl", "ca-certificates")

    def test_file_systems(self):
        self.check("util-linux*", "mount", "login", "passwd", "e2fsprogs", "xfsprogs", "btrfs-progs", "squashfs-tools", "acl", "attr")

    def test_unicode(self):
        self.check("libicu*", "libxml2*", "libunistring*", "tzdata", "debconf*")

    def test_package_manager(self):
        self.check("apt*", "libapt-pkg*", "dpkg*", "tar", "gzip", "bzip2", "xz-utils", "findutils", "gpgv", "debian-archive-keyring")
