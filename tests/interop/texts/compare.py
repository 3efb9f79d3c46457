#!/usr/bin/env python3
# Runs qimg under the name qemu-img and the stock qemu-img side by side on the same files, and compares
# stdout, stderr and exit status letter by letter. What is run stands in scenarios.py.
# SPDX-License-Identifier: Apache-2.0
"""usage: compare.py QIMG [SCENARIO]...   (parts of scenario names; default: all)"""

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import scenarios

STOCK = "/usr/bin/qemu-img"
TIMEOUT_S = 60
ENVIRONMENT = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}


def shell(script, folder):
    subprocess.run(["bash", "-euc", script], cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, check=True, timeout=TIMEOUT_S)


def without_disk_size(text):
    """How much space a new file takes is up to the program that wrote it."""
    text = re.sub(r"(?m)^(disk size: ).*$", r"\1…", text)
    return re.sub(r'("actual-size": )\d+', r"\1…", text)


def without_node_name(text):
    """QEMU names a node after a counter and two random digits."""
    return re.sub(r"#block\d+", "#block…", text)


def observe(program, folder, arguments, is_new):
    done = subprocess.run([program, *arguments], cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=TIMEOUT_S, check=False)
    stdout = done.stdout.decode("utf-8", "backslashreplace")
    stdout = re.sub(r"(?m)^(Run completed in )\d+\.\d{3} seconds\.$", r"\1…", stdout)
    return {"stdout": without_disk_size(stdout) if is_new else stdout,
            "stderr": without_node_name(done.stderr.decode("utf-8", "backslashreplace")), "status": f"{done.returncode}\n"}


def compare(scenario, program, top):
    """The text of all differences of a scenario; its commands run one after the other on the same files."""
    base = Path(tempfile.mkdtemp(dir=top))
    ours, theirs = base / "ours", base / "theirs"
    (base / "start").mkdir()
    if scenario.setup:
        shell(scenario.setup, base / "start")
    if scenario.changes:
        for folder in (ours, theirs):
            subprocess.run(["cp", "-a", base / "start", folder], check=True)
    else:
        ours = theirs = base / "start"
    report = ""
    for arguments in scenario.commands:
        seen = observe(program, ours, arguments, scenario.changes)
        expected = observe(STOCK, theirs, arguments, scenario.changes)
        for stream, wanted in expected.items():
            if seen[stream] != wanted:
                lines = difflib.unified_diff(wanted.splitlines(True), seen[stream].splitlines(True),
                                             f"qemu-img: {stream}", f"qimg: {stream}")
                shown = "".join(line if line.endswith("\n") else f"{line}\n\\ no newline\n" for line in lines)
                report += f"  {' '.join(arguments)}\n{shown}"
    shutil.rmtree(base)
    return report


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    chosen = [one for one in scenarios.all_scenarios()
              if len(sys.argv) == 2 or any(part in one.name for part in sys.argv[2:])]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="qimg-texts-") as top:
        program = Path(top) / "qemu-img"
        program.symlink_to(Path(sys.argv[1]).resolve())
        with ThreadPoolExecutor(max_workers=2) as pool:
            reports = list(pool.map(lambda one: compare(one, program, top), chosen))
    for scenario, report in zip(chosen, reports):
        if bool(report) == bool(scenario.differs):
            continue
        failed += 1
        print(f"FAIL {scenario.name}" + ("" if report else f": no longer differs ({scenario.differs})"))
        print(report)
    commands = sum(len(one.commands) for one in chosen)
    print(f"{len(chosen) - failed} of {len(chosen)} scenarios with {commands} commands as expected")
    sys.exit(1 if failed or not chosen else 0)


if __name__ == "__main__":
    main()
