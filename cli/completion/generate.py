#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a shell completion from `varve help --dump`: generate.py VARVE bash|zsh|fish"""

import subprocess
import sys

IMAGES = "varve -q list 2>/dev/null | awk 'NR > 1 && $1 != \"-\" { print $1 }'"
TREES = "varve -q list --installed 2>/dev/null | awk 'NR > 1 { print $1 == \"*\" ? $2 : $1 }'"


class Option:
    def __init__(self, name, letter, arg, kind, text):
        self.name, self.letter, self.text = name, letter.strip("-"), text
        self.arg = "" if arg == "-" else arg
        self.choices = arg.split("|") if kind == "choice" else []

    def words(self):
        return [f"--{self.name}"] + ([f"-{self.letter}"] if self.letter else [])


class Command:
    def __init__(self, name, args="", summary=""):
        self.name, self.args, self.summary, self.options = name, args, summary, []

    def sources(self):
        """What its arguments can be: "images", "trees", "files", "commands"."""
        kinds = {"REF": "images", "LABEL": "trees", "FILE": "files", "DIR": "files", "COMMAND": "commands"}
        return [kind for word, kind in kinds.items() if word in self.args.replace("NEWREF", "").replace("DEST", "")]


def read_dump(binary):
    """Returns (global options, commands)."""
    everywhere, commands = Command("-"), {}
    for line in subprocess.run([binary, "help", "--dump"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        kind, *fields = line.split("\t")
        if kind == "command":
            commands[fields[0]] = Command(*fields)
        elif kind == "option":
            (everywhere if fields[0] == "-" else commands[fields[0]]).options.append(Option(*fields[1:]))
    return everywhere, commands


def cases(options):
    """(words, option) of the options that take an argument."""
    return [(option.words(), option) for option in options if option.arg]


def bash_argument(option):
    if option.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur"))'
    if option.arg == "DIR":
        return 'COMPREPLY=($(compgen -d -- "$cur"))'
    if option.arg in ("FILE", "OUT"):
        return 'COMPREPLY=($(compgen -f -- "$cur"))'
    if option.arg == "LABEL":
        return 'COMPREPLY=($(compgen -W "$(_varve_trees)" -- "$cur"))'
    return "COMPREPLY=()"


def bash(everywhere, commands):
    taking = sorted({word for c in [everywhere, *commands.values()] for words, _ in cases(c.options) for word in words})
    lines = ["# bash completion of varve; made by cli/completion/generate.py",
             "_varve_images() { " + IMAGES + "; }",
             "_varve_trees() { " + TREES + "; }",
             "_varve() {",
             "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word i",
             "\t# A reference holds colons, at which readline breaks words: put it together again.",
             "\tif declare -F _get_comp_words_by_ref >/dev/null; then",
             "\t\tlocal words cword",
             "\t\t_get_comp_words_by_ref -n : cur prev words cword",
             "\telse",
             '\t\tlocal words=("${COMP_WORDS[@]}") cword=$COMP_CWORD',
             "\tfi",
             "\tCOMPREPLY=()",
             "\tfor ((i = 1; i < cword; i++)); do",
             '\t\tword=${words[i]}',
             '\t\tcase $word in',
             f"\t\t{'|'.join(taking)}) i=$((i + 1)) ;;",
             "\t\t-*) ;;",
             "\t\t*) command=$word; break ;;",
             "\t\tesac",
             "\tdone",
             '\tcase $command,$prev in']
    for words, option in cases(everywhere.options):
        lines.append(f"\t{'|'.join('*,' + w for w in words)}) {bash_argument(option)}; return ;;")
    for command in commands.values():
        for words, option in cases(command.options):
            lines.append(f"\t{'|'.join(command.name + ',' + w for w in words)}) {bash_argument(option)}; return ;;")
    lines += ["\tesac", "\tlocal options=" + repr(" ".join("--" + o.name for o in everywhere.options)) + " arguments=",
              "\tcase $command in",
              "\t'') arguments='" + " ".join(commands) + "' ;;"]
    calls = {"images": "$(_varve_images)", "trees": "$(_varve_trees)", "commands": " ".join(commands)}
    for command in commands.values():
        words = " ".join("--" + o.name for o in command.options)
        body = [f'options="$options {words}"'] if words else []
        sources = [calls[s] for s in command.sources() if s in calls]
        if sources:
            # Not asked for while an option is typed.
            body.append(f'[[ $cur == -* ]] || arguments="{" ".join(sources)}"')
        if "files" in command.sources():
            body.append('[[ $cur == -* ]] || COMPREPLY=($(compgen -f -- "$cur"))')
        lines.append(f"\t{command.name}) {'; '.join(body) or ':'} ;;")
    lines += ["\tesac",
              '\t[[ $cur == -* ]] && arguments=$options',
              '\tCOMPREPLY+=($(compgen -W "$arguments" -- "$cur"))',
              '\tdeclare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"',
              "\treturn 0",
              "}",
              "complete -F _varve varve"]
    return lines


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def zsh_argument(option):
    if option.choices:
        return f":{option.name}:({' '.join(option.choices)})"
    action = {"DIR": "_directories", "FILE": "_files", "OUT": "_files", "LABEL": "_varve_trees"}.get(option.arg, " ")
    return f":{option.arg}:{action}".replace("%", "%%")


def zsh_options(options):
    for option in options:
        text = option.text.replace("[", "(").replace("]", ")").replace(":", "\\:")
        for word in option.words():
            equals = "=" if option.arg and word.startswith("--") else ""
            yield quoted(f"*{word}{equals}[{text}]{zsh_argument(option) if option.arg else ''}")


def zsh(everywhere, commands):
    actions = {"images": "_varve_images", "trees": "_varve_trees", "files": "_files", "commands": "_varve_commands"}
    lines = ["#compdef varve", "# zsh completion of varve; made by cli/completion/generate.py",
             "_varve_images() { local -a found; found=(${(f)\"$(" + IMAGES + ")\"}); compadd -a found }",
             "_varve_trees() { local -a found; found=(${(f)\"$(" + TREES + ")\"}); compadd -a found }",
             "_varve_commands() {", "\tlocal -a found=("]
    lines += [f"\t\t{quoted(c.name + ':' + c.summary.replace(':', chr(92) + ':'))}" for c in commands.values()]
    lines += ["\t)", "\t_describe command found", "}", "_varve() {", "\tlocal curcontext=$curcontext state line",
              "\tlocal -a globals=("]
    lines += [f"\t\t{spec}" for spec in zsh_options(everywhere.options)]
    lines += ["\t)", "\t_arguments -C $globals '1:command:_varve_commands' '*::argument:->arguments'",
              "\t[[ $state = arguments ]] || return", "\tcase $words[1] in"]
    for command in commands.values():
        sources = [actions[s] for s in command.sources()]
        rest = quoted("*:argument:" + (sources[0] if len(sources) == 1 else
                                       "_alternative " + " ".join(f'"{s}:{s}:{actions[s]}"' for s in command.sources()))) \
            if sources else ""
        specs = " ".join([*zsh_options(command.options), *([rest] if rest else [])])
        lines.append(f"\t{command.name}) _arguments $globals {specs} ;;")
    return lines + ["\tesac", "}", '_varve "$@"']


def fish(everywhere, commands):
    calls = {"images": f"({IMAGES})", "trees": f"({TREES})", "commands": " ".join(commands)}
    lines = ["# fish completion of varve; made by cli/completion/generate.py", "complete -c varve -f"]

    def add(option, condition):
        line = f"complete -c varve {condition}-l {option.name}"
        if option.letter:
            line += f" -s {option.letter}"
        if option.choices:
            line += f" -x -a {quoted(' '.join(option.choices))}"
        elif option.arg == "LABEL":
            line += f" -x -a {quoted(calls['trees'])}"
        elif option.arg:
            line += " -r -F" if option.arg in ("DIR", "FILE", "OUT") else " -x"
        lines.append(f"{line} -d {quoted(option.text)}")

    for option in everywhere.options:
        add(option, "")
    for command in commands.values():
        lines.append(f"complete -c varve -n __fish_use_subcommand -a {command.name} -d {quoted(command.summary)}")
        seen = f"-n '__fish_seen_subcommand_from {command.name}' "
        for option in command.options:
            add(option, seen)
        for source in command.sources():
            lines.append(f"complete -c varve {seen}" + ("-F" if source == "files" else f"-a {quoted(calls[source])}"))
    return lines


def main():
    _, binary, shell = sys.argv
    print("\n".join({"bash": bash, "zsh": zsh, "fish": fish}[shell](*read_dump(binary))))


main()
