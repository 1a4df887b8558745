#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The functions that the public headers declare, the names in libvarve.map and what the shared library exports are the same,
each with the version that the map gives it; and nothing else is exported. Every public struct can grow: it begins with its size
or ends in room (docs/architecture.md, the library)."""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]


def mapped():
    """name -> version node, of libvarve.map"""
    names, node, given = {}, None, "local"
    text = re.sub(r"#.*", "", (TOP / "libvarve.map").read_text())
    for word in re.findall(r"\w[\w.]*(?=\s*\{)|\b(?:global|local)(?=:)|\w+(?=;)|\}\s*\w*", text):
        if word in ("global", "local"):
            given = word
        elif word.startswith("VARVE_"):
            node = word
        elif given == "global" and not word.startswith("}"):
            names[word] = node
    return names


def declared():
    """name -> header"""
    names = {}
    for header in sorted(TOP.glob("*/varve-*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^[ \t]*#.*(\\\n.*)*$", "", text, flags=re.M)
        for function in set(re.findall(r"\b(varve_[a-z0-9_]+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)[^;{}]*;", text)):
            if not re.search(r"\(\s*\*\s*%s" % function, text):
                names[function] = header.relative_to(TOP)
    return names


# Those that only the library allocates (the arguments of callbacks), and those that never change.
GROWS_OTHERWISE = {"varve_progress", "varve_gc_item", "varve_check_finding", "varve_entry", "varve_diff_item", "varve_layer_ops"}
NEVER_CHANGES = {"varve_err", "varve_digest", "varve_platform"}


def lengths():
    """What is wrong with the structs of the public headers."""
    for header in sorted(TOP.glob("*/varve-*.h")):
        for name, body in re.findall(r"^struct (varve_\w+) \{\n(.*?)^\}", header.read_text(), flags=re.S | re.M):
            grows = body.startswith("\tsize_t size;") or body.endswith("\tVARVE_ROOM;\n")
            if grows == (name in GROWS_OTHERWISE | NEVER_CHANGES):
                yield (f"{header.relative_to(TOP)}: struct {name} " +
                       ("can grow, and is listed as one that need not" if grows else "has neither its size first nor VARVE_ROOM last"))


def exported(library):
    """name -> version node"""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.splitlines()
    names = {}
    for line in lines:
        name, _, node = line.split()[-1].partition("@")
        # The nodes themselves, and what instrumented builds add (coverage counters, sanitizer tables).
        if line.split()[-2] != "A" and not name.startswith("__") and name not in ("_init", "_fini", "_edata", "_end"):
            names[name] = node.lstrip("@")
    return names


def main(build):
    listed, functions, names = mapped(), declared(), exported(pathlib.Path(build) / "libvarve.so")
    bad = [f"{s}: in libvarve.map, and no public header declares it" for s in sorted(set(listed) - set(functions))]
    bad += [f"{functions[s]}: {s} is not in libvarve.map" for s in sorted(set(functions) - set(listed))]
    bad += [f"{s}: exported, and not in libvarve.map" for s in sorted(set(names) - set(listed))]
    bad += lengths()
    for s, node in sorted(listed.items()):
        if s not in names:
            bad.append(f"{s}: in libvarve.map, and not exported")
        elif names[s] != node:
            bad.append(f"{s}: exported with the version '{names[s]}', and libvarve.map says {node}")
    if not listed:
        bad.append("libvarve.map: no names found")
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main(sys.argv[1]))
