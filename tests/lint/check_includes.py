#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: the arrows of the design, and third-party headers in as few files as possible."""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.M)

# A file belongs to the longest matching folder; it may include what stands here.
ARROWS = {
    "store/base": ["store/base/", "varve-base.h", "varve-text.h"],
    "store": ["store/", "varve-base.h", "varve-store.h"],
    "fetch": ["fetch/", "store/", "varve-base.h", "varve-store.h", "varve-fetch.h"],
    "materialize": ["materialize/", "store/", "varve-base.h", "varve-store.h", "varve-materialize.h"],
    "cli": ["cli/", "varve-base.h", "varve-store.h", "varve-fetch.h", "varve-materialize.h",
            "varve-text.h"],
}

# Library: (pattern of its headers, folder that may use it, most files that may include it).
LIBRARIES = {
    "libcrypto": (r"openssl/", "store/base", 1),
    "cJSON": (r"cjson/", "store/base", 2),
    "LMDB": (r"lmdb\.h", "store", 1),
    "libcurl": (r"curl/", "fetch", 2),
    "libarchive": (r"archive(_entry)?\.h", "materialize", 3),
    "ISA-L": (r"isa-l(/|\.h)|igzip_lib\.h|crc\.h", "materialize", 2),
    "libpsl": (r"libpsl\.h", "fetch", 1),
    "zlib": (r"zlib\.h", "fetch, materialize", 4),
    "zstd": (r"zstd\.h", "materialize", 3),
    "libsquashfs": (r"sqfs/", "materialize", 3),
}


def folder_of(path):
    return max((f for f in ARROWS if path.startswith(f + "/")), key=len, default=None)


def main():
    files = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=TOP, stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split()
    bad, users = [], {name: [] for name in LIBRARIES}
    for path in files:
        folder = folder_of(path)
        if not folder:
            continue
        public = pathlib.Path(path).name.startswith("varve-") and path.endswith(".h")
        for kind, name in INCLUDE.findall((TOP / path).read_text()):
            if kind == '"':
                # A bare name means the same folder (varve-*.h are on the include path).
                full = name if "/" in name or name.startswith("varve-") else f"{path.rpartition('/')[0]}/{name}"
                if not any(full.startswith(p) if p.endswith("/") else full == p for p in ARROWS[folder]):
                    bad.append(f'{path}: "{name}": {folder} must not include it')
                if public and not name.startswith("varve-"):
                    bad.append(f'{path}: "{name}": an installed header includes only installed headers')
                continue
            for library, (pattern, owner, _) in LIBRARIES.items():
                if re.match(pattern, name):
                    users[library].append(path)
                    if folder not in owner.split(", "):
                        bad.append(f"{path}: <{name}>: only {owner} uses {library}")
                    if public:
                        bad.append(f"{path}: <{name}>: an installed header must not need {library}")
    for library, (_, _, most) in LIBRARIES.items():
        paths = sorted(set(users[library]))
        if len(paths) > most:
            bad.append(f"{library} is included by {len(paths)} files, at most {most} may: {', '.join(paths)}")
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main())
