#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The man pages say what the command line is: each command, option, error word and JSON schema, and no other."""

import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
# "*-n*, *--name* _LABEL_" at the start of a line
OPTION = re.compile(r"^(?:\*-(\w)\*, )?\*--([\w-]+)\*(?: _([^_]+)_)?$", re.M)
SCHEMA = re.compile(r'"(varve\.[a-z]+/\d+)"')


def read_dump(binary):
    """Returns ({command: (args, summary, {option: (letter, arg)})}, {word: status}); "-" are the globals."""
    commands, errors = {"-": ("", "", {})}, {}
    for line in subprocess.run([binary, "help", "--dump"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        kind, *fields = line.split("\t")
        if kind == "command":
            name, args, summary = fields
            commands[name] = (args, summary, {})
        elif kind == "option":
            command, name, letter, arg, _, _ = fields
            commands[command][2][name] = (letter.strip("-"), "" if arg == "-" else arg)
        elif kind == "error":
            errors[fields[0]] = int(fields[1])
        else:
            raise SystemExit(f"help --dump: unknown line: {line}")
    return commands, errors


def section(text, title):
    found = re.search(rf"^# {title}\n(.*?)(?=^# |\Z)", text, re.M | re.S)
    return found.group(1) if found else ""


def check_options(page, text, options):
    documented = {name: (letter or "", (arg or "").replace("\\", "")) for letter, name, arg in OPTION.findall(text)}
    for name in sorted(options.keys() - documented.keys()):
        yield f"{page}: --{name} is not documented"
    for name in sorted(documented.keys() - options.keys()):
        yield f"{page}: --{name} does not exist"
    for name in options.keys() & documented.keys():
        if options[name] != documented[name]:
            yield f"{page}: --{name}: {documented[name]} should be {options[name]} (letter, argument)"


def check_command(name, summary, options):
    page = f"varve-{name}.1.scd"
    if not (DOCS / page).exists():
        yield f"{page} is missing"
        return
    text = (DOCS / page).read_text()
    if not text.startswith(f"varve-{name}(1) "):
        yield f"{page}: its title is another"
    if not re.search(rf"^\*varve {name}\*", section(text, "SYNOPSIS"), re.M):
        yield f"{page}: the synopsis does not begin with *varve {name}*"
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
        if not section(text, title).strip():
            yield f"{page}: no section {title}"
    yield from check_options(page, section(text, "OPTIONS"), options)


def check_main(commands, errors):
    text = (DOCS / "varve.1.scd").read_text()
    listed = section(text, "COMMANDS")
    for name, (_, summary, _) in commands.items():
        if name != "-" and f"*varve-{name}*(1)" not in listed:
            yield f"varve.1.scd: COMMANDS lacks {name}"
    for name in set(re.findall(r"\*varve-([a-z]+)\*\(1\)", listed)) - commands.keys():
        yield f"varve.1.scd: COMMANDS has {name}, which does not exist"
    yield from check_options("varve.1.scd", section(text, "GLOBAL OPTIONS"), commands["-"][2])
    words = section(text, "ERRORS")
    for group in re.findall(r"([a-z, \n-]+?) \((?:status )?(\d+)\)", words):
        for word in re.split(r",\s*", group[0].strip()):
            if errors.pop(word, None) != int(group[1]):
                yield f"varve.1.scd: ERRORS: {word} has another status than {group[1]}, or does not exist"
    for word in sorted(errors):
        yield f"varve.1.scd: ERRORS lacks {word}"


def check_schemas():
    documented = "".join(p.read_text() for p in DOCS.glob("*.1.scd"))
    for source in sorted((TOP / "cli").glob("*.c")):
        for schema in SCHEMA.findall(source.read_text()):
            if schema not in documented:
                yield f"{source.name}: {schema} is in no man page"


def check_built():
    listed = set(re.findall(r"'(varve[\w-]*\.\d)'", (DOCS / "meson.build").read_text()))
    there = {p.name[:-4] for p in DOCS.glob("*.scd")}
    yield from (f"docs/meson.build lacks {name}" for name in sorted(there - listed))
    yield from (f"docs/meson.build: {name} has no source" for name in sorted(listed - there))


def main():
    commands, errors = read_dump(pathlib.Path(sys.argv[1]) / "cli/varve")
    bad = [*check_main(commands, errors), *check_schemas(), *check_built()]
    for name, (_, summary, options) in commands.items():
        if name != "-":
            bad += check_command(name, summary, options)
    for page in DOCS.glob("varve-*.1.scd"):
        if page.name[len("varve-"):-len(".1.scd")] not in commands:
            bad.append(f"{page.name}: there is no such command")
    print("\n".join(bad), end="\n" if bad else "")
    return bool(bad)


sys.exit(main())
