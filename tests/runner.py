#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the Python tests of a folder, several files at once, and sums them up.

    tests/runner.py [--jobs N] [--list] FOLDER [NAME...]

NAME is a module (test_main), a class (test_main.Trees) or a method (test_main.Trees.test_x); all modules when absent.
Prints one line for each class and the whole output of what failed; last a line "N passed, N failed, N skipped".
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

_CHILD = r"""
import json, os, sys, time, unittest
sys.path[:0] = [sys.argv[2], sys.argv[3]]
class Result(unittest.TextTestResult):
    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
    def stopTest(self, test):
        super().stopTest(test)
        took = time.monotonic() - self.began
        self.times.append((took, test.id()))
Result.times = []
suite = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])
runner = unittest.TextTestRunner(stream=sys.stderr, verbosity=2, resultclass=Result, buffer=False)
r = runner.run(suite)
bad = {t.id() if not hasattr(t, "test_case") else t.test_case.id() for t, _ in r.failures + r.errors}
bad |= {t.id() for t in r.unexpectedSuccesses}
skipped = [(t.id(), why) for t, why in r.skipped]
json.dump({"run": r.testsRun, "bad": sorted(bad), "skipped": skipped, "slow": sorted(Result.times)[-3:]}, open(sys.argv[4], "w"))
sys.exit(bool(bad))
"""


_CLASSES = r"""
import importlib, sys, unittest
sys.path[:0] = sys.argv[1:3]
module = importlib.import_module(sys.argv[3])
for name, value in vars(module).items():
    if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == sys.argv[3] \
            and unittest.defaultTestLoader.getTestCaseNames(value):
        print(name)
"""


def split(folder, names):
    """One job for each class, so that long files share the processors."""
    jobs = []
    for name in names or sorted(p.stem for p in folder.glob("test_*.py")):
        name = name.removesuffix(".py")
        if "." in name:
            jobs.append(name)
            continue
        if not (folder / f"{name}.py").exists():
            sys.exit(f"no such test: {folder / name}.py")
        found = subprocess.run([sys.executable, "-c", _CLASSES, os.fspath(folder), os.fspath(HERE / "integration"), name],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        # A module that cannot be loaded stays one job: running it says why.
        jobs += [f"{name}.{c}" for c in found.stdout.split()] or [name]
    return jobs


def run(folder, job):
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(prefix="varve-runner.") as report:
        done = subprocess.run([sys.executable, "-c", _CHILD, job, os.fspath(folder), os.fspath(HERE / "integration"),
                               report.name], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="backslashreplace")
        text = pathlib.Path(report.name).read_text()
    # A module that cannot even be loaded, or that died, counts as one failure.
    result = json.loads(text) if text else {"run": 1, "bad": [job], "skipped": [], "slow": []}
    return job, result, done.stdout, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("name", nargs="*")
    o = parser.parse_args()
    # Of a shell's background job these may be ignored, which programs inherit; tests send them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    folder = o.folder.resolve()
    jobs = split(folder, o.name)
    if o.list:
        print("\n".join(jobs))
        return 0
    passed = failed = skipped = 0
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run, folder, j) for j in jobs]):
            job, result, output, took = future.result()
            bad, left_out = result["bad"], result["skipped"]
            if in_ci:
                # In CI nothing may be left out, but for the real input that is no part of the project.
                bad = bad + [n for n, why in left_out if "real input is absent" not in why]
                left_out = [(n, why) for n, why in left_out if "real input is absent" in why]
            good = max(0, result["run"] - len(bad) - len(left_out))
            passed, failed, skipped = passed + good, failed + len(bad), skipped + len(left_out)
            slow = ", ".join(f"{n.rsplit('.', 1)[1]} {t:.0f} s" for t, n in reversed(result["slow"]) if t > 5)
            print(f"{'FAIL' if bad else 'ok  '} {folder.name} {job}: {good} passed"
                  + (f", {len(bad)} failed" if bad else "") + f" in {took:.1f} s" + (f" ({slow})" if slow else ""))
            for line in output.splitlines():
                if " points of " in line or line.startswith("race of "):
                    print("     " + line.strip())
            for name, why in result["skipped"]:
                print(f"     skipped: {name}: {why}")
            if bad:
                print("\n".join("     " + line for line in output.splitlines()))
            sys.stdout.flush()
    print(f"{folder.name}: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


sys.exit(main())
