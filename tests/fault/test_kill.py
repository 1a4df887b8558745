# SPDX-License-Identifier: Apache-2.0
"""kill -9 and Ctrl-C at every mutating system call: the store stays clean, the same command then succeeds."""

from faults import FaultCase  # noqa: F401  (sets the module path)
from states import ReplacingStates, States
from support import need_root


class KillCase(States):
    action = "kill"
    # Commands that one may repeat although the first run came to its end.
    status_of_repeat = {"install": (0, 1), "install cold": (0, 1), "install hooks": (0, 1), "remove": (0, 3), "remove tree": (0, 3), "rollback": (0, 1, 3)}

    def killed(self, name):
        prepare, args, holds = self.commands()[name]

        def judge(varve, status, err):
            had_active = prepare.__name__ in ("installed", "switched", "peopled", "moved", "replaced")
            if had_active:
                self.active_is_whole(varve)
            if name != "remove tree":
                self.no_half_tree(varve)
            if (varve.store / "VERSION").exists() and prepare != self.damaged:
                varve.run("check")
            if name == "rollback":
                # Its repetition undoes itself: what counts is that one of the two trees is active, whole.
                varve.run("switch", self.one)
            elif name == "rollback install":
                varve.run("list", "--installed")  # finishes or undoes; holds() looks which
            else:
                varve.run(*args, status=self.status_of_repeat.get(name, 0))
            holds(varve)
            varve.run("check", "--read-data")

        self.sweep(name, prepare, args, judge, self.action)


class KillPull(KillCase):
    def test_pull(self):
        self.killed("pull")

    def test_pull_second(self):
        self.killed("pull second")


class KillInstall(KillCase):
    def test_install(self):
        self.killed("install")


class KillInstallCold(KillCase):
    def test_install_cold(self):
        self.killed("install cold")


class KillInstallOver(KillCase):
    def test_install_over(self):
        self.killed("install over")


class KillReplace(ReplacingStates, KillCase):
    limit = 60

    def setUp(self):
        need_root()
        super().setUp()

    def test_install_user(self):
        self.killed("install user")

    def test_install_hooks(self):
        self.killed("install hooks")

    def test_install_active(self):
        self.killed("install active")

    def test_rollback_install(self):
        self.killed("rollback install")


class KillSwitch(KillCase):
    def test_switch(self):
        self.killed("switch")

    def test_rollback(self):
        self.killed("rollback")


class KillGc(KillCase):
    def test_gc(self):
        self.killed("gc")

    def test_budget(self):
        self.killed("gc budget")


class KillRemove(KillCase):
    def test_remove(self):
        self.killed("remove")

    def test_remove_tree(self):
        self.killed("remove tree")


class KillRepair(KillCase):
    def test_repair(self):
        self.killed("repair")

    def test_rebuild(self):
        self.killed("rebuild")


class Interrupt(KillCase):
    """SIGINT before each call: the command may end or come to its end; both leave everything whole."""

    action = "int"

    def test_pull(self):
        self.killed("pull")

    def test_install(self):
        self.killed("install")

    def test_switch(self):
        self.killed("switch")
