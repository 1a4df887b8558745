# SPDX-License-Identifier: Apache-2.0
"""The fault runner itself: it sees every kind of call, hits the one it should, and leaves other processes alone."""

import os
import pathlib
import signal
import subprocess
import sys

from faults import FaultCase, faultrun

ACTS = """
import os, sys
os.chdir(sys.argv[1])
acts = [
    lambda: os.mkdir("d"),
    lambda: os.close(os.open("d/f", os.O_CREAT | os.O_WRONLY)),
    lambda: os.write(os.open("d/f", os.O_WRONLY), b"x"),
    lambda: os.pwrite(os.open("d/f", os.O_WRONLY), b"y", 9),
    lambda: os.writev(os.open("d/f", os.O_WRONLY), [b"z", b"z"]),
    lambda: os.fsync(os.open("d", os.O_RDONLY)),
    lambda: os.fdatasync(os.open("d/f", os.O_RDONLY)),
    lambda: os.posix_fallocate(os.open("d/f", os.O_WRONLY), 0, 100),
    lambda: os.ftruncate(os.open("d/f", os.O_WRONLY), 10),
    lambda: os.link("d/f", "d/g"),
    lambda: os.symlink("f", "d/l"),
    lambda: os.mkfifo("d/p"),
    lambda: os.chmod("d/f", 0o600),
    lambda: os.chown("d/f", os.getuid(), os.getgid()),
    lambda: os.utime("d/f", (1, 1)),
    lambda: os.setxattr("d/f", "user.x", b"1"),
    lambda: os.removexattr("d/f", "user.x"),
    lambda: os.rename("d/g", "d/h"),
    lambda: os.unlink("d/h"),
    lambda: os.copy_file_range(os.open("d/f", os.O_RDONLY), os.open("d/f", os.O_WRONLY), 2, 0, 5),
    lambda: os.unlink("d/f"),
    lambda: os.unlink("d/l"),
    lambda: os.unlink("d/p"),
    lambda: os.rmdir("d"),
]
for act in acts:
    try:
        act()
    except OSError as e:
        print(acts.index(act) + 1, e.errno, flush=True)
        if len(sys.argv) < 3:
            sys.exit(0)
# No mutations of files: a pipe, a socket, reading.
os.write(1, b"")
os.write(os.pipe()[1], b"x")
open("/etc/passwd").read()
print("end", len(acts), flush=True)
"""


class FaultRunner(FaultCase):
    def run_acts(self, *options, more=()):
        (self.dir / "w").mkdir(exist_ok=True)
        for name in (self.dir / "w").rglob("*"):
            subprocess.run(["rm", "-rf", name], check=True)
        return subprocess.run([faultrun(), "--count", self.dir / "count", *options, sys.executable, "-I", "-B", "-c", ACTS,
                               self.dir / "w", *more], stdout=subprocess.PIPE, text=True)

    def counted(self):
        return [int(n) for n in (self.dir / "count").read_text().split()]

    def test_sees_every_call_once(self):
        done = self.run_acts()
        self.assertEqual(done.stdout, "end 24\n")
        self.assertEqual(self.counted(), [24, 0])

    def test_fails_the_one_call(self):
        import errno
        for at in range(1, 25):
            name = ("ENOSPC", "EIO", "EDQUOT")[at % 3]
            done = self.run_acts("--at", str(at), "--do", name)
            self.assertEqual(done.stdout, f"{at} {getattr(errno, name)}\n")
            self.assertEqual(self.counted(), [at, 1])

    def test_kills_before_the_call(self):
        for at in range(1, 25):
            done = self.run_acts("--at", str(at), "--do", "kill")
            self.assertEqual(done.returncode, 128 + signal.SIGKILL)
        self.assertEqual(os.listdir(self.dir / "w"), ["d"], "the last one was killed before its rmdir")

    def test_stays_full(self):
        done = self.run_acts("--at", "2", "--do", "ENOSPC", "--sticky", more=["go on"])
        failed = [int(line.split()[0]) for line in done.stdout.splitlines() if line[0].isdigit() and line.endswith(" 28")]
        self.assertEqual(failed, [2, 10, 11, 12, 16], "what needs space fails, what frees it does not")

    def test_beyond_the_end(self):
        done = self.run_acts("--at", "99", "--do", "kill")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(self.counted(), [24, 0])

    def test_watches_children_and_threads(self):
        script = ("import threading, subprocess, os, sys\nos.chdir(sys.argv[1])\n"
                  "t = threading.Thread(target=os.mkdir, args=('t',)); t.start(); t.join()\nsubprocess.run(['rmdir', 't'], check=True)\n")
        (self.dir / "w").mkdir()
        trace = self.dir / "trace"
        subprocess.run([faultrun(), "--count", self.dir / "count", "--trace", trace, sys.executable, "-I", "-B", "-c", script, self.dir / "w"],
                       check=True)
        self.assertEqual(self.counted(), [2, 0])
        self.assertEqual([line.split()[1] for line in pathlib.Path(trace).read_text().splitlines()], ["mkdir", "rmdir"])
