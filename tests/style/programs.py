# Which programs and commands there are: read off src/cli and each program's help, so that a new command is
# checked by itself.
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess

import tree

PROGRAMS = ("qimg", "mkseed", "vmbox")


def exists(program):
    return any((tree.ROOT / "src/cli" / program).glob("*.cc"))


def built(build, program):
    return build / "src/cli" / program / program


def help_of(build, program, *command):
    """What `program command --help` prints, and its exit status."""
    done = subprocess.run([built(build, program), *command, "--help"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
                          env={**os.environ, "LC_ALL": "C"})
    return done.stdout.decode(), done.returncode


def commands(build, program):
    """What the program's help lists below `Commands:`; none for a program that has no commands."""
    listed, inside = [], False
    for line in help_of(build, program)[0].splitlines():
        if line.lower() in ("commands:", "subcommands:"):
            inside = True
        elif inside and line.startswith(" ") and not line.startswith("    "):
            listed.append(line.split()[0])
        elif inside and not line.startswith(" "):
            break
    return listed


def pages(build):
    """Every (program, command or nothing, name of the page) there must be documentation and a test for."""
    for program in PROGRAMS:
        if exists(program):
            yield program, (), program
            for command in commands(build, program):
                yield program, (command,), f"{program}-{command}"
