#!/usr/bin/env python3
# What the built files may link and start: the GPL-3 libcdio only behind mkseed and vmbox, and never one of the
# programs that this project replaces.
# SPDX-License-Identifier: Apache-2.0
import re
import subprocess
import sys
from pathlib import Path

import programs
import tree

REPLACED = re.compile(r"qemu-img|genisoimage|mkisofs|xorriso|cloud-localds")
STARTS = re.compile(r"\b(exec[vl]p?e?|posix_spawnp?|system|popen)\s*\(")


def needed(binary):
    done = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=True)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout)


def permissive(build):
    """libqimg (linked whole into qimg, or a shared library of its own) and qimg stay clear of libcdio."""
    for binary in [programs.built(build, "qimg"), *build.glob("src/libqimg.so")]:
        if binary.is_file():
            yield from (f"{binary.name}: links {name}" for name in needed(binary)
                        if re.match(r"lib(cdio|iso9660|virt)", name))
    for archive in build.glob("src/libqimg.a"):
        done = subprocess.run(["nm", "-A", "-u", archive], capture_output=True, text=True, check=False)
        yield from (line for line in done.stdout.splitlines() if re.search(r" (cdio|iso9660)_\w+$", line))


def started():
    """A literal that names a replaced program, in a file that starts processes."""
    for path in tree.cpp_files("src", "include"):
        if not STARTS.search(tree.code(path)):
            continue
        for match in re.finditer(r'"(?:\\.|[^"\\\n])*"', tree.text(path)):
            if REPLACED.search(match.group(0)):
                yield f"{path}:{tree.line_of(tree.text(path), match.start())}: {match.group(0)}"


def main():
    build = Path(sys.argv[1])
    checked = [program for program in programs.PROGRAMS if programs.exists(program)]
    findings = [f"{program}: not built" for program in checked if not programs.built(build, program).is_file()]
    tree.report([*findings, *permissive(build), *started()], len(tree.cpp_files("src", "include")))


if __name__ == "__main__":
    main()
