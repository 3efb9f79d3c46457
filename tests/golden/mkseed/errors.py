#!/usr/bin/env python3
# What mkseed says when it refuses: exact standard error, status, and no file left behind.
# Usage: errors.py MKSEED
# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import tempfile

program = os.path.abspath(sys.argv[1])

# The files that every case finds in its folder.
FILES = {
    "ok": b"#cloud-config\npackages: [vim]\n",
    "md": b"instance-id: i-1\n",
    "space": b"# cloud-config\npackages: [vim]\n",
    "underscore": b"#cloud_config\n",
    "capital": b"#Cloud-Config\n",
    "missing": b"packages: [vim]\n",
    "below": b"# web server\n#cloud-config\n",
    "prose": b"hello\n",
    "bom": b"\xef\xbb\xbf#cloud-config\n",
    "crlf": b"#!/bin/sh\r\necho\r\n",
    "broken": b"#cloud-config\nusers: [a, b\n",
    "twice": b"#cloud-config\nruncmd: []\npackages: []\nruncmd: []\n",
    "list": b"#cloud-config\n- a\n",
    "escape": b"\x1b[2Jhello\n",
    "net3": b"network:\n  version: 3\n",
    "noid": b"instance-id:\n",
    "mode": b"dsmode: pass\n",
    "mdlist": b"- a\n",
    "big": b"#" * (16 * 1024 * 1024 + 1),
    "pw": b"#cloud-config\npassword: x\n",
    "private": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
}

# (arguments, standard error after "mkseed: ")
REFUSED = [
    (["out", "space"], "space:1:1: first line is '# cloud-config', which cloud-init ignores: write '#cloud-config'"),
    (["out", "underscore"], "underscore:1:1: first line is '#cloud_config', which cloud-init ignores: write '#cloud-config'"),
    (["out", "capital"], "capital:1:1: first line is '#Cloud-Config', which cloud-init ignores: write '#cloud-config'"),
    (["out", "missing"], "missing:1:1: first line '#cloud-config' is missing: without it cloud-init ignores the file"),
    (["out", "below"], "below:1:1: '#cloud-config' is in line 2, but cloud-init looks at the first line only: move it there"),
    (["out", "prose"], "prose:1:1: first line is 'hello', which cloud-init ignores: it knows '#cloud-config', '#!', "
                       "'## template: jinja', '#include' and the other forms in cloud-init's documentation"),
    (["out", "escape"], "escape:1:1: first line is '\\x1b[2Jhello', which cloud-init ignores: it knows '#cloud-config', '#!', "
                        "'## template: jinja', '#include' and the other forms in cloud-init's documentation"),
    (["out", "bom"], "bom:1:1: a byte-order mark hides the first line from cloud-init: save the file as UTF-8 without one"),
    (["out", "crlf"], "crlf:1:10: '#!' line ends in CR LF, and no interpreter has that name: use line ends of LF alone"),
    (["out", "broken"], "broken:3:1: not YAML: flow sequence without a closing bracket"),
    (["out", "twice"], "twice:4:1: key 'runcmd' occurs twice in the same mapping: cloud-init would drop the first"),
    (["out", "list"], "list:2:1: cloud-config must be a mapping (lines of 'key: value')"),
    (["out", "ok", "-N", "net3"], "net3:2:3: version '3': cloud-init knows the numbers 1 and 2"),
    (["out", "ok", "noid"], "noid:1:1: instance-id must be a text and not empty"),
    (["out", "ok", "mode"], "mode:1:1: dsmode 'pass' is none of local, net, disabled"),
    (["out", "ok", "mdlist"], "mdlist:1:1: meta-data must be a mapping (lines of 'key: value', or JSON in braces)"),
    (["out", "ok", "-V", "space"], "space:1:1: first line is '# cloud-config', which cloud-init ignores: write '#cloud-config'"),
    (["out", "big"], "big: more than 16 MiB: too large for a seed"),
    (["out", "nothing"], "nothing: cannot open: No such file or directory"),
    (["out", "."], ".: cannot read: Is a directory"),
    (["out", "-H", "a_b"], "host name 'a_b': letters, digits, '-' and dots only, 63 characters between dots"),
    (["out", "-m", "never"], "dsmode 'never': must be local, net or disabled"),
    (["out", "--user", "Ann"], "user 'Ann': a user's name begins with a lower-case letter or '_', goes on with those, digits "
                               "and '-', and has at most 32 characters"),
    (["out", "--ssh-key", "private"], "private: holds a private key: give the public one, private.pub"),
    (["out", "--ssh-key", "ok"], "ok:2: no SSH public key: expected 'ssh-ed25519 AAAA…' or the like"),
    (["out", "--password", ""], "--password: must not be empty"),
    (["out", "--password", "$y$j9T$a$b"], "password: cloud-init takes this kind of crypt hash for clear text; use a SHA-512 one ($6$)"),
    (["out", "pw", "--password", "x"], "pw:2:1: 'password' is also set by an option (user, password or SSH key), and cloud-init "
                                       "would drop one of the two: keep one"),
    (["out", "ok", "-d", "qcow2"], "disk format 'qcow2': mkseed writes raw images only"),
    (["out", "ok", "-f", "ext4"], "file system 'ext4': must be iso9660 or vfat"),
    (["ok", "ok"], "ok: would be read and overwritten; the image's name comes first"),
    (["out", "-", "-"], "standard input is named twice, but can be read only once"),
    (["no/out", "ok"], "Could not create 'no/out': No such file or directory"),
    ([], "OUTPUT is required (mkseed --help tells more)"),
    (["out", "--bogus"], "The following argument was not expected: --bogus (mkseed --help tells more)"),
]


