#!/usr/bin/env python3
# The kernel as second opinion on XFS: what it grows with xfs_growfs and what qimg grows have the same size and the same
# number of free blocks; it mounts and fills file systems that were grown, whose free space was in many pieces before,
# without a complaint of it or of xfs_repair; the files in them are what they were; logs that it left behind are
# told apart. Needs root, and a kernel with XFS.
# SPDX-License-Identifier: Apache-2.0
"""usage: kernel_test.py QIMG [SEED]; with QIMG_DUMPS=FOLDER: makes the metadata that xfs_test.py needs, and no test"""

import contextlib
import ctypes
import hashlib
import lzma
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from xfs_test import (FULL, GIB, MIB, QIMG, SEED, copy, fields, make, repair_finds_nothing, resize_file, roomy_folder, run,
                      superblock)

# name, options of mkfs.xfs, sizes
CASES = [
    ("defaults", "", [300 * MIB, 500 * MIB, 2 * GIB]),
    ("as of RHEL 8", "-m bigtime=0,inobtcount=0", [320 * MIB, 333 * MIB, GIB]),
    ("as of RHEL 7", "-m bigtime=0,inobtcount=0,reflink=0,finobt=0 -i sparse=0", [300 * MIB, GIB]),
    ("reverse map", "-m rmapbt=1", [300 * MIB, 400 * MIB, GIB]),
    ("reverse map, 1 KiB blocks", "-m rmapbt=1 -b size=1024", [300 * MIB, 400 * MIB, GIB]),
    ("no reflink, large extent counts", "-m reflink=0 -i nrext64=1", [300 * MIB, GIB]),
    ("4 KiB sectors", "-s size=4096", [300 * MIB, GIB]),
    ("64 KiB blocks", "-b size=65536", [400 * MIB, 2 * GIB]),
    ("stripes", "-d su=64k,sw=4 -l su=64k", [600 * MIB, 2 * GIB]),
    ("a short last group, small steps", "-d agsize=80m", [300 * MIB, 301 * MIB, 307 * MIB, 320 * MIB, 321 * MIB, GIB]),
    ("many groups", "--unsupported -d agcount=9 -l size=14m -m rmapbt=1", [300 * MIB, GIB]),
    ("another uuid and an empty log", "uuid", [300 * MIB, GIB]),
]
FULL_BLOCK = -1
# options, and how many pieces of free space the last group gets; a tree of one block of 4 KiB holds 505 of them.
# FULL_BLOCK: as many as one block holds, and none at the group's end
PIECES = [
    ("", [FULL_BLOCK, 0, 3, 400, 510, 4000]),
    ("-m rmapbt=1", [FULL_BLOCK, 100, 3000]),
    ("-m finobt=0,reflink=0,inobtcount=0", [FULL_BLOCK, 10]),
    ("-b size=1024", [FULL_BLOCK, 100, 122, 300, 20000]),
    ("-b size=1024 -m rmapbt=1", [60, 122, 5000]),
]


@contextlib.contextmanager
def mounted(path, where):
    run("mount", "-t", "xfs", "-o", "loop", path, str(where))
    try:
        yield
    finally:
        run("umount", str(where))


def files_of(folder):
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).digest()
            for file in sorted(folder.rglob("*")) if file.is_file()}


def write_files(folder, rng, count):
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).write_bytes(rng.randbytes(rng.choice([10, 4000, 70 << 10, 700 << 10])))


def fill(folder):
    """Files until no block is left, then names until no inode is; what was written."""
    rng, written = random.Random(9), {}
    folder.mkdir()
    sizes = [8 << 20, 8 << 20, 300 << 10, 4000]
    while sizes:
        data = rng.randbytes(sizes[len(written) % len(sizes)])
        file = folder / str(len(written))
        try:
            file.write_bytes(data)
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        except OSError:
            file.unlink(missing_ok=True)
            sizes = [size for size in sizes if size < len(data)]
            continue
        written[file.name] = hashlib.sha256(data).digest()
    with contextlib.suppress(OSError):
        for number in range(3000):
            (folder / f"empty{number}").touch()
    return written


