#!/usr/bin/env python3
# vmbox against a real libvirt daemon of its own and a real guest: up, ls, reset, stop, rm, and what it refuses.
# Usage: real_boot.py VMBOX. Runs as root (system daemon) and as an ordinary user (session daemon).
# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

VMBOX = os.path.abspath(sys.argv[1])
GUEST = pathlib.Path(__file__).resolve().parents[2] / "guest"
# QEMU's sockets lie below it, and a socket's name has 107 bytes at most
WORK = pathlib.Path(tempfile.mkdtemp(prefix="vb", dir="/tmp"))
BASE = WORK / "base.raw"
ENVIRONMENT = {**os.environ, "LC_ALL": "C", "VMBOX_DIR": str(WORK / "boxes"), "VMBOX_ACCEL": "tcg",
               "XDG_CACHE_HOME": str(WORK / "cache")}


def tool(name, *arguments):
    done = subprocess.run([str(GUEST / name), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout.strip()


def vmbox(*arguments, status=0):
    done = subprocess.run([VMBOX, *map(str, arguments)], env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == status, f"vmbox {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def base_state():
    status = BASE.stat()
    return hashlib.sha256(BASE.read_bytes()).hexdigest(), status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns


def state_of(name):
    return {entry["name"]: entry["state"] for entry in json.loads(vmbox("ls", "--output", "json"))}.get(name)


def check_whole_life(uri):
    vmbox("up", "t1", "--image", BASE, "--disk", "+1G", "--password", "x", "--connect", uri, "--until", "off")
    log = vmbox("log", "t1")
    for line in ("SEED-LABEL=cidata", "SEED-DEV=/dev/vdb", f"DISK-BYTES={(64 << 20) + (1 << 30)}", "TINY-END"):
        assert line in log, f"{line} is not in the console log:\n{log}"
    assert state_of("t1") == "off"
    wrote = log.split("DISK-MARKER-AFTER=")[1].splitlines()[0]
    assert wrote.startswith("TINY-WROTE t1-"), wrote
    vmbox("up", "t1", "--until", "off")
    assert f"DISK-MARKER-BEFORE={wrote}" in vmbox("log", "t1"), "a second start has another disk"
    vmbox("reset", "t1", "--until", "off")
    log = vmbox("log", "t1")
    assert wrote not in log.split("DISK-MARKER-AFTER=")[0], "the disk is not fresh after reset"
    assert f"DISK-MARKER-AFTER={wrote}" in log, "the seed is another one after reset"
    vmbox("rm", "t1")
    assert not (WORK / "boxes" / "t1").exists()


def check_scsi_seed_and_stop(uri):
    vmbox("up", "t2", "--image", BASE, "--seed-bus", "scsi", "--network", "user", "--forward", "0:22", status=1)
    vmbox("up", "t2", "--image", BASE, "--seed-bus", "scsi", "--network", "user", "--connect", uri, "--no-wait")
    assert state_of("t2") == "running"
    assert "runs already" in vmbox("up", "t2")
    assert "already" in vmbox("up", "t2", "--image", BASE, "--connect", uri, status=1)
    vmbox("stop", "--force", "t2")
    assert state_of("t2") == "off"
    vmbox("rm", "t2")


def check_interruption_leaves_the_guest_running(uri):
    waiting = subprocess.Popen([VMBOX, "up", "t3", "--image", str(BASE), "--connect", uri, "--until", "off"],
                               env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "domain running" not in waiting.stderr.readline():
        assert waiting.poll() is None
    waiting.send_signal(signal.SIGINT)
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 1 and "vmbox rm t3" in out, out
    assert state_of("t3") == "running"
    vmbox("rm", "t3")


def check_refusals(uri):
    with open(BASE, "r+b") as image:
        lock_as_writer(image)
        message = vmbox("up", "t4", "--image", BASE, "--connect", uri, status=1)
    assert "in use" in message, message
    message = vmbox("up", "t4", "--image", WORK / "missing", "--connect", uri, status=1)
    assert "missing" in message, message
    assert not (WORK / "boxes" / "t4").exists()


def lock_as_writer(image):
    """The lock bytes that QEMU takes on an image that it writes to."""
    import fcntl
    import struct

    f_ofd_setlk = 37
    for byte in (100, 101, 103, 201, 203):
        fcntl.fcntl(image, f_ofd_setlk, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))


def main():
    try:
        cache = pathlib.Path(os.environ.get("GUEST_CACHE") or pathlib.Path.home() / ".cache" / "guest-images")
        tool("build-tiny-guest", cache / "tiny")
        subprocess.run(["cp", "--sparse=always", str(cache / "tiny" / "tiny.raw"), str(BASE)], check=True)
        before = base_state()
        uri = tool("start-libvirtd", WORK / "lv")
        begun = time.monotonic()
        check_whole_life(uri)
        check_scsi_seed_and_stop(uri)
        check_interruption_leaves_the_guest_running(uri)
        check_refusals(uri)
        assert base_state() == before, "the base changed"
        print(f"all passed in {time.monotonic() - begun:.0f} s")
    finally:
        subprocess.run([str(GUEST / "stop-libvirtd"), str(WORK / "lv")], check=False)
        shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
