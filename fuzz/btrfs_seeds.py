#!/usr/bin/env python3
# Makes the first inputs of btrfs_fuzz: superblocks and the trees of chunks, roots and devices of small file systems of
# each kind, as the stretches of them that are not zero. Needs root: a chunk tree of two levels is made by the kernel.
# SPDX-License-Identifier: Apache-2.0
"""usage: btrfs_seeds.py FOLDER"""

import hashlib
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

MIB = 1 << 20
SUPERBLOCKS = [64 << 10, 64 * MIB]
UUID = "01234567-89ab-cdef-0123-456789abcdef"
# options of mkfs.btrfs, MiB before and after, tail, GiB that are allocated
KINDS = [
    ("-n 4k", 120, 200, 0, 0),
    ("-n 4k -m single", 120, 200, 3, 0),
    ("-n 4k -m single", 120, 300 * 1024, 3, 0),
    ("-n 4k -m raid0 --csum xxhash", 120, 300, 3, 0),
    ("-n 4k --csum sha256", 120, 300, 3, 0),
    ("-n 16k --csum xxhash", 120, 300, 3, 0),
    ("-M", 60, 61, 3, 0),
    ("-M", 60, 400, 7, 0),
    ("-M --csum blake2", 60, 400, 0, 0),
    ("-n 4k -m single", 60 * 1024, 70 * 1024, 3, 36),
]


def stretches(disk, place, length):
    """(place, bytes) of all that is not zero, gaps of less than 16 bytes included."""
    with open(disk, "rb") as file:
        file.seek(place)
        data = file.read(length)
    for match in re.finditer(rb"[^\0](?:\0{0,15}[^\0])*", data, re.S):
        yield place + match.start(), match.group()


def tree_places(disk):
    """Where the blocks of these trees are, all copies, and how long they are."""
    words = ["btrfs", "inspect-internal"]
    text = subprocess.run([*words, "dump-super", "-f", disk], check=True, capture_output=True, text=True).stdout
    trees = {name: subprocess.run([*words, "dump-tree", "-t", name, disk], check=True, capture_output=True,
                                  text=True).stdout for name in ("chunk", "root", "dev")}
    node = int(re.search(r"^nodesize\t+(\d+)", text, re.M).group(1))
    places = []
    for chunk in re.finditer(r"CHUNK_ITEM (\d+)\).*\n\t+length (\d+).*\n(?:(?!\titem).*\n)*", trees["chunk"]):
        start, length = int(chunk[1]), int(chunk[2])
        copies = [int(copy) for copy in re.findall(r"stripe \d+ devid 1 offset (\d+)", chunk[0])]
        for tree in trees.values():
            blocks = [int(block) for block in re.findall(r"^(?:leaf|node) (\d+) (?:level|items)", tree, re.M)]
            places += [(copy + block - start, node) for block in blocks if start <= block < start + length
                       for copy in copies]
    return places


def allocate(disk, gib):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-o", "loop", disk, folder], check=True)
        try:
            subprocess.run(["fallocate", "-l", f"{gib}G", f"{folder}/file"], check=True)
        finally:
            subprocess.run(["umount", folder], check=True)


def seed(options, before, after, tail, allocated, disk):
    disk.unlink(missing_ok=True)
    with open(disk, "wb") as file:
        file.truncate(before * MIB)
    subprocess.run(["mkfs.btrfs", "-q", "-f", "-U", UUID, *options.split(), disk], check=True, capture_output=True)
    if allocated:
        allocate(disk, allocated)
    places = [(at, 4096) for at in SUPERBLOCKS] + tree_places(disk)
    parts = [struct.pack("<QH", at, len(part)) + part
             for place, length in places for at, part in stretches(disk, place, length)]
    return struct.pack("<I", after * 1024) + b"".join(parts) + bytes([tail]) + bytes(15)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            data = seed(*kind, Path(folder) / "disk")
            (Path(sys.argv[1]) / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
