# Which programs and commands there are: read off src/cli, so that a new command is checked by itself.
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess

import tree

PROGRAMS = ("qimg", "mkseed", "vmbox")


def sources(program):
    """The stems of src/cli/<program>/*.cc, written as commands are typed."""
    return sorted(path.stem.replace("_", "-") for path in (tree.ROOT / "src/cli" / program).glob("*.cc"))


def built(build, program):
    return build / "src/cli" / program / program


def help_of(build, program, *command):
    """What `program command --help` prints, and its exit status."""
    done = subprocess.run([built(build, program), *command, "--help"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
                          env={**os.environ, "LC_ALL": "C"})
    return done.stdout.decode(), done.returncode


def commands(build, program):
    """The source files that the program knows as a command; for a program without commands, none."""
    return [stem for stem in sources(program)
            if any(line.split()[:1] == [stem] for line in help_of(build, program)[0].splitlines())]


def pages(build):
    """Every (program, command or nothing, name of the page) there must be documentation and a test for."""
    for program in PROGRAMS:
        if sources(program):
            yield program, (), program
            for command in commands(build, program):
                yield program, (command,), f"{program}-{command}"
