#!/usr/bin/env python3
# Growing XFS against xfsprogs: what mkfs.xfs made in many ways is grown, in one step and in several, in raw files, in
# qcow2 images and in partitions; xfs_repair finds nothing, the size is the one that the kernel would come to, nothing
# but the metadata that has to change does, and a second run finds nothing to do. What may not be grown is refused and
# left alone; what only the guest can grow is left to it.
# QIMG_LONG=1 tries many random file systems more, and sizes up to 16 TiB in all of them.
# SPDX-License-Identifier: Apache-2.0
"""usage: xfs_test.py QIMG [SEED]"""

import hashlib
import lzma
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
SEED = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("QIMG_SEED", "1"))
LONG = bool(os.environ.get("QIMG_LONG"))
DUMPS = Path(__file__).resolve().parents[3] / "testdata/xfs"
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
FULL, PARTITION_ONLY = 0, 5

# name, options of mkfs.xfs, sizes
CASES = [
    ("defaults", "", [300 * MIB, 5 * GIB]),
    ("as of RHEL 8", "-m bigtime=0,inobtcount=0", [300 * MIB, 900 * MIB, 3 * GIB]),
    ("as of RHEL 7", "-m bigtime=0,inobtcount=0,reflink=0,finobt=0 -i sparse=0", [300 * MIB, 3 * GIB]),
    ("reverse map", "-m rmapbt=1", [300 * MIB, 3 * GIB]),
    ("reverse map without reflink", "-m rmapbt=1,reflink=0,inobtcount=0", [300 * MIB, 3 * GIB]),
    ("reverse map without free inode tree", "-m rmapbt=1,finobt=0,inobtcount=0", [300 * MIB, 3 * GIB]),
    ("reflink without free inode tree", "-m finobt=0,inobtcount=0", [300 * MIB, 2 * GIB]),
    ("large extent counts", "-i nrext64=1", [300 * MIB, 2 * GIB]),
    ("1 KiB blocks", "-b size=1024", [300 * MIB, 2 * GIB]),
    ("1 KiB blocks, reverse map", "-b size=1024 -m rmapbt=1", [300 * MIB, 2 * GIB]),
    ("1 KiB blocks and sectors", "-b size=1024 -s size=1024", [300 * MIB, 2 * GIB]),
    ("4 KiB sectors", "-s size=4096", [300 * MIB, 2 * GIB]),
    ("2 KiB sectors", "-s size=2048 -b size=2048", [300 * MIB, 2 * GIB]),
    ("64 KiB blocks", "-b size=65536", [400 * MIB, 3 * GIB]),
    ("64 KiB blocks, 16 KiB sectors", "-b size=65536 -s size=16384 -l sectsize=16384 -m rmapbt=1", [2 * GIB, 3 * GIB]),
    ("stripes", "-d su=64k,sw=4", [600 * MIB, 4 * GIB]),
    ("stripes of the log", "-d su=256k,sw=2 -l su=256k", [700 * MIB, 4 * GIB]),
    ("one group", "--unsupported -d agcount=1", [300 * MIB, 5 * GIB]),
    ("many groups", "--unsupported -d agcount=18 -l size=8m", [300 * MIB, 2 * GIB]),
    ("large inodes", "-i size=2048", [300 * MIB, 2 * GIB]),
    ("a short last group", "-d agsize=80m", [300 * MIB, 310 * MIB, 320 * MIB, 321 * MIB, GIB]),
    ("a last group of no length", "-d agsize=100m", [300 * MIB, 300 * MIB + 252 * KIB, 300 * MIB + 256 * KIB, GIB]),
    ("less than a block", "", [300 * MIB, 300 * MIB + 1024]),
    ("many steps", "--unsupported -d agsize=16m -l size=6m", [60 * MIB + n * 3 * MIB + n * n * 4096 for n in range(9)]),
    ("many groups more", "", [300 * MIB, 20 * GIB]),
    ("1 to 16 TiB", "", [TIB, 16 * TIB - MIB]),
    ("quota", "", [300 * MIB, GIB]),
    ("a name and another uuid", "-L root -m uuid=11111111-2222-3333-4444-555555555555", [300 * MIB, 2 * GIB]),
]


def run(*words, status=0, cwd=None):
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode not in (status if isinstance(status, tuple) else (status,)):
        sys.exit(f"seed {SEED}: {' '.join(map(str, words))}: status {done.returncode}, not {status}\n"
                 f"{done.stdout[-3000:]}{done.stderr[:1000]}")
    return done.stdout, done.stderr


