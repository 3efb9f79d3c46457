#!/usr/bin/env python3
# vmdk images against qemu-img and qemu-io: what one writes, the other reads; both say the same about it; images
# whose tables stand at their end, and broken ones, are judged alike.
# SPDX-License-Identifier: Apache-2.0
"""usage: vmdk_test.py QIMG [SEED]"""

import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import zlib

QIMG = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("QIMG_SEED", "1"))
KIB, MIB = 1 << 10, 1 << 20
SUBFORMATS = ["monolithicSparse", "streamOptimized"]


def run(*words, status=0):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != status:
        sys.exit(f"seed {SEED}: {' '.join(words)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done.stdout


def same_text(*words):
    """What both programs print, which has to be the same."""
    ours, theirs = (subprocess.run([program, *words], capture_output=True, text=True, check=False)
                    for program in (QIMG_LINK, "qemu-img"))
    if (ours.returncode, ours.stdout, ours.stderr) != (theirs.returncode, theirs.stdout, theirs.stderr):
        sys.exit(f"seed {SEED}: {' '.join(words)}: status {ours.returncode}\n{ours.stdout}{ours.stderr}"
                 f"-- but with qemu-img: {theirs.returncode}\n{theirs.stdout}{theirs.stderr}")
    return ours.stdout


def same_disk(a, b):
    run(QIMG, "compare", a, b)
    run("qemu-img", "compare", a, b)


def clean(path):
    for words in (["check", path], ["info", path], ["info", "--output=json", path], ["map", "--output=json", path],
                  ["check", "--output=json", path]):
        same_text(*words)


def content(rng, length):
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(length)
    if kind == 1:
        return rng.randbytes(length)
    return (rng.randbytes(rng.randint(3, 40)) * (length // 3 + 1))[:length]


def raw_disk(path, size, rng):
    with open(path, "wb") as file:
        file.truncate(size)
        for _ in range(30):
            length = rng.choice([512, 4 * KIB, 20 * KIB, 64 * KIB, 300 * KIB, MIB])
            file.seek(rng.randrange(0, size - length))
            file.write(content(rng, length))
        if rng.randrange(2):
            file.seek(size - 512)
            file.write(b"end." * 128)


def conversions(rng):
    size = rng.choice([40 * MIB, 33 * MIB + 512, 70 * MIB - 1024])
    raw_disk("disk.raw", size, rng)
    run("qemu-img", "convert", "-O", "qcow2", "disk.raw", "disk.qcow2")
    for subformat in SUBFORMATS:
        for words in ([], ["-c"], ["-S", "0"]):
            for zeroed in ("off", "on"):
                options = ["-O", "vmdk", "-o", f"subformat={subformat},zeroed_grain={zeroed}"]
                run(QIMG, "convert", *words, *options, rng.choice(["disk.raw", "disk.qcow2"]), "ours.vmdk")
                run("qemu-img", "convert", *words, *options, "disk.raw", "theirs.vmdk")
                for image in ("ours.vmdk", "theirs.vmdk"):
                    same_disk("disk.raw", image)
                    clean(image)
                    run(QIMG, "convert", "-O", "qcow2", image, "back.qcow2")
                    run("qemu-img", "compare", "disk.raw", "back.qcow2")
        with open("ours.vmdk", "rb") as ours, open("theirs.vmdk", "rb") as theirs:
            a, b = ours.read(512), theirs.read(512)
        if a != b:
            sys.exit(f"the headers of {subformat} images differ:\n{a.hex()}\n{b.hex()}")


def writes(rng):
    """Turns of qemu-io and of this program write into one image; a raw one gets the same."""
    for options in ("subformat=monolithicSparse", "zeroed_grain=on", "adapter_type=lsilogic,compat6=on"):
        size = 50 * MIB
        maker = rng.choice([QIMG, "qemu-img"])
        run(maker, "create", "-f", "vmdk", "-o", options, "disk.vmdk", str(size))
        run("qemu-img", "create", "-f", "raw", "same.raw", str(size))
        for turn in range(6):
            if turn % 2:
                length = rng.choice([512, 4 * KIB, 64 * KIB, 200 * KIB])
                at = rng.randrange(0, (size - length) // 512) * 512
                with open("part.raw", "wb") as file:
                    file.truncate(size)
                    file.seek(at)
                    file.write(content(rng, length))
                # over everything that is there
                run(QIMG, "convert", "-n", "-f", "raw", "-O", "vmdk", "part.raw", "disk.vmdk")
                run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "part.raw", "same.raw")
            commands = []
            for _ in range(15):
                length = rng.choice([512, 4 * KIB, 64 * KIB, 200 * KIB, MIB])
                at = rng.randrange(0, (size - length) // 512) * 512
                commands += ["-c", f"write {rng.choice(['-z', '-P 0', f'-P {rng.randint(1, 255)}'])} {at} {length}"]
            run("qemu-io", "-f", "vmdk", *commands, "disk.vmdk")
            run("qemu-io", "-f", "raw", *commands, "same.raw")
            same_disk("same.raw", "disk.vmdk")
            clean("disk.vmdk")


def growth(rng):
    """Disks that become longer here, and are written to by both afterwards."""
    for options in ("subformat=monolithicSparse", "zeroed_grain=on"):
        size = rng.choice([50 * MIB, 31 * MIB + 512])
        run(rng.choice([QIMG, "qemu-img"]), "create", "-f", "vmdk", "-o", options, "disk.vmdk", str(size))
        run("qemu-img", "create", "-f", "raw", "same.raw", str(size))
        for _ in range(4):
            size += rng.choice([512, MIB, 32 * MIB, 300 * MIB + 1024])
            run(QIMG, "resize", "-q", "disk.vmdk", str(size))
            os.truncate("same.raw", size)
            same_disk("same.raw", "disk.vmdk")
            commands = []
            for _ in range(20):
                length = rng.choice([512, 64 * KIB, 200 * KIB])
                at = rng.choice([rng.randrange(0, (size - length) // 512) * 512, size - length])
                commands += ["-c", f"write -P {rng.randint(1, 255)} {at} {length}"]
            run("qemu-io", "-f", "vmdk", *commands, "disk.vmdk")
            run("qemu-io", "-f", "raw", *commands, "same.raw")
            with open("part.raw", "wb") as file:
                file.truncate(size)
                file.seek(size // 2)
                file.write(content(rng, 300 * KIB))
            run(QIMG, "convert", "-n", "-f", "raw", "-O", "vmdk", "part.raw", "disk.vmdk")
            run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "part.raw", "same.raw")
            same_disk("same.raw", "disk.vmdk")
            clean("disk.vmdk")
        with open("disk.vmdk", "rb") as file:
            if f"RW {size // 512} SPARSE".encode() not in file.read(11 * KIB):
                sys.exit(f"seed {SEED}: the descriptor has another length")


def compressed_writes(rng):
    """QEMU adds grains to images made here, and the other way round."""
    for maker, first in ((QIMG, "qemu-io"), ("qemu-img", QIMG)):
        run(maker, "create", "-f", "vmdk", "-o", "subformat=streamOptimized", "disk.vmdk", "40M")
        data = {grain: content(rng, 64 * KIB) for grain in rng.sample(range(640), 20)}
        with open("same.raw", "wb") as file:
            file.truncate(40 * MIB)
        for number, (grain, grain_content) in enumerate(data.items()):
            by_qemu = (first == "qemu-io") == (number < 10)
            with open("grain", "wb") as file:
                file.write(grain_content)
            with open("same.raw", "r+b") as file:
                file.seek(grain * 64 * KIB)
                file.write(grain_content)
            if by_qemu:
                run("qemu-io", "-f", "vmdk", "-c", f"write -c -s grain {grain * 64 * KIB} 64k", "disk.vmdk")
            else:
                with open("one.raw", "wb") as file:
                    file.truncate(40 * MIB)
                    file.seek(grain * 64 * KIB)
                    file.write(grain_content)
                run(QIMG, "convert", "-n", "-f", "raw", "-O", "vmdk", "--target-is-zero", "one.raw", "disk.vmdk")
        same_disk("same.raw", "disk.vmdk")
        clean("disk.vmdk")


def stream_with_footer(path, size, grains):
    """A file as the specification describes it for tapes and sockets: tables behind the data they lead to."""
    grain_sectors, tables = 128, -(-size // (64 * KIB * 512))
    header = struct.Struct("<4sIIQQQQIQQQB4sH433x")

    def head(directory):
        return header.pack(b"KDMV", 3, 0x30001, size // 512, grain_sectors, 1, 20, 512, 0, directory, 128, 0, b"\n \r\n", 1)

    text = ('# Disk DescriptorFile\nversion=1\nCID=deadbeef\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
            f'RDONLY {size // 512} SPARSE "stream.vmdk"\n')
    out = bytearray(head((1 << 64) - 1) + text.encode().ljust(20 * 512, b"\0")).ljust(128 * 512, b"\0")
    entries = [0] * (tables * 512)
    directory = []
    for table in range(tables):
        for grain in sorted(g for g in grains if g // 512 == table):
            stream = zlib.compress(grains[grain], 9)
            entries[grain] = len(out) // 512
            out += struct.pack("<QI", grain * grain_sectors, len(stream)) + stream
            out += bytes(-len(out) % 512)
        out += struct.pack("<QII496x", 4, 0, 1)  # what follows is a grain table
        directory.append(len(out) // 512)
        out += struct.pack("<512I", *entries[table * 512:(table + 1) * 512])
    out += struct.pack("<QII496x", 1, 0, 2)  # the grain directory
    directory_sector = len(out) // 512
    out += struct.pack(f"<{tables}I", *directory).ljust(512, b"\0")
    out += struct.pack("<QII496x", 1, 0, 3) + head(directory_sector) + bytes(512)
    with open(path, "wb") as file:
        file.write(out)


def streams_of_others(rng):
    size = 80 * MIB
    grains = {grain: content(rng, 64 * KIB) for grain in rng.sample(range(1280), 30)}
    stream_with_footer("stream.vmdk", size, grains)
    with open("same.raw", "wb") as file:
        file.truncate(size)
        for grain, data in grains.items():
            file.seek(grain * 64 * KIB)
            file.write(data)
    same_disk("same.raw", "stream.vmdk")
    clean("stream.vmdk")
    run(QIMG, "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", "stream.vmdk", "again.vmdk")
    same_disk("same.raw", "again.vmdk")


def texts():
    for words in (["create", "-f", "vmdk", "a.vmdk", "100M"], ["create", "-f", "vmdk", "-o", "help"],
                  ["create", "-f", "vmdk", "-o", "help", "a.vmdk"], ["create", "-f", "vmdk", "-o", "subformat=x", "a.vmdk", "1M"],
                  ["create", "-f", "vmdk", "-o", "adapter_type=x", "a.vmdk", "1M"],
                  ["create", "-f", "vmdk", "-o", "compat6=on,hwversion=3", "a.vmdk", "1M"],
                  ["create", "-f", "vmdk", "-o", "zeroed_grain=on,toolsversion=1,adapter_type=buslogic,nocow=on", "a.vmdk", "1M"],
                  ["resize", "--shrink", "a.vmdk", "512k"], ["measure", "-O", "vmdk", "--size", "1G"], ["amend", "-o", "size=1G", "a.vmdk"],
                  ["snapshot", "-l", "a.vmdk"], ["check", "-r", "all", "a.vmdk"]):
        same_text(*words)
    for options in ("subformat=monolithicSparse,adapter_type=lsilogic", "zeroed_grain=on,compat6=on",
                    "subformat=streamOptimized,hwversion=9,toolsversion=7"):
        for size in ("1000", "100M", "3G", "3T"):
            files = []
            for program in (QIMG, "qemu-img"):
                run(program, "create", "-f", "vmdk", "-o", options, "a.vmdk", size)
                with open("a.vmdk", "rb") as file:
                    files.append((os.path.getsize("a.vmdk"), re.sub(rb"\nCID=.*", b"\n", file.read(32 * KIB)).replace(b"\0", b"")))
            if files[0] != files[1]:
                sys.exit(f"new images of {size} with {options} differ")


def broken():
    """Headers that both refuse, in the same words."""
    run("qemu-img", "create", "-f", "vmdk", "whole.vmdk", "10M")
    with open("whole.vmdk", "rb") as file:
        whole = file.read()
    for at, pattern, value in ((4, "<I", 4), (44, "<I", 1024), (44, "<I", 0), (20, "<Q", 1 << 22), (56, "<Q", (1 << 64) - 1)):
        image = bytearray(whole)
        struct.pack_into(pattern, image, at, value)
        with open("broken.vmdk", "wb") as file:
            file.write(image)
        ours, theirs = (subprocess.run([program, "info", "broken.vmdk"], capture_output=True, text=True, check=False)
                        for program in (QIMG_LINK, "qemu-img"))
        if ours.returncode != 1 or not ours.stderr.startswith(theirs.stderr.rstrip("\n")):
            sys.exit(f"a header with {value} at {at}: {ours.stderr}-- but with qemu-img: {theirs.stderr}")
    with open("broken.vmdk", "wb") as file:
        file.write(whole[:30000])
    same_text("info", "broken.vmdk")


def main():
    global QIMG_LINK
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        QIMG_LINK = os.path.join(folder, "qemu-img")
        os.symlink(QIMG, QIMG_LINK)
        texts()
        broken()
        streams_of_others(rng)
        compressed_writes(rng)
        conversions(rng)
        writes(rng)
        growth(rng)
    print(f"vmdk: seed {SEED}: nothing differs")


if __name__ == "__main__":
    main()