def take_space(where, size):
    """One file with all blocks that there are, or with `size` bytes more."""
    path = where / "big"
    with open(path, "ab") as file:
        at, left, piece = os.stat(path).st_size, size or 1 << 50, 64 * MIB
        while piece >= 1024 and left > 0:
            try:
                os.posix_fallocate(file.fileno(), at, min(piece, left))
                at, left = at + min(piece, left), left - min(piece, left)
            except OSError:
                piece //= 2


def parts_in(where, group):
    """Of the file: where the parts lie that one allocation group holds, in the group's order."""
    text, _ = run("xfs_bmap", "-v", str(where / "big"))
    found = re.findall(r"^\s*\d+: \[(\d+)\.\.(\d+)\]: \S+\s+(\d+) +\((\d+)\.", text, re.M)
    return [(int(first) * 512, (int(last) + 1) * 512) for first, last, place, _ in
            sorted(found, key=lambda one: int(one[3])) if int(place) == group]


def punch(where, group, pieces, block, rng):
    """Single free blocks between used ones."""
    places = [at for start, end in parts_in(where, group) for at in range(start + block, end - 2 * block, 2 * block)]
    with open(where / "big", "r+b") as file:
        for at in sorted(rng.sample(places, min(pieces, len(places)))):
            fallocate_hole(file, at, block)


def records(path, group):
    """Of the tree of free space when it is one block: how many there are, where the last one begins, its length."""
    text, _ = run("xfs_db", "-r", "-c", f"agf {group}", "-c", "addr bnoroot", "-c", "p level numrecs recs", path)
    level, count = re.search(r"level = (\d+)\nnumrecs = (\d+)", text).groups()
    found = re.findall(r"\d+:\[(\d+),(\d+)\]", text)
    if level != "0" or int(count) != len(found):
        sys.exit(f"the tree of free space: {text}")
    return [(int(start), int(length)) for start, length in found]


