#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shared library exports varve_* and nothing else, and every function that a public header declares."""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]


def main(build):
    library = pathlib.Path(build) / "libvarve.so"
    lines = subprocess.run(["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.splitlines()
    # Instrumented builds add symbols of their own (coverage counters, sanitizer tables).
    exported = {line.split()[-1].split("@")[0] for line in lines}
    exported = {s for s in exported if not s.startswith("__") and s not in ("_init", "_fini", "_edata", "_end")}
    bad = [f"{s}: exported, and no varve_ name" for s in sorted(exported) if not s.startswith("varve_")]
    for header in sorted(TOP.glob("*/varve-*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^[ \t]*#.*(\\\n.*)*$", "", text, flags=re.M)
        for function in set(re.findall(r"\b(varve_[a-z0-9_]+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)[^;{}]*;", text)):
            if function not in exported and not re.search(r"\(\s*\*\s*%s" % function, text):
                bad.append(f"{header.relative_to(TOP)}: {function} is declared but not exported")
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main(sys.argv[1]))
