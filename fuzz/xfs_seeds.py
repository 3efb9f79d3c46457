#!/usr/bin/env python3
# Makes the first inputs of xfs_fuzz: small file systems of each kind, as the stretches of them that are not zero.
# Copies of the superblock are left out: nothing reads them before they are written.
# SPDX-License-Identifier: Apache-2.0
"""usage: xfs_seeds.py FOLDER"""

import hashlib
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

PIECES = "-b size=1024 -d agcount=2 -l agnum=0"
# options of mkfs.xfs, MiB before and after, tail
KINDS = [
    ("", 32, 60, 0),
    ("-m rmapbt=1", 32, 60, 31),
    ("-m rmapbt=1,reflink=0", 32, 34, 31),
    ("-b size=1024 -m finobt=0,reflink=0,inobtcount=0", 36, 100, 31),
    ("-b size=1024 -s size=1024 -m rmapbt=1 -d agcount=1", 20, 24, 31),
    ("-s size=4096 -d agcount=2", 40, 41, 31),
    ("-b size=65536", 200, 250, 31),
    ("-l su=32k", 40, 77, 31),
    ("-i nrext64=1 -m uuid=11111111-2222-3333-4444-555555555555", 40, 77, 31),
    ("-m crc=0", 40, 77, 31),
    # the last group's free space in pieces; checksums and sums are made right by the target
    (f"{PIECES} -m rmapbt=1", 36, 60, 23),
    (PIECES, 36, 60, 23),
]


def stretches(data):
    """(place, bytes) of all that is not zero, gaps of less than 16 bytes included."""
    for match in re.finditer(rb"[^\0](?:\0{0,15}[^\0])*", data, re.S):
        for at in range(match.start(), match.end(), 65535):
            yield at, data[at:min(match.end(), at + 65535)]


def in_pieces(data, count=300):
    """Single blocks instead of the last group's free extent, in trees of two levels."""
    block, group = struct.unpack(">II", data[84:92])[0] * 1024, 1
    header = group * block + 512
    roots = struct.unpack(">II", data[header + 16:header + 24])
    place = group * block + roots[0] * 1024
    start, = struct.unpack(">I", data[place + 56:place + 60])
    extents = [(start + 10 + 2 * n, 1) for n in range(count)]
    for number, root in enumerate(roots):
        leaves = [start + 3 * number + n for n in range(3)]
        at = group * block + root * 1024
        first = data[at:at + 56]
        for n, leaf in enumerate(leaves):
            part = extents[n * 100:(n + 1) * 100]
            to = group * block + leaf * 1024
            left, right = (leaves[n - 1] if n else 0xffffffff), (leaves[n + 1] if n < 2 else 0xffffffff)
            data[to:to + 56] = first
            data[to + 4:to + 24] = struct.pack(">HHIIQ", 0, len(part), left, right, to // 512)
            data[to + 56:to + 56 + 800] = b"".join(struct.pack(">II", *one) for one in part)
        data[at + 4:at + 8] = struct.pack(">HH", 1, 3)
        data[at + 56:at + 80] = b"".join(struct.pack(">II", *extents[n * 100]) for n in range(3))
        keys = (1024 - 56) // 12
        data[at + 56 + keys * 8:at + 56 + keys * 8 + 12] = struct.pack(">III", *leaves)
    data[header + 28:header + 36] = struct.pack(">II", 2, 2)
    data[header + 52:header + 64] = struct.pack(">III", count, 1, 6)


def seed(options, before, after, tail, disk):
    disk.write_bytes(bytes(before << 20))
    subprocess.run(["mkfs.xfs", "--unsupported", "-q", "-f", *options.split(), disk], check=True,
                   capture_output=True)
    data = bytearray(disk.read_bytes())
    block, = struct.unpack(">I", data[4:8])
    group_blocks, groups = struct.unpack(">II", data[84:92])
    sector, = struct.unpack(">H", data[102:104])
    for group in range(1, groups):
        at = group * group_blocks * block
        data[at:at + sector] = bytes(sector)
    if options.startswith(PIECES):
        in_pieces(data)
    # neither directories nor inodes are looked at
    for at in range(block, len(data), block):
        if data[at:at + 2] == b"IN":
            data[at:at + block] = bytes(block)
    parts = [struct.pack("<IH", at, len(part)) + part for at, part in stretches(bytes(data))]
    return struct.pack("<I", after << 10) + b"".join(parts) + bytes([tail]) + bytes(15)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for options, before, after, tail in KINDS:
            data = seed(options, before, after, tail, Path(folder) / "disk")
            (Path(sys.argv[1]) / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
