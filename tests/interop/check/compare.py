#!/usr/bin/env python3
# Compares qimg check with qemu-img check on broken images: findings, report, JSON, exit status, and that a
# repaired image is whole in qemu-img's eyes and reads as before.
# SPDX-License-Identifier: Apache-2.0
"""usage: compare.py QIMG [SCENARIO]..."""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scenarios import SCENARIOS

WAYS = (("--output=human",), ("--output=json",), ("-r", "leaks"), ("-r", "all"))
TIMEOUT_S = 60

# Repairs in which qimg differs from qemu-img 7.2 on purpose; what it leaves must still be whole.
OTHERWISE = {
    "refblock_unaligned": "qemu-img cannot repair it",
    "refblock_reserved_bits": "qemu-img cannot repair it",
    "reftable_garbage": "qemu-img cannot repair it",
    "refblock_outside": "qimg rebuilds at once instead of first extending the file to the block",
    "refblock_far_outside": "likewise",
    "l2_is_l1": "both refuse to write, in other words",
    "bitmaps_unknown": "qimg does not warn of bitmaps when it opens an image",
    "bitmap_table_outside": "qemu-img drops the bitmap when it closes the image",
    "bitmap_data_outside": "likewise",
}


# What qemu-img says of bitmaps when it opens an image.
WARNING = re.compile(r"qemu-img: warning: a program lacking bitmap support.*\n.*on the image file to fix\.")

# Images that qimg does not check at all: it would have to guess what the table says, and a repair would free
# the clusters of a snapshot.
REFUSED = {"snapshot_l1_too_large", "bitmap_data_unaligned", "bitmap_data_reserved_bits"}


def check(program, folder, arguments):
    command = [*program, "check", *arguments, "image"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT_S, check=False, text=True)
    return {"stdout": done.stdout, "stderr": done.stderr.replace("qimg ", "qemu-img "), "status": f"{done.returncode}\n"}


def copy(folder, name):
    target = folder.parent / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


def guest_content(folder):
    """What a guest reads, or None when qemu-img cannot read it all."""
    done = subprocess.run(["qemu-img", "convert", "-O", "raw", "image", "content"], cwd=folder,
                          capture_output=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        return None
    data = (folder / "content").read_bytes()
    (folder / "content").unlink()
    return data


def make(name, folder):
    folder.mkdir()
    script = f"import scenarios; scenarios.SCENARIOS[{name!r}]()"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True,
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)})


def differences(qimg, name):
    """What qimg does otherwise than qemu-img in a scenario; empty when nothing."""
    report = ""
    with tempfile.TemporaryDirectory(prefix="check-") as root:
        folder = Path(root) / "made"
        make(name, folder)
        # by this name qimg's messages are qemu-img's to the letter
        drop_in = Path(root) / "qemu-img"
        drop_in.symlink_to(qimg)
        for way in WAYS:
            theirs_in, ours_in = copy(folder, "theirs"), copy(folder, "ours")
            theirs = check(["qemu-img"], theirs_in, way)
            ours = check([str(drop_in)], ours_in, way)
            if name in REFUSED:
                report += compare_refused(name, ours, folder, ours_in)
                continue
            if way[-1] == "all":
                report += compare_repaired(name, folder, theirs_in, ours_in)
            if name not in OTHERWISE or way[0] != "-r":
                report += compare(f"{name} {' '.join(way)}", theirs, ours)
            if way[0] != "-r" and (ours_in / "image").read_bytes() != (folder / "image").read_bytes():
                report += f"{name}: a check without repair changed the image\n"
    return report


def compare_refused(name, ours, made, ours_in):
    report = ""
    if ours["status"] not in ("1\n", "2\n"):
        report += f"{name}: exit status {ours['status']}"
    if ours["status"] == "1\n" and (ours_in / "image").read_bytes() != (made / "image").read_bytes():
        report += f"{name}: an image that is not checked was changed\n"
    return report


def compare(title, theirs, ours):
    report = ""
    for stream in ("stderr", "stdout", "status"):
        left, right = WARNING.sub("", theirs[stream]), ours[stream]
        if stream == "stdout" and left.startswith("{") and right.startswith("{"):
            left, right = (json.dumps(json.loads(text), indent=1) + "\n" for text in (left, right))
        # Where new refcount structures go is the program's choice.
        if "Rebuilding" in theirs["stderr"]:
            left, right = (re.sub(r"(Image end offset|\"image-end-offset\"): \d+", r"\1", text)
                           for text in (left, right))
        report += "".join(line if line.endswith("\n") else line + "\n\\ no newline\n" for line in
                          difflib.unified_diff(left.splitlines(True), right.splitlines(True),
                                               f"{title}: qemu-img's {stream}", "ours"))
    return report


def compare_repaired(name, made, theirs_in, ours_in):
    report = ""
    left, right = (check(["qemu-img"], folder, []) for folder in (theirs_in, ours_in))
    if left["status"] == "0\n" != right["status"] and not name.startswith("bitmap_"):
        report += f"{name}: our repair leaves {right['stderr']}{right['stdout']}"
    content = guest_content(theirs_in)
    if content is not None and content != guest_content(ours_in):
        report += f"{name}: after our repair the guest reads something else than after theirs\n"
    before = guest_content(copy(made, "before"))
    if before is not None and content == before and before != guest_content(ours_in):
        report += f"{name}: our repair changed what the guest reads\n"
    return report


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    qimg = str(Path(sys.argv[1]).resolve())
    chosen = [name for name in SCENARIOS if name in sys.argv[2:] or len(sys.argv) == 2]
    if not chosen:
        sys.exit("no such scenario")
    with ThreadPoolExecutor(max_workers=2) as pool:
        failed = 0
        for name, report in zip(chosen, pool.map(lambda name: differences(qimg, name), chosen)):
            failed += 1 if report else 0
            print(f"{'FAIL' if report else 'ok'}   {name}\n{report}", end="", flush=True)
    print(f"{len(chosen) - failed} scenarios agree, {failed} do not")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
