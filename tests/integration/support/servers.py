# SPDX-License-Identifier: Apache-2.0
"""Processes that a test starts and ends: free ports, waiting for a port, stopping by pid."""

import signal
import socket
import subprocess
import time


def free_port(host="127.0.0.1"):
    """A port that was free a moment ago. Another process may take it: starters retry."""
    with socket.socket() as s:
        s.bind((host, 0))
        return s.getsockname()[1]


class Server:
    """One server process. start() retries with a new port when the port was taken meanwhile."""

    host = "127.0.0.1"

    def __init__(self, logfile):
        self.logfile = logfile
        self.process = None
        self.port = None

    def command(self):
        raise NotImplementedError

    def start(self, port=None):
        for _ in range(5):
            self.port = port or free_port(self.host)
            with open(self.logfile, "ab") as log:
                self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=subprocess.STDOUT, start_new_session=True)
            if self._wait_ready():
                return self
            self.stop()
        raise RuntimeError(f"{self.command()[0]} does not start:\n{self.log()[-2000:]}")

    def _wait_ready(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                socket.create_connection((self.host, self.port), 1).close()
                # The port answers: make sure that it is ours and not a stranger's.
                time.sleep(0.05)
                return self.process.poll() is None
            except OSError:
                time.sleep(0.02)
        return False

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sig)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def signal(self, sig):
        self.process.send_signal(sig)

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def log(self):
        with open(self.logfile, "rb") as file:
            return file.read().decode("utf-8", "replace")
