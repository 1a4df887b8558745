# SPDX-License-Identifier: Apache-2.0
"""Random stacks of small layers: the tree equals a simple model written here, and umoci's for a sample.

The names are few, so that everything collides: all kinds of entries, whiteouts and opaque markers in any order, hard
links across layers and forward, parents that are symlinks, files or missing. A failure prints the seed;
VARVE_TEST_SEED=N runs just that one, VARVE_TEST_STACKS=N sets how many.
"""

import hashlib
import os
import pathlib
import random
import struct
import subprocess

from support import Case, Tar, binary, layertext, need_root, tree
from support.tarball import BLK, CHR, DIR, FIFO, LNK, REG, SYM

STACKS = int(os.environ.get("VARVE_TEST_STACKS", "4000"))
INSTALLS = int(os.environ.get("VARVE_TEST_INSTALLS", "200"))
SAMPLE = 40


class Refused(Exception):
    """The image is not to be installed."""


class File:
    """What names point to; several names: one File."""

    def __init__(self, kind, argument="", mode=0, owner="0:0", time=0, rich=None):
        self.kind, self.argument, self.mode, self.owner, self.time = kind, argument, mode, owner, time
        self.rich = rich or Rich()


class Rich:
    """What only the stacks that are written to disk have: attributes, and the chunks of a sparse file."""

    def __init__(self, xattrs=None, chunks=None, size=0):
        self.xattrs, self.chunks, self.size = xattrs or {}, chunks, size


class Model:
    """The rules, as plainly as they can be said: a dictionary from paths (tuples of names) to files."""

    def __init__(self):
        self.files = {(): File("d", mode=0o755)}

    def kind(self, path):
        return self.files[path].kind if path in self.files else None

    def below(self, path):
        return [p for p in self.files if len(p) > len(path) and p[:len(path)] == path]

    def remove(self, path):
        for p in self.below(path) + [path]:
            del self.files[p]

    def parent(self, names, time=None):
        """The directory that names mean. time None: only look, None if there is none; else make what is missing."""
        at, rest, links = (), list(names), 0
        while rest:
            name = rest.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                at = at[:-1]
                continue
            child = at + (name,)
            kind = self.kind(child)
            if kind == "s":
                links += 1
                if links > 40:
                    raise Refused("loop")
                target = self.files[child].argument
                at = () if target.startswith("/") else at
                rest = target.split("/") + rest
                continue
            if kind != "d":
                if time is None:
                    return None
                if kind:
                    self.remove(child)
                self.files[child] = File("d", mode=0o755, time=time)
            at = child
        return at

    def target(self, text):
        names = clean(text)[0]
        if not names:
            return ()
        directory = self.parent(names[:-1])
        return None if directory is None else directory + (names[-1],)

    def apply(self, entries):
        touched = set()

        def touch(path):
            for i in range(len(path) + 1):
                touched.add(path[:i])

        def hide(path, itself):
            for p in sorted(self.below(path) + ([path] if itself else []), key=len):
                if p in self.files and p not in touched:
                    self.remove(p)

        for kind, text, argument, mode, owner, time, *rich in entries:
            names, climbed = clean(text)
            if not names:
                if climbed or kind != "d":
                    raise Refused("root")
                self.files[()] = File("d", "", mode, owner, time, *rich)
                touch(())
                continue
            if any(n.startswith(".wh.") for n in names[:-1]):
                raise Refused("below a whiteout")
            name = names[-1]
            if name.startswith(".wh."):
                if kind == "d" or name[4:] in ("", ".", ".."):
                    raise Refused("whiteout")
                directory = self.parent(names[:-1])
                if directory is not None and name == ".wh..wh..opq":
                    hide(directory, False)
                elif directory is not None and directory + (name[4:],) in self.files:
                    hide(directory + (name[4:],), True)
                continue
            path = self.parent(names[:-1], time) + (name,)
            if kind == "d" and self.kind(path) == "d":
                self.files[path] = File("d", "", mode, owner, time, *rich)
                touch(path)
                continue
            new = File(kind, argument, mode, owner, time, *rich)
            if kind == "h":
                target = self.target(argument)
                if target == () or self.kind(target) == "d":
                    raise Refused("link to a directory")
                if target == path and path in self.files:
                    touch(path)
                    continue
                new = self.files.get(target) or File("?", argument)
            if path in self.files:
                self.remove(path)
            self.files[path] = new
            touch(path)
        self.settle()

    def settle(self):
        """Hard links to names that came later."""
        while True:
            left = [(p, f) for p, f in self.files.items() if f.kind == "?"]
            if not left:
                return
            moved = False
            for path, file in left:
                target = self.target(file.argument)
                if target == () or self.kind(target) == "d":
                    raise Refused("link to a directory")
                if self.kind(target) not in (None, "?"):
                    found = self.files[target]
                    for other in [p for p, f in self.files.items() if f is file]:
                        self.files[other] = found
                    moved = True
            if not moved:
                raise Refused("link to nothing")

    def lines(self):
        out, first = [], {}
        for path in sorted(self.files, key=lambda p: [n.encode() for n in p]):
            file, name = self.files[path], "/".join(path) or "."
            if file.kind != "d" and id(file) in first:
                out.append(f"h {name} {first[id(file)]}")
                continue
            first[id(file)] = name
            argument = " " + file.argument if file.argument else ""
            out.append(f"{file.kind} {name}{argument} m={file.mode:o} u={file.owner} t={file.time}")
        return "\n".join(out) + "\n"


