# SPDX-License-Identifier: Apache-2.0
"""Sweeps of a fault over every mutating system call of a command (faultrun.c), two points at a time.

VARVE_FAULT=all tries every point; otherwise a sweep of more points than the class's limit takes every k-th, always the
same ones: a gate that passes one day and not the next says nothing about a change.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.fspath(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from support import Case, Tar, binary  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]


def faultrun():
    path = os.environ.get("FAULTRUN")
    for build in ("build-test", "build"):
        path = path or (os.fspath(TOP / build / "tests/fault/faultrun") if (TOP / build / "tests/fault/faultrun").exists() else None)
    if not path:
        raise RuntimeError("no faultrun: build the tests, or set FAULTRUN")
    return path


def small_layers():
    """Two layers with an entry of every kind, few enough to try every point."""
    base = Tar().dir(".", mtime=1).dir("d", mtime=2).file("d/f", os.urandom(40_000), mode=0o640, uid=3, mtime="4.5")
    base.hardlink("d/h", "d/f").symlink("l", "d/f", mtime=6).fifo("p", mtime=7).file("x", "x", mtime=8, xattrs={"user.x": "1"})
    base.file("set", "uid", mode=0o4755, uid=9, mtime=9)
    upper = Tar().whiteout("x").file("d/new", "new" * 5000, mtime=10).dir("d", mtime=11)
    if os.geteuid() == 0:
        upper.chardev("null", 1, 3, mode=0o666, mtime=12)
    return [base, upper.dir(".", mode=0o711, mtime=13)]


class FaultCase(Case):
    """What was tried is counted, and printed at the end of the class."""

    limit = 150
    tried = {}

    @classmethod
    def tearDownClass(cls):
        for name, count in cls.tried.items():
            print(f"{cls.__name__} {name}: {count}", file=sys.stderr)

    def fault(self, varve, args, at, action, sticky=False, timeout=120):
        """Run varve under faultrun. Returns (status, what it said of errors, calls, hit)."""
        count = varve.home / "count"
        command = [faultrun(), "--at", str(at), "--do", action, "--count", count]
        if sticky:
            command.append("--sticky")
        done = subprocess.run([os.fspath(c) for c in [*command, binary(), *args]], env=varve.env(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        calls, hit = count.read_text().split()
        # What check finds is its result, and on stdout.
        said = done.stderr + (done.stdout if args[0] == "check" else b"")
        return done.returncode, said.decode("utf-8", "replace"), int(calls), hit == "1"

    def points(self, calls):
        """Which of 1..calls to try."""
        if os.environ.get("VARVE_FAULT") == "all" or calls <= self.limit:
            return list(range(1, calls + 1)), "every"
        step = -(-calls // self.limit)
        return list(range(1, calls + 1, step)), f"each {step}th"

    def spread(self, one, points):
        """one(worker, point) for each point, on all processors. Returns (how many said true, what failed)."""
        free = list(range(1, (os.cpu_count() or 1) + 1))

        def with_worker(at):
            worker = free.pop()
            try:
                return one(worker, at)
            finally:
                free.append(worker)

        failures, hits = [], 0
        with concurrent.futures.ThreadPoolExecutor(len(free)) as pool:
            for future in [pool.submit(with_worker, at) for at in points]:
                try:
                    hits += future.result()
                except Exception as failure:  # a point that cannot even be prepared has failed
                    failures.append(str(failure))
        return hits, failures

    def sweep(self, name, prepare, args, judge, action="kill", sticky=False):
        """For each point N: prepare(worker) -> Varve in the state before; the faulty run; judge(varve, status, err).

        args: the command, or a function of the Varve. prepare gets a number that differs between workers.
        """
        make_args = args if callable(args) else lambda varve: args
        varve = prepare(0)
        status, err, calls, _ = self.fault(varve, make_args(varve), 0, action)
        self.assertEqual(status, 0, f"{name} without a fault: {err}")
        self.assertGreater(calls, 3, f"{name}: hardly a mutating call: is it watched?")
        # Threads and file-system luck change the number from run to run: go a little further than counted.
        points, share = self.points(calls + 3)

        def one(worker, at):
            varve = prepare(worker)
            status, err, _, hit = self.fault(varve, make_args(varve), at, action, sticky)
            try:
                judge(varve, status, err)
            except AssertionError as failure:
                raise AssertionError(f"{name}, {action} at call {at} of {calls} (status {status}):\n{failure}\n"
                                     f"its stderr: {err[-1500:]}") from None
            return hit

        hits, failures = self.spread(one, points)
        key = f"{name} {action}{' (disk stays full)' if sticky else ''}"
        self.tried[key] = f"{hits} points of {calls} calls ({share}), {len(failures)} failed"
        if failures:
            self.fail(f"{len(failures)} of {len(points)} points fail; the first three:\n\n" + "\n\n".join(failures[:3]))
