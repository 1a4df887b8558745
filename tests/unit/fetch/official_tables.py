# SPDX-License-Identifier: Apache-2.0
"""Every tag of every real library file: the library's answers against an independent reading of the format.

Usage: official_tables.py OFFICIAL_DUMP [DATA]. The reading below follows the documentation of official-images (its
README, "Instruction format") and shares nothing with the code under test. Exit status 77: the files are absent.
"""

import os
import pathlib
import posixpath
import re
import subprocess
import sys

DATES = ("2016-08-17", "2024-09-06", "2026-08-21")
ARCHES = ("amd64", "arm64v8", "arm32v7", "i386", "windows-amd64", "mips64le")
# 2026-08-21, counted when the files were taken: entries' tags with SharedTags, withdrawn images.
COUNTS = {"2026-08-21": (9849, 7)}


def stanzas(text):
    """[{field: value}]: continuation lines folded, comments gone."""
    lines = [l for l in text.split("\n") if not l.lstrip().startswith("#")]
    for block in re.split(r"\n(?:[ \t\r]*\n)+", "\n".join(lines).strip("\n")):
        fields = {}
        for line in re.sub(r"\r?\n[ \t]+", " ", block).split("\n"):
            if line.strip():
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def words(value):
    return [w.strip() for w in value.split(",") if w.strip()]


def read_paragraphs(text):
    builtin = {"Architectures": "amd64", "GitFetch": "refs/heads/master", "Directory": ".", "File": "Dockerfile"}
    blocks = list(stanzas(text))
    defaults = {**builtin, **blocks[0]}
    assert "Tags" not in defaults
    return [{**defaults, **block} for block in blocks[1:]]


def read_lines(text):
    entries = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        tag, repo, commit, directory = re.fullmatch(r"([^:]+):\s*(\S+)@(\S+)(?:\s+(.*\S))?\s*", line).groups()
        fetch = "" if re.fullmatch(r"[0-9a-f]{40}", commit) else "refs/tags/" + commit
        entries.append({"Tags": tag, "Architectures": "amd64", "GitRepo": repo, "GitCommit": commit,
                        "GitFetch": fetch, "Directory": directory or ".", "File": "Dockerfile"})
    return entries


def resolve(entries, tag, arch):
    """The tag in Tags; else the first entry of the architecture that shares it."""
    for field in ("Tags", "SharedTags"):
        found = [e for e in entries if tag in words(e.get(field, ""))]
        for entry in found:
            if arch in words(entry["Architectures"]):
                def get(name):
                    return entry.get(f"{arch}-{name}") or entry.get(name, "")
                return (get("GitRepo"), get("GitFetch"), get("GitCommit"), posixpath.normpath(get("Directory")),
                        get("File"), get("Builder"))
    return ("no-platform",)


def expected(path, arch):
    text = path.read_text(encoding="utf-8")
    entries = read_paragraphs(text) if re.search(r"^Maintainers:", text, re.M) else read_lines(text)
    for entry in entries:
        for tag in words(entry["Tags"]) + words(entry.get("SharedTags", "")):
            yield (str(path), tag, *resolve(entries, tag, arch))
    if not entries:
        yield (str(path), "-", "withdrawn")


def main():
    dump = sys.argv[1]
    top = pathlib.Path(__file__).resolve().parents[3]
    data = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("VARVE_TEST_DATA", top.parent / "shared/data"))
    if not (data / "official-images").is_dir():
        print(f"real input is absent: no {data}/official-images (set VARVE_TEST_DATA)")
        return 77
    bad = 0
    for date in DATES:
        files = sorted((data / "official-images" / date / "library").iterdir())
        for arch in ARCHES:
            want = [row for file in files for row in expected(file, arch)]
            out = subprocess.run([dump, arch, *map(str, files)], check=True, stdout=subprocess.PIPE).stdout.decode()
            got = [tuple(line.split("\t")) for line in out.splitlines()]
            wrong = [(w, g) for w, g in zip(want, got) if w != g]
            resolved = sum(len(row) == 8 for row in got)
            print(f"{date} {arch}: {len(files)} files, {len(got)} tags, {resolved} resolve, {len(wrong)} wrong")
            for w, g in wrong[:10]:
                print("  want", w, "\n  got ", g)
            bad += len(wrong) + abs(len(want) - len(got))
            if date in COUNTS:
                # A tag shared by several entries appears once per entry.
                pairs = {(row[0], row[1]) for row in got if row[2:] != ("withdrawn",)}
                withdrawn = sum(row[2:] == ("withdrawn",) for row in got)
                if (len(pairs), withdrawn) != COUNTS[date]:
                    print(f"  {len(pairs)} tags, {withdrawn} withdrawn; counted by hand: {COUNTS[date]}")
                    bad += 1
    return 1 if bad else 0


sys.exit(main())
