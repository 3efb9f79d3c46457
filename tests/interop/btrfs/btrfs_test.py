#!/usr/bin/env python3
# Growing btrfs against btrfs-progs: what mkfs.btrfs made in many ways is grown, in one step and in several, bare and in
# a partition, in raw files and in qcow2 images; btrfs check finds nothing, every copy of the superblock is right, the
# files are what they were, nothing else changed, a second growth changes nothing. What may not be grown is refused and
# left alone; what grows in the guest only keeps its length.
# QIMG_LONG=1 tries every combination, and sizes up to 20 TiB.
# SPDX-License-Identifier: Apache-2.0
"""usage: btrfs_test.py QIMG"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

QIMG = os.path.abspath(sys.argv[1])
LONG = os.environ.get("QIMG_LONG") == "1"
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
FULL, PARTITION_ONLY = 0, 5
SUPERBLOCKS = [64 * KIB, 64 * MIB, 256 * GIB]
BLOCK = 4096
PARTITION_AT = MIB

# name, what mkfs.btrfs is told, sizes
CASES = [
    ("defaults", "", [120 * MIB, 5 * GIB]),
    ("xxhash", "--csum xxhash", [120 * MIB, 300 * GIB]),
    ("sha256", "--csum sha256", [120 * MIB, 300 * GIB]),
    ("4 KiB nodes, single", "-n 4k -m single", [120 * MIB, 5 * GIB]),
    ("64 KiB nodes, DUP", "-n 64k -m dup", [150 * MIB, 5 * GIB]),
    ("RAID0 of one device", "-m raid0 -d raid0", [120 * MIB, 5 * GIB]),
    ("mixed", "-M", [60 * MIB, 3 * GIB]),
    ("mixed, DUP", "-M -m dup -d dup", [GIB, 3 * GIB]),
    ("up to the second superblock", "-M", [60 * MIB, 64 * MIB, 64 * MIB + BLOCK, 64 * MIB + 2 * BLOCK, 65 * MIB]),
    ("from where btrfs-progs writes it and the kernel does not", "-M", [64 * MIB + BLOCK, 66 * MIB]),
    ("up to the third superblock", "", [200 * MIB, 256 * GIB, 256 * GIB + BLOCK, 256 * GIB + 2 * BLOCK, 257 * GIB]),
    ("parts of sectors", "", [200 * MIB + 512, 200 * MIB + 4095, 200 * MIB + 4096, 300 * MIB + 1536, 301 * MIB - 512]),
    ("as old kernels made them", "-O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree", [120 * MIB, 5 * GIB]),
    ("quota", "-R quota", [120 * MIB, 5 * GIB]),
    ("another uuid for metadata", "uuid", [120 * MIB, 5 * GIB]),
    ("1 to 15 TiB", "", [TIB, 15 * TIB]),
    ("three large steps", "-n 64k", [GIB, 100 * GIB, 4 * TIB, 15 * TIB]),
]
LONG_CASES = [
    ("1 to 20 TiB", "", [TIB, 20 * TIB]),
    ("120 MiB to 16 TiB", "", [120 * MIB, 16 * TIB]),
    ("a hundred steps", "-M", [60 * MIB + n * 77777 * KIB for n in range(100)]),
]
KINDS = [("raw", False), ("qcow2", False), ("raw", True), ("qcow2", True)]  # the image's format, in a partition


def run(*words, status=(0,), folder=None):
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode not in status:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}, not {status}\n"
                 f"{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return done.stdout + done.stderr


def pieces(path):
    """(place, bytes) of the blocks that are not all zero: reading all of a sparse file would take hours."""
    at = 0
    with open(path, "rb", buffering=0) as file:
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                return
            data = os.pread(file.fileno(), 64 * BLOCK, at)
            for start in range(0, len(data), BLOCK):
                block = data[start:start + BLOCK]
                if block.strip(b"\0"):
                    yield at + start, block
            at += len(data)


def digest(path):
    seen = hashlib.sha256()
    for at, block in pieces(path):
        seen.update(b"%d" % at + block)
    return seen.hexdigest()


def resize_file(path, size):
    with open(path, "ab") as file:
        file.truncate(size)


def copy_part(source, target, source_at, target_at, size):
    with open(target, "r+b") as file:
        for at, block in pieces(source):
            if source_at <= at < source_at + size:
                file.seek(at - source_at + target_at)
                file.write(block[:source_at + size - at])


def make_content(folder):
    rng = random.Random(7)
    for number in range(40):
        target = folder / f"folder{number % 5}" / f"file{number}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(rng.randbytes(rng.choice([0, 10, 700, 5000, 70000])))
    (folder / "link").symlink_to("folder1/file1")
    (folder / "large").write_bytes(rng.randbytes(4 * MIB))


def files_of(path, work):
    """What is in all files, and their names and link targets."""
    folder = work / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run("btrfs", "restore", "-S", path, str(folder))
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_symlink():
            found[name] = os.readlink(file)
        elif file.is_file():
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    shutil.rmtree(folder)
    return found


def make(path, options, size, content):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    resize_file(path, size)
    words = [] if options == "uuid" else options.split()
    run("mkfs.btrfs", "-q", "-f", *(["--rootdir", str(content)] if content else []), *words, path)
    os.truncate(path, size)  # with --rootdir it cuts off what is no whole sector
    if options == "uuid":
        run("btrfstune", "-m", path)


class Disk:
    """A file system in an image of some kind, as long as it is told."""

    def __init__(self, work, file_system, format_name, in_partition):
        self.work, self.format, self.in_partition = work, format_name, in_partition
        self.image, self.raw = work / f"image.{format_name}", work / "raw"
        self.raw.unlink(missing_ok=True)
        size = os.stat(file_system).st_size
        if in_partition:
            sectors = -(-size // 512)
            resize_file(self.raw, (PARTITION_AT + sectors * 512 + MIB) // 512 * 512)
            script = f"label: gpt\nstart={PARTITION_AT // 512}, size={sectors}\n"
            subprocess.run(["sfdisk", "-q", self.raw], input=script.encode(), check=True, capture_output=True)
            copy_part(file_system, self.raw, 0, PARTITION_AT, size)
        else:
            os.rename(file_system, self.raw)
        if format_name == "raw":
            os.rename(self.raw, self.image)
        else:
            run("qemu-img", "convert", "-f", "raw", "-O", format_name, str(self.raw), str(self.image))

    def expand(self, *words, status=(FULL,)):
        return run(QIMG, "expand", "-f", self.format, str(self.image), *words, status=status)

    def grow_to(self, size, status=(FULL,)):
        """The file system's part gets `size`, as nearly as the table allows."""
        self.expand(str(size + 2 * MIB if self.in_partition else size), status=status)

    def file_system(self):
        """A raw file with the file system alone, as long as the room it has."""
        source = self.image
        if self.format != "raw":
            self.raw.unlink(missing_ok=True)
            run("qemu-img", "check", "-q", str(self.image))
            run(QIMG, "convert", "-O", "raw", str(self.image), str(self.raw))
            source = self.raw
        target = self.work / "alone"
        target.unlink(missing_ok=True)
        start, size = 0, os.stat(source).st_size
        if self.in_partition:
            table = json.loads(run("sfdisk", "-J", str(source)))["partitiontable"]["partitions"]
            start, size = table[0]["start"] * 512, table[0]["size"] * 512
        resize_file(target, size)
        copy_part(source, target, start, 0, size)
        return target


