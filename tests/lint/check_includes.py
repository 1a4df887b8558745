#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include and call whom: the rooms of the tree, no circle of files, third-party headers in few files; and which header
declares what a file defines.

    check_includes.py BUILDDIR     the objects of the build say who calls whom
    check_includes.py --draw       the picture of docs/architecture.md, which must be this one
"""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.M)

# The rooms of each part, from the ground up: a room includes and calls those before it, and the parts below.
ROOMS = {
    "store": ["store/base", "store/oci", "store/index", "store", "store/care"],
    "fetch": ["fetch/http", "fetch/config", "fetch/auth", "fetch/registry", "fetch/blobs", "fetch/official", "fetch"],
    "materialize": ["materialize/tar", "materialize/confine", "materialize/codec", "materialize/layer",
                    "materialize/plan", "materialize/disk", "materialize/spool", "materialize/apply",
                    "materialize/trees", "materialize/finish", "materialize/diff", "materialize/import",
                    "materialize/export", "materialize"],
    "cli": ["cli"],
}
# Parts below a part. The siblings fetch and materialize know nothing of each other; cli/ uses installed headers only.
BELOW = {"store": [], "fetch": ["store"], "materialize": ["store"], "cli": []}
# Installed headers that a part may include, by name.
INSTALLED = {
    "store/base": ["varve-base.h", "varve-text.h"],
    "store": ["varve-base.h", "varve-store.h"],
    "fetch": ["varve-base.h", "varve-store.h", "varve-fetch.h"],
    "materialize": ["varve-base.h", "varve-store.h", "varve-materialize.h"],
    "cli": ["varve-base.h", "varve-store.h", "varve-fetch.h", "varve-materialize.h", "varve-text.h"],
}
# Arrows upward that stay, as "from -> to": the reason. None is known.
UPWARD = {}

# Library: (pattern of its headers, folders that may use it, most files that may include it).
LIBRARIES = {
    "libcrypto": (r"openssl/", ["store/base"], 1),
    "cJSON": (r"cjson/", ["store/base"], 2),
    "LMDB": (r"lmdb\.h", ["store/index"], 1),
    "libcurl": (r"curl/", ["fetch/http"], 2),
    "libarchive": (r"archive(_entry)?\.h", ["materialize"], 3),
    "ISA-L": (r"isa-l(/|\.h)|igzip_lib\.h|crc\.h", ["materialize"], 2),
    "libpsl": (r"libpsl\.h", ["fetch/http"], 1),
    "zlib": (r"zlib\.h", ["fetch/http", "materialize"], 4),
    "zstd": (r"zstd\.h", ["materialize"], 3),
    "libsquashfs": (r"sqfs/", ["materialize/layer", "materialize/export"], 3),
}


def room_of(path):
    return path.rpartition("/")[0]


def may_use(room, other):
    part = room.split("/")[0]
    if other.split("/")[0] in BELOW[part]:
        return True
    rooms = ROOMS[part]
    return other in rooms and rooms.index(other) <= rooms.index(room)


def check_include(path, name):
    room, public = room_of(path), pathlib.Path(path).name.startswith("varve-") and path.endswith(".h")
    if name.startswith("varve-"):
        if name not in INSTALLED.get(room, INSTALLED[room.split("/")[0]]):
            yield f'{path}: "{name}": {room} must not include it'
        return
    if public:
        yield f'{path}: "{name}": an installed header includes only installed headers'
    if not (TOP / name).exists():
        yield f'{path}: "{name}": headers are included from the root of the tree'
    elif not may_use(room, room_of(name)) and f"{path} -> {name}" not in UPWARD:
        yield f'{path}: "{name}": {room} must not include {room_of(name)}, a room above or beside it'


def check_library(path, name, users):
    for library, (pattern, owners, _) in LIBRARIES.items():
        if re.match(pattern, name):
            users[library].add(path)
            if not any(f"{room_of(path)}/".startswith(f"{o}/") for o in owners):
                yield f"{path}: <{name}>: only {', '.join(owners)} may use {library}"
            if pathlib.Path(path).name.startswith("varve-") and path.endswith(".h"):
                yield f"{path}: <{name}>: an installed header must not need {library}"


def object_of(build, path):
    """The object of a source; None if this build leaves it out."""
    part, rest = path.split("/", 1)
    name = rest.replace("/", "_") + ".o"
    folders = [f"{part}/libvarve-{part}.a.p", f"{part}/libvarve-base.a.p", f"{part}/varve.p"]
    return next((o for o in (build / f / name for f in folders) if o.exists()), None)


def symbols_of(o):
    """(kind, name) of each symbol of an object"""
    for line in subprocess.run(["nm", o], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        yield tuple(line.split()[-2:])


def header_fits(header, source):
    """Of its own name, of its family (tree.h or tree_internal.h for tree_nodes.c), of its folder (trees.h), or installed."""
    if header.name.startswith("varve-"):
        return True
    stem = re.sub(r"_(internal|format|codec)$", "", header.stem)
    return header.parent == source.parent and (f"{source.stem}_".startswith(f"{stem}_") or stem == header.parent.name)


def check_headers(build, files):
    """A function is declared where the name of its file leads."""
    declared = {}
    for path in (f for f in files if f.endswith(".h")):
        text = re.sub(r"/\*.*?\*/", "", (TOP / path).read_text(), flags=re.S)
        for name in set(re.findall(r"^\w[^;{}=]*?\b([a-z]\w*)\(", text, flags=re.M)):
            declared.setdefault(name, []).append(pathlib.Path(path))
    for path in (f for f in files if f.endswith(".c")):
        o = object_of(build, path)
        for name in (name for kind, name in symbols_of(o) if kind == "T") if o else ():
            headers = declared.get(name, [])
            if headers and not any(header_fits(h, pathlib.Path(path)) for h in headers):
                yield f"{path}: {name} is declared in {headers[0]}, a header of another name"


def calls(build, sources):
    """source: the sources that define what it uses, with a symbol for each."""
    defined, wanted = {}, {}
    for path in sources:
        if not (o := object_of(build, path)):
            continue
        wanted[path] = set()
        for kind, symbol in symbols_of(o):
            if kind == "U":
                wanted[path].add(symbol)
            elif kind in "TDBRC":
                defined[symbol] = path
    return {path: {defined[s]: s for s in sorted(symbols) if s in defined and defined[s] != path}
            for path, symbols in wanted.items()}


def circles(graph):
    """Tarjan: sets of more than one file that reach each other."""
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in graph[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            at = stack.index(v)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for v in graph:
        if v not in index:
            visit(v)
    return found


def check_calls(build, sources):
    graph = calls(build, sources)
    if len(graph) < len(sources) * 9 // 10:
        yield f"{build} has objects of {len(graph)} of {len(sources)} sources: build it first"
    for path, used in graph.items():
        for other, symbol in used.items():
            # cli/ calls what the installed headers declare, wherever it stands.
            if not path.startswith("cli/") and not may_use(room_of(path), room_of(other)) \
                    and f"{path} -> {other}" not in UPWARD:
                yield f"{path} uses {symbol} of {other}, a room above or beside it"
    for circle in circles(graph):
        yield "a circle of files: " + ", ".join(circle)
        for path in circle:
            yield from (f"     {path} -> {o}: {s}" for o, s in sorted(graph[path].items()) if o in circle)


def picture(files):
    """Each room with its files and the rooms that it includes, from the top down."""
    count, used = {}, {}
    for path in files:
        room = room_of(path)
        count[room] = count.get(room, 0) + path.endswith(".c")
        for kind, name in INCLUDE.findall((TOP / path).read_text()):
            if kind == '"' and "/" in name and room_of(name) != room:
                used.setdefault(room, set()).add(room_of(name))
    lines = []
    for part in ("cli", "fetch", "materialize", "store"):
        for room in reversed(ROOMS[part]):
            below = [r for p in dict.fromkeys((part, "store")) for r in reversed(ROOMS[p]) if r in used.get(room, ())]
            names = [r.split("/")[-1] if r.startswith(part + "/") else r for r in below]
            if count.get(room):
                lines.append(f"{room:24}{count[room]:3}   {' '.join(names)}".rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


def check_picture(files):
    page = TOP / "docs/architecture.md"
    if f"```text\n{picture(files)}\n```" not in page.read_text():
        yield f"{page.name}: its picture of the rooms is another; draw it with tests/lint/check_includes.py --draw"


def main():
    files = subprocess.run(["git", "ls-files", *(f"{p}/*.[ch]" for p in ROOMS)], cwd=TOP, stdout=subprocess.PIPE,
                           text=True, check=True).stdout.split()
    if sys.argv[1:] == ["--draw"]:
        print(picture(files))
        return 0
    bad, users = list(check_picture(files)), {name: set() for name in LIBRARIES}
    for path in files:
        if room_of(path) not in ROOMS[path.split("/")[0]]:
            bad.append(f"{path}: its folder is in no list of rooms")
            continue
        for kind, name in INCLUDE.findall((TOP / path).read_text()):
            bad += check_include(path, name) if kind == '"' else check_library(path, name, users)
    for library, (_, _, most) in LIBRARIES.items():
        if len(users[library]) > most:
            bad.append(f"{library} is included by {len(users[library])} files, at most {most} may: "
                       + ", ".join(sorted(users[library])))
    if len(sys.argv) > 1:
        bad += check_calls(pathlib.Path(sys.argv[1]), [f for f in files if f.endswith(".c")])
        bad += check_headers(pathlib.Path(sys.argv[1]), files)
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main())
