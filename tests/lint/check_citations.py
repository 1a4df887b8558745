#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every document that a comment or a page cites is in the repository, with the rule or the section that is named.

    docs/requirements.md 2.18 to 2.20, 4.5     rows of its tables, or a section "## 4. ..."
    docs/layers.md W25, M14                    rows of its tables
    docs/x.md, "Title"                         a heading
"""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
# A comment may be wrapped between the document and the rule.
GAP = r"(?:[ \t]*\n[ \t]*(?:\*|#|//)?)?[ \t]*"
RULE = r"(?:[A-Z]\d+[a-z]?|\d+(?:\.\d+)?)"
CITED = re.compile(rf'(docs/[\w.-]+\.(?:md|scd))((?:,?{GAP}"[^"\n]+")|(?:{GAP}{RULE}(?:{GAP}(?:,|to|and|-)?{GAP}{RULE}\b)*))?')
# Documents that were never here.
FOREIGN = re.compile(r"\b(PROTOCOL|STORE-AND-LAYERS|ARCHITECTURE|SOURCES|STYLE)(?=\.md|[ \n*]+[A-Z]?\.?\d|[ \n*]+[A-F]\b)")


def has_rule(text, rule):
    # Letters are unique on a page; a number is a rule only as a row or as a section.
    if rule[0].isalpha():
        return bool(re.search(rf"\b{rule}\b", text))
    return bool(re.search(rf"^\|[^|]*(?<![\w.]){re.escape(rule)}(?![\w.])[^|]*\|", text, re.M)
                or re.search(rf"^#+ {re.escape(rule)}\. ", text, re.M))


def check(name, text):
    for match in CITED.finditer(text):
        where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        document, what = match[1], match[2] or ""
        if not (TOP / document).exists():
            yield f"{where}: there is no {document}"
            continue
        page = (TOP / document).read_text()
        title = re.search(r'"([^"]+)"', what)
        if title and not re.search(rf"^#+ {re.escape(title[1])}$", page, re.M):
            yield f'{where}: {document} has no section "{title[1]}"'
        if not title:
            yield from (f"{where}: {document} has no rule {rule}" for rule in re.findall(RULE, what)
                        if not has_rule(page, rule))
    for match in FOREIGN.finditer(text):
        yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[1]} is no document of the repository"


def main():
    names = subprocess.run(["git", "ls-files", "*.c", "*.h", "*.py", "*.md", "*.scd", "*.sh"], cwd=TOP,
                           stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    bad = []
    for name in names:
        if "/data/" not in name and "tests/lint/" not in name:
            bad += check(name, (TOP / name).read_text())
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main())
