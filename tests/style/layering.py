#!/usr/bin/env python3
# The layering rule: a folder includes itself and folders below it, the programs only public headers, and
# every foreign header has one home. The picture that this checks is in src/README.md.
# SPDX-License-Identifier: Apache-2.0
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import tree

LADDER = ["base", "storage", "format", "image", "operations"]
MAY_USE = {layer: set(LADDER[: LADDER.index(layer) + 1]) for layer in LADDER}
MAY_USE["iso9660"] = {"base", "storage", "iso9660"}
MAY_USE["fat"] = {"base", "storage", "fat"}
MAY_USE["seed"] = {"base", "storage", "iso9660", "fat", "seed"}
MAY_USE["partition"] = {"base", "storage", "partition"}
MAY_USE["guest"] = {"base", "storage", "image", "partition", "guest"}
MAY_USE["operations"] |= {"partition", "guest"}
MAY_USE["vm"] = {"base", "vm"}
# what a folder may use only as a stranger does, through include/qimg/
MAY_CALL = {"vm": {"storage", "image", "operations", "seed"}}

# public headers that a folder implements; one that only holds data is as high as what it includes
PUBLIC_LAYER = {"storage": "storage", "image": "image", "iso9660": "iso9660", "seed": "seed", "vm": "vm",
                "volume": "storage"}

# foreign header (a pattern) -> where it may be included
HOMES = {
    "libvirt/*": ["src/vm/*"],
    "pugixml.hpp": ["src/vm/*"],
    "zlib.h": ["src/format/compression.cc"],
    "zstd*.h": ["src/format/compression.cc"],
    "libdeflate.h": ["src/format/compression.cc"],
    "isa-l*": ["src/base/isal.hpp"],
    "dlfcn.h": ["src/base/isal.cc"],
    "seccomp.h": ["src/cli/qimg/sandbox.cc"],
    "CLI/*": ["src/cli/*"],
    "nlohmann/*": ["src/*"],
    "cdio/*": ["src/iso9660/*"],
    "libfyaml.h": ["src/seed/*"],
    "crypt.h": ["src/seed/*"],
    "sha2.h": ["src/base/digest.cc"],
    "ext2fs/*": ["src/guest/ext4/*"],
    "fmt/*": ["src/*", "tests/*", "fuzz/*"],
    "doctest/*": ["tests/*"],
    "benchmark/*": ["tests/bench/*"],
}
ONE_FILE_ONLY = ["libfyaml.h"]
SYSTEM = re.compile(r"^([a-z_]+|(sys|linux|net|netinet|arpa)/[a-z_]+\.h"
                    r"|(unistd|fcntl|dirent|poll|pthread|pwd|grp|signal|stdlib|string|termios|time|errno|endian"
                    r"|getopt|locale|limits|spawn|sched|immintrin|emmintrin)\.h)$")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


@cache
def layer_of_public(header):
    """`operations/info.hpp` -> operations, `image.hpp` -> image, `units.hpp` -> base."""
    named = "operations" if header.startswith("operations/") else PUBLIC_LAYER.get(header.removesuffix(".hpp"))
    if named or not (tree.ROOT / "include/qimg" / header).is_file():
        return named or "base"
    included = INCLUDE.findall(tree.text(Path("include/qimg") / header))
    below = {layer_of_public(name.removeprefix("qimg/")) for _, name in included if name.startswith("qimg/")}
    return max(below & set(LADDER), key=LADDER.index, default="base")


def own_include(path, included):
    """What is wrong with an #include "..." of the tree's own; empty when nothing is."""
    public = included.removeprefix("qimg/") if included.startswith("qimg/") else None
    target = layer_of_public(public) if public else included.split("/")[0]
    if path.parts[0] in ("tests", "fuzz"):
        return ""
    if path.parts[0] == "include":
        layer = layer_of_public("/".join(path.parts[2:]))
        if not public:
            return "a public header includes a private one"
        allowed = MAY_USE.get(layer, set()) | MAY_CALL.get(layer, set())
        return "" if target in allowed else f"{layer} is below {target}"
    layer = path.parts[1]
    if public and target in MAY_CALL.get(layer, set()):
        return ""
    if layer == "cli":
        own_folder = included.startswith("cli/") and included.count("/") == 1
        own_program = included.startswith(f"cli/{path.parts[2]}/")
        return "" if public or own_folder or own_program else "a program includes only qimg/ and its own folder"
    if not public and not (tree.ROOT / "src" / included).is_file():
        return "not rooted at src/ or include/"
    return "" if target in MAY_USE.get(layer, set()) else f"{layer} may not use {target}"


def foreign_include(path, included):
    for pattern, homes in HOMES.items():
        if fnmatch(included, pattern):
            # a test may ask the same library for a second opinion
            at_home = path.parts[0] in ("tests", "fuzz") or any(fnmatch(str(path), home) for home in homes)
            return "" if at_home else f"its home is {' '.join(homes)}"
    return "" if SYSTEM.match(included) else "a foreign header without a home: name one in HOMES"


def main():
    findings = []
    files = tree.cpp_files()
    users = {header: [] for header in ONE_FILE_ONLY}
    for path in files:
        source = tree.text(path)
        for match in INCLUDE.finditer(source):
            included = match.group(2)
            own = match.group(1) == '"'
            wrong = own_include(path, included) if own else foreign_include(path, included)
            if wrong:
                findings.append(f"{path}:{tree.line_of(source, match.start(2))}: {included}: {wrong}")
            if included in users:
                users[included].append(str(path))
    for header, where in users.items():
        if len(where) > 1:
            findings.append(f"{header}: included by {', '.join(where)}; it should be one file")
    tree.report(findings, len(files))


if __name__ == "__main__":
    main()
