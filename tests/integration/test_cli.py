# SPDX-License-Identifier: Apache-2.0
"""The command line itself: options, mistakes and what is said about them, streams, signals, completion."""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import time

from support import Case, Tar, binary, samples

# What a user may type wrongly: arguments, status, words of the one line that is said.
MISTAKES = [
    ([], 2, ["no command given", "varve pull"]),
    (["frobnicate"], 2, ["no command frobnicate"]),
    (["pul", "x"], 2, ["did you mean pull?"]),
    (["isntall", "x"], 2, ["did you mean install?"]),
    (["ls"], 2, ["did you mean list?"]),
    (["rmi", "x"], 2, ["did you mean remove?"]),
    (["prune"], 2, ["did you mean gc?"]),
    (["fsck"], 2, ["did you mean check?"]),
    (["--nosuch", "list"], 2, ["no option --nosuch"]),
    (["--jsn", "list"], 2, ["did you mean --json?"]),
    (["--platform", "linux/arm64", "pull", "x"], 2, ["--platform is an option of", "after the command"]),
    (["list", "--nosuch"], 2, ["no option --nosuch", "see varve help list"]),
    (["list", "--instaled"], 2, ["did you mean --installed?"]),
    (["list", "-x"], 2, ["no option -x"]),
    (["list", "-iq", "-z"], 2, ["no option -z"]),
    (["list", "--blobs=yes"], 2, ["--blobs takes no argument"]),
    (["list", "--installed", "--blobs"], 2, ["exclude each other"]),
    (["list", "--installed", "x"], 2, ["takes no pattern"]),
    (["list", "--store"], 2, ["--store needs an argument: --store DIR"]),
    (["--store", ""], 2, ["--store: its argument DIR is empty"]),
    (["list", "--store="], 2, ["--store: its argument DIR is empty"]),
    (["list", "--color", "blue"], 2, ["must be one of auto|always|never"]),
    (["list", "--progress", "fancy"], 2, ["must be one of auto|plain|json|none"]),
    (["--ver"], 2, ["could be any of --verbose, --version"]),
    (["pull"], 2, ["pull needs an argument: varve pull REF...", "see varve help pull"]),
    (["pull", "--platform"], 2, ["--platform needs an argument"]),
    (["pull", "--platform", "linux/", "x"], 2, ["--platform"]),
    (["pull", "--platform=", "x"], 2, ["is empty"]),
    (["pull", "--jobs", "0", "x"], 2, ["--jobs 0", "1 or more"]),
    (["pull", "--jobs", "many", "x"], 2, ["--jobs many"]),
    (["pull", "--jobs", "-1", "x"], 2, ["--jobs -1"]),
    (["pull", "--source", "dockerhub", "x"], 2, ["registry|official"]),
    (["pull", "Foo//bar"], 2, ["Foo//bar"]),
    (["pull", "debian:sid", "Bad Ref"], 2, ["Bad Ref"]),
    (["pull", "a\x1b[31mb"], 2, ["\\x1b[31m"]),
    (["install"], 2, ["install needs an argument"]),
    (["install", "a", "b"], 2, ["b is one argument too many"]),
    (["install", "--pull", "sometimes", "a"], 2, ["missing|always|never"]),
    (["install", "--groups", "sudo", "a"], 2, ["--groups needs --user"]),
    (["install", "--no-hooks", "--hooks", ".", "a"], 2, ["exclude each other"]),
    (["install", "--keep", "2", "--no-keep", "a"], 2, ["exclude each other"]),
    (["install", "--hook-timeout", "soon", "a"], 2, ["must be a time"]),
    (["install", "--all-outdated"], 2, ["needs --force"]),
    (["install", "--all-outdated", "--force", "a"], 2, ["takes no argument"]),
    (["install", "--all-outdated", "--force", "--name", "a"], 2, ["does not go with"]),
    (["switch", "a", "b"], 2, ["one argument too many"]),
    (["switch", "nosuch"], 3, []),
    (["rollback", "one", "two"], 2, ["two is one argument too many"]),
    (["rollback"], 3, []),
    (["inspect"], 2, ["inspect needs an argument"]),
    (["inspect", "nosuch"], 3, []),
    (["inspect", "--raw", "all", "x"], 2, ["manifest|config|target"]),
    (["tag", "a"], 2, ["tag needs another argument: varve tag REF NEWREF"]),
    (["tag", "a", "UPPER"], 2, ["UPPER"]),
    (["tag", "a", "b@sha256:" + "0" * 64], 2, ["no digest"]),
    (["pin", "nosuch"], 3, []),
    (["unpin"], 2, ["unpin needs an argument"]),
    (["remove", "nosuch"], 3, []),
    (["remove", "--force", "x"], 2, ["--force goes with --installed"]),
    (["remove", "--installed", "--platform", "amd64", "x"], 2, ["selects images, not trees"]),
    (["gc", "--max-size", "many"], 2, ["must be a size"]),
    (["gc", "--older-than", "long ago"], 2, ["must be a time"]),
    (["gc", "--min-free", "120%"], 2, ["--min-free 120%"]),
    (["gc", "--min-free", "%"], 2, ["--min-free %"]),
    (["gc", "now"], 2, ["takes no argument"]),
    (["files", "--null", "--long", "x"], 2, ["--null"]),
    (["cat", "x"], 2, ["cat needs another argument"]),
    (["config"], 2, ["config needs an argument"]),
    (["config", "chek"], 2, ["only varve config check"]),
    (["config", "check", "/nosuch/file"], 2, ["/nosuch/file"]),
    (["help", "pul"], 2, ["did you mean pull?"]),
    (["version", "please"], 2, ["takes no argument"]),
    (["list", "--config", "/nosuch/file"], 2, ["/nosuch/file"]),
]


