#!/usr/bin/env python3
# Growing ext2, ext3 and ext4 against e2fsprogs: what mke2fs made in many ways is grown, in one step and in several,
# empty, with files and full; e2fsck finds nothing, the counts are those that resize2fs comes to on a copy, the files
# are what they were, a second growth changes nothing. What may not be grown is refused and left alone.
# QIMG_LONG=1 tries sizes up to 17 TiB and many random file systems more.
# SPDX-License-Identifier: Apache-2.0
"""usage: ext4_test.py EXT4_GROW [SEED]"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GROW = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("QIMG_SEED", "1"))
LONG = bool(os.environ.get("QIMG_LONG"))
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
EXT4 = "has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize"

# name, what mke2fs is told, content, sizes, and whether resize2fs takes some of the steps
CASES = [
    ("defaults, as cloud images have them", "-b 4096", "files", [300 * MIB, 5 * GIB, 10 * GIB]),
    ("the same with an orphan file", "-b 4096 -O orphan_file", "files", [300 * MIB, 5 * GIB]),
    ("full", "-b 4096", "full", [100 * MIB, 3 * GIB]),
    ("many steps", "-b 4096", "files", [128 * MIB + n * 97 * MIB + n * n * 4096 for n in range(12)]),
    ("steps inside a group and over its end", "-b 1024", "files", [8 * MIB + n * 1300 * KIB for n in range(9)]),
    ("1 KiB blocks", "-b 1024", "full", [64 * MIB, 900 * MIB]),
    ("2 KiB blocks", "-b 2048", "files", [100 * MIB, 4 * GIB]),
    ("reserved descriptors run out: meta groups", "-b 1024 -E resize=200000", "files", [64 * MIB, 3 * GIB, 9 * GIB]),
    ("the same, full", "-b 4096 -E resize=400000", "full", [100 * MIB, 40 * GIB]),
    ("no resize inode: meta groups", "-b 4096 -O ^resize_inode", "files", [64 * MIB, 3 * GIB, 60 * GIB]),
    ("meta groups from the start", "-b 1024 -O ^resize_inode,meta_bg", "files", [64 * MIB, GIB, 4 * GIB]),
    ("no flexible groups", "-b 4096 -O ^flex_bg", "files", [200 * MIB, 4 * GIB]),
    ("flexible groups of one and of many", "-b 4096 -G 1", "files", [200 * MIB, 3 * GIB]),
    ("one flexible group", "-b 1024 -G 4096", "files", [64 * MIB, 2 * GIB]),
    ("no 64bit", "-b 4096 -O ^64bit", "files", [200 * MIB, 6 * GIB]),
    ("uninit_bg", "-b 4096 -O ^metadata_csum,uninit_bg", "files", [200 * MIB, 6 * GIB]),
    ("uninit_bg without 64bit", "-b 1024 -O ^metadata_csum,^64bit,uninit_bg", "files", [50 * MIB, 2 * GIB]),
    ("no checksums", "-b 4096 -O ^metadata_csum,^uninit_bg", "files", [200 * MIB, 6 * GIB]),
    ("checksum seed", "-b 4096 -O metadata_csum_seed", "files", [200 * MIB, 6 * GIB]),
    ("superblocks in every group", "-b 1024 -O ^sparse_super,^resize_inode", "files", [64 * MIB, GIB]),
    ("two backups", "-b 4096 -O sparse_super2", "files", [300 * MIB, 5 * GIB]),
    ("two backups, no room for one in a last group", "-b 1024 -O ^64bit,sparse_super2 -i 16384", "none", [45 * MIB, 50566027]),
    ("two backups without resize inode", "-b 1024 -O sparse_super2,^resize_inode", "files", [100 * MIB, 5 * GIB]),
    ("ext3", "-t ext3 -b 4096", "files", [200 * MIB, 3 * GIB]),
    ("ext2", "-t ext2 -b 1024", "files", [64 * MIB, GIB]),
    ("ext2 of few groups without anything", "-t ext2 -b 1024 -O none", "files", [8 * MIB, 200 * MIB]),
    ("small inodes, many of them", "-b 1024 -I 128 -i 1024", "files", [100 * MIB, 3 * GIB]),
    ("large inodes", "-b 4096 -I 4096 -i 65536", "files", [200 * MIB, 5 * GIB]),
    ("small groups", "-b 1024 -g 256 -O ^resize_inode", "files", [16 * MIB, 200 * MIB]),
    ("what does not matter", "-b 4096 -O quota,project,orphan_file,mmp,verity,encrypt,casefold,inline_data,ea_inode,"
     "large_dir,metadata_csum_seed", "files", [300 * MIB, 5 * GIB]),
    ("resize2fs in between", "-b 4096", "files", [(100 + n * 160) * MIB for n in range(7)], True),
    ("resize2fs in between, 1 KiB blocks", "-b 1024 -O uninit_bg,^metadata_csum", "files",
     [(40 + n * n * 77) * MIB for n in range(6)], True),
    ("over what was there before", "-b 1024", "dirty", [30 * MIB, 64 * MIB, 100 * MIB]),
    ("over what was there before, no checksums", "-b 1024 -O ^metadata_csum,^uninit_bg,^resize_inode", "dirty",
     [30 * MIB, 64 * MIB, 100 * MIB]),
    ("RAID stride", "-b 4096 -E stride=16,stripe_width=64", "files", [300 * MIB, 5 * GIB]),
]
LONG_CASES = [
    ("1 GiB to 17 TiB", "-b 4096", "files", [GIB, 17 * TIB]),
    ("1 to 16 TiB", "-b 4096", "none", [TIB, 16 * TIB]),
    ("32-bit block numbers to their end", "-b 4096 -O ^64bit", "none", [GIB, 16 * TIB]),
    ("1 KiB blocks to 100 GiB", "-b 1024", "full", [64 * MIB, 100 * GIB]),
    ("four hundred steps", "-b 4096", "files", [64 * MIB + n * 37 * MIB for n in range(400)]),
]


def run(*words, status=0):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in (status if isinstance(status, tuple) else (status,)):
        sys.exit(f"seed {SEED}: {' '.join(map(str, words))}: status {done.returncode}, not {status}\n"
                 f"{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return done.stdout, done.stderr


def copy(source, target):
    run("cp", "--sparse=always", source, target)


def resize_file(path, size):
    with open(path, "ab") as file:
        file.truncate(size)


def digest(path):
    """Of the pieces that are not all zero: reading all of a sparse file would take hours."""
    seen, at, piece = hashlib.sha256(), 0, 64 * KIB
    with open(path, "rb", buffering=0) as file:
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // piece * piece
            except OSError:
                return seen.hexdigest()
            data = os.pread(file.fileno(), piece, at)
            if data.strip(b"\0"):
                seen.update(b"%d" % at + data)
            at += piece


def header(path):
    text, _ = run("dumpe2fs", "-h", path)
    return dict(re.findall(r"^([^:\n]+): +(.*)$", text, re.M))


def counts(path):
    fields = header(path)
    return {name: fields[name] for name in ("Inode count", "Block count", "Reserved block count", "Free inodes")}


def places(path, groups):
    """Of the metadata of some groups."""
    text, _ = run("dumpe2fs", path)
    found = {int(number): re.findall(r"(?:Block bitmap|Inode bitmap|Inode table) at ([0-9-]+)", part)
             for number, part in re.findall(r"^Group (\d+): (.*?)(?=^Group|\Z)", text, re.M | re.S)}
    return {number: found[number] for number in groups}


def files_of(path, work):
    """What is in all files, and their names, modes and link targets."""
    folder = work / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run("debugfs", "-R", f"rdump / {folder}", path)
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_symlink():
            found[name] = os.readlink(file)
        elif file.is_file():
            found[name] = (file.stat().st_mode, hashlib.sha256(file.read_bytes()).hexdigest())
        else:
            found[name] = file.stat().st_mode
    shutil.rmtree(folder)
    return found


def make_content(folder):
    rng = random.Random(7)
    for number in range(40):
        target = folder / f"folder{number % 5}" / f"file{number}"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(rng.randbytes(rng.choice([0, 10, 700, 5000, 70000])))
    (folder / "link").symlink_to("folder1/file1")
    os.link(folder / "folder2/file2", folder / "hard")


def make(path, options, content, size, work):
    resize_file(path, size)
    words = ["mke2fs", "-q", "-F", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef", "-U",
             "01234567-89ab-cdef-0123-456789abcdef"]
    words += [] if "-t " in options else ["-t", "ext4"]
    words += [] if content == "none" else ["-d", str(work / "content")]
    words += options.split()
    run(*words, path)
    if content == "full":
        fields = header(path)
        free = int(fields["Free blocks"]) * int(fields["Block size"])
        filler = work / "filler"
        filler.write_bytes(random.Random(8).randbytes(max(0, free - free // 128 - 64 * KIB)))
        run("debugfs", "-w", "-R", f"write {filler} filler", path)
        filler.unlink()
    if content == "full" or "quota" in options:
        run("e2fsck", "-fy", path, status=(0, 1))  # for counts that debugfs and mke2fs leave behind


def check_growth(name, path, size, work):
    """Grows to a size, beside resize2fs; tells whether that had something to do."""
    theirs = work / "theirs"
    resize_file(path, size)
    copy(path, theirs)
    run("resize2fs", "-f", theirs)
    said, _ = run(GROW, path)
    run("e2fsck", "-fn", path)
    ours, others = counts(path), counts(theirs)
    if name.startswith("defaults"):
        # a flexible group that is new as a whole
        step, per_group = 16, 32768 * 4096
        whole = range(-(-int(said.split()[0]) // per_group // step) * step, size // per_group // step * step)
        if len(whole) == 0 or places(path, whole) != places(theirs, whole):
            sys.exit(f"seed {SEED}: {name}: groups {whole} have other places than with resize2fs")
    theirs.unlink()
    if ours != others:
        sys.exit(f"seed {SEED}: {name}, {size} bytes: {ours}, but with resize2fs {others}")
    fields = header(path)
    if int(said.split()[1]) != int(fields["Block count"]) * int(fields["Block size"]):
        sys.exit(f"seed {SEED}: {name}: said {said}, but has {fields['Block count']} blocks")
    before = digest(path)
    again, _ = run(GROW, path)
    if again.split()[0] != again.split()[1] or digest(path) != before:
        sys.exit(f"seed {SEED}: {name}: grown twice: {said}{again}")


def append_junk(path, size):
    """What an earlier partition left behind."""
    junk = random.Random(5).randbytes(MIB)
    with open(path, "ab") as file:
        while file.tell() < size:
            file.write(junk[:size - file.tell()])


def check_case(work, name, options, content, sizes, resize2fs_between=False):
    path = str(work / "disk")
    make(path, options, content, sizes[0], work)
    before = files_of(path, work)
    for number, size in enumerate(sizes[1:]):
        if content == "dirty":
            append_junk(path, size)
        if number % 3 == 1 and resize2fs_between:
            resize_file(path, size)
            run("resize2fs", "-f", path)
            continue
        check_growth(name, path, size, work)
    if files_of(path, work) != before:
        sys.exit(f"seed {SEED}: {name}: the files differ")
    os.unlink(path)


def random_case(rng):
    block = rng.choice([1024, 1024, 2048, 4096, 4096])
    features = [rng.choice(choices) for choices in (
        ["64bit", "^64bit"], ["metadata_csum", "metadata_csum", "^metadata_csum,uninit_bg", "^metadata_csum,^uninit_bg"],
        ["flex_bg", "flex_bg", "^flex_bg"], ["has_journal", "^has_journal"],
        ["resize_inode", "resize_inode", "^resize_inode", "^resize_inode,meta_bg", "sparse_super2",
         "^resize_inode,^sparse_super"])]
    options = f"-b {block} -O {','.join(features)} -i {rng.choice([4096, 16384, 65536])}"
    if "resize_inode" in features and rng.random() < 0.4:
        options += f" -E resize={rng.randint(200000, 2000000)}"
    if "^flex_bg" not in features and rng.random() < 0.3:
        options += f" -G {rng.choice([2, 8, 64, 512])}"
    sizes = [rng.randint(40, 200) * MIB]
    for _ in range(rng.randint(1, 4)):
        factor = rng.choice([1.001, 1.01, 1.2, 2, 10 if sizes[-1] < 2 * GIB else 1.5])
        sizes.append(int(sizes[-1] * factor) + rng.randint(0, 5 * MIB))
    return f"{options}, {sizes}", options, rng.choice(["files", "files", "full"]), sizes


def check_refusals(work):
    path = str(work / "disk")
    ways = [
        ("bigalloc", "-O bigalloc", [], "clusters of blocks"),
        ("a journal", "-O journal_dev", [], "journal of another"),
        ("marked as mounted", "", ["ssv state 0"], "not unmounted cleanly"),
        ("with errors", "", ["ssv state 3"], "errors"),
        ("with orphans", "", ["ssv last_orphan 12"], "not unmounted cleanly"),
        ("with an orphan file in use", "-O orphan_file", ["feature FEATURE_R16"], "not unmounted cleanly"),
        ("with a journal to replay", "", ["feature needs_recovery"], "journal was not replayed"),
        ("with a journal to replay and no mark", "", ["journal_open", "journal_write -b 333 /dev/null", "journal_close",
                                                      "feature -needs_recovery"], "journal is not empty"),
        ("unknown feature", "", ["feature FEATURE_I30"], "features"),
        ("read-only", "", ["feature read-only"], "may not be written"),
        ("too many blocks", "", ["ssv blocks_count 900000"], "more than there is room"),
        ("a table outside", "", ["set_bg 1 inode_table 5000000", "set_bg 1 checksum calc"], "inode table"),
        ("tables on each other", "", ["set_bg 1 inode_table 100", "set_bg 1 checksum calc"], "metadata at block"),
        ("a wrong checksum", "", ["set_bg 1 checksum 77"], "checksum"),
        ("a wrong count", "", ["set_bg 1 free_blocks_count 77", "set_bg 1 checksum calc"], "free blocks"),
        ("a resize inode that is none", "", ["set_inode_field <7> block[0] 9999"], "resize inode"),
        ("a resize inode over a table", "", ["set_inode_field <7> block[DIND] 100"], "resize inode"),
    ]
    for name, options, commands, reason in ways:
        resize_file(path, 300 * MIB)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", *options.split(), path)
        script = work / "commands"
        script.write_text("\n".join(commands) + "\n")
        run("debugfs", "-w", "-f", str(script), path)
        resize_file(path, GIB)
        before = digest(path)
        _, said = run(GROW, path, status=1)
        if reason not in said or said.count("\n") != 1:
            sys.exit(f"{name}: refused with: {said}")
        if digest(path) != before:
            sys.exit(f"{name}: refused, and changed")
        os.unlink(path)


def main():
    folder = None if not LONG else "/dev/shm"  # ext4 has no files of 16 TiB
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        (work / "content").mkdir()
        make_content(work / "content")
        check_refusals(work)
        rng = random.Random(SEED)
        cases = CASES + (LONG_CASES if LONG else [])
        cases += [random_case(rng) for _ in range(int(os.environ.get("QIMG_ROUNDS", "150" if LONG else "4")))]
        cases = [case for case in cases if os.environ.get("QIMG_ONLY", "") in case[0]]
        for case in cases:
            print(case[0], flush=True)
            check_case(work, *case)
        print(f"{len(cases)} file systems grown")


if __name__ == "__main__":
    main()
