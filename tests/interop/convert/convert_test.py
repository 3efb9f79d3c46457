#!/usr/bin/env python3
# qimg convert against qemu-img: random images in every direction, compared and checked by qemu-img, their sizes
# held against those that qemu-img makes; interruptions and full disks leave nothing behind.
# SPDX-License-Identifier: Apache-2.0
"""usage: convert_test.py QIMG [SEED]"""

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time

QIMG = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("QIMG_SEED", "1"))
MIB = 1 << 20


def run(*words, status=0, **more):
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode != status:
        sys.exit(f"{' '.join(words)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done


def qimg(*words, **more):
    return run(QIMG, *words, **more)


def qemu_img(*words, **more):
    return run("qemu-img", *words, **more)


def fill(path, size, rng, count=40):
    """Writes runs of text-like bytes, noise and zeroes at random places."""
    noise = rng.randbytes(256 * 1024)
    with open("noise", "wb") as file:
        file.write(noise)
    with open("words", "wb") as file:
        words = [rng.randbytes(rng.randint(3, 9)) for _ in range(500)]
        file.write(b"".join(rng.choice(words) for _ in range(30000))[:65536])
    commands = []
    for _ in range(count):
        length = rng.choice([512, 4096, 5 * 512, 65536, 200 * 1024, MIB])
        at = rng.randrange(0, (size - length) // 512) * 512
        kind = rng.choice(["-s noise", "-s words", "-s words", "-z", "-P 0", f"-P {rng.randint(1, 255)}"])
        commands += ["-c", f"write {kind} {at} {length}"]
    run("qemu-io", *commands, path)


def same(a, b, *words):
    qemu_img("compare", *words, a, b)


def clean(path):
    if qemu_img("info", path).stdout.find("file format: qcow2") >= 0:
        qemu_img("check", path)


TARGETS = [
    ("raw", ["-O", "raw"]),
    ("v2", ["-O", "qcow2", "-o", "compat=0.10"]),
    ("v3", ["-O", "qcow2"]),
    ("512", ["-O", "qcow2", "-o", "cluster_size=512"]),
    ("4k", ["-O", "qcow2", "-o", "cluster_size=4k"]),
    ("2M", ["-O", "qcow2", "-o", "cluster_size=2M"]),
    ("extended", ["-O", "qcow2", "-o", "extended_l2=on"]),
    ("refcount1", ["-O", "qcow2", "-o", "refcount_bits=1"]),
    ("zlib", ["-O", "qcow2", "-c"]),
    ("zlib9", ["-O", "qcow2", "-c", "-o", "compression_level=9"]),
    ("zlib512", ["-O", "qcow2", "-c", "-o", "cluster_size=512"]),
    ("zlib2M", ["-O", "qcow2", "-c", "-o", "cluster_size=2M"]),
    ("zlibv2", ["-O", "qcow2", "-c", "-o", "compat=0.10"]),
    ("zstd", ["-O", "qcow2", "-c", "-o", "compression_type=zstd"]),
    ("zstd4k", ["-O", "qcow2", "-c", "-o", "compression_type=zstd,cluster_size=4k"]),
    ("zextended", ["-O", "qcow2", "-c", "-o", "extended_l2=on"]),
    ("metadata", ["-O", "qcow2", "-o", "preallocation=metadata"]),
    ("falloc", ["-O", "raw", "-o", "preallocation=falloc"]),
    ("full", ["-O", "raw", "-S", "0"]),
    ("sparse", ["-O", "raw", "-S", "64k"]),
    ("sparseqcow2", ["-O", "qcow2", "-S", "512"]),
]


def test_every_direction(rng):
    size = 12 * MIB + 512 * rng.randrange(100)
    qemu_img("create", "-q", "-f", "qcow2", "origin.qcow2", str(size))
    fill("origin.qcow2", size, rng)
    for name, words in TARGETS:
        qimg("convert", *words, "origin.qcow2", name)
        same("origin.qcow2", name)
        clean(name)
    # and from each of them to each kind of target once more
    for name, _ in TARGETS:
        for other, words in rng.sample(TARGETS, 4):
            qimg("convert", *words, name, "again")
            same("origin.qcow2", "again")
            clean("again")


def test_same_bytes_whatever_the_threads(rng):
    size = 24 * MIB
    run("truncate", "-s", str(size), "disk.raw")
    fill("disk.raw", size, rng, 60)
    for words in (["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "raw"]):
        made = []
        for threads in ("1", "2", "7"):
            qimg("convert", *words, "-f", "raw", "-m", threads, "disk.raw", "out")
            with open("out", "rb") as file:
                made.append(file.read())
        if not made[0] == made[1] == made[2]:
            sys.exit(f"{words}: the number of threads shows in the output")


def make_chain(rng, size):
    qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", str(size))
    fill("base.qcow2", size, rng, 30)
    for name, below, bytes_ in (("mid", "base", size // 2), ("top", "mid", size + 3 * MIB)):
        qemu_img("create", "-q", "-f", "qcow2", "-b", f"{below}.qcow2", "-F", "qcow2", f"{name}.qcow2", str(bytes_))
        fill(f"{name}.qcow2", bytes_, rng, 12)


def test_backing_chains(rng):
    make_chain(rng, 12 * MIB)
    for name, words in TARGETS:
        qimg("convert", *words, "top.qcow2", "flat")
        same("top.qcow2", "flat")
    overlays = [words for _, words in TARGETS if "qcow2" in words and "preallocation=metadata" not in words]
    run("cp", "base.qcow2", "copy.qcow2")  # the same content, but not the same file
    qemu_img("create", "-q", "-f", "qcow2", "empty.qcow2", "3M")
    for words in overlays:
        for base in ("base.qcow2", "mid.qcow2", "copy.qcow2", "empty.qcow2"):
            qimg("convert", *words, "-B", base, "-F", "qcow2", "top.qcow2", "over.qcow2")
            same("top.qcow2", "over.qcow2")
            clean("over.qcow2")
            backing = [line for line in qemu_img("info", "over.qcow2").stdout.splitlines() if "backing file:" in line]
            if backing != [f"backing file: {base}"]:
                sys.exit(f"-B {base}: {backing}")
    # what the base has is not there once more
    qimg("convert", "-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", "base.qcow2", "nothing.qcow2")
    if os.path.getsize("nothing.qcow2") > 5 * 65536:
        sys.exit("-B: a copy of the base holds data of its own")


def test_snapshots(rng):
    size = 8 * MIB
    qemu_img("create", "-q", "-f", "qcow2", "disk.qcow2", str(size))
    for number in ("first", "second"):
        fill("disk.qcow2", size, rng, 15)
        qemu_img("convert", "-O", "raw", "disk.qcow2", f"{number}.raw")
        qemu_img("snapshot", "-c", number, "disk.qcow2")
    fill("disk.qcow2", size, rng, 15)
    for name, id_ in (("first", "1"), ("second", "2")):
        for choice in (name, id_, f"snapshot.name={name}", f"snapshot.id={id_}", f"snapshot.id={id_},snapshot.name={name}"):
            qimg("convert", "-l", choice, "-O", "qcow2", "disk.qcow2", "out")
            same(f"{name}.raw", "out")
    refused = qimg("convert", "-l", "third", "-O", "qcow2", "disk.qcow2", "none", status=1)
    if "Can't find snapshot" not in refused.stderr or os.path.exists("none"):
        sys.exit(f"snapshot that is not there: {refused.stderr}")


def test_concatenation(rng):
    parts = []
    for number in range(3):
        size = 3 * MIB + 512 * rng.randrange(1, 2000)
        parts.append(f"part{number}")
        qemu_img("create", "-q", "-f", "qcow2", parts[-1], str(size))
        fill(parts[-1], size, rng, 10)
    for _, words in TARGETS:
        qimg("convert", *words, *parts, "mine")
        qemu_img("convert", "-O", "raw", *parts, "theirs")
        same("theirs", "mine")
        clean("mine")


def test_existing_targets(rng):
    size = 8 * MIB
    qemu_img("create", "-q", "-f", "qcow2", "disk.qcow2", str(size))
    fill("disk.qcow2", size, rng)
    qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", str(size))
    fill("base.qcow2", size, rng)
    for options in (["-f", "qcow2"], ["-f", "qcow2", "-o", "compat=0.10"], ["-f", "raw"],
                    ["-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2"],
                    ["-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "-o", "extended_l2=on"]):
        for compress in ([], ["-c"]) if "raw" not in options else ([],):
            qemu_img("create", "-q", *options, "there", str(size))
            fill("there", size, rng, 15)
            qimg("convert", "-n", *compress, "-O", options[1], "disk.qcow2", "there")
            same("disk.qcow2", "there")
            clean("there")
    run("rm", "there")
    run("truncate", "-s", str(size), "there")
    qimg("convert", "-n", "--target-is-zero", "-O", "raw", "disk.qcow2", "there")
    same("disk.qcow2", "there")


def test_sizes(rng):
    size = 48 * MIB
    run("truncate", "-s", str(size), "disk.raw")
    with open("disk.raw", "r+b") as file:
        for folder in ("/usr/bin", "/usr/share/doc", "/usr/include"):
            for root, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(root, name)
                    if not os.path.isfile(path) or file.tell() > size - 8 * MIB:
                        continue
                    with open(path, "rb") as source:
                        file.write(source.read(2 * MIB))
                    file.seek(file.tell() + 4095 & ~4095)
    for words in ([], ["-c"], ["-c", "-o", "compression_type=zstd"]):
        qimg("convert", "-f", "raw", "-O", "qcow2", *words, "disk.raw", "mine")
        qemu_img("convert", "-f", "raw", "-O", "qcow2", *words, "disk.raw", "theirs")
        same("disk.raw", "mine", "-f", "raw")
        ratio = os.path.getsize("mine") / os.path.getsize("theirs")
        if ratio > 1.12:
            sys.exit(f"{words}: {ratio:.3f} x the size that qemu-img makes")
    # a cluster that is compressed already does not grow when it is copied
    qimg("convert", "-O", "qcow2", "-c", "theirs", "once")
    qimg("convert", "-O", "qcow2", "-c", "once", "twice")
    if os.path.getsize("twice") != os.path.getsize("once"):
        sys.exit("compressed clusters grow with every copy")


def test_refusals(rng):
    qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", "4M")
    qemu_img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2")
    fill("base.qcow2", 4 * MIB, rng, 5)
    os.link("base.qcow2", "link.qcow2")
    before = open("base.qcow2", "rb").read()
    for target in ("top.qcow2", "base.qcow2", "./base.qcow2", "link.qcow2"):
        for more in ([], ["-n"], ["-U"]):
            refused = qimg("convert", *more, "-O", "qcow2", "top.qcow2", target, status=1)
            if len(refused.stderr.splitlines()) != 1:
                sys.exit(f"{target}: {refused.stderr}")
    if open("base.qcow2", "rb").read() != before:
        sys.exit("a refused conversion has changed its source")
    # a damaged compressed cluster is found, also when compressed clusters are copied as they are
    run("qemu-io", "-c", "write -s /bin/sh 0 64k", "base.qcow2")
    qemu_img("convert", "-c", "-O", "qcow2", "base.qcow2", "damaged.qcow2")
    with open("damaged.qcow2", "r+b") as file:
        file.seek(5 * 65536 + 100)
        file.write(b"\xff" * 2000)
    for words in (["-O", "raw"], ["-c", "-O", "qcow2"]):
        refused = qimg("convert", *words, "damaged.qcow2", "out", status=1)
        if "error while reading at byte 0" not in refused.stderr or os.path.exists("out"):
            sys.exit(f"damaged cluster: {refused.stderr}")


def names():
    return sorted(os.listdir("."))


def test_interruptions(rng):
    size = 400 * MIB
    run("truncate", "-s", str(size), "disk.raw")
    with open("disk.raw", "r+b") as file:
        for _ in range(100):
            file.write(rng.randbytes(MIB))
    with open("old", "w") as file:
        file.write("as it was")
    before = names()
    for target in ("new", "old"):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for wait in (0.01, 0.1):
                child = subprocess.Popen([QIMG, "convert", "-r", "20M", "-O", "qcow2", "disk.raw", target])
                time.sleep(wait)
                child.send_signal(number)
                if child.wait() == 0:
                    sys.exit("a conversion that was interrupted says that it succeeded")
                if names() != before or open("old").read() != "as it was":
                    sys.exit(f"signal {number} leaves {names()}")


def test_full_disk(rng):
    run("truncate", "-s", "64M", "disk.raw")
    fill("disk.raw", 64 * MIB, rng, 150)
    before = names()

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))

    for words in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"]):
        refused = qimg("convert", "-f", "raw", *words, "disk.raw", "out", status=1, preexec_fn=limit)
        if len(refused.stderr.splitlines()) != 1 or "File too large" not in refused.stderr:
            sys.exit(f"full disk: {refused.stderr}")
        if names() != before:
            sys.exit(f"full disk leaves {names()}")


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        with tempfile.TemporaryDirectory(prefix="qimg-convert-") as folder:
            os.chdir(folder)
            test(random.Random(f"{SEED} {name}"))
            os.chdir("/")
        print(f"{name}: ok", flush=True)


main()
