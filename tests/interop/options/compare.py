#!/usr/bin/env python3
# Every command and option that the stock qemu-img's --help names is known here, and stands on the page
# qimg-compat(7).
# SPDX-License-Identifier: Apache-2.0
"""usage: compare.py QIMG PAGE"""

import re
import subprocess
import sys

OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z][\w-]*)")
UNKNOWN = re.compile(r"unrecognized option|invalid option|Command not found")


def stock_commands():
    """Command -> its options, by the stock program's own help."""
    text = subprocess.run(["qemu-img", "--help"], capture_output=True, text=True, check=False).stdout
    syntax = text.split("Command syntax:")[1].split("Command parameters:")[0]
    commands = {}
    for line in syntax.strip().splitlines():
        name, _, rest = line.strip().partition(" ")
        commands[name] = sorted(set(OPTION.findall(rest)))
    return commands


def page_section(page, command):
    """The options that the page tells about a command: its own, and those of every command."""
    sections = re.split(r"^\.Ss ", page, flags=re.M)
    return "".join(part for part in sections if part.startswith((f"{command}\n", "In every command\n")))


def on_page(section, option):
    name = option.lstrip("-")
    pattern = rf"Fl -{re.escape(name)}\b" if option.startswith("--") else rf"Fl {re.escape(name)}\b"
    return re.search(pattern, section) is not None


def findings(program, page):
    for command, options in sorted(stock_commands().items()):
        known = subprocess.run([program, command], capture_output=True, text=True, check=False).stderr
        if UNKNOWN.search(known):
            yield f"{command}: no such command"
            continue
        for option in options:
            line = [program, command, option, "0", "no-such-file"]
            told = subprocess.run(line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stderr
            if UNKNOWN.search(told):
                yield f"{command} {option}: {told.splitlines()[0]}"
            if not on_page(page_section(page, command), option):
                yield f"{command} {option}: not on the page"


def main():
    program, page = sys.argv[1:]
    with open(page, encoding="utf-8") as file:
        found = list(findings(program, file.read()))
    print("\n".join(found))
    count = sum(map(len, stock_commands().values()))
    print(f"{count} options of {len(stock_commands())} commands, {len(found)} findings")
    return 1 if found or count < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