def superblocks(path):
    """Those that the length of the device has room for, as btrfs-progs reads them."""
    found = {}
    for number, place in enumerate(SUPERBLOCKS):
        if os.stat(path).st_size < place + BLOCK:
            break
        # one that is not there is an error of the last ones only
        text = run("btrfs", "inspect-internal", "dump-super", "-f", "-s", str(number), path, status=(0, 1))
        found[place] = dict(re.findall(r"^([\w.]+)\t+(.*)$", text, re.M))
        found[place]["text"] = re.sub(r"^(superblock: .*|csum\t.*|bytenr\t.*)$", "", text, flags=re.M)
    return found


def check_superblocks(path, expected):
    found = superblocks(path)
    first = found[SUPERBLOCKS[0]]
    for place in SUPERBLOCKS:
        if expected <= place + BLOCK:
            continue
        copy = found[place]
        if "[match]" not in copy.get("csum", "") or int(copy["bytenr"]) != place:
            yield f"the superblock at {place:#x}: {copy.get('csum', 'none')}"
        if copy["text"] != first["text"]:
            yield f"the superblock at {place:#x} differs from the first"
    for field in ("total_bytes", "dev_item.total_bytes"):
        if int(first[field]) != expected:
            yield f"{field} is {first[field]}, not {expected}"


