#!/usr/bin/env python3
# Manual pages: one per program and command, clean for mandoc, every option of --help in it; and a folder of
# golden tests beside each.
# SPDX-License-Identifier: Apache-2.0
import re
import subprocess
import sys
from pathlib import Path

import programs
import tree

OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")


def page_text(page):
    """The page as a reader sees it, without overstrikes and line breaks inside words."""
    done = subprocess.run(["mandoc", "-Tascii", "-O", "width=500", page], capture_output=True, check=False)
    return re.sub(".\b", "", done.stdout.decode("ascii", "replace"))


def one(build, program, command, name):
    page = tree.ROOT / "man" / f"{name}.1"
    printed, status = programs.help_of(build, program, *command)
    if status != 0:
        yield f"{program} {' '.join(command)} --help: exit status {status}"
    if not page.is_file():
        yield f"man/{name}.1: missing"
    else:
        described = page_text(page)
        for option in sorted(set(OPTION.findall(printed)) - {"help"}):
            if not re.search(rf"(?<![\w-])--{option}(?![\w-])", described):
                yield f"man/{name}.1: --{option} is in --help but not in the page"
    if command or not programs.commands(build, program):
        golden = tree.ROOT / "tests/golden" / name
        if not golden.is_dir() or not any(golden.glob("*/cmd")):
            yield f"tests/golden/{name}: no scenario"


def lint():
    for page in sorted((tree.ROOT / "man").glob("*")):
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True, check=False)
        yield from (line.replace(f"{tree.ROOT}/", "") for line in done.stdout.splitlines())


def main():
    build = Path(sys.argv[1])
    pages = list(programs.pages(build))
    findings = list(lint())
    for program in programs.PROGRAMS:
        # a file named like a command that the help does not list would go unchecked
        if (tree.ROOT / "src/cli" / program / "commands.hpp").is_file() and not programs.commands(build, program):
            findings.append(f"{program} --help lists no commands below `Commands:`")
    for page in pages:
        findings += one(build, *page)
    tree.report(findings, len(pages))


if __name__ == "__main__":
    main()
