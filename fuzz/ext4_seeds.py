#!/usr/bin/env python3
# Makes the first inputs of ext4_fuzz: small file systems of each kind, as the stretches of them that are not zero.
# Backups are left out: nothing reads them before they are written.
# SPDX-License-Identifier: Apache-2.0
"""usage: ext4_seeds.py FOLDER"""

import hashlib
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

KIB = 1024
# options of mke2fs, KiB before and after, tail
KINDS = [
    ("-t ext4 -b 1024 -g 1024", 2048, 20000, 0),
    ("-t ext4 -b 1024 -g 1024", 2048, 20000, 3),
    ("-t ext4 -b 1024 -g 1024 -O ^has_journal", 3000, 300000, 3),
    ("-t ext4 -b 1024 -g 512 -O ^has_journal,^resize_inode", 3000, 90000, 3),
    ("-t ext4 -b 1024 -g 512 -O ^has_journal,^resize_inode,meta_bg", 3000, 90000, 3),
    ("-t ext4 -b 1024 -g 256 -O ^has_journal,^resize_inode,^metadata_csum,uninit_bg", 3000, 30000, 0),
    ("-t ext4 -b 1024 -g 256 -O ^has_journal,^resize_inode,^metadata_csum,^uninit_bg,^64bit", 3000, 30000, 0),
    ("-t ext4 -b 4096 -O ^has_journal -G 1", 4096, 900000, 3),
    ("-t ext4 -b 4096 -O ^has_journal,mmp,^metadata_csum,^uninit_bg", 4096, 900000, 0),
    ("-t ext4 -b 1024 -g 512 -O ^has_journal,^resize_inode,sparse_super2,^flex_bg", 3000, 30000, 3),
    # the resize inode is given back
    ("-t ext4 -b 1024 -g 512 -O ^has_journal -E resize=12000", 3000, 300000, 3),
    ("-t ext4 -b 1024 -g 512 -O ^has_journal,^metadata_csum,^uninit_bg -E resize=12000", 3000, 300000, 0),
    # tables of more than half a group
    ("-t ext4 -b 1024 -g 256 -O ^has_journal,^resize_inode -G 8 -I 256 -N 6600", 3000, 60000, 3),
    ("-t ext2 -b 1024 -g 1024", 2048, 60000, 0),
    ("-t ext2 -b 2048 -O ^sparse_super,^resize_inode", 4000, 400000, 0),
]


def stretches(data):
    """(place, bytes) of all that is not zero, gaps of less than 16 bytes included."""
    for match in re.finditer(rb"[^\0](?:\0{0,15}[^\0])*", data, re.S):
        for at in range(match.start(), match.end(), 65535):
            yield at, data[at:min(match.end(), at + 65535)]


def seed(options, before, after, tail, disk):
    disk.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-F", "-N", "64", *options.split(), disk, f"{before}k"], check=True,
                   stdout=subprocess.DEVNULL)
    text = subprocess.run(["dumpe2fs", disk], check=True, capture_output=True, text=True).stdout
    data = bytearray(disk.read_bytes())
    block = int(re.search(r"^Block size: +(\d+)", text, re.M).group(1))
    for start, end in re.findall(r"Backup superblock at (\d+), Group descriptors at \d+-(\d+)", text):
        data[int(start) * block:(int(end) + 1) * block] = bytes((int(end) + 1 - int(start)) * block)
    # what directories hold is not looked at
    for number in (2, 11):
        blocks = subprocess.run(["debugfs", "-R", f"blocks <{number}>", disk], check=True, capture_output=True,
                                text=True).stdout
        for place in blocks.split():
            data[int(place) * block:(int(place) + 1) * block] = bytes(block)
    parts = [struct.pack("<IH", at, len(part)) + part for at, part in stretches(bytes(data))]
    return struct.pack("<I", after) + b"".join(parts) + bytes([tail]) + bytes(15)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for options, before, after, tail in KINDS:
            data = seed(options, before, after, tail, Path(folder) / "disk")
            (Path(sys.argv[1]) / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main()
