# SPDX-License-Identifier: Apache-2.0
"""Every mutating system call fails once with ENOSPC, EIO or EDQUOT, or the disk stays full from there on.

The command either reports it, or did without the call and succeeded truly; the store is clean, and the same command
then succeeds.
"""

from faults import FaultCase  # noqa: F401  (sets the module path)
from states import States

NO_SPACE = ("ENOSPC", "EDQUOT")


class ErrorCase(States):
    limit = 12
    repeat = {"install": (0, 1), "install cold": (0, 1), "remove": (0, 3), "remove tree": (0, 3)}

    def failing(self, name, action, sticky=False):
        prepare, args, holds = self.commands()[name]

        def judge(varve, status, err):
            self.assertLess(status, 128, "a signal ended it")
            self.assertNotEqual(status, 99, "sanitizer report")
            if prepare in (self.installed, self.switched):
                self.active_is_whole(varve)
            if name != "remove tree":
                self.no_half_tree(varve)
            if status == 0:
                holds(varve)
            else:
                self.assertRegex(err, "(?m)^(varve|error): ", "it failed without a word")
                self.assertIn(status, (7,) if action in NO_SPACE else (1, 4), "the status does not tell what happened")
            if (varve.store / "VERSION").exists() and prepare != self.damaged:
                varve.run("check")
            if name == "rollback":
                varve.run("switch", self.one)
            else:
                varve.run(*args, status=self.repeat.get(name, 0))
            holds(varve)
            varve.run("check", "--read-data")

        self.sweep(name, prepare, args, judge, action, sticky)


def _add(name, commands):
    case = type(name, (ErrorCase,), {})
    for command in commands:
        for action in ("ENOSPC", "EIO", "EDQUOT"):
            def test(self, command=command, action=action):
                self.failing(command, action)
            setattr(case, f"test_{command.replace(' ', '_')}_{action}", test)

        def full(self, command=command):
            self.failing(command, "ENOSPC", sticky=True)
        setattr(case, f"test_{command.replace(' ', '_')}_full", full)
    globals()[name] = case


_add("ErrorPull", ["pull"])
_add("ErrorInstall", ["install"])
_add("ErrorInstallCold", ["install cold"])
_add("ErrorInstallOver", ["install over"])
_add("ErrorSwitch", ["switch", "rollback"])
_add("ErrorGc", ["gc", "gc budget"])
_add("ErrorRemove", ["remove", "remove tree"])
_add("ErrorRepair", ["repair", "rebuild"])
