#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plain text hygiene: no trailing blanks, a newline at the end, an SPDX line in every source file."""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
SOURCE = {".c", ".h", ".py", ".sh"}
# Test input is data: its bytes are the point.
DATA = ("tests/fuzz/corpus/", "tests/data/", "tests/unit/data/")


def main():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split("\0")
    bad = []
    for name in filter(None, names):
        path = TOP / name
        if name.startswith(DATA) or "/data/" in name or path.is_symlink() or not path.exists():
            continue
        data = path.read_bytes()
        if b"\0" in data:
            bad.append(f"{name}: binary file outside a data folder")
            continue
        for number, line in enumerate(data.split(b"\n"), 1):
            if re.search(rb"[ \t\r]$", line):
                bad.append(f"{name}:{number}: blank at the end of the line")
        if data and not data.endswith(b"\n"):
            bad.append(f"{name}: no newline at the end")
        if path.suffix in SOURCE and b"SPDX-License-Identifier: Apache-2.0" not in data[:300]:
            bad.append(f"{name}: no SPDX line")
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main())