def check_changes(before, after):
    """But for superblocks, the length and the checksum of both copies of one leaf, where the file system was before."""
    old = dict(pieces(before))
    changed = 0
    for at, block in pieces(after):
        if at < os.stat(before).st_size and at not in SUPERBLOCKS:
            changed += sum(a != b for a, b in zip(old.get(at, bytes(BLOCK)), block))
    lost = set(old) - {at for at, _ in pieces(after)}
    if lost or changed > 2 * (8 + 32):
        yield f"{changed} bytes besides superblocks changed, blocks {lost} are lost"


def judge(disk, before, files, work):
    """What is wrong with a file system that has just grown."""
    path = str(disk.file_system())
    expected = os.stat(path).st_size // BLOCK * BLOCK
    run("btrfs", "check", "--readonly", path)
    yield from check_superblocks(path, expected)
    yield from check_changes(before, path)
    tree = run("btrfs", "inspect-internal", "dump-tree", "-t", "chunk", path)
    if re.findall(r"devid \d+ total_bytes (\d+)", tree) != [str(expected)]:
        yield "the chunk tree has another length"
    if files_of(path, work) != files:
        yield "the files differ"
    seen = digest(disk.image)
    if "Nothing to do" not in disk.expand() or digest(disk.image) != seen:
        yield "a second run has something to do"


def try_one(name, options, sizes, kind, content):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if LONG else None) as folder:
        work = Path(folder)
        made, before = str(work / "made"), str(work / "before")
        make(made, options, sizes[0], content)
        run("cp", "--sparse=always", made, before)
        files = files_of(before, work)
        disk = Disk(work, made, *kind)
        for size in sizes[1:]:
            disk.grow_to(size)
            for finding in judge(disk, before, files, work):
                yield f"{name}, {kind}, {size} bytes: {finding}"


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def patch(path, place, changes):
    """Fields of a superblock, and its checksum."""
    with open(path, "r+b") as file:
        file.seek(place)
        block = bytearray(file.read(BLOCK))
        for at, layout, value in changes:
            struct.pack_into(layout, block, at, value)
        struct.pack_into("<I", block, 0, crc32c(block[32:]))
        file.seek(place)
        file.write(block)


def write_at(path, place, data):
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(data)