def run(folder, arguments, **environment):
    env = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", **environment}
    return subprocess.run([program, *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)


failures = 0


def check(what, got, wanted):
    global failures
    if got != wanted:
        failures += 1
        print(f"{what}:\n  got    {got!r}\n  wanted {wanted!r}")


with tempfile.TemporaryDirectory(prefix="mkseed-golden-") as folder:
    for name, content in FILES.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    before = sorted(os.listdir(folder))

    for arguments, message in REFUSED:
        result = run(folder, arguments)
        what = " ".join(arguments)
        check(what, result.stderr.decode(), f"mkseed: {message}\n")
        check(f"{what}: status", result.returncode, 1)
        check(f"{what}: standard output", result.stdout, b"")
        check(f"{what}: folder", sorted(os.listdir(folder)), before)
        for name, content in FILES.items():
            with open(os.path.join(folder, name), "rb") as file:
                check(f"{what}: {name} unchanged", file.read() == content, True)

    result = run(folder, ["out", "ok"], SOURCE_DATE_EPOCH="soon")
    check("SOURCE_DATE_EPOCH", result.stderr.decode(), "mkseed: SOURCE_DATE_EPOCH: must be a number of seconds since 1970\n")
    check("SOURCE_DATE_EPOCH: status", result.returncode, 1)

    # an error keeps an older image
    old = os.path.join(folder, "old")
    with open(old, "wb") as file:
        file.write(b"old image")
    check("old image: status", run(folder, ["old", "space"]).returncode, 1)
    with open(old, "rb") as file:
        check("old image", file.read(), b"old image")

    # a warning is no refusal
    with open(os.path.join(folder, "warn"), "wb") as file:
        file.write(b"#cloud-config\npackges: [vim]\n")
    result = run(folder, ["-v", "out", "warn", "md"])
    check("warning", result.stderr.decode(),
          "mkseed: warning: warn:2:1: unknown key 'packges': cloud-init will ignore it; did you mean 'packages'?\n"
          "mkseed: wrote out: 57344 bytes, instance-id i-1\n")
    check("warning: status", result.returncode, 0)

print(f"{len(REFUSED)} refusals, {failures} failures")
sys.exit(1 if failures else 0)
