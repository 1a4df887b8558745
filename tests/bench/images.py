# SPDX-License-Identifier: Apache-2.0
"""Realistic images for the benchmarks, from Debian packages: made once, kept in a cache folder as an OCI layout.

    base      Debian minbase, one layer
    python    base, and two layers of what a Python image has: compilers, headers, interpreter, packages; 800 MB unpacked
    python-zstd  the same with zstd layers
    small     50,000 small files, one layer
    forty     the files of python in 40 layers, a tenth of them replaced by a later layer
"""

import io
import os
import pathlib
import random
import subprocess
import sys
import tarfile

sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from support.image import Layout  # noqa: E402

PYTHON = "build-essential git libssl-dev libffi-dev libbz2-dev liblzma-dev libsqlite3-dev python3-full python3-dev python3-pip python3-numpy"


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _debian(path, include=()):
    if not path.exists():
        _say(f"making {path.name} with mmdebstrap (once)")
        part = path.with_suffix(".part")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", *(["--include=" + ",".join(include)] if include else []),
                        "bookworm", part], check=True)
        part.rename(path)
    return path


def _members(path):
    """{name: (TarInfo, bytes)} of a tar; hard links and all."""
    out = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            data = tar.extractfile(member).read() if member.isreg() else b""
            out[member.name] = member, data
    return out


def _tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return buffer.getvalue()


def _pack(data, how):
    # As builders do it: gzip -6 or -9 is common, zstd -3 is the default of buildkit and podman.
    command = ["gzip", "-n", "-6", "-c"] if how == "gzip" else ["zstd", "-q", "-3", "-c"]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def _differing(base, full):
    """The entries of `full` that are not in `base` as they are; whole groups of hard links together."""
    new = []
    for name, (member, data) in full.items():
        old = base.get(name)
        same = old and (old[0].type, old[0].size, old[0].mode, old[0].linkname) == (member.type, member.size, member.mode, member.linkname)
        if not same or (member.isreg() and old[1] != data):
            new.append((member, data))
    names = {m.name for m, _ in new}
    return [(m, d) for m, d in new if not m.islnk() or m.linkname in names or m.linkname in base]


def _small_files(count):
    dice = random.Random(1)
    text = b"".join(p.read_bytes() for p in sorted(pathlib.Path("/usr/include").rglob("*.h"))[:300])
    members = []
    for directory in range(count // 100):
        member = tarfile.TarInfo(f"srv/m{directory // 50}/p{directory}")
        member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, 1_600_000_000
        members.append((member, b""))
        for i in range(100):
            start, size = dice.randrange(len(text) - 9000), int(dice.paretovariate(1.3) * 300) % 9000
            member = tarfile.TarInfo(f"srv/m{directory // 50}/p{directory}/f{i}.js")
            member.size, member.mode, member.mtime = size, 0o644, 1_600_000_000 + i
            members.append((member, text[start:start + size]))
    return members


def make(cache):
    """Returns the Layout with all images, made on the first call."""
    cache = pathlib.Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    if (cache / "layout/done").exists():
        return Layout.existing(cache / "layout")
    base_tar = _debian(cache / "base.tar")
    full_tar = _debian(cache / "python.tar", PYTHON.split())
    layout = Layout(cache / "layout")
    base, full = _members(base_tar), _members(full_tar)
    upper = _differing(base, full)
    python = [(m, d) for m, d in upper if "python3" in m.name]
    system = [(m, d) for m, d in upper if "python3" not in m.name]
    # A hard link and its target belong into one layer or in order; python after system keeps both.
    for how, suffix in (("gzip", ""), ("zstd", "-zstd")):
        _say(f"packing the layers with {how}")
        blobs = [_pack(data, how) for data in (base_tar.read_bytes(), _tar(system), _tar(python))]
        if not suffix:
            layout.image("base", blobs[:1])
        layout.image("python" + suffix, blobs)
    _say("packing small and forty")
    layout.image("small", [_pack(_tar(_small_files(50_000)), "gzip")])
    layout.image("forty", [_pack(_tar(part), "gzip") for part in _forty(full)])
    (cache / "layout/done").touch()
    return layout


def _forty(full):
    """Forty layers: directories first, files dealt out, a tenth of them again in the last layers."""
    dice = random.Random(2)
    parts = [[] for _ in range(40)]
    where = {}
    for name, (member, data) in full.items():
        if member.isdir():
            where[name] = 0
        elif member.islnk():
            where[name] = where.get(member.linkname, 0)
        else:
            where[name] = dice.randrange(0, 36)
        parts[where[name]].append((member, data))
    for name, (member, data) in full.items():
        if member.isreg() and dice.random() < 0.1 and data:
            parts[dice.randrange(36, 40)].append((member, data))
    return parts