class Mistakes(Case):
    def test_mistakes(self):
        """Each is answered by one line that names it, with the right status, in text and in JSON."""
        commands = {c["name"] for c in self.varve.json("help")["commands"]}
        for args, status, words in MISTAKES:
            with self.subTest(" ".join(args)):
                result = self.varve.run(*args, status=status)
                self.assertEqual(result.out == "", "--json" not in args)
                lines = result.err.splitlines()
                self.assertTrue(lines[0].startswith("varve: "), result.err)
                for word in words:
                    self.assertIn(word, result.err)
                self.assertNotIn("\x1b", result.err)
                if status == 2 and len(lines) > 1:
                    self.assertRegex(lines[1], "^see varve help( [a-z]+)?$")
                self.assertLessEqual(len(lines), 2)
                for verb in re.findall(r"see varve help ([a-z]+)", result.err):
                    self.assertIn(verb, commands)
                self.as_json(args, status, lines[0])

    def as_json(self, args, status, line):
        result = self.varve.run("--json", *args, status=status) if "--json" not in args else \
            self.varve.run(*args, status=status)
        error = json.loads(result.out)
        self.assertEqual(error["schema"], "varve.error/1")
        self.assertEqual("varve: " + error["error"]["message"], result.err.splitlines()[0])
        self.assertRegex(error["error"]["code"], "^[a-z-]+$")
        self.assertGreaterEqual(len(error["error"]["chain"]), 1)

    def test_nothing_is_made_by_a_mistake(self):
        for args in (["pull", "Foo//bar"], ["install", "--pull=never", "nosuch"], ["gc"], ["check"], ["switch", "x"]):
            self.varve.run(*args, status=None)
            self.assertFalse(self.varve.store.exists(), args)
            self.assertFalse(self.varve.roots.exists(), args)

    def test_no_home(self):
        """An ordinary user without HOME is asked for --store."""
        if os.geteuid() != 0:
            self.skipTest("needs root")
        env = {k: v for k, v in self.varve.env().items() if k not in ("HOME", "VARVE_STORE", "VARVE_ROOTS")}
        done = subprocess.run([binary(), "list"], env=env, user=65534, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("HOME is not set", done.stderr)
        self.assertIn("--store DIR", done.stderr)


class Help(Case):
    def test_every_command_has_help(self):
        for command in self.varve.json("help")["commands"]:
            name = command["name"]
            with self.subTest(name):
                text = self.varve.run(name, "--help").out
                self.assertTrue(text.startswith(f"varve {name}"), text)
                self.assertEqual(self.varve.run("help", name).out, text)
                self.assertEqual(self.varve.run("--help", name).out, text)
                # Also when the arguments are wrong or missing.
                self.assertEqual(self.varve.run(name, "-h", "too", "many", "words").out, text)
                for option in command["options"]:
                    self.assertIn("--" + option["name"], text)
                self.assertLessEqual(max(map(len, text.splitlines())), 110)

    def test_general(self):
        text = self.varve.run("--help").out
        self.assertEqual(self.varve.run("help").out, text)
        for command in self.varve.json("help")["commands"]:
            self.assertRegex(text, rf"(?m)^  {command['name']} ")

    def test_version(self):
        text = self.varve.run("version").out
        self.assertRegex(text, r"^varve \d+\.\d+\.\d+\n$")
        self.assertEqual(self.varve.run("--version").out, text)
        self.assertEqual(self.varve.run("list", "--version").out, text)
        self.assertEqual("varve " + self.varve.json("version")["version"] + "\n", text)
        self.assertEqual(json.loads(self.varve.run("--version", "--json").out)["schema"], "varve.version/1")

    def test_globals_anywhere(self):
        for args in (["--json", "list"], ["list", "--json"], ["--js", "list"], ["list", "--store", self.varve.store, "--json"],
                     ["-q", "--json", "list", "-v"], ["list", "--json", "--"]):
            self.assertEqual(json.loads(self.varve.run(*args).out), {"schema": "varve.list/1", "images": []})


class Streams(Case):
    def shell(self, script, **env):
        return subprocess.run(["bash", "-c", script, "bash", binary()], env=self.varve.env(**env), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)

    def test_broken_pipe_is_quiet(self):
        done = self.shell('"$1" help --dump | head -n 1; echo "${PIPESTATUS[0]}"')
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.splitlines()[-1], "0")

    def test_full_disk_is_an_error(self):
        for args in ("help", "version", "list --json", "--json nosuch"):
            done = self.shell(f'"$1" {args} > /dev/full')
            self.assertIn("standard output: No space left on device", done.stderr)
            self.assertIn(done.returncode, (7, 2) if "nosuch" in args else (7,))

    def test_closed_descriptors(self):
        done = self.shell('"$1" version >&-; echo $?')
        self.assertEqual(done.stdout, "1\n")
        self.assertIn("standard output", done.stderr)
        # With all three closed the files of the store must not get their numbers.
        self.shell('"$1" list <&- >&- 2>&-')

    def test_no_colours_in_a_pipe(self):
        self.assertNotIn("\x1b", self.varve.run("--help").out)
        self.assertIn("\x1b[1m", self.varve.run("--help", "--color=always").out)
        self.assertIn("\x1b[31m", self.varve.run("--color=always", "nosuch", status=2).err)

    def test_colours_on_a_terminal(self):
        for env, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            out = on_terminal(self.varve, "--help", env=env)
            self.assertEqual(b"\x1b[1m" in out, coloured, env)


