#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes two small images that share a layer from installed Debian packages, as an OCI layout: base and tools.

Both name the empty layer of old Docker images twice, as thousands of real images do.

    tests/quickstart/images.py DIRECTORY
"""

import os
import pathlib
import stat
import subprocess
import sys

sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from support.image import EMPTY_LAYER, Layout, compress  # noqa: E402
from support.tarball import Tar  # noqa: E402

WHEN = 1_700_000_000
APPLETS = "cat cp date df du env find grep head hostname id less ln ls mkdir mount mv ps pwd rm sed sleep sort tar vi wc"


def package(tar, name):
    """The files that an installed package owns, directories first, each with the mode it has here."""
    paths = subprocess.run(["dpkg", "-L", name], stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
    for path in sorted(filter(None, paths)):
        member = path.strip("/.")
        if not member or not os.path.lexists(path):
            continue
        st = os.lstat(path)
        if os.path.realpath(os.path.dirname(path)) != os.path.dirname(path) and not stat.S_ISDIR(st.st_mode):
            # /bin is a symbolic link on a merged system: the image gets the real place.
            member = os.path.realpath(os.path.dirname(path)).strip("/") + "/" + os.path.basename(path)
        if stat.S_ISDIR(st.st_mode):
            if not os.path.islink(path.rstrip("/")):
                tar.dir(member, mode=stat.S_IMODE(st.st_mode), mtime=WHEN)
        elif stat.S_ISLNK(st.st_mode):
            tar.symlink(member, os.readlink(path), mtime=WHEN)
        else:
            tar.file(member, pathlib.Path(path).read_bytes(), mode=stat.S_IMODE(st.st_mode), mtime=int(st.st_mtime))
    return tar


def base():
    tar = Tar()
    for name in ("dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var"):
        tar.dir(name, mtime=WHEN)
    tar.dir("tmp", mode=0o1777, mtime=WHEN)
    for name in ("bin", "sbin"):
        tar.symlink(name, "usr/bin", mtime=WHEN)
    tar.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", mtime=WHEN)
    tar.file("etc/group", "root:x:0:\n", mtime=WHEN)
    tar.file("etc/os-release", 'NAME="varve quickstart"\nID=quickstart\n', mtime=WHEN)
    package(tar, "busybox-static")
    tar.symlink("usr/bin/sh", "busybox", mtime=WHEN)
    for name in APPLETS.split():
        tar.hardlink(f"usr/bin/{name}", "usr/bin/busybox")
    return tar


def tools():
    tar = package(Tar(), "bash-static")
    tar.file("etc/profile", "PS1='tools$ '\n", mtime=WHEN)
    tar.whiteout("etc/os-release")
    tar.file("usr/lib/os-release", 'NAME="varve quickstart, with tools"\nID=quickstart\n', mtime=WHEN)
    return tar.dir("usr/lib", mtime=WHEN).dir("usr", mtime=WHEN)


def main(directory):
    layout = Layout(directory)
    lower = compress(base().bytes(), "gzip")
    layout.image("base", [lower, EMPTY_LAYER, EMPTY_LAYER])
    layout.image("tools", [lower, EMPTY_LAYER, tools(), EMPTY_LAYER])


main(sys.argv[1])