def clean(text):
    """Names of a path, without "." and ".."; and whether it climbed above the root."""
    names, climbed = [], False
    for name in text.split("/"):
        if name == "..":
            climbed = climbed or not names
            names = names[:-1]
        elif name not in ("", "."):
            names.append(name)
    return names, climbed


def random_path(rng, wild):
    names = [rng.choice("abc") for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    if wild and rng.random() < 0.05:
        names.insert(rng.randrange(len(names)), rng.choice(("..", ".", "")))
    return "/".join(names)


def random_layer(rng, wild):
    """Entries (kind, path, argument, mode, owner, time)."""
    entries = []
    for _ in range(rng.randint(1, 10)):
        path, kind = random_path(rng, wild), rng.choice("dddfffsshcp")
        mode = rng.choice((0o755, 0o700, 0o1777) if kind == "d" else (0o644, 0o4755, 0o600))
        owner, time = rng.choice(("0:0", "1:2", "3000:70000")), rng.randint(1, 1_500_000_000)
        argument = ""
        if kind == "f":
            argument = rng.choice(("", "x", "yy"))
        elif kind == "s":
            argument = rng.choice(("", "/", "../", "")) + random_path(rng, False)
            mode = 0o777
        elif kind == "h":
            argument = random_path(rng, wild)
        elif kind == "c":
            argument = rng.choice(("0:0", "1:3"))
        roll = rng.random()
        if roll < 0.15:
            parent, _, base = path.rpartition("/")
            path, kind, argument = (parent + "/" if parent else "") + ".wh." + base, "f", ""
        elif roll < 0.22:
            path, kind, argument = path + "/.wh..wh..opq", "f", ""
        elif wild and roll < 0.24:
            path = rng.choice((path + "/.wh.", ".wh.a/b", "..", "./"))
        entries.append((kind, path, argument, mode, owner, time))
    return entries


def tar_bytes(entries):
    text = "\n".join(f"{k} {p} {a} m={m:o} u={o} t={t}" for k, p, a, m, o, t in entries)
    return layertext.layer(text).bytes()


def stack_of(seed, wild=True):
    rng = random.Random(seed)
    return [random_layer(rng, wild) for _ in range(rng.randint(1, 5))]


def expected(stack):
    model = Model()
    try:
        for layer in stack:
            model.apply(layer)
    except Refused:
        return "error\n"
    return model.lines()


# --- stacks that are written to disk ---

TYPES = {"d": DIR, "f": REG, "s": SYM, "h": LNK, "c": CHR, "b": BLK, "p": FIFO}
SIZES = (0, 1, 2, 511, 512, 513, 5000, 70_000, 300_000)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def nanoseconds(time):
    whole, _, part = time.partition(".")
    return int(whole) * 10 ** 9 + int(part.ljust(9, "0") or 0)


def rich_layer(rng):
    """random_layer's entries with more to keep; times are text with nanoseconds, contents are bytes."""
    entries = []
    for kind, path, argument, mode, owner, _ in random_layer(rng, False):
        time = f"{rng.randint(1, 1_500_000_000)}.{rng.randrange(10 ** 9):09}"
        rich = Rich()
        if ".wh." in path:
            argument = b""
        elif kind == "f":
            argument = rng.randbytes(rng.choice(SIZES))
            if rng.random() < 0.2:
                rich.size = rng.randint(1, 40) << 15
                starts = sorted(rng.sample(range(rich.size >> 12), min(3, rich.size >> 12)))
                rich.chunks = [(start << 12, rng.randbytes(rng.choice((1, 4096)))) for start in starts]
                content = bytearray(rich.size)
                for start, data in rich.chunks:
                    content[start:start + len(data)] = data
                argument = bytes(content)
        elif kind == "c":
            kind, argument = rng.choice("cb"), rng.choice(("0:0", "1:3", "259:70000"))
        if kind in "fd" and ".wh." not in path and rng.random() < 0.4:
            rich.xattrs = {f"user.{rng.choice('ab')}": rng.randbytes(rng.randint(1, 60))}
            if kind == "f" and rng.random() < 0.3:
                rich.xattrs["security.capability"] = CAPABILITY
            if rng.random() < 0.3:
                rich.xattrs["trusted.t"] = b"t"
        entries.append((kind, path, argument, mode, owner, time, rich))
    return entries


def rich_stack(seed):
    rng = random.Random(seed)
    stack = [rich_layer(rng) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        stack.append(rng.choice(stack))
    return stack


def rich_tar(entries):
    tar = Tar()
    for kind, path, argument, mode, owner, time, rich in entries:
        uid, gid = map(int, owner.split(":"))
        kw = {"mode": mode, "uid": uid, "gid": gid, "mtime": time, "xattrs": rich.xattrs}
        if rich.chunks:
            tar.sparse(path, rich.size, rich.chunks, **kw)
            continue
        if kind in "sh":
            kw["link"] = argument
        elif kind in "cb":
            kw["dev"] = tuple(map(int, argument.split(":")))
        tar.entry(path, TYPES[kind], argument if kind == "f" else b"", **kw)
    return tar


def model_tree(stack):
    """The tree as support.tree.scan gives it; None: refused."""
    model = Model()
    try:
        for layer in stack:
            model.apply(layer)
    except Refused:
        return None
    names = {}
    for path, file in model.files.items():
        names.setdefault(id(file), []).append("/".join(path).encode())
    out = {}
    for path, file in model.files.items():
        uid, gid = map(int, file.owner.split(":"))
        time = file.time if isinstance(file.time, str) else str(file.time)
        node = {"type": {"d": "dir", "f": "file", "s": "symlink", "c": "char", "b": "block", "p": "fifo"}[file.kind],
                "mode": oct(file.mode), "uid": uid, "gid": gid, "mtime": nanoseconds(time), "xattrs": file.rich.xattrs}
        if file.kind == "f":
            node.update(size=len(file.argument), sha256=hashlib.sha256(file.argument).hexdigest())
        elif file.kind == "s":
            node["target"] = file.argument.encode()
        elif file.kind in "cb":
            node["device"] = tuple(map(int, file.argument.split(":")))
        if file.kind != "d":
            node["links"] = sorted(names[id(file)])
        out["/".join(path).encode() or b"."] = node
    return out


class Random(Case):
    def seeds(self, count):
        if "VARVE_TEST_SEED" in os.environ:
            return [int(os.environ["VARVE_TEST_SEED"])]
        start = random.randrange(1 << 40)
        print(f"seeds {start} to {start + count - 1}", flush=True)
        return range(start, start + count)

    def test_model(self):
        """Our plan equals the model."""
        tool = pathlib.Path(binary()).parents[1] / "tests/unit/materialize/layers_tree"
        counts = {True: 0, False: 0}
        with subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            for seed in self.seeds(STACKS):
                stack = stack_of(seed)
                layers = [tar_bytes(layer) for layer in stack]
                process.stdin.write(struct.pack("<I", len(layers)))
                for data in layers:
                    process.stdin.write(struct.pack("<I", len(data)) + data)
                process.stdin.flush()
                got = b"".join(iter(process.stdout.readline, b"%\n")).decode()
                if got.startswith("error"):
                    got = "error\n"
                want = expected(stack)
                self.assertEqual(got, want, f"VARVE_TEST_SEED={seed}\n" + "\n".join(map(str, stack)))
                counts[want == "error\n"] += 1
            process.stdin.close()
            self.assertEqual(process.wait(), 0)
        if len(counts) > 1 and STACKS >= 1000 and "VARVE_TEST_SEED" not in os.environ:
            self.assertGreater(min(counts.values()), STACKS // 20, "both kinds of outcome are tried")

    def test_umoci(self):
        """What umoci unpacks is what install makes, names, types, modes, owners, contents and link groups."""
        need_root()
        layout, agreed = self.layout(), 0
        seeds = [s for s in self.seeds(SAMPLE * 4) if expected(stack_of(s, False)) != "error\n"]
        for seed in seeds[:SAMPLE]:
            stack = stack_of(seed, False)
            layout.image(f"s{seed}", [tar_bytes(layer) for layer in stack])
            self.varve.run("import", layout.path, f"test:{seed}", "--path", f"s{seed}")
            self.varve.run("install", f"test:{seed}")
            agreed += self.compare_with_umoci(layout, f"s{seed}", self.varve.tree(f"test:{seed}"), f"VARVE_TEST_SEED={seed}")
        if "VARVE_TEST_SEED" not in os.environ:
            self.assertGreater(agreed, SAMPLE // 5)

    def mirror(self, layout):
        """The address of a registry that has the layout's images as mirror/s:NAME."""
        tags = self.path("tags")
        tags.mkdir()
        for name in layout.names():
            os.symlink(layout.path / "blobs/sha256" / layout.find(name)["digest"][7:], tags / name)
        return self.nginx(f"""location = /v2/ {{ return 200 '{{}}'; }}
            location ~ ^/v2/mirror/s/manifests/([a-z0-9]+)$ {{ default_type application/vnd.oci.image.manifest.v1+json;
                alias {tags}/$1; }}
            location ~ ^/v2/mirror/s/blobs/sha256:([0-9a-f]+)$ {{ alias {layout.path}/blobs/sha256/$1; }}""").address

    def test_written(self):
        """Layers that come from a registry are written while they come, and once more from the store: model and umoci agree."""
        need_root()
        layout, stacks = self.layout(), {}
        for seed in self.seeds(INSTALLS):
            stacks[seed] = rich_stack(seed)
            layout.image(f"s{seed}", [rich_tar(layer) for layer in stacks[seed]], compression=("gzip", "none", "zstd")[seed % 3])
        address = self.mirror(layout)
        self.varve.store = self.tmpfs("256m") / "store"  # what is durable is tested elsewhere, and costs most of the time
        counts = {"equal to the model": 0, "refused": 0, "equal to umoci": 0, "sparse": 0}
        for seed, stack in stacks.items():
            want, reference = model_tree(stack), f"{address}/mirror/s:s{seed}"
            hint = f"VARVE_TEST_SEED={seed}\n" + "\n".join(str(e[:2] + e[3:6]) for layer in stack for e in layer + [("--",) * 6])
            done = self.varve.run("install", reference, "--name", "w", "--no-sync", status=(0,) if want else (1, 4))
            made = self.varve.roots / "rootfs_w"
            self.assertEqual(made.exists(), want is not None, hint)
            if want is None:
                counts["refused"] += 1
                continue
            self.assertEqual(tree.diff(made, want), [], f"{hint}\n{done}")
            self.check_holes(made, stack, counts)
            if seed % 4 == 0:
                self.varve.run("install", reference, "--name", "again", "--offline", "--no-sync")
                self.assertEqual(tree.diff(self.varve.roots / "rootfs_again", want), [], hint)
                self.varve.run("remove", "--installed", "again")
            if seed % 3 < 2:  # umoci 0.4.7 knows no zstd
                counts["equal to umoci"] += self.compare_with_umoci(layout, f"s{seed}", made, hint)
            self.varve.run("remove", "--installed", "w")
            counts["equal to the model"] += 1
        print(f"of {len(stacks)} stacks: {counts}", flush=True)
        if len(stacks) > 100:
            self.assertGreater(min(counts.values()), len(stacks) // 100, counts)

    def check_holes(self, made, stack, counts):
        if any(e[6].chunks for layer in stack for e in layer):
            for folder, _, files in os.walk(made):
                for name in files:
                    st = os.lstat(os.path.join(folder, name))
                    if st.st_size >= 1 << 19:  # only sparse ones are so large
                        counts["sparse"] += 1
                        self.assertLess(st.st_blocks * 512, 1 << 17)

    def compare_with_umoci(self, layout, name, made, hint):
        place = self.path("oracle")
        place.mkdir()
        done = subprocess.run(["umoci", "raw", "unpack", "--image", f"{layout.path}:{name}", place / "rootfs"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            return False  # a parent that is a file, or a link to what comes later: it knows neither
        self.assertEqual(tree.diff(made, place / "rootfs", ignore=[self.undefined]), [], hint)
        return True

    @staticmethod
    def undefined(path, attribute, ours, theirs):
        return attribute == "mtime" and theirs > 1_600_000_000 * 10 ** 9
