#!/usr/bin/env python3
# The kernel mounts file systems that were grown, and fills them to their last block and inode, without a complaint of
# it or of e2fsck; what was in them before is what it was. Needs root.
# SPDX-License-Identifier: Apache-2.0
"""usage: kernel_test.py EXT4_GROW"""

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ext4_test import GROW, MIB, copy, files_of, make, make_content, resize_file, run

CASES = [
    ("defaults", "-b 4096", [140 * MIB, 500 * MIB]),
    ("1 KiB blocks, several steps", "-b 1024", [30 * MIB, 31 * MIB, 90 * MIB, 200 * MIB]),
    ("reserved descriptors run out", "-b 1024 -E resize=200000", [64 * MIB, 400 * MIB]),
    ("no resize inode", "-b 1024 -O ^resize_inode", [20 * MIB, 300 * MIB]),
    ("meta groups from the start", "-b 1024 -O ^resize_inode,meta_bg", [20 * MIB, 300 * MIB]),
    ("two backups", "-b 1024 -O sparse_super2", [20 * MIB, 300 * MIB]),
    ("uninit_bg without flexible groups", "-b 1024 -O ^metadata_csum,^flex_bg,uninit_bg", [20 * MIB, 300 * MIB]),
    ("no checksums", "-b 2048 -O ^metadata_csum,^uninit_bg,^64bit", [40 * MIB, 400 * MIB]),
    ("an orphan file", "-b 4096 -O orphan_file", [140 * MIB, 500 * MIB]),
    ("ext3", "-t ext3 -b 1024", [20 * MIB, 200 * MIB]),
    ("ext2", "-t ext2 -b 1024", [20 * MIB, 200 * MIB]),
]


@contextlib.contextmanager
def mounted(path, where):
    run("mount", "-o", "loop", path, str(where))
    try:
        yield os.path.basename(run("findmnt", "-no", "SOURCE", str(where))[0].strip())
    finally:
        run("umount", str(where))


def fill(folder):
    """Files until no block is left, then names until no inode is; what was written."""
    rng, written = random.Random(9), {}
    folder.mkdir()
    for number in range(100000):
        data = rng.randbytes(rng.choice([4000, 300 << 10, 3 << 20]))
        file = folder / str(number)
        try:
            file.write_bytes(data)
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        except OSError:
            file.unlink(missing_ok=True)
            break
        written[file.name] = hashlib.sha256(data).digest()
    with contextlib.suppress(OSError):
        for number in range(1000000):
            (folder / f"empty{number}").touch()
    return written


def use(path, where):
    """Leaves groups that the kernel has begun, and that are empty again."""
    with mounted(path, where):
        for number in range(200):
            folder = where / f"used{number}"
            folder.mkdir()
            (folder / "file").write_bytes(bytes([number]) * 30000)
        os.sync()
        for number in range(200):
            shutil.rmtree(where / f"used{number}")


def check_overhead(path, where, work):
    """The kernel believes the superblock about blocks that files can never have, or counts them itself."""
    counted = str(work / "counted")
    copy(path, counted)
    run("debugfs", "-w", "-R", "ssv overhead_clusters 0", counted)
    found = []
    for disk in (path, counted):
        with mounted(disk, where):
            found.append(os.statvfs(where).f_blocks)
    if found[0] != found[1]:
        sys.exit(f"{path}: {found[0]} blocks for files, the kernel counts {found[1]}")
    os.unlink(counted)


def kernel_log():
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout.splitlines()


def check(name, options, sizes, work):
    log = set(kernel_log())
    path, where = str(work / "disk"), work / "mounted"
    make(path, options, "files", sizes[0], work)
    before = files_of(path, work)
    where.mkdir(exist_ok=True)
    for size in sizes[1:]:
        resize_file(path, size)
        run(GROW, path)
        check_overhead(path, where, work)
        use(path, where)
    resize_file(path, sizes[-1] + 60 * MIB)
    run(GROW, path)
    with mounted(path, where) as device:
        written = fill(where / "more")
    with mounted(path, where):
        for file, seen in written.items():
            if hashlib.sha256((where / "more" / file).read_bytes()).digest() != seen:
                sys.exit(f"{name}: {file} differs")
        run("rm", "-r", str(where / "more"))
    run("e2fsck", "-fn", path)
    if files_of(path, work) != before:
        sys.exit(f"{name}: the files differ")
    complaints = [line for line in kernel_log() if line not in log and f"error (device {device})" in line]
    if complaints:
        sys.exit(f"{name}: the kernel complained: {complaints}")
    print(f"{name}: {len(written)} files", flush=True)
    os.unlink(path)


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "content").mkdir()
        make_content(work / "content")
        for case in CASES:
            check(*case, work)


if __name__ == "__main__":
    main()