def use_tail(where, group, tail, block):
    """The blocks at the group's end, with some in front of them, are free as the longest of all, and then taken."""
    part = 600 * block
    start, end = parts_in(where, group)[-1]
    with open(where / "big", "r+b") as file:
        for number in range(10):
            fallocate_hole(file, start + (2 * number + 1) * part // 2, part // 2)
        fallocate_hole(file, end - part, part)
    take_space(where, part + tail * block)


def fill_block(path, where, group, rng):
    """One block of records, the last of which ends before the group does."""
    block, length = superblock(path)["blocksize"], fields(path, f"agf {group}", "p")["length"]
    most = (block - 56) // 8
    for _ in range(20):
        found = records(path, group)
        start, tail = found[-1]
        if start + tail < length and len(found) == most:
            return
        with mounted(path, where):
            if start + tail == length:
                use_tail(where, group, tail, block)
            else:
                punch(where, group, most - len(found), block, rng)
    sys.exit(f"no full block came about: {len(found)} records, the last one is {found[-1]}, of {length} blocks")


def fallocate_hole(file, at, length):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate64(file.fileno(), 3, ctypes.c_long(at), ctypes.c_long(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def kernel_log():
    return subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout.splitlines()


def grow_both(name, path, where, size):
    """By the kernel on a copy, by qimg on the file itself."""
    other, groups = path + ".kernel", superblock(path)["agcount"]
    copy(path, other)
    for disk in (path, other):
        resize_file(disk, size)
    with mounted(other, where):
        run("xfs_growfs", str(where))
    run(QIMG, "expand", "-f", "raw", path, status=FULL)
    repair_finds_nothing(name, path)
    ours, theirs = superblock(path), superblock(other)
    differ = [field for field in ("dblocks", "agcount", "agblocks", "fdblocks", "icount", "ifree", "imax_pct")
              if ours[field] != theirs[field]]
    if differ:
        sys.exit(f"seed {SEED}: {name}, {size} bytes: {[(f, ours[f], theirs[f]) for f in differ]}")
    if ours["agcount"] > groups:
        compare_last_group(name, path, other, ours)
    os.unlink(other)
    return ours


def compare_last_group(name, path, other, found):
    """The kernel leaves a new group alone that it has no use for: all but its superblock are the same bytes."""
    group = found["agcount"] - 1
    start = group * found["agblocks"] * found["blocksize"] + found["sectsize"]
    length = 7 * found["blocksize"] + 3 * found["sectsize"]
    if fields(other, f"agf {group}", "p")["flcount"] != 0:
        return
    with open(path, "rb") as a, open(other, "rb") as b:
        a.seek(start)
        b.seek(start)
        if a.read(length) != b.read(length):
            sys.exit(f"seed {SEED}: {name}: the last group is not what the kernel makes")


def check_use(name, path, where):
    """All of the grown file system can be used."""
    with mounted(path, where):
        kept = files_of(where / "kept")
        written = fill(where / "more")
    repair_finds_nothing(f"{name}, full", path)
    full = superblock(path)
    if full["fdblocks"] > full["dblocks"] // 10:  # what the kernel keeps back
        sys.exit(f"{name}: {full['fdblocks']} of {full['dblocks']} blocks stayed free")
    with mounted(path, where):
        for file, seen in written.items():
            if hashlib.sha256((where / "more" / file).read_bytes()).digest() != seen:
                sys.exit(f"seed {SEED}: {name}: {file} differs")
        if files_of(where / "kept") != kept:
            sys.exit(f"seed {SEED}: {name}: files differ")
        run("rm", "-r", str(where / "more"))
    repair_finds_nothing(f"{name}, empty again", path)
    return len(written)


def check_case(name, options, sizes, work):
    path, where, rng = str(work / "disk"), work / "mounted", random.Random(SEED)
    make(path, options if options != "uuid" else "", sizes[0])
    with mounted(path, where):
        write_files(where / "kept", rng, 60)
        before = files_of(where / "kept")
    if options == "uuid":
        run("xfs_admin", "-U", "generate", path)
    for number, size in enumerate(sizes[1:]):
        grow_both(name, path, where, size)
        with mounted(path, where):
            if files_of(where / "kept") != before:
                sys.exit(f"seed {SEED}: {name}: files differ")
            write_files(where / f"step{number}", rng, 20)
    print(f"{name}: {check_use(name, path, where)} files", flush=True)
    os.unlink(path)


def make_pieces(path, where, options, size, pieces, rng):
    """A full file system whose last group has its free space in many pieces, or none at all; the group."""
    make(path, options, size)
    found = superblock(path)
    group, block = found["agcount"] - 1, found["blocksize"]
    with mounted(path, where):
        write_files(where / "kept", rng, 2 if size < 100 * MIB else 20)
        take_space(where, None)
    if pieces == FULL_BLOCK:
        fill_block(path, where, group, rng)
    else:
        with mounted(path, where):
            punch(where, group, pieces, block, rng)
    return group


def make_dumps(folder, work):
    small = "--unsupported -d agsize=50m -l agnum=0,size=14m"
    for name, options, pieces in (
            ("full", small, FULL_BLOCK), ("full-rmap", f"{small} -m rmapbt=1", FULL_BLOCK),
            ("levels", f"{small} -b size=1024", 9000), ("levels-rmap", f"{small} -m rmapbt=1", 1500)):
        path, dump = str(work / "disk"), work / "dump"
        make_pieces(path, work / "mounted", options, 95 * MIB, pieces, random.Random(SEED))
        run("xfs_metadump", "-o", path, str(dump))
        (Path(folder) / f"{name}.metadump.xz").write_bytes(lzma.compress(dump.read_bytes(), preset=9))


def check_pieces(options, pieces, work):
    name = f"{options or 'defaults'}, {pieces if pieces != FULL_BLOCK else 'a block of'} pieces"
    path, where = str(work / "disk"), work / "mounted"
    group = make_pieces(path, where, f"{options} -d agsize=90m", 340 * MIB, pieces, random.Random(SEED + pieces))
    before = fields(path, f"agf {group}", "p")
    sizes = [341 * MIB, 360 * MIB, 600 * MIB]
    for size in sizes:
        grow_both(name, path, where, size)
    taken = before["flcount"] - fields(path, f"agf {group}", "p")["flcount"]
    print(f"{name}: trees of {before['bnolevel']} and {before['cntlevel']} levels, {taken} blocks more for them, "
          f"{check_use(name, path, where)} files", flush=True)
    os.unlink(path)
    if (pieces == FULL_BLOCK) != (taken > 0):
        sys.exit(f"seed {SEED}: {name}: {taken} blocks were taken for trees")


def shut_down(path, where, flags):
    """Leaves the log as a crash does."""
    run("mount", "-t", "xfs", "-o", "loop", path, str(where))
    write_files(where / f"late{random.random()}", random.Random(1), 30)
    os.sync()
    (where / "last").write_bytes(b"x" * 100000)
    run("xfs_io", "-x", "-c", f"shutdown {flags}".strip(), str(where))
    run("umount", str(where))


def expand_status(path):
    return subprocess.run([QIMG, "expand", "-f", "raw", path], capture_output=True, check=False).returncode


def check_logs(work):
    """Crashed: refused. Mounted: refused. Replayed: grown; after each of many turns of a small log."""
    path, where, rng = str(work / "disk"), work / "mounted", random.Random(SEED)
    for options in ("", "-s size=4096 -l sectsize=4096", "-d su=64k,sw=4 -l su=64k", "-l su=256k",
                    "--unsupported -l size=8m"):
        make(path, options, 520 * MIB)
        for turn in range(12):
            with mounted(path, where):
                write_files(where / f"turn{turn}", rng, rng.choice([1, 5, 40]))
                for number in range(rng.choice([0, 10, 30000])):
                    (where / f"turn{turn}" / "0").rename(where / f"turn{turn}" / "a")
                    (where / f"turn{turn}" / "a").rename(where / f"turn{turn}" / "0")
                    if number % 500 == 0:
                        os.sync()
                run("rm", "-r", str(where / f"turn{turn}"))
                if turn == 3:
                    os.sync()
                    copy(path, path + ".live")
            copy(path, path + ".clean")
            resize_file(path + ".clean", 600 * MIB)
            if expand_status(path + ".clean") != FULL:
                sys.exit(f"seed {SEED}: {options}, turn {turn}: a clean log was refused")
            if turn % 4 == 3:
                shut_down(path, where, "-f" if turn % 8 == 3 else "")
                resize_file(path + ".live", 600 * MIB)
                copy(path, path + ".crashed")
                resize_file(path + ".crashed", 600 * MIB)
                if expand_status(path + ".crashed") != 1 or expand_status(path + ".live") != 1:
                    sys.exit(f"seed {SEED}: {options}, turn {turn}: a log that needs replay was not refused")
        repair_finds_nothing(options, path + ".clean")
        print(f"logs, {options or 'defaults'}", flush=True)


def check_kernel_log(before):
    complaints = [line for line in kernel_log() if line not in before and
                  re.search(r"XFS.*(corrupt|error|assert|failed)", line, re.I)]
    if complaints:
        sys.exit("the kernel complained:\n" + "\n".join(complaints))


def main():
    log = set(kernel_log())
    with tempfile.TemporaryDirectory(dir=roomy_folder()) as name:
        work = Path(name)
        (work / "mounted").mkdir()
        if os.environ.get("QIMG_DUMPS"):
            make_dumps(os.environ["QIMG_DUMPS"], work)
            return
        for options, numbers in PIECES:
            for number in numbers:
                check_pieces(options, number, work)
        for case in CASES:
            check_case(*case, work)
        check_kernel_log(log)
        check_logs(work)  # the kernel tells of every crash that is made here


if __name__ == "__main__":
    main()