def on_terminal(varve, *args, env=None, at=None):
    """Run on a pseudo-terminal; what it showed. at(process, seen) is called while it runs."""
    main, side = pty.openpty()
    process = varve.popen(*args, env=env, stdin=side, stdout=side, stderr=side)
    os.close(side)
    seen = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
        if at:
            at(process, seen)
    os.close(main)
    process.wait()
    return seen


class Completion(Case):
    """Generated from `help --dump`; the bash one is tried out."""

    def generated(self, shell):
        top = pathlib.Path(__file__).resolve().parents[2]
        return subprocess.run(["python3", top / "cli/completion/generate.py", binary(), shell], stdout=subprocess.PIPE,
                              text=True, check=True, env=self.varve.env()).stdout

    def complete(self, *words):
        script = self.generated("bash") + """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _varve; printf '%s\\n' "${COMPREPLY[@]}"
"""
        path = f"{os.path.dirname(binary())}:{os.environ['PATH']}"
        done = subprocess.run(["bash", "-c", script, "bash", *words], env=self.varve.env(PATH=path), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash(self):
        self.assertEqual(self.complete("varve", "rollb"), ["rollback"])
        self.assertIn("list", self.complete("varve", ""))
        self.assertEqual(self.complete("varve", "list", "--inst"), ["--installed"])
        self.assertEqual(self.complete("varve", "--store", "/tmp", "list", "--blo"), ["--blobs"])
        self.assertEqual(self.complete("varve", "list", "--progress", "j"), ["json"])
        self.assertEqual(self.complete("varve", "--col"), ["--color"])
        self.assertEqual(self.complete("varve", "help", "vers"), ["version"])
        self.assertEqual(self.complete("varve", "--store", "/et"), ["/etc"])

    def test_all_shells_know_all_options(self):
        for shell in ("bash", "zsh", "fish"):
            text = self.generated(shell)
            for command in self.varve.json("help")["commands"]:
                self.assertIn(command["name"], text)
                for option in command["options"]:
                    self.assertIn(option["name"], text, shell)


class Progress(Case):
    """A pull over a slow line, as each kind of progress shows it."""

    SIZE = 1 << 20
    RATE = 500_000

    def setUp(self):
        super().setUp()
        layout = self.layout()
        layout.image("image", [Tar().file("data", os.urandom(self.SIZE))])
        registry = self.registry()
        registry.push(layout, "image", "team/app", "1")
        slow = self.nginx("location / { proxy_pass http://%s; proxy_set_header Host $http_host; limit_rate %d; }"
                          % (registry.address, self.RATE))
        self.ref = f"{slow.address}/team/app:1"

    def test_terminal(self):
        began = time.monotonic()
        seen = on_terminal(self.varve, "pull", self.ref, env={"TERM": "xterm"})
        elapsed = time.monotonic() - began
        self.assertRegex(seen, rb"download +[0-9a-f]{12} +\d+% +[\d.]+ KiB of [\d.]+ MiB +[\d.]+ KiB/s  \d+s left")
        redrawn = seen.count(b"\x1b[J")
        self.assertGreater(redrawn, 3)
        self.assertLess(redrawn, 10 * elapsed + 5)
        # The block is gone at the end: what is left on the screen is the result.
        after = seen[seen.rindex(b"\x1b[J") + 3:].decode()
        self.assertRegex(after, r"^127\.0\.0\.1:\d+/team/app:1  [0-9a-f]{12}  1 layer, [\d.]+ MiB fetched in 2 blobs\r\n$")

    def test_plain(self):
        result = self.varve.run("pull", "--progress=plain", self.ref)
        self.assertRegex(result.err, r"^(?s:.*)download [0-9a-f]{12}: 1\.0 MiB in \d\.\d s\n$")
        self.assertLess(len(result.err.splitlines()), 4, result.err)
        self.assertNotIn("\r", result.err)

    def test_json(self):
        result = self.varve.run("pull", "--progress=json", "--json", self.ref)
        events = [json.loads(line) for line in result.err.splitlines()]
        self.assertEqual({e["schema"] for e in events}, {"varve.progress/1"})
        downloads = {}
        for event in events:
            if event["stage"] == "download":
                downloads.setdefault(event["object"], []).append(event)
        self.assertEqual(len(downloads), 2)
        for series in downloads.values():
            self.assertEqual([e["finished"] for e in series], [False] * (len(series) - 1) + [True])
            done = [e["done"] for e in series]
            self.assertEqual(done, sorted(done))
            self.assertEqual(done[-1], series[-1]["total"])
        self.assertEqual(len(json.loads(result.out)["images"]), 1)

    def test_none(self):
        for option in ("-q", "--progress=none"):
            varve = self.new_varve()
            result = varve.run("pull", option, self.ref)
            self.assertEqual(result.err, "")
            self.assertIn("1 layer", result.out)

    def test_second_interrupt_ends_at_once(self):
        """The first asks to end in order; a hanging server cannot hold up the second."""
        for sent in ([signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]):
            process = self.new_varve().popen("pull", "--progress=json", self.ref)
            for line in process.stderr:
                event = json.loads(line)
                if event["stage"] == "download" and event["done"] > 100_000:
                    break
            for number in sent:
                process.send_signal(number)
            began = time.monotonic()
            _, err = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 128 + sent[-1], err)
            self.assertLess(time.monotonic() - began, 2)
            if len(sent) == 1:
                self.assertIn(b"varve: pull", err.splitlines()[-1])


