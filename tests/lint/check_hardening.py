#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What was built is hardened: addresses are random, tables of them read-only, the checks of the C library and of the
processor in it. Only an optimized build without a sanitizer has all of it."""

import pathlib
import re
import subprocess
import sys


def read(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def faults(path):
    header, dynamic, segments = read("readelf", "-hW", path), read("readelf", "-dW", path), read("readelf", "-lW", path)
    undefined = set(re.findall(r"\bU (\w+)", read("nm", "-D", "--undefined-only", path)))
    if not re.search(r"Type:\s+DYN", header):
        yield "it is loaded at a fixed address (-fPIE, -fPIC)"
    if not path.name.startswith("lib") and not re.search(r"FLAGS_1.*\bPIE\b", dynamic):
        yield "it is not linked as a PIE"
    if not re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", dynamic):
        yield "functions are bound when they are first called (-z now)"
    if "GNU_RELRO" not in segments:
        yield "tables of addresses stay writable (-z relro)"
    if not re.search(r"GNU_STACK\s+(?:0x\w+\s+){5}RW\s", segments):
        yield "its stack is executable"
    if re.search(r"\((TEXTREL|RPATH)\)", dynamic):
        yield "TEXTREL or RPATH"
    if "__stack_chk_fail" not in undefined:
        yield "no stack protector"
    if not any(re.fullmatch(r"__\w+_chk", name) for name in undefined):
        yield "no checked functions of the C library (_FORTIFY_SOURCE)"


def unmarked(path):
    """The linker drops the note where the C library's own start-up code has none, as in Debian 12: look before that."""
    header, notes = read("readelf", "-hW", path), read("readelf", "-nW", path)
    for machine, words in (("X86-64", ("IBT", "SHSTK")), ("AArch64", ("BTI", "PAC"))):
        if machine in header and not all(w in notes for w in words):
            yield f"no note of {' and '.join(words)} (-fcf-protection, -mbranch-protection)"


def main(build):
    bad = [f"{name}: {fault}" for name in ("cli/varve", "libvarve.so") for fault in faults(pathlib.Path(build) / name)]
    bad += [f"main.c.o: {fault}" for fault in unmarked(pathlib.Path(build) / "cli/varve.p/main.c.o")]
    print("\n".join(bad))
    return 1 if bad else 0


sys.exit(main(sys.argv[1]))