def roomy_folder():
    """In memory if there is much of it: what is made here is written for nobody."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 8 * GIB else None


def copy(source, target):
    run("cp", "--sparse=always", source, target)


def resize_file(path, size):
    with open(path, "ab") as file:
        file.truncate(size)


def make(path, options, size):
    Path(path).unlink(missing_ok=True)
    resize_file(path, size)
    run("mkfs.xfs", "-q", *options.split(), path)


def repair_finds_nothing(name, path):
    done = subprocess.run(["xfs_repair", "-n", "-f", path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("   ")]
        sys.exit("\n".join([f"seed {SEED}: {name}: xfs_repair: status {done.returncode}", *lines[:40]]))


def fields(path, *words):
    """What xfs_db has to say, numbers by name."""
    text, _ = run("xfs_db", "-r", "-f", *[part for word in words for part in ("-c", word)], path)
    return {name: int(value) for name, value in re.findall(r"^([a-z0-9_]+) = (\d+)$", text, re.M)}


def superblock(path, group=0):
    return fields(path, f"sb {group}", "p")


def size_by_rule(before, size):
    """The blocks that the kernel makes of a device of that size: a last group of less than 64 blocks is not made."""
    blocks = (size + 511) // 512 * 512 // before["blocksize"]  # a file of half a sector gets the rest
    rest = blocks % before["agblocks"]
    return max(before["dblocks"], blocks - (rest if rest < 64 else 0))


def stretches(file, end):
    """The data of a sparse file."""
    at, piece = 0, 64 * KIB
    while at < end:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA) // piece * piece
        except OSError:
            return
        if at >= end:
            return
        yield at, os.pread(file.fileno(), min(piece, end - at), at)
        at += piece


def unexpected_changes(old, new, before):
    """Sectors that differ and are neither headers nor trees of free space of the last group."""
    found = []
    block, group_bytes = before["blocksize"], before["agblocks"] * before["blocksize"]
    sector, last = before["sectsize"], before["agcount"] - 1
    with open(old, "rb", buffering=0) as a, open(new, "rb", buffering=0) as b:
        end = before["dblocks"] * block
        places = {at for file in (a, b) for at, _ in stretches(file, end)}
        for at in sorted(places):
            one, two = os.pread(a.fileno(), min(64 * KIB, end - at), at), os.pread(b.fileno(), min(64 * KIB, end - at), at)
            if one == two:
                continue
            for offset in range(0, len(one), 512):
                if one[offset:offset + 512] == two[offset:offset + 512]:
                    continue
                place = at + offset
                group, inside = divmod(place, group_bytes)
                if inside // sector in ((0, 1, 2) if group == last else (0,)):
                    continue
                start = place // block * block
                if group == last and os.pread(b.fileno(), 4, start) in (b"AB3B", b"AB3C"):
                    continue
                found.append(place)
    return found


def check_groups(name, path, after):
    """Each copy of the superblock says the same, and counts add up."""
    for group in {1, after["agcount"] // 2, after["agcount"] - 1} - {0}:
        if group >= after["agcount"]:
            continue
        other = superblock(path, group)
        for field in ("dblocks", "agcount", "agblocks", "fdblocks", "blocksize"):
            if other[field] != after[field]:
                sys.exit(f"seed {SEED}: {name}: {field} of the superblock in group {group}: {other}")


def check_growth(name, path, size):
    """Of a raw file with nothing but the file system."""
    before = superblock(path)
    old = path + ".old"
    copy(path, old)
    resize_file(path, size)
    run(QIMG, "expand", "-f", "raw", path, status=FULL)
    after = superblock(path)
    if after["dblocks"] != size_by_rule(before, size):
        sys.exit(f"seed {SEED}: {name}: {after['dblocks']} blocks, not {size_by_rule(before, size)}")
    same = ("icount", "ifree", "agblocks", "imax_pct", "logblocks", "rootino")
    if any(before[field] != after[field] for field in same):
        sys.exit(f"seed {SEED}: {name}: {before} {after}")
    repair_finds_nothing(name, path)
    if after["dblocks"] > before["dblocks"]:
        check_groups(name, path, after)
    elif digest(path) != digest(old):
        sys.exit(f"seed {SEED}: {name}: nothing grew, and it changed")
    changes = unexpected_changes(old, path, before)
    if changes:
        sys.exit(f"seed {SEED}: {name}: {len(changes)} sectors changed, at {changes[0]:#x} first")
    said, _ = run(QIMG, "expand", "-f", "raw", path, status=FULL)
    if "XFS already fills the disk" not in said:
        sys.exit(f"seed {SEED}: {name}: a second run: {said}")
    os.unlink(old)
    return after


def check_cleared_logs(work):
    """What xfs_admin and xfs_repair make of a log holds nothing but the record of an unmount, with a gap behind it."""
    path = str(work / "disk")
    for words in (["xfs_admin", "-U", "generate"], ["xfs_repair", "-L"]):
        for options in ("", "-m rmapbt=1 -s size=4096"):
            make(path, options, 300 * MIB)
            run(*words, path)
            check_growth(f"after {' '.join(words)}", path, GIB)
    os.unlink(path)


def check_case(name, options, sizes, work):
    print(name, flush=True)
    path = str(work / "disk")
    make(path, options, sizes[0])
    copy(path, path + ".first")
    for size in sizes[1:]:
        stepwise = check_growth(name, path, size)
    if len(sizes) > 2:
        at_once = check_growth(f"{name}, at once", path + ".first", sizes[-1])
        differ = [field for field in ("dblocks", "agcount", "fdblocks") if at_once[field] != stepwise[field]]
        if differ:
            sys.exit(f"seed {SEED}: {name}: {differ} differ from one step to several")
    os.unlink(path)
    os.unlink(path + ".first")


def random_case(rng):
    block = rng.choice([1024, 2048, 4096, 4096, 16384, 65536])
    finobt, rmapbt = rng.random() < 0.7, rng.random() < 0.5
    options = f"-b size={block} -s size={rng.choice([s for s in (512, 4096) if s <= block])}"
    options += f" -m finobt={int(finobt)},rmapbt={int(rmapbt)},reflink={rng.randint(0, 1)}"
    options += f",inobtcount={int(finobt and rng.random() < 0.7)},bigtime={rng.randint(0, 1)}"
    sizes = [rng.randint(330, 700) * MIB]
    options += f" -d agsize={rng.choice([80, 97, 128, 160]) * MIB}"
    for _ in range(rng.randint(1, 4)):
        sizes.append(int(sizes[-1] * rng.choice([1.0001, 1.01, 1.2, 2, 5])) + rng.randint(0, 5 * MIB))
    return f"{options}, {sizes}", options, sizes


def check_dumps(work):
    """File systems that a kernel has worked on: free space of the last group in many pieces, trees of several levels."""
    dumps = sorted(DUMPS.glob("*.metadump.xz"))
    if len(dumps) < 4:
        sys.exit(f"{DUMPS}: metadata is missing")
    for dump in dumps:
        path, plain = str(work / "disk"), work / "dump"
        plain.write_bytes(lzma.decompress(dump.read_bytes()))
        Path(path).unlink(missing_ok=True)
        run("xfs_mdrestore", str(plain), path)
        sizes = superblock(path)
        resize_file(path, sizes["dblocks"] * sizes["blocksize"])
        repair_finds_nothing(dump.name, path)
        copy(path, path + ".first")
        bytes_before = os.stat(path).st_size
        for size in (bytes_before + MIB, bytes_before + 37 * MIB, bytes_before + 700 * MIB):
            check_growth(dump.name, path, size)
        last = f"agf {sizes['agcount'] - 1}"
        kept = fields(path + ".first", last, "p")["flcount"] - fields(path, last, "p")["flcount"]
        print(f"{dump.name}: {kept} blocks for trees", flush=True)
        if ("full" in dump.name) != (kept > 0):
            sys.exit(f"{dump.name}: {kept} blocks were taken for trees")
        os.unlink(path)


def check_partition(work):
    """In a GPT, in qcow2, and over what an earlier partition left behind."""
    disk, image = str(work / "disk"), str(work / "image")
    inner = str(work / "inner")
    start, length = 2 * MIB, 310 * MIB
    make(inner, "-m rmapbt=1", length)
    junk = random.Random(3).randbytes(MIB)
    with open(disk, "wb") as file:
        file.truncate(GIB)
        for at in range(start + length, 900 * MIB, 5 * MIB):
            file.seek(at)
            file.write(junk)
    subprocess.run(["sfdisk", "-q", disk], check=True, capture_output=True, text=True,
                   input=f"label: gpt\nstart={start // 512}, size={length // 512}\n")
    run("dd", f"if={inner}", f"of={disk}", "bs=1M", f"seek={start // MIB}", "conv=notrunc,sparse", "status=none")
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image)
    for path, options in ((disk, ["-f", "raw"]), (image, [])):
        run(QIMG, "expand", *options, path, "+2G")
    run("qemu-img", "convert", "-O", "raw", image, image + ".raw")
    for path in (disk, image + ".raw"):
        part = str(work / "part")
        run("dd", f"if={path}", f"of={part}", "bs=1M", f"skip={start // MIB}", "conv=sparse", "status=none")
        repair_finds_nothing("a partition", part)
        blocks = superblock(part)["dblocks"]
        if not 3 * GIB - 4 * MIB <= blocks * 4096 <= 3 * GIB - start:
            sys.exit(f"a partition: {blocks} blocks")
    for path in (disk, image, image + ".raw", inner, part):
        os.unlink(path)


def write_field(path, at, data, checksum=None):
    """Changes bytes; `checksum` (where the sector is, its length, the field) is made right again."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)
        if checksum is None:
            return
        start, length, place = checksum
        file.seek(start)
        sector = bytearray(file.read(length))
        sector[place:place + 4] = bytes(4)
        value = 0xffffffff
        for byte in sector:
            value ^= byte
            for _ in range(8):
                value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        file.seek(start + place)
        file.write(struct.pack("<I", value ^ 0xffffffff))