class Repair(Case):
    def test_repaired_blob_makes_its_images_whole(self):
        layout = self.layout()
        layout.image("image", [Tar().file("a", os.urandom(50_000))])
        ref = self.registry().push(layout, "image", "team/app", "1")
        digest = self.varve.json("pull", ref) and self.varve.json("inspect", ref)["layers"][0]["digest"]
        blob = self.varve.blob(digest)
        for damage in (lambda: blob.write_bytes(b"x" * blob.stat().st_size), lambda: blob.unlink(),
                       lambda: os.truncate(blob, 10)):
            os.chmod(blob, 0o644)
            damage()
            self.assertIn(digest, self.varve.run("check", "--read-data", status=4).out)
            done = self.varve.json("check", "--repair", "--read-data")
            self.assertEqual((done["clean"], done["repaired"]), (True, 1), done)
            self.assertTrue(self.varve.json("list")["images"][0]["complete"])
            self.assertEqual(self.varve.json("check", "--read-data")["findings"], [])


class Outdated(Case):
    def test_all_outdated(self):
        """Of three trees the one whose tag has moved is built anew; one whose registry is gone is told."""
        layout = self.layout()
        registry, gone = self.registry(), self.registry()
        for name in ("moves", "stays"):
            layout.image(name, [Tar().file("which", "old")])
            registry.push(layout, name, "team/" + name, "1")
        moves, stays = (f"{registry.address}/team/{n}:1" for n in ("moves", "stays"))
        lost = gone.push(layout, "stays", "team/lost", "1")
        self.varve.run("install", "--switch", "--name", "m", moves)
        self.varve.run("install", "--name", "s", stays)
        self.varve.run("install", "--name", "l", lost)
        layout.image("new", [Tar().file("which", "new")])
        registry.push(layout, "new", "team/moves", "1")
        gone.stop()
        states = {i["label"]: i["state"] for i in self.varve.json("outdated", "--installed", status=5)["items"]}
        self.assertEqual(states, {"m": "outdated", "s": "current", "l": "error"})
        done = self.varve.json("install", "--force", "--all-outdated", status=5)
        self.assertEqual([i["label"] for i in done["installs"]], ["m"])
        self.assertEqual((done["current"], done["unknown"]), (1, 1))
        self.assertTrue(done["installs"][0]["active"])
        self.assertEqual((self.varve.roots / "rootfs/which").read_text(), "new")
        self.varve.run("rollback")
        self.assertEqual((self.varve.roots / "rootfs/which").read_text(), "old")


