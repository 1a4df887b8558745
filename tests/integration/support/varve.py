# SPDX-License-Identifier: Apache-2.0
"""Runs the varve command with a store of its own and looks at what it says."""

import json
import os
import pathlib
import subprocess

_TOP = pathlib.Path(__file__).resolve().parents[3]
_REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "WARNING: ThreadSanitizer",
            "AddressSanitizer:DEADLYSIGNAL", "AddressSanitizer: CHECK failed")


def binary():
    """The command under test: $VARVE, or the newest build."""
    if os.environ.get("VARVE"):
        return os.path.abspath(os.environ["VARVE"])
    for build in ("build-asan", "build-test", "build"):
        if (_TOP / build / "cli/varve").exists():
            return os.fspath(_TOP / build / "cli/varve")
    raise RuntimeError("no varve: build it, or set VARVE to the command")


class Result:
    """What one run left behind."""

    def __init__(self, args, status, out, err):
        self.args, self.status, self.out, self.err = args, status, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"varve {' '.join(map(str, self.args))}: status {self.status}\n{self.err[-6000:]}{self.out[-2000:]}"


class Varve:
    """varve with its own store, roots and home; run("pull", ref) expects status 0."""

    def __init__(self, home, store=None, roots=None, env=None):
        self.home = pathlib.Path(home)
        self.store = pathlib.Path(store or self.home / "store")
        self.roots = pathlib.Path(roots or self.home / "roots")
        self.home.mkdir(parents=True, exist_ok=True)
        self.extra = dict(env or {})

    def env(self, **more):
        """A clean environment: nothing of the caller's home, proxies or credentials gets in."""
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "TMPDIR")}
        env.update({
            "HOME": os.fspath(self.home), "LC_ALL": "C.UTF-8", "TERM": "dumb",
            "VARVE_STORE": os.fspath(self.store), "VARVE_ROOTS": os.fspath(self.roots),
            "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1:allocator_may_return_null=1:"
                            "detect_stack_use_after_return=1",
            "LSAN_OPTIONS": f"suppressions={_TOP / 'tests/lsan.suppressions'}:print_suppressions=0",
            "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99:print_stacktrace=1",
            "TSAN_OPTIONS": "halt_on_error=1:exitcode=99",
        })
        env.update(self.extra)
        env.update({k: os.fspath(v) for k, v in more.items()})
        return env

    def popen(self, *args, env=None, prefix=(), **kw):
        """Start it and return the Popen; stdout and stderr are pipes unless said otherwise."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        environment = self.env(**(env or {}))
        if any("strace" in os.fspath(p) for p in prefix or ()):
            # The leak checker needs ptrace for itself.
            environment["ASAN_OPTIONS"] += ":detect_leaks=0"
        return subprocess.Popen([*prefix, binary(), *map(os.fspath, args)], env=environment, **kw)

    def run(self, *args, status=0, env=None, prefix=(), timeout=300, input=None, **kw):
        """Run to the end. status: the expected one, a tuple of such, or None for any."""
        if input is not None:
            kw["stdin"] = subprocess.PIPE
        with self.popen(*args, env=env, prefix=prefix, **kw) as process:
            try:
                out, err = process.communicate(input, timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"varve {args}: no end after {timeout} s\n{err.decode(errors='replace')}")
        result = Result(args, process.returncode, (out or b"").decode("utf-8", "backslashreplace"),
                        (err or b"").decode("utf-8", "backslashreplace"))
        self.judge(result, status)
        return result

    @staticmethod
    def judge(result, status):
        """Fail on a sanitizer's report or on another status than the expected."""
        if result.status == 99 or any(r in result.err for r in _REPORTS):
            raise AssertionError(f"sanitizer report\n{result}")
        if status is not None and result.status not in (status if isinstance(status, tuple) else (status,)):
            raise AssertionError(f"expected status {status}\n{result}")

    def json(self, *args, **kw):
        """Run with --json and return the document."""
        result = self.run("--json", *args, **kw)
        try:
            return result.json
        except ValueError:
            raise AssertionError(f"not one JSON document\n{result}") from None

    def tree(self, reference):
        """The path of the tree that `install REFERENCE` makes."""
        name, _, digest = reference.partition("@")
        return self.roots / ("rootfs_" + name.replace("/", "_").replace(":", "_") + (digest and "_" + digest.replace(":", "_")))

    def blob(self, digest):
        """The path of a blob in the store."""
        return self.store / "blobs/sha256" / digest.removeprefix("sha256:")
