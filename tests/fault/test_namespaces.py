# SPDX-License-Identifier: Apache-2.0
"""Containers that share a store: process numbers are equal there, users differ."""

import os
import subprocess
import time

from faults import FaultCase, small_layers
from support import Tar, binary, need_root, tree

ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class PidNamespaces(FaultCase):
    """Every varve below has the same pid, in a namespace of its own."""

    def setUp(self):
        super().setUp()
        need_root()
        layout = self.layout()
        base, upper = small_layers()
        self.server = self.registry()
        self.refs = []
        for i in range(4):
            layout.image(f"i{i}", [base, upper, Tar().file(f"own{i}", os.urandom(100_000))])
            self.refs.append(self.server.push(layout, f"i{i}", f"team/i{i}", "1"))

    def test_same_pid_at_once(self):
        said = subprocess.run([*ALONE, "sh", "-c", "echo $$"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertEqual(said.strip(), "1")
        for round_ in range(3):
            running = [self.varve.popen("pull", ref, prefix=ALONE) for ref in self.refs * 2]
            running += [self.varve.popen("install", "--force", "--name", f"n{i}", ref, prefix=ALONE) for i, ref in enumerate(self.refs)]
            running += [self.varve.popen(*c, prefix=ALONE) for c in (["gc"], ["list"], ["check"], ["gc"])]
            for process in running:
                _, err = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 0, err.decode())
        self.varve.run("check", "--read-data")
        self.server.stop()
        for i, ref in enumerate(self.refs):
            self.varve.run("--offline", "install", "--name", f"probe{i}", ref)
            self.assertIn(f"own{i}".encode(), tree.scan(self.varve.roots / f"rootfs_probe{i}"))

    def test_made_at_once(self):
        """Whoever meets a store that is being made waits for it, or says that there is none."""
        for round_ in range(20):
            varve = self.new_varve()
            commands = (["gc"], ["list"], ["check"], ["df"])
            running = [varve.popen("pull", self.refs[i], prefix=ALONE) for i in range(2)]
            running += [varve.popen(*c, prefix=ALONE) for c in commands]
            for process in running:
                _, err = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 0, f"round {round_}: {err.decode()}")
            self.assertCleanStore(varve)

    def test_lease_of_another_namespace_protects(self):
        """gc outside sees that a pull inside is alive, although it has the number of a process outside or of none."""
        slow = self.nginx("location / { proxy_pass http://%s; proxy_set_header Host $http_host; limit_rate 40k; }"
                          % self.server.address)
        ref = f"{slow.address}/team/i0:1"
        pull = self.varve.popen("pull", ref, prefix=ALONE)
        time.sleep(1.5)
        self.assertIsNone(pull.poll(), "the pull was too quick to test anything")
        for _ in range(5):
            self.varve.run("gc")
            self.varve.run("gc", prefix=ALONE)
        _, err = pull.communicate(timeout=120)
        self.assertEqual(pull.returncode, 0, err.decode())
        self.varve.run("check", "--read-data")
        self.server.stop()
        self.varve.run("--offline", "install", ref)

    def test_killed_inside_leaves_nothing_locked(self):
        slow = self.nginx("location / { proxy_pass http://%s; proxy_set_header Host $http_host; limit_rate 30k; }"
                          % self.server.address)
        ref = f"{slow.address}/team/i1:1"
        pull = self.varve.popen("pull", ref, prefix=ALONE)
        time.sleep(1)
        pull.kill()
        pull.communicate()
        self.varve.run("gc", timeout=20)
        self.varve.run("pull", self.refs[1], timeout=20)
        self.varve.run("check", "--read-data")


class OtherUser(FaultCase):
    """Not root: a store of one's own, trees owned by the caller, losses counted."""

    def test_as_nobody(self):
        need_root()
        layout = self.layout()
        layout.image("image", small_layers())
        ref = self.registry().push(layout, "image", "team/app", "1")
        home = self.dir / "nobody"
        home.mkdir()
        os.chown(home, 65534, 65534)
        # The command must be reachable for that user.
        command = self.dir / "varve"
        command.write_bytes(open(binary(), "rb").read())
        command.chmod(0o755)
        varve = self.new_varve()
        varve.home, varve.store, varve.roots = home, home / "store", home / "roots"

        def run(*args, status=0):
            done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", command, *args], cwd="/",
                                  env=varve.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, status, done.stderr)
            return done

        done = run("install", ref)
        self.assertRegex(done.stderr, r"\d+ owner")
        found = tree.scan(varve.tree(ref))
        self.assertEqual({n["uid"] for n in found.values()}, {65534})
        self.assertNotIn(b"null", found)
        self.assertEqual(found[b"set"]["mode"], "0o4755")
        run("check", "--read-data")
        run("switch", ref)
        self.assertEqual(os.stat(varve.store).st_mode & 0o777, 0o700)
        # Root does not write into another's store by accident.
        result = self.varve.run("--store", varve.store, "pull", ref, status=None)
        self.assertNotEqual(result.status, 0)