class Documents(Case):
    """Every member that --json prints stands in the man page of the command."""

    # Documents of others, and what is explained as a whole.
    FOREIGN = {"manifest", "config"}

    def members(self, value, key=""):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield name
                if not (name in self.FOREIGN and isinstance(inner, dict)):
                    yield from self.members(inner, name)
        elif isinstance(value, list):
            for inner in value:
                yield from self.members(inner, key)

    def documented(self, document):
        """The text of the pages that describe the schema and those that it refers to."""
        docs = pathlib.Path(__file__).resolve().parents[2] / "docs"
        pages = {p.name[:-6]: p.read_text() for p in docs.glob("varve-*.1.scd")}
        text = "".join(t for t in pages.values() if f"*{document['schema']}*" in t.split("# JSON")[-1])
        self.assertTrue(text, document["schema"])
        for other in set(re.findall(r"\*(varve\.[a-z]+/\d)\*", text.split("# JSON")[-1])) - {document["schema"]}:
            text += "".join(t for t in pages.values() if f"*{other}*:" in t or f"*{other}* with" in t)
        return text

    def test_members(self):
        layout = self.layout()
        samples.flat(layout, "image")
        ref = self.registry().push(layout, "image", "team/app", "1")
        archive = self.dir / "rootfs_x_1.tar"
        archive.write_bytes(Tar().file("f", "x").bytes())
        runs = [("pull", ref), ("install", ref), ("install", "--pull=always", "--name", "b", ref), ("switch",), ("switch", self.varve.tree(ref).name[7:]),
                ("switch", "b"), ("rollback",), ("list",), ("list", "--blobs"), ("list", "--installed"), ("inspect", ref),
                ("plan", ref), ("files", ref), ("cat", ref, "etc/hostname"), ("outdated",), ("tag", ref, "x:1"), ("pin", "x:1"),
                ("unpin", "x:1"), ("gc", "--dry-run"), ("gc",), ("check",), ("df",), ("have",), ("remove", "x:1"),
                ("install", "--force", "--all-outdated"), ("remove", "--installed", "b"), ("config", "check"), ("registry", "status"), ("version",), ("help",),
                ("export", ref, "-o", self.dir / "x.tar"),
                ("import", archive), ("import", archive, "y:1"), ("install", archive), ("diff", "x_1"),
                ("check", "--installed", "x_1")]
        commands = {c["name"] for c in self.varve.json("help")["commands"]}
        for args in runs:
            if args[0] not in commands:
                continue
            with self.subTest(args[0]):
                document = self.varve.json(*args)
                self.assertRegex(document["schema"], r"^varve\.[a-z]+/1$")
                text = self.documented(document)
                for name in set(self.members(document)) - {"schema"}:
                    self.assertRegex(name, "^[a-z][a-z0-9_]*$")
                    self.assertIn(f"_{name}_", text, document["schema"])
