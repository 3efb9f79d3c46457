#!/usr/bin/env python3
# The kernel agrees with what was grown: its own resize of the same file system leaves the same numbers, it mounts ours
# with as much room, fills it to the last block, and its scrub and btrfs check find nothing; what was in it before is
# what it was. Needs root.
# SPDX-License-Identifier: Apache-2.0
"""usage: kernel_test.py QIMG"""

import contextlib
import hashlib
import os
import random
import re
import struct
import sys
import tempfile
from pathlib import Path

from btrfs_test import GIB, MIB, QIMG, SUPERBLOCKS, TIB, crc32c, make, pieces, resize_file, run, superblocks

# what mkfs.btrfs is told, how it is used before it grows, sizes; the kernel does not resize to less than 256 MiB
CASES = [
    ("defaults", "", "files", [200 * MIB, 700 * MIB]),
    ("several steps", "", "files", [200 * MIB, 300 * MIB + 512, 301 * MIB, 900 * MIB]),
    ("full", "", "full", [150 * MIB, 600 * MIB]),
    ("single, 4 KiB nodes", "-m single -n 4k", "files", [200 * MIB, 600 * MIB]),
    ("64 KiB nodes, xxhash", "-n 64k --csum xxhash", "files", [300 * MIB, 800 * MIB]),
    ("sha256, full", "--csum sha256", "full", [150 * MIB, 600 * MIB]),
    ("mixed, past the second superblock", "-M", "full", [60 * MIB, 300 * MIB]),
    ("RAID0 of one device", "-m raid0 -d raid0", "files", [200 * MIB, 700 * MIB]),
    ("another uuid for metadata", "uuid", "files", [200 * MIB, 700 * MIB]),
    ("a chunk tree of several levels", "-n 4k", "many chunks", [200 * GIB, 400 * GIB]),
    ("chunks that moved", "", "moved", [400 * MIB, 900 * MIB]),
    ("a device with another number", "", "replaced", [400 * MIB, 900 * MIB]),
    ("1 to 15 TiB", "", "files", [TIB, 15 * TIB]),
]
FILLED_MAX = 2 * GIB  # larger ones are filled in part


@contextlib.contextmanager
def mounted(path, where):
    run("mount", "-o", "loop", path, str(where))
    try:
        yield os.path.basename(run("findmnt", "-no", "SOURCE", str(where)).strip())
    finally:
        run("umount", str(where))


def write_files(folder, rng, count):
    """Until there is no more room, or so many; their digests."""
    folder.mkdir()
    written = {}
    for number in range(count):
        data = rng.randbytes(rng.choice([3000, 300 << 10, 3 << 20]))
        file = folder / str(number)
        try:
            file.write_bytes(data)
        except OSError:
            file.unlink(missing_ok=True)
            break
        written[str(number)] = hashlib.sha256(data).digest()
    os.sync()
    return written


def differing(folder, written):
    return [name for name, seen in written.items() if hashlib.sha256((folder / name).read_bytes()).digest() != seen]


def replace_device(path, where):
    """The first device goes, and the second, with number 2, stays."""
    other = f"{path}.other"
    resize_file(other, os.stat(path).st_size)
    loop = run("losetup", "-f", "--show", other).strip()
    try:
        with mounted(path, where) as device:
            run("btrfs", "device", "add", "-f", loop, str(where))
            run("btrfs", "device", "remove", f"/dev/{device}", str(where))
    finally:
        run("losetup", "-d", loop)
    os.replace(other, path)


def use(path, where, content):
    """Writes what is to be there before it grows."""
    with mounted(path, where):
        written = write_files(where / "before", random.Random(3), 100000 if content == "full" else 30)
        if content == "many chunks":
            run("fallocate", "-l", str(120 * GIB), str(where / "large"))
        if content == "moved":
            for _ in range(3):
                run("btrfs", "balance", "start", "-f", "--full-balance", str(where))
    if content == "replaced":
        replace_device(path, where)
    return written


def by_kernel(path, where):
    with mounted(path, where):
        number = re.search(r"devid +(\d+)", run("btrfs", "filesystem", "show", str(where)))[1]
        run("btrfs", "filesystem", "resize", f"{number}:max", str(where))
        return os.statvfs(where).f_blocks


def numbers_of(path):
    """What the file system says of itself, but for when and where it was written."""
    found = []
    for place, copy in superblocks(path).items():
        fields = {name: value for name, value in copy.items()
                  if not re.search(r"^csum$|generation|root|text|bytes_used", name)}
        found.append((place, fields))
    tree = run("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", path)
    tree = re.sub(r"^(leaf|node) \d+.*$", "", tree, flags=re.M)
    return found, re.sub(r"(key \(.*\) block) \d+ gen \d+", r"\1", tree)


