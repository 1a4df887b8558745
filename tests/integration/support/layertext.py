# SPDX-License-Identifier: Apache-2.0
"""Layers and trees as short lines of text, for tables of rules.

A line is KIND PATH [ARGUMENT] [m=MODE] [u=UID:GID] [t=SECONDS] [x=NAME:VALUE]; ';' ends a line too. Kinds: d directory,
f file (argument: content), s symlink (target), h hard link (target; in a tree: a further name of), c and b character and block
device (MAJOR:MINOR), p FIFO. %XX in a path or argument is a byte.
"""

import os
import re
import stat

from .tarball import BLK, CHR, DIR, FIFO, LNK, REG, SYM, Tar

_TYPES = {"d": DIR, "f": REG, "s": SYM, "h": LNK, "c": CHR, "b": BLK, "p": FIFO}


def _unescape(text):
    return re.sub(rb"%([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode()).split(b"\0")[0]


def layer(text):
    """The Tar of a layer written as lines. Defaults: mode 0755 for directories, else 0644; 0:0; time 1000."""
    tar = Tar()
    for line in re.split("[;\n]", text):
        words = line.split()
        if not words:
            continue
        kind, path, kw, argument = words[0], _unescape(words[1]), {"mtime": 1000}, b""
        kw["mode"] = 0o755 if kind == "d" else 0o644
        for word in words[2:]:
            key, equals, value = word.partition("=")
            key = key if equals else ""
            if key == "m":
                kw["mode"] = int(value, 8)
            elif key == "u":
                kw["uid"], kw["gid"] = map(int, value.split(":"))
            elif key == "t":
                kw["mtime"] = int(value)
            elif key == "x":
                kw["xattrs"] = dict([value.split(":", 1)])
            else:
                argument = _unescape(word)
        if kind in "sh":
            kw["link"] = argument
        if kind in "cb":
            kw["dev"] = tuple(map(int, argument.split(b":")))
        tar.entry(path, _TYPES[kind], argument if kind == "f" else b"", **kw)
    return tar


def _shown(raw):
    text = raw.decode("utf-8", "surrogateescape")
    return "".join(c if c >= " " and c not in "\\\x7f" and not "\udc80" <= c <= "\udcff" else
                   "\\x%02x" % (ord(c) & 0xff) for c in text)


def read(root, attributes=False):
    """The lines of a tree on disk, sorted, parents first; "." only with attributes."""
    lines, first = [], {}

    def visit(path, name):
        st = os.lstat(path)
        kind, argument = "d", ""
        again = first.get((st.st_dev, st.st_ino)) if not stat.S_ISDIR(st.st_mode) else None
        if again is not None:
            kind, argument = "h", _shown(again)
        elif stat.S_ISREG(st.st_mode):
            with open(path, "rb") as file:
                kind, argument = "f", _shown(file.read())
        elif stat.S_ISLNK(st.st_mode):
            kind, argument = "s", _shown(os.readlink(path))
        elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
            kind, argument = "c" if stat.S_ISCHR(st.st_mode) else "b", f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}"
        elif stat.S_ISFIFO(st.st_mode):
            kind = "p"
        first.setdefault((st.st_dev, st.st_ino), name)
        line = f"{kind} {_shown(name)}" + (" " + argument if argument else "")
        if attributes and again is None:
            line += f" m={stat.S_IMODE(st.st_mode):o} u={st.st_uid}:{st.st_gid} t={st.st_mtime_ns // 10 ** 9}"
            line += f".{st.st_mtime_ns % 10 ** 9:09}" if st.st_mtime_ns % 10 ** 9 else ""
            for key in sorted(os.listxattr(path, follow_symlinks=False)):
                line += f" x={key}:{_shown(os.getxattr(path, key, follow_symlinks=False))}"
        if name != b"." or attributes:
            lines.append(line + "\n")
        if stat.S_ISDIR(st.st_mode):
            for child in sorted(os.listdir(path)):
                visit(os.path.join(path, child), child if name == b"." else name + b"/" + child)

    visit(os.fsencode(root), b".")
    return "".join(lines)
