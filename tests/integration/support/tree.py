# SPDX-License-Identifier: Apache-2.0
"""The normal form of a directory tree in every attribute, and the difference between two of them."""

import errno
import hashlib
import os
import stat

_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
          stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def scan(root, content=True):
    """{path as bytes: {attribute: value}} for the tree; the root itself is b"."."""
    root = os.fsencode(root)
    out, inodes = {}, {}

    def visit(path, relative):
        st = os.lstat(path)
        kind = _TYPES[stat.S_IFMT(st.st_mode)]
        node = {"type": kind, "mode": oct(stat.S_IMODE(st.st_mode)), "uid": st.st_uid, "gid": st.st_gid,
                "mtime": st.st_mtime_ns}
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOTSUP:  # an overlay of a squashfs that has none
                raise
            names = []
        node["xattrs"] = {n: os.getxattr(path, n, follow_symlinks=False) for n in sorted(names)}
        if kind == "file":
            node["size"] = st.st_size
            if content:
                node["sha256"] = _sha256(path)
        elif kind == "symlink":
            node["target"] = os.readlink(path)
        elif kind in ("char", "block"):
            node["device"] = (os.major(st.st_rdev), os.minor(st.st_rdev))
        if kind != "dir":
            inodes.setdefault((st.st_dev, st.st_ino), []).append(relative)
        out[relative] = node
        if kind == "dir":
            for name in os.listdir(path):
                visit(os.path.join(path, name), name if relative == b"." else relative + b"/" + name)

    visit(root, b".")
    for group in inodes.values():
        for path in group:
            out[path]["links"] = sorted(group)
    return out


def diff(a, b, ignore=(), limit=40):
    """Lines that say how the trees `a` and `b` (paths, or results of scan) differ; empty when equal.

    ignore: attribute names, or callables (path, attribute, value_a, value_b) -> True to ignore.
    """
    a = a if isinstance(a, dict) else scan(a)
    b = b if isinstance(b, dict) else scan(b)
    lines = []
    for path in sorted(a.keys() | b.keys()):
        shown = path.decode("utf-8", "backslashreplace")
        if path not in b:
            lines.append(f"{shown}: only in the first tree ({a[path]['type']})")
            continue
        if path not in a:
            lines.append(f"{shown}: only in the second tree ({b[path]['type']})")
            continue
        for key in sorted(a[path].keys() | b[path].keys()):
            va, vb = a[path].get(key), b[path].get(key)
            if va != vb and not any(i == key if isinstance(i, str) else i(path, key, va, vb) for i in ignore):
                lines.append(f"{shown}: {key}: {va!r:.600} != {vb!r:.600}")
    if len(lines) > limit:
        lines[limit:] = [f"... and {len(lines) - limit} more"]
    return lines


def allocated(path):
    """Bytes that the file takes on disk."""
    return os.lstat(path).st_blocks * 512
