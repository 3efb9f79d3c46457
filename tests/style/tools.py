#!/usr/bin/env python3
# What other programs check: bash -n and shellcheck over the scripts, a compile of each Python file, and
# clang-format 14 over C++.
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import tree


def run(*command):
    """The program's findings as lines; none when it is content."""
    done = subprocess.run(command, cwd=tree.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return (done.stdout.splitlines() or [f"{command[0]}: exit status {done.returncode}"]) if done.returncode else []


def scripts():
    findings = []
    found = tree.scripts()
    for path, interpreter in found:
        if "SPDX-License-Identifier: Apache-2.0" not in tree.text(path):
            findings.append(f"{path}: no SPDX-License-Identifier")
        if interpreter == "python3":
            try:
                compile(tree.text(path), str(path), "exec")
            except SyntaxError as error:
                findings.append(f"{path}:{error.lineno}: {error.msg}")
        elif interpreter in ("bash", "sh"):
            findings += run(interpreter, "-n", path)
            findings += run("shellcheck", "--severity=warning", "--format=gcc", path)
        else:
            findings.append(f"{path}: a script for {interpreter}; bash, sh and python3 are used here")
    return findings, len(found)


def layout():
    files = [str(path) for path in tree.cpp_files()]
    said = run("clang-format-14", "--dry-run", "-Werror", *files)
    wrong = sorted({line.split(":")[0] for line in said if ": error: " in line})
    return [f"{path}: not laid out as clang-format-14 does; `./dev format` does it" for path in wrong] or said, len(files)


if __name__ == "__main__":
    tree.report(*{"scripts": scripts, "layout": layout}[sys.argv[1]]())
