#!/usr/bin/env python3
# Makes first inputs of guest_fuzz that partition_fuzz's do not cover: logical partitions, and superblocks.
# SPDX-License-Identifier: Apache-2.0
"""usage: partition_seeds.py FOLDER"""

import hashlib
import struct
import sys
from pathlib import Path

SECTOR = 512


def entry(kind, first, sectors):
    return struct.pack("<4xB3xII", kind, first, sectors) if kind else bytes(16)


def record(*entries):
    return bytes(446) + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def placed(*parts):
    """Bytes at the offsets given."""
    disk = bytearray()
    for at, data in parts:
        disk += bytes(max(0, at + len(data) - len(disk)))
        disk[at:at + len(data)] = data
    return bytes(disk)


def logical():
    return placed((0, record(entry(0x83, 1, 4), entry(5, 8, 24))),
                  (8 * SECTOR, record(entry(0x83, 1, 4), entry(5, 8, 8))),
                  (16 * SECTOR, record(entry(0x8e, 2, 6))), (40 * SECTOR - 1, b"\0"))


def superblocks():
    yield placed((1024 + 4, struct.pack("<I", 99)), (1024 + 56, b"\x53\xef"), (1024 + 92, struct.pack("<III", 4, 0xc0, 1)),
                 (1024 + 120, b"root\x1b"), (2048, b"\0"))
    yield placed((0, b"XFSB" + struct.pack(">IQ", 4096, 77)), (108, b"data"))
    yield placed((0x10000 + 64, b"_BHRfS_M"), (0x10000 + 112, struct.pack("<Q", 1 << 30)), (0x10000 + 299, b"tree"))
    yield placed((1024, struct.pack("<I", 0xf2f52010)), (1040, struct.pack("<I", 12)), (1148, "fl".encode("utf-16-le")))
    yield placed((0, b"\xeb\x58\x90mkfs.fat" + struct.pack("<HBHBHHB", 512, 1, 1, 2, 512, 9000, 0xf8)),
                 (22, struct.pack("<H", 36)), (39, b"\1\2\3\4BOOT       "), (510, b"\x55\xaa"))
    yield placed((0, b"\xeb\x52\x90NTFS    " + struct.pack("<H", 512)), (40, struct.pack("<Q", 5000)), (510, b"\x55\xaa"))
    yield placed((1024, struct.pack("<II", 1, 9)), (1052, b"swap"), (4086, b"SWAPSPACE2"))
    yield placed((512, b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + b"a" * 32 + struct.pack("<Q", 1 << 30)))
    yield placed((0, b"LUKS\xba\xbe\0\2"), (24, b"secret"), (168, b"01234567"))
    yield placed((0x8000, b"\1CD001"), (0x8000 + 40, b"DISC".ljust(32)), (0x8000 + 80, struct.pack("<I", 20)),
                 (0x8000 + 128, struct.pack("<H", 2048)))
    yield placed((0, b"hsqs"), (40, struct.pack("<Q", 4096)))


def main():
    folder = Path(sys.argv[1])
    for seed in (logical(), *superblocks()):
        (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