FIRST, COPY = SUPERBLOCKS[0], SUPERBLOCKS[1]
FLAGS, GENERATION, LOG_ROOT, TOTAL, DEVICES, NODE, INCOMPAT = 56, 72, 96, 112, 136, 148, 188
DEVICE_TOTAL = 209
REFUSED = [
    ("a log", lambda path: patch(path, FIRST, [(LOG_ROOT, "<Q", 30 * MIB)]), "log was not replayed"),
    ("errors", lambda path: patch(path, FIRST, [(FLAGS, "<Q", 5)]), "having errors"),
    ("a seed", lambda path: run("btrfstune", "-S", "1", path), "seed"),
    ("a change of its uuid", lambda path: patch(path, FIRST, [(FLAGS, "<Q", 1 | 1 << 36)]), "being converted"),
    ("a newer copy", lambda path: patch(path, COPY, [(GENERATION, "<Q", 99)]), "newer"),
    ("a damaged copy", lambda path: write_at(path, COPY + 500, b"x"), "damaged"),
    ("no copy", lambda path: write_at(path, COPY, bytes(BLOCK)), "damaged"),
    ("a wrong checksum", lambda path: write_at(path, FIRST + 500, b"x"), "checksum"),
    ("longer than there is room", lambda path: patch(path, FIRST, [(TOTAL, "<Q", TIB), (DEVICE_TOTAL, "<Q", TIB)]),
     "longer than there is room"),
    ("lengths that differ", lambda path: patch(path, FIRST, [(TOTAL, "<Q", 100 * MIB)]), "fix-device-size"),
    ("no nodes", lambda path: patch(path, FIRST, [(NODE, "<I", 0)]), "node size"),
]


def metadata_only(path):
    os.rename(path, f"{path}.whole")
    resize_file(path, 200 * MIB)
    run("btrfs-image", f"{path}.whole", f"{path}.dump")
    run("btrfs-image", "-r", f"{path}.dump", path)


def check_refusals(content):
    refused = REFUSED + [("a dump of metadata", metadata_only, "dump")]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/disk"
        for name, damage, reason in refused:
            make(path, "", 200 * MIB, content)
            damage(path)
            before = digest(path)
            said = run(QIMG, "expand", "-f", "raw", path, "1G", status=(1,))
            if reason not in said or said.count("\n") != 1:
                yield f"{name}: refused with: {said}"
            if digest(path) != before or os.stat(path).st_size != 200 * MIB:
                yield f"{name}: refused, and changed"


def check_left_to_guest():
    """What has to be said, and that the file system is not touched."""
    with tempfile.TemporaryDirectory() as folder:
        disk, other = f"{folder}/disk", f"{folder}/other"
        ways = [
            ("blake2", disk, lambda: make(disk, "--csum blake2", 200 * MIB, None), "resize 1:max", "type 3"),
            ("a feature", disk, lambda: (make(disk, "", 200 * MIB, None),
                                         patch(disk, FIRST, [(INCOMPAT, "<Q", 1 << 12)])), "resize 1:max",
             "incompat_flags 0x1000"),
            ("two devices, the first", disk, lambda: make_two(disk, other), "resize 1:max", "2 devices"),
            ("two devices, the second", other, lambda: make_two(disk, other), "resize 2:max", "2 devices"),
        ]
        for name, path, prepare, remedy, reason in ways:
            prepare()
            before = digest(path)
            said = run(QIMG, "expand", "-f", "raw", path, "300M", status=(PARTITION_ONLY,))
            if remedy not in said or reason not in said or "btrfs: 200 MiB\n" not in said:
                yield f"{name}: {said}"
            if digest(path) != before or os.stat(path).st_size != 300 * MIB:
                yield f"{name}: changed"


def make_two(disk, other):
    for path in (disk, other):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        resize_file(path, 200 * MIB)
    run("mkfs.btrfs", "-q", "-f", disk, other)


def cases():
    if LONG:
        return [(*case, kind) for case in CASES + LONG_CASES for kind in KINDS
                if case[2][-1] <= 15 * TIB or kind[0] == "raw" or not kind[1]]
    # each kind comes several times
    return [(*case, KINDS[number % len(KINDS)]) for number, case in enumerate(CASES)]


def main():
    findings = []
    tried = [case for case in cases() if os.environ.get("QIMG_ONLY", "") in case[0]]
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder)
        make_content(content)
        findings += check_refusals(content)
        findings += check_left_to_guest()
        for name, options, sizes, kind in tried:
            print(f"{name}: {kind}", flush=True)
            findings += try_one(name, options, sizes, kind, content)
    print("\n".join(findings))
    print(f"{len(tried)} file systems, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
