# SPDX-License-Identifier: Apache-2.0
"""varve run by a real unprivileged user, with a home, a store and trees of its own."""

import json
import os
import shutil
import subprocess

from .case import Case, need_root
from .varve import Result, binary

UID, GID = 65533, 65533


class UserCase(Case):
    """self.varve's home, store and trees belong to UID; self.user(...) runs it as that user."""

    def setUp(self):
        super().setUp()
        need_root()
        self.home = self.path("home")
        self.fresh_home()
        self.varve.home, self.varve.store, self.varve.roots = self.home, self.home / "store", self.home / "roots"
        # It must be reachable for that user, wherever the project lies.
        self.command = self.dir / "varve"
        shutil.copyfile(binary(), self.command)
        self.command.chmod(0o755)

    def fresh_home(self):
        """An empty home of the user."""
        if self.home.exists():
            shutil.rmtree(self.home)
        self.home.mkdir()
        os.chown(self.home, UID, GID)

    def as_user(self, *command):
        """Any command as the user; the finished process."""
        return subprocess.run(["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups", *map(os.fspath, command)], cwd="/",
                              env=self.varve.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def user(self, *args, status=0):
        """varve as the user; expects the status."""
        done = self.as_user(self.command, *args)
        result = Result(args, done.returncode, done.stdout, done.stderr)
        self.varve.judge(result, status)
        return result

    def install(self, *args):
        """The JSON of an install by the user."""
        return json.loads(self.user("--json", "install", *args).out)
