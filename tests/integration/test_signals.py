# SPDX-License-Identifier: Apache-2.0
"""One signal ends it: every long command, at any moment of it, soon, with the status of the signal, and nothing is broken."""

import fcntl
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from support import Case, Tar, Varve
from support.tarball import REG, header, patched

MIB = 1 << 20
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
WANTED = 0.2
# Seconds for one series of a command, and how many moments of it are tried.
BUDGET = float(os.environ.get("VARVE_SIGNALS_BUDGET", "2.5"))
MOMENTS = 10


def write_many(path):
    """A layer with 60,000 small files and a deep tree."""
    tar, one = Tar(), header(b"many/000/f000", REG, 40)
    with open(path, "wb") as file:
        for d in range(300):
            file.write(Tar().dir(f"many/{d:03}").bytes()[:512])
            for f in range(200):
                file.write(patched(one, 5, b"%03d/f%03d" % (d, f)))
                file.write((b"%08d" % (d * 200 + f) * 5).ljust(512, b"\0"))
        path = "deep"
        for _ in range(400):
            tar.dir(path).file(path + "/f", path[-20:])
            path += "/d"
        file.write(tar.bytes())


def write_large(path, size):
    """A layer with one large file that compresses somewhat."""
    block = random.Random(3).randbytes(MIB // 2) + bytes(MIB // 2)
    with open(path, "wb") as file:
        file.write(header(b"big", REG, size))
        for _ in range(size // MIB):
            file.write(block)
        file.write(bytes(1024))


class Signals(Case):
    """`self.series(args)` interrupts one command at random moments of its run."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="varve-test."))
        cls.addClassCleanup(shutil.rmtree, cls.shared)
        os.chmod(cls.shared, 0o755)
        cls.seed = int(os.environ.get("VARVE_SIGNALS_SEED", random.randrange(1 << 30)))
        cls.dice = random.Random(cls.seed)
        cls.many, cls.large = cls.shared / "many.tar", cls.shared / "large.tar"
        cls.ready = Varve(cls.shared / "v")
        write_many(cls.many)
        cls.worst = {}
        cls.unit = cls.calibrated()

    @classmethod
    def tearDownClass(cls):
        if os.environ.get("VARVE_SIGNALS_SHOW"):
            for what, (late, times, whole) in sorted(cls.worst.items(), key=lambda w: w[1][0]):
                print(f"{late * 1000:6.0f} ms  {times:3} of {whole:5.2f} s  {what}", flush=True)
        super().tearDownClass()

    @classmethod
    def calibrated(cls):
        """How much slower this machine and build are than an idle one with a release build: 1 or more."""
        began = time.monotonic()
        for _ in range(3):
            cls.ready.run("version")
        return max(1.0, (time.monotonic() - began) / 3 / 0.02)

    def bound(self):
        """Seconds within which a signal must have ended a command."""
        return max(1.0, WANTED * self.unit) * max(1.0, os.getloadavg()[0] / os.cpu_count())

    def interrupted(self, args, after, sent, varve=None, until=None, **popen):
        """Start it, send a signal after so many seconds, at the latest; or once until() is true. Returns (seconds until its end, status, stderr); None if it had ended."""
        varve = varve or self.ready
        popen.setdefault("stdout", subprocess.DEVNULL)
        with open(self.dir / "err", "wb+") as err:
            process = varve.popen(*args, stderr=err, **popen)
            deadline = time.monotonic() + after
            while until and not until() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.01)
            try:
                process.wait(0 if until else after)
                return None
            except subprocess.TimeoutExpired:
                pass
            process.send_signal(sent)
            began = time.monotonic()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.fail(f"seed {self.seed}: varve {args}: {sent.name} after {after:.3f} s did not end it")
            late = time.monotonic() - began
            err.seek(0)
            said = err.read().decode("utf-8", "replace")
        return late, process.returncode, said

    def judged(self, args, after, sent, end, whole=None):
        late, status, said = end
        if status == 0 and whole and after > 0.6 * whole:
            return  # it may have been ending already: a signal is not heard by what has its status
        what = f"seed {self.seed}: varve {' '.join(map(str, args))}: {sent.name} after {after:.3f} s"
        # Before main() is reached a signal does what it does to all programs.
        self.assertIn(status, (128 + sent, -sent), f"{what}\n{said}")
        self.assertLess(late, self.bound(), f"{what}\n{said}")

    def series(self, *args, before=None, after=None, varve=None, moments=MOMENTS, **popen):
        """Whole once, for its time; then at random moments, with `before` and `after` around each; then whole again."""
        varve = varve or self.ready
        popen.setdefault("stdout", subprocess.DEVNULL)
        name = " ".join(a if isinstance(a, str) else "FILE" for a in args)
        if before:
            before()
        began = time.monotonic()
        varve.run(*args, **popen)
        whole = time.monotonic() - began
        spent = 0
        for i in range(moments):
            if spent > BUDGET * self.unit and i >= 3:
                break
            began = time.monotonic()
            if before:
                before()
            at, sent = self.dice.uniform(0.005, whole), SIGNALS[i % len(SIGNALS)]
            end = self.interrupted(args, at, sent, varve, **popen)
            if end:
                worst = self.worst.get(name, (0, 0, 0))
                self.worst[name] = (max(worst[0], end[0]), worst[1] + 1, whole)
                self.judged(args, at, sent, end, whole)
            if after:
                after()
            spent += time.monotonic() - began
        if before:
            before()
        if before or after:  # what only reads has no reason to fail now
            varve.run(*args, **popen)

    def one(self, *args, at, varve=None, **popen):
        """A command that would run on and on, interrupted once."""
        sent = self.dice.choice(SIGNALS)
        end = self.interrupted(args, at, sent, varve, **popen)
        self.assertIsNotNone(end, args)
        self.judged(args, at, sent, end)


class Stored(Signals):
    """self.ready has x:many and x:large."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        write_large(cls.large, 300 * MIB)
        cls.ready.run("import", cls.many, "x:many")
        cls.ready.run("import", cls.large, "x:large")


class Reading(Stored):
    """What only looks: nothing changes, so there is nothing to clean up."""

    def test_look(self):
        for args in (["plan", "x:many"], ["files", "x:many"], ["--json", "files", "x:many"], ["cat", "x:large", "big"],
                     ["check"], ["check", "--read-data"], ["df"]):
            with self.subTest(args=args):
                self.series(*args)

    def test_export(self):
        out = self.path("out")
        for args in (["--output", out, "--format", "tar", "x:many"], ["--output", "-", "--format", "tar.gz", "x:large"],
                     ["--output", out, "--format", "squashfs", "x:many"], ["--output", out, "--format", "oci-tar", "x:large"]):
            with self.subTest(args=args):
                self.series("export", *args)
                left = [n for n in os.listdir(self.dir) if n.endswith(".part")]
                self.assertEqual(left, [])

    def test_nobody_reads(self):
        """A pipe that is full and stays so."""
        for args in (["cat", "x:large", "big"], ["files", "x:many"], ["--json", "files", "x:many"],
                     ["export", "--output", "-", "--format", "tar", "x:large"],
                     ["export", "--output", "-", "--format", "tar.zst", "x:large"]):
            with self.subTest(args=args):
                read, write = os.pipe()
                try:
                    self.one(*args, at=20 * self.unit, stdout=write,
                             until=lambda: not select.select([], [write], [], 0)[1])
                finally:
                    os.close(read)
                    os.close(write)

    def test_nobody_writes(self):
        """Standard input, and a FIFO, from which nothing comes."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        varve = self.new_varve()
        for args in (["import", "-", "x:1"], ["import", fifo, "x:1"], ["login", "--username", "u", "--password-stdin", "127.0.0.1:9"]):
            with self.subTest(args=args):
                self.one(*args, at=0.5 * self.unit, varve=varve, stdin=read)


class Writing(Stored):
    """What changes the store or the roots dir."""

    def clean(self):
        self.ready.run("check")

    def test_import(self):
        varve = self.new_varve()
        squash = self.path("squash")
        self.ready.run("export", "--output", squash, "--format", "squashfs", "x:many")
        reset = lambda: shutil.rmtree(varve.store, ignore_errors=True)

        def after():
            if (varve.store / "VERSION").exists():
                varve.run("check")
                varve.run("gc", "--grace", "0")
                left = [p for p in (varve.store / "tmp").rglob("*") if not p.is_dir()]
                self.assertEqual(left, [])
        for args in (["import", self.many, "x:1"], ["import", squash, "x:1"], ["import", self.large, "x:1"]):
            with self.subTest(args=args):
                self.series(*args, before=reset, after=after, varve=varve)

    def test_install(self):
        self.series("install", "--force", "--no-keep", "--no-sync", "x:many", after=self.clean)
        self.assertEqual([n for n in os.listdir(self.ready.roots) if ".new." in n], [])
        self.series("diff", "x_many")
        self.series("diff", "--read-data", "x_many")
        self.series("check", "--installed", "x_many")
        self.series("install", "--force", "--no-keep", "x:large", after=self.clean)
        self.series("check", "--rebuild", after=self.clean)
        copy = Varve(self.path("v"), store=self.ready.store)

        def installed():
            copy.run("install", "--force", "--no-keep", "--no-sync", "x:many")
        self.series("remove", "--installed", "x_many", before=installed, varve=copy, moments=4)

    def test_gc(self):
        varve = self.new_varve()

        def garbage():
            if not (varve.store / "VERSION").exists():
                varve.run("import", self.many, "x:1")
            blobs = varve.store / "blobs/sha256"
            for i in range(5_000):
                (blobs / f"{i:064x}").write_bytes(b"x")
            os.sync()
        self.series("gc", "--grace", "0", before=garbage, after=lambda: varve.run("check", status=(0, 1, 5)), varve=varve, moments=4)

    def test_hook(self):
        hooks = self.path("hooks")
        hooks.mkdir()
        hook = hooks / "hook_postinstall_1.sh"
        hook.write_text("#!/bin/sh\ntrap '' INT TERM HUP\nsleep 60\n")
        hook.chmod(0o755)
        varve = self.new_varve()
        layout = self.layout()
        layout.image("i", [Tar().dir("bin").file("bin/sh", pathlib.Path("/bin/busybox").read_bytes() if os.path.exists("/bin/busybox") else b"", mode=0o755)])
        varve.run("import", layout.path, "x:1")
        for sent in SIGNALS:
            end = self.interrupted(["install", "--hooks", hooks, "x:1"], 1.5 * self.unit, sent, varve)
            if end:
                self.judged(["install"], 1.5, sent, end)
            varve.run("check")


class Waiting(Signals):
    """For others: locks, servers, programs."""

    def test_locks(self):
        varve = self.new_varve()
        layout = self.layout()
        layout.image("i", [Tar().file("a", "b")])
        varve.run("import", layout.path, "x:1")
        varve.run("install", "x:1")
        for name, args in (("lock", ["plan", "x:1"]), ("gate", ["gc"]), ("db/lock", ["list"]), ("db/lock", ["tag", "x:1", "y:1"]),
                           ("lock", ["install", "--force", "x:1"]), ("lock", ["import", layout.path, "z:1"])):
            path = next(p for p in (varve.store / name, varve.store / ("." + name), varve.store / "locks" / name) if p.exists())
            with self.subTest(lock=name, args=args), open(path, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self.one(*args, at=0.4 * self.unit, varve=varve)
        fd = os.open(varve.roots, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        for args in (["switch", "x:1"], ["remove", "--installed", "x_1"], ["install", "--force", "x:1"]):
            with self.subTest(args=args):
                self.one(*args, at=0.4 * self.unit, varve=varve)

    def silent(self):
        """A server that takes connections and never answers. Returns its address."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        kept = []

        def accept():
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return
        threading.Thread(target=accept, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    def test_silent_server(self):
        varve = self.new_varve()
        layout = self.layout()
        layout.image("i", [Tar().file("a", "b")])
        varve.run("import", layout.path, "x:1")
        host, password = self.silent(), self.path("password")
        password.write_text("p\n")
        for args in (["pull", f"{host}/a/b:1"], ["install", f"{host}/a/b:1"], ["push", "x:1", f"{host}/a/b:1"],
                     ["login", "--username", "u", "--password-stdin", host]):
            with self.subTest(args=args):
                with open(password) as stdin:
                    self.one(*args, at=0.4 * self.unit, varve=varve, stdin=stdin)

    def test_download(self):
        layout = self.layout()
        layout.image("i", [Tar().file("a", os.urandom(4 * MIB)), Tar().file("b", os.urandom(4 * MIB))], compression="none")
        registry = self.registry()
        registry.push(layout, "i", "team/app", "1")
        nginx = self.nginx(f"location / {{ proxy_pass http://{registry.address}; proxy_set_header Host $http_host; limit_rate 2m; }}")
        varve = self.new_varve()
        self.series("pull", "--jobs", "2", f"{nginx.address}/team/app:1", varve=varve,
                    before=lambda: shutil.rmtree(varve.store, ignore_errors=True),
                    after=lambda: (varve.store / "VERSION").exists() and varve.run("check"), moments=5)

    def test_helper(self):
        """A credential helper that hangs."""
        varve = self.new_varve()
        tools = self.path("tools")
        tools.mkdir()
        helper = tools / "docker-credential-slow"
        helper.write_text("#!/bin/sh\nexec sleep 60\n")
        helper.chmod(0o755)
        auth = self.path("auth")
        host = self.silent()
        auth.write_text('{"credHelpers": {"%s": "slow"}}' % host)
        auth.chmod(0o600)
        server = self.nginx("location / { add_header WWW-Authenticate 'Basic realm=\"x\"' always; return 401; }")
        auth.write_text('{"credHelpers": {"%s": "slow"}}' % server.address)
        args = ["pull", f"{server.address}/a/b:1"]
        self.one(*args, at=0.5 * self.unit, varve=varve,
                 env={"REGISTRY_AUTH_FILE": auth, "PATH": f"{tools}:{os.environ['PATH']}"})


class Twice(Signals):
    def test_second_ends_at_once(self):
        """The state is whole whenever it comes."""
        varve = self.new_varve()
        varve.run("import", self.many, "x:1")
        for i in range(4):
            process = varve.popen("install", "--force", "--no-sync", "x:1")
            time.sleep(self.dice.uniform(0.1, 0.6))
            for _ in range(2):
                process.send_signal(SIGNALS[i % 3])
                time.sleep(0.005)
            process.communicate(timeout=10)
            self.assertIn(process.returncode, (128 + SIGNALS[i % 3], -SIGNALS[i % 3]))
            varve.run("check")
        varve.run("install", "--force", "--no-sync", "x:1")

    def test_ignored_stays_ignored(self):
        """What nohup and shells without job control set."""
        varve = self.new_varve()
        for sent in SIGNALS:
            process = varve.popen("import", self.many, "x:1", preexec_fn=lambda: signal.signal(sent, signal.SIG_IGN))
            time.sleep(0.1)
            process.send_signal(sent)
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0)
