#!/usr/bin/env python3
# Other programs' opinions on mkseed's images: isoinfo, iso-info, xorriso, blkid, mtools, fsck.vfat, genisoimage.
# Usage: read_by_others.py MKSEED; a tool that is not installed is a failure.
# SPDX-License-Identifier: Apache-2.0
import email
import os
import re
import subprocess
import sys
import tempfile

program = os.path.abspath(sys.argv[1])
environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
environment.pop("SOURCE_DATE_EPOCH", None)

USER_DATA = "#cloud-config\nruncmd: [[echo, 'caf\u00e9']]\n# " + "x" * 9000 + "\n"
NETWORK = "version: 2\nethernets: {}\n"
NAMES = ["meta-data", "network-config", "user-data", "vendor-data"]
FILES = {
    "user-data": USER_DATA.encode(),
    "meta-data": b"instance-id: i-1\nlocal-hostname: web\n",
    "network-config": NETWORK.encode(),
    "vendor-data": b"",
}


def run(*command, **options):
    result = subprocess.run(command, env={**environment, **options}, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def text(*command):
    return run(*command).decode()


def tags(image):
    return dict(line.split("=", 1) for line in text("blkid", "-p", "-o", "export", image).splitlines())


def content(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def inputs(folder):
    for name, data in FILES.items():
        write(os.path.join(folder, name), data)
    return [os.path.join(folder, name) for name in ("user-data", "meta-data")] + [
        "-N", os.path.join(folder, "network-config"), "-V", os.path.join(folder, "vendor-data")]


def check_iso(folder):
    image = os.path.join(folder, "seed.iso")
    run(program, image, *inputs(folder))
    description = text("isoinfo", "-d", "-i", image)
    assert "Volume id: cidata\n" in description, description
    assert "Joliet with UCS level 3 found" in description, description
    assert "Rock Ridge signatures version 1 found" in description, description
    blocks = int(re.search(r"Volume size is: (\d+)", description)[1])
    assert blocks * 2048 == os.path.getsize(image)

    plain = text("isoinfo", "-l", "-i", image)
    for name in ("USER_DAT.;1", "META_DAT.;1", "NETWORK_.;1", "VENDOR_D.;1"):
        assert name in plain, plain
    for form in ("-J", "-R"):
        listing = text("isoinfo", form, "-f", "-i", image).split()
        assert sorted(listing) == ["/" + name for name in NAMES], listing
        for name, data in FILES.items():
            assert run("isoinfo", form, "-x", "/" + name, "-i", image) == data, (form, name)
    rock = text("isoinfo", "-R", "-l", "-i", image)
    assert len(re.findall(r"^-r--r--r--   1    0    0 ", rock, re.M)) == len(NAMES), rock
    assert len(re.findall(r"^dr-xr-xr-x   2    0    0 ", rock, re.M)) == 2, rock

    seen = tags(image)
    assert seen["LABEL"] == "cidata" and seen["TYPE"] == "iso9660", seen
    info = text("iso-info", "-l", image)
    assert "Joliet Level: 3" in info and all(name in info for name in NAMES), info

    out = os.path.join(folder, "extracted")
    run("xorriso", "-report_about", "WARNING", "-abort_on", "WARNING", "-osirrox", "on", "-indev", image, "-extract", "/", out)
    assert sorted(os.listdir(out)) == NAMES
    for name, data in FILES.items():
        assert content(os.path.join(out, name)) == data, name
    run("chmod", "-R", "u+w", out)


def check_against_genisoimage(folder):
    ours, theirs = os.path.join(folder, "seed.iso"), os.path.join(folder, "genisoimage.iso")
    paths = [os.path.join(folder, name) for name in NAMES]
    run("genisoimage", "-quiet", "-output", theirs, "-volid", "cidata", "-joliet", "-rock", *paths)
    for form in ("-J", "-R", "-l"):
        names = [re.findall(r"^[-d].*\]  (\S+)", text("isoinfo", form, "-l", "-i", image), re.M) for image in (ours, theirs)]
        assert names[0] == names[1], (form, names)
    for name in NAMES:
        assert run("isoinfo", "-R", "-x", "/" + name, "-i", ours) == run("isoinfo", "-R", "-x", "/" + name, "-i", theirs)


def check_vfat(folder):
    image = os.path.join(folder, "seed.img")
    run(program, "-f", "vfat", image, *inputs(folder))
    seen = tags(image)
    assert seen["LABEL"] == "CIDATA" and seen["LABEL_FATBOOT"] == "CIDATA" and seen["TYPE"] == "vfat", seen
    run("fsck.vfat", "-n", "-V", image)
    assert sorted(name[len("::/"):] for name in text("mdir", "-b", "-i", image, "::").split()) == NAMES
    for name, data in FILES.items():
        assert run("mtype", "-i", image, "::/" + name) == data, name

    # past 4084 clusters the volume is FAT16
    large = os.path.join(folder, "large")
    write(large, b"#!/bin/sh\n" + b"\x1f" * (12 << 20))
    run(program, "-f", "vfat", image, large)
    assert "VERSION=FAT16" in text("blkid", "-p", "-o", "export", image)
    run("fsck.vfat", "-n", "-V", image)
    assert run("mtype", "-i", image, "::/user-data") == content(large)


def check_same_bytes(folder):
    for filesystem in ("iso9660", "vfat"):
        one, two, three = (os.path.join(folder, name) for name in ("one", "two", "three"))
        options = ["-f", filesystem, "--password", "s3cret", "-H", "web"]
        run(program, *options, one)
        run(program, *options, two, TZ="Asia/Kathmandu")
        run(program, *options, three, SOURCE_DATE_EPOCH="1700000000")
        assert content(one) == content(two) != content(three)
        assert run(program, *options, "-") == content(one)


# Python's mail parser is the one that cloud-init takes archives apart with.
def check_archive(folder):
    image = os.path.join(folder, "archive.iso")
    script = os.path.join(folder, "script")
    write(script, b"#!/bin/sh\necho one\n\n")
    run(program, image, "-u", os.path.join(folder, "user-data"), "-u", script, "--password", "s3cret")
    archive = email.message_from_string(run("isoinfo", "-R", "-x", "/user-data", "-i", image).decode())
    parts = archive.get_payload()
    assert [part.get_content_type() for part in parts] == ["text/cloud-config", "text/cloud-config", "text/x-shellscript"]
    assert parts[0].get_payload(decode=True).startswith(b"#cloud-config\npassword: \"$6$")
    assert parts[1].get_payload(decode=True) == USER_DATA.encode()
    assert parts[2].get_payload(decode=True) == b"#!/bin/sh\necho one\n\n"

    # an archive made by another program, inside ours
    run(program, os.path.join(folder, "nested.iso"), "-u", script, "-u", script)
    write(os.path.join(folder, "nested"), run("isoinfo", "-R", "-x", "/user-data", "-i", os.path.join(folder, "nested.iso")))
    run(program, image, os.path.join(folder, "nested"), "--ssh-key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMq a@b")
    archive = email.message_from_string(run("isoinfo", "-R", "-x", "/user-data", "-i", image).decode())
    leaves = [part for part in archive.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in leaves] == ["text/cloud-config"] + 2 * ["text/x-shellscript"]
    assert leaves[2].get_payload(decode=True) == content(script)


with tempfile.TemporaryDirectory(prefix="mkseed-interop-") as directory:
    for test in (check_iso, check_against_genisoimage, check_vfat, check_same_bytes, check_archive):
        test(directory)
        print(f"{test.__name__}: ok")