def digest(path):
    seen = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        for at, data in stretches(file, os.stat(path).st_size):
            if data.strip(b"\0"):
                seen.update(b"%d" % at + data)
    return seen.hexdigest()


SUPER = (0, 512, 224)


def check_refusals(work):
    path = str(work / "disk")
    group = 75 * MIB  # of 300 MiB in four groups
    last = 3 * group
    space, inodes = (last + 512, 512, 216), (last + 1024, 512, 312)
    tree = (last + 4096, 4096, 52)
    be32, be64 = struct.Struct(">I").pack, struct.Struct(">Q").pack
    log = superblock_log(path)
    ways = [
        ("version 4", "-m crc=0", [], PARTITION_ONLY, "version 4"),
        ("an unknown feature", "", [(216, be32(1 << 20), SUPER)], PARTITION_ONLY, "features"),
        ("a realtime device", "", [(16, be64(1000), SUPER)], PARTITION_ONLY, "realtime"),
        ("a log elsewhere", "", [(48, be64(0), SUPER)], PARTITION_ONLY, "log on another device"),
        ("a log without records", "", [(log, bytes(1024), None)], PARTITION_ONLY, "no records"),
        ("in need of repair", "", [(216, be32(0x1b), SUPER)], 1, "need of repair"),
        ("not made to its end", "", [(126, b"\1", SUPER)], 1, "making"),
        ("a wrong checksum", "", [(108, b"x", None)], 1, "checksum of its superblock"),
        ("more blocks than there is room for", "", [(8, be64(1 << 30), SUPER)], 1, "more than there is room"),
        ("a wrong number of groups", "", [(88, be32(5), SUPER)], 1, "number of groups"),
        ("a wrong number of free blocks", "", [(144, be64(1000), SUPER)], 1, "number of free blocks"),
        ("a log that was not unmounted", "", [(log + 512 + 9, b"\0", None)], 1, "log was not replayed"),
        ("a log that goes on", "", [(log + 1024, be32(1), None)], 1, "log was not replayed"),
        ("a log that was torn", "", [(log + 4096, be32(1), None)], 1, "log was not replayed"),
        ("a header newer than the log", "", [(last + 512 + 208, be64(2 << 32), space)], 1, "newer than the log"),
        ("a group of another length", "", [(last + 512 + 12, be32(77), space)], 1, "its length"),
        ("inodes of another group", "", [(last + 1024 + 8, be32(2), inodes)], 1, "header of inodes"),
        ("a root outside", "", [(last + 512 + 16, be32(1 << 20), space)], 1, "a root"),
        ("a root of another kind", "", [(last + 512 + 16, be32(2), space)], 1, "block 2 of a tree"),
        ("an extent outside", "", [(last + 4096 + 60, be32(1 << 20), tree)], 1, "outside"),
        ("trees that differ", "", [(last + 4096 + 56, be32(60), tree), (last + 4096 + 60, be32(100), tree)], 1, "free"),
        ("a wrong longest extent", "", [(last + 512 + 56, be32(1), space)], 1, "longest"),
    ]
    for name, options, changes, status, reason in ways:
        make(path, options, 300 * MIB)
        for change in changes:
            write_field(path, *change)
        resize_file(path, GIB)
        before = digest(path)
        out, err = run(QIMG, "expand", "-f", "raw", path, status=status)
        if reason not in out + err:
            sys.exit(f"{name}: refused with: {out}{err}")
        if digest(path) != before:
            sys.exit(f"{name}: refused, and changed")
    os.unlink(path)


def superblock_log(path):
    """Where the log begins in what `check_refusals` makes."""
    make(path, "", 300 * MIB)
    found = superblock(path)
    group, block = divmod(found["logstart"], 1 << found["agblklog"])
    return (group * found["agblocks"] + block) * found["blocksize"]


def main():
    with tempfile.TemporaryDirectory(dir=roomy_folder()) as name:
        work = Path(name)
        check_refusals(work)
        check_partition(work)
        check_cleared_logs(work)
        check_dumps(work)
        rng = random.Random(SEED)
        cases = CASES + [random_case(rng) for _ in range(int(os.environ.get("QIMG_ROUNDS", "100" if LONG else "6")))]
        cases = [case for case in cases if os.environ.get("QIMG_ONLY", "") in case[0]]
        for case in cases:
            check_case(*case, work)
        print(f"{len(cases)} file systems grown")


if __name__ == "__main__":
    main()