def compare_with_kernel(path, where, work):
    """Grows both ways, from what the kernel has had in its hands: it adds what mkfs.btrfs leaves out."""
    theirs = str(work / "theirs")
    run("cp", "--sparse=always", path, theirs)
    before = numbers_of(path)
    run(QIMG, "expand", "-f", "raw", path)
    room = by_kernel(theirs, where)
    ours, others = numbers_of(path), numbers_of(theirs)
    if ours != others or ours == before:
        sys.exit(f"{path}: ours {ours}\nthe kernel's {others}")
    os.unlink(theirs)
    with mounted(path, where):
        if os.statvfs(where).f_blocks != room:
            sys.exit(f"{path}: {os.statvfs(where).f_blocks} blocks, with the kernel {room}")


def kernel_log():
    return run("dmesg").splitlines()


def check(name, options, content, sizes, work):
    log = set(kernel_log())
    path, where = str(work / "disk"), work / "mounted"
    where.mkdir(exist_ok=True)
    make(path, options, sizes[0], None)
    before = use(path, where, content)
    for size in sizes[1:]:
        resize_file(path, size)
        compare_with_kernel(path, where, work)
        run("btrfs", "check", "--readonly", path)
    count = 100000 if sizes[-1] <= FILLED_MAX else 200
    if content == "many chunks" and superblocks(path)[SUPERBLOCKS[0]]["chunk_root_level"] == "0":
        sys.exit(f"{name}: its chunk tree has one level")
    with mounted(path, where) as device:
        written = write_files(where / "more", random.Random(9), count)
        if content == "full" and len(written) < 2 * len(before):
            sys.exit(f"{name}: {len(written)} files fit, and {len(before)} before")
    with mounted(path, where):
        wrong = differing(where / "before", before) + differing(where / "more", written)
        said = run("btrfs", "scrub", "start", "-B", str(where))
        if wrong or "no errors found" not in said:
            sys.exit(f"{name}: {wrong} differ; {said}")
    run("btrfs", "check", "--readonly", "--check-data-csum", path)
    complaints = [line for line in kernel_log() if line not in log and
                  re.search(rf"BTRFS (error|warning|critical).*device {device}\b", line)]
    if complaints:
        sys.exit(f"{name}: the kernel complained: {complaints}")
    print(f"{name}: {len(before)} files, {len(written)} more", flush=True)
    os.unlink(path)


def set_replacement_state(path, state):
    """In the leaf that has the item, its copies and their checksums."""
    text = run("btrfs", "inspect-internal", "dump-tree", "-t", "dev", path)
    leaf, place = re.search(r"^leaf (\d+) (?:(?!^leaf)[\s\S])*?DEV_REPLACE 0\) itemoff (\d+)", text, re.M).groups()
    node = int(superblocks(path)[SUPERBLOCKS[0]]["nodesize"])
    header, state_at = 101, 32
    with open(path, "r+b") as file:
        for at, block in pieces(path):
            if block[48:56] != int(leaf).to_bytes(8, "little") or at in SUPERBLOCKS:
                continue
            file.seek(at)
            content = bytearray(file.read(node))
            struct.pack_into("<Q", content, header + int(place) + state_at, state)
            struct.pack_into("<I", content, 0, crc32c(content[32:]))
            file.seek(at)
            file.write(content)


def check_replacement(work):
    """A device that was replaced grows, one that still is does not."""
    path, other, where = str(work / "disk"), str(work / "other"), work / "mounted"
    where.mkdir(exist_ok=True)
    make(path, "", 400 * MIB, None)
    resize_file(other, 400 * MIB)
    loop = run("losetup", "-f", "--show", other).strip()
    try:
        with mounted(path, where):
            written = write_files(where / "before", random.Random(3), 30)
            run("btrfs", "replace", "start", "-B", "-f", "1", loop, str(where))
    finally:
        run("losetup", "-d", loop)
    resize_file(other, 900 * MIB)
    for state in (1, 4, 2):
        set_replacement_state(other, state)
        run("btrfs", "check", "--readonly", other)
        said = run(QIMG, "expand", "-f", "raw", other, status=(0 if state == 2 else 1,))
        if state != 2 and "is being replaced" not in said:
            sys.exit(f"a replacement in state {state}: {said}")
    run("btrfs", "check", "--readonly", other)
    with mounted(other, where):
        if differing(where / "before", written):
            sys.exit("files differ on a device that replaced another one")
    print("a device that replaced another one", flush=True)
    os.unlink(path)
    os.unlink(other)


def main():
    if os.geteuid() != 0:
        sys.exit("this test needs root")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for case in CASES:
            if os.environ.get("QIMG_ONLY", "") in case[0]:
                check(*case, Path(folder))
        check_replacement(Path(folder))


if __name__ == "__main__":
    main()
