#!/usr/bin/env python3
# hostile_test.py QIMG [IMAGE…]: runs the commands on hostile images and looks at what they do beside answering:
# they end by themselves, within bounds of time and memory, open no file that the user did not name, write nothing
# to an image that they refuse, and print nothing that a terminal would obey.
# SPDX-License-Identifier: Apache-2.0
import ctypes
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import images

LIMITS = {"cpu": 10}  # seconds
MEMORY = 64 << 20
FILE_GROWTH = 4 << 30  # refcounts of one block can say that so much is in use
IN_OPEN = 0x20
CONTROLS = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
SECRET = b"not for you"

# what only looks at the image itself
LOOKS = (
    ("info", "image"),
    ("info", "--output=json", "image"),
    ("snapshot", "-l", "image"),
    ("info", "--untrusted", "image"),
)
# what reads the disk, and with it images below that lie beside it
READS = (
    ("check", "image"),
    ("map", "--output=json", "image"),
    ("measure", "-O", "qcow2", "image"),
    ("partitions", "image"),
    ("compare", "image", "image"),
    ("compare", "image", "small.raw"),
    ("convert", "-m", "2", "-O", "qcow2", "image", "out"),
    ("convert", "-m", "2", "-c", "-O", "qcow2", "image", "out"),
    ("dd", "if=image", "of=out", "bs=64k", "count=20"),
)
# what changes the image, or is refused
CHANGES = (
    ("resize", "image", "+1M"),
    ("resize", "--shrink", "image", "100k"),
    ("snapshot", "-c", "new", "image"),
    ("snapshot", "-a", "name", "image"),
    ("snapshot", "-d", "name", "image"),
    ("rebase", "-u", "-b", "", "image"),
    ("rebase", "-b", "", "image"),
    ("commit", "image"),
    ("commit", "overlay"),
    ("convert", "-n", "-O", "qcow2", "small.raw", "image"),
    ("bench", "-w", "-c", "8", "-s", "64k", "image"),
    ("amend", "-o", "compat=0.10", "image"),
    ("amend", "-o", "refcount_bits=64", "image"),
    ("bitmap", "--add", "image", "new"),
    ("check", "-r", "all", "image"),
)

class Watch:
    """Which of the files were opened since it was made."""

    def __init__(self, *paths):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK)
        self.names = {self.libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_OPEN): path
                      for path in paths}

    def opened(self):
        try:
            events = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            events = b""
        os.close(self.descriptor)
        return {self.names[int.from_bytes(events[at:at + 4], sys.byteorder)] for at in range(0, len(events), 16)}

def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (LIMITS["cpu"], LIMITS["cpu"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])

class Run:
    """One command: its exit status (negative: the signal that ended it), output, and peak of memory in bytes."""

    def __init__(self, command):
        # into files: what this program takes for output counts for the next command that it starts
        with open("../stdout", "w+b") as out, open("../stderr", "w+b") as err:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=limit)
            _, status, usage = os.wait4(process.pid, 0)
            self.status = process.returncode = os.waitstatus_to_exitcode(status)
            self.memory = usage.ru_maxrss * 1024
            self.has_output = out.tell() + err.tell() != 0
            self.has_controls = has_controls(out) or has_controls(err)
            err.seek(0)
            self.errors = err.read(1000)


def has_controls(file):
    file.seek(0)
    return any(CONTROLS.search(part) for part in iter(lambda: file.read(1 << 16), b""))


def digest(path):
    # in pieces: what this program takes counts for the commands that it starts
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

def digests():
    return {path.name: digest(path) for path in Path(".").iterdir() if path.name != "out"}

def is_readable(qimg):
    return subprocess.run([qimg, "info", "-f", "qcow2", "image"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


def tells_secret():
    # only the beginning: an image may be long, what was copied from elsewhere comes first
    return os.path.exists("out") and SECRET in Path("out").read_bytes()[:1 << 20]


def faults(qimg, command, is_change, looks_below, memory_limit):
    """What the command did wrong, as sentences."""
    before = digests()
    was_readable = is_change and is_readable(qimg)
    size = os.path.getsize("image")
    # where images below are looked at, one outside the folder may be opened to tell that it is none, no further
    watch = Watch(*([] if looks_below else (name for name in ("../secret", "link1", "other") if os.path.exists(name))))
    run = Run([qimg, *command])
    opened = watch.opened()
    if run.status not in (0, 1, 2, 3, 4, 63):
        yield f"ended with status {run.status}: {run.errors[-500:]!r}"
    if memory_limit and run.memory > memory_limit + 2 * size:
        yield f"took {run.memory >> 20} MiB"
    if opened:
        yield f"opened {', '.join(opened)}"
    if tells_secret():
        yield "copied what a name in the header leads to"
    if digests() != before and not is_change:
        yield "changed a file although it only reads"
    if was_readable and run.status != 0 and not is_readable(qimg):
        yield f"failed and left an image that cannot be opened: {run.errors[-300:]!r}"
    if os.path.getsize("image") > size + FILE_GROWTH:
        yield f"made the image {os.path.getsize('image')} bytes long"
    if run.has_controls:
        yield "printed control characters"
    if run.status == 1 and not run.has_output:
        yield "failed without a word"
    Path("out").unlink(missing_ok=True)


def prepare(make):
    make()
    Path("small.raw").write_bytes(b"\7" * 300000)
    # an overlay of the image, that has data; made of another one, as the hostile one may not open
    for command in (("create", "-q", "-f", "qcow2", "stand-in", "64M"),
                    ("create", "-q", "-f", "qcow2", "-b", "stand-in", "-F", "qcow2", "overlay"),
                    ("convert", "-n", "-O", "qcow2", "small.raw", "overlay"),
                    ("rebase", "-u", "-b", "image", "-F", "qcow2", "overlay")):
        images.qimg(*command)

def test_image(qimg, name, memory_limit):
    """The faults of all commands on one image, each in a fresh copy."""
    found = []
    commands = [(c, False, False) for c in LOOKS] + [(c, False, True) for c in READS]
    commands += [(c, True, True) for c in CHANGES]
    os.mkdir("model")
    os.chdir("model")
    prepare(images.IMAGES[name])
    os.chdir("..")
    for command, is_change, looks_below in commands:
        if is_change or not os.path.exists("work"):
            shutil.rmtree("work", ignore_errors=True)
            subprocess.run(["cp", "-r", "--sparse=always", "model", "work"], check=True)
        os.chdir("work")
        for fault in faults(qimg, command, is_change, looks_below, memory_limit):
            found.append(f"{name}: qimg {' '.join(command)}: {fault}")
        os.chdir("..")
    shutil.rmtree("work")
    shutil.rmtree("model")
    return found

def main():
    if len(sys.argv) < 2:
        sys.exit("usage: hostile_test.py QIMG [IMAGE…]")
    qimg = str(Path(sys.argv[1]).resolve())
    images.QIMG = qimg
    memory_limit = MEMORY
    if b"__asan_" in Path(qimg).read_bytes():
        # sanitizers have their own idea of memory, and take their time
        memory_limit = None
        LIMITS["cpu"] *= 6
    chosen = [name for name in images.IMAGES if name in sys.argv[2:] or len(sys.argv) == 2]
    found = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        os.chdir(folder)
        Path("secret").write_bytes(SECRET * 10000)
        for name in chosen:
            found += test_image(qimg, name, memory_limit)
        os.chdir("/")
    print("\n".join(found))
    print(f"{len(chosen)} images, {len(LOOKS + READS + CHANGES)} commands each: {len(found)} faults")
    return 1 if found or not chosen else 0

if __name__ == "__main__":
    sys.exit(main())
