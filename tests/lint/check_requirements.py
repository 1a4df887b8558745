#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every rule in docs/requirements.md names tests that exist, or says why it has none."""

import ast
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
TABLE = TOP / "docs/requirements.md"
TESTS = TOP / "tests"


def python_tests():
    """module.Class.test of all of them; what a class takes over from another of its module is its own."""
    names = set()
    for path in [*TESTS.glob("integration/test_*.py"), *TESTS.glob("fault/test_*.py")]:
        classes = {c.name: c for c in ast.parse(path.read_text()).body if isinstance(c, ast.ClassDef)}

        def methods(c, classes=classes):
            own = {f.name for f in c.body if isinstance(f, ast.FunctionDef)}
            return own.union(*(methods(classes[b.id]) for b in c.bases if isinstance(b, ast.Name) and b.id in classes))

        names |= {f"{path.stem}.{name}.{m}" for name, c in classes.items() for m in methods(c) if m.startswith("test_")}
    return names


def unit_tests():
    """directory/file.c: function of those that cmocka is given."""
    names = set()
    for path in TESTS.glob("unit/*/test_*.c"):
        for name in re.findall(r"(?:cmocka_unit_test\w*|\bTEST)\(\s*(\w+)[,)]", path.read_text()):
            names.add(f"{path.parent.name}/{path.name}: {name}")
    return names


def main():
    known, wrong, rows = python_tests() | unit_tests(), [], 0
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 3 or cells[0] == "row" or set(cells[0]) == {"-"}:
            continue
        rows += 1
        proof = cells[2]
        named = re.findall(r"`([^`]+)`", proof)
        if re.match(r"(not done|no behaviour): \S", proof):
            continue
        if not named:
            wrong.append(f"{TABLE.name}:{number}: {cells[0]} names no test and no reason")
        wrong += [f"{TABLE.name}:{number}: {cells[0]}: there is no test {n}" for n in named if n not in known]
    if not rows:
        wrong.append(f"{TABLE.name}: no rows")
    print("\n".join(wrong) or f"{rows} rules", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


sys.exit(main())
