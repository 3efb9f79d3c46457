#!/usr/bin/env python3
# Makes the first inputs of vmdk_fuzz: small images of each kind, with grains of 4 KiB so that the files are short.
# SPDX-License-Identifier: Apache-2.0
"""usage: vmdk_seeds.py FOLDER"""

import hashlib
import struct
import sys
import zlib
from pathlib import Path

SECTOR, GRAIN, ENTRIES = 512, 8, 32  # sectors of a grain, grains of a table
AT_END = (1 << 64) - 1


def sectors(data):
    return data + bytes(-len(data) % SECTOR)


def header(version, flags, capacity, redundant, directory, overhead, compression):
    return struct.pack("<4sIIQQQQIQQQB4sH433x", b"KDMV", version, flags, capacity, GRAIN, 1, 1, ENTRIES, redundant,
                       directory, overhead, 0, b"\n \r\n", compression)


def descriptor(kind, capacity):
    text = (f'# Disk DescriptorFile\nversion=1\nCID=0000abcd\nparentCID=ffffffff\ncreateType="{kind}"\n'
            f'RW {capacity} SPARSE "a.vmdk"\n')
    return sectors(text.encode())


def grain(kind, number):
    data = (f"grain {number} " * 512).encode()[:GRAIN * SECTOR]
    if kind == "monolithicSparse":
        return data
    stream = zlib.compress(data)
    return sectors(struct.pack("<QI", number * GRAIN, len(stream)) + stream)


def image(kind, zeroed, at_end):
    """Two tables of one sector each; header, descriptor, the tables and their copies are in front of the grains."""
    compressed = kind == "streamOptimized"
    flags = 1 | (0 if at_end else 2) | (4 if zeroed else 0) | (0x30000 if compressed else 0)
    version = 3 if compressed else 2 if zeroed else 1
    capacity, overhead = 2 * ENTRIES * GRAIN - 3, 2 if at_end else 8
    entries, grains = [0] * (2 * ENTRIES), b""
    for number in (0, 1, 5, ENTRIES + 2, 2 * ENTRIES - 1):
        entries[number] = overhead + len(grains) // SECTOR
        grains += grain(kind, number)
    if zeroed:
        entries[9] = 1
    tables = [sectors(struct.pack(f"<{ENTRIES}I", *entries[first:first + ENTRIES])) for first in (0, ENTRIES)]

    def directory(first):
        return sectors(struct.pack("<II", first + 1, first + 2)) + b"".join(tables)

    if not at_end:
        return (header(version, flags, capacity, 2, 5, overhead, int(compressed)) + descriptor(kind, capacity)
                + directory(2) + directory(5) + grains)
    place = overhead + len(grains) // SECTOR
    return (header(version, flags, capacity, 0, AT_END, overhead, int(compressed)) + descriptor(kind, capacity)
            + grains + directory(place) + struct.pack("<QII496x", 1, 0, 3)
            + header(version, flags, capacity, 0, place, overhead, int(compressed)) + bytes(SECTOR))


def main():
    for kind in ("monolithicSparse", "streamOptimized"):
        for zeroed in (False, True):
            for at_end in (False, True):
                data = image(kind, zeroed, at_end)
                (Path(sys.argv[1]) / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
