"""Whether qimg and the stock program came to the same result.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import subprocess


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def differences(case, ours, stock, pair):
    """One line for each difference; none when results are equal."""
    found = []
    for kind in case.equal:
        found += CHECKS[kind](case, ours, stock, pair)
    return found


def output(case, ours, stock, pair):
    mine, theirs = (took.output.replace(side.folder, '') for took, side in zip(pair, (ours, stock)))
    return [] if mine == theirs else ['another output']


def requests(case, ours, stock, pair):
    """Of bench: what was sent, without the time that it took."""
    mine, theirs = (re.sub(r'Run completed in .*', '', took.output) for took in pair)
    return [] if mine == theirs else ['other requests']


def content(case, ours, stock, pair):
    """What a guest reads of each."""
    status, said = run('qemu-img', 'compare', ours.out, stock.out)
    return [] if status == 0 else [f'another content: {said.strip()}']


def base_content(case, ours, stock, pair):
    """What a guest reads of the base below."""
    status, said = run('qemu-img', 'compare', *(os.path.join(side.folder, 'base.qcow2') for side in (ours, stock)))
    return [] if status == 0 else [f'another content of the base: {said.strip()}']


def clean(case, ours, stock, pair):
    status, said = run('qemu-img', 'check', '-f', 'qcow2', ours.out)
    return [] if status == 0 else [f'not clean: {said.strip()}']


def counts(case, ours, stock, pair):
    """As many clusters of each kind."""
    found = []
    for side in (ours, stock):
        status, said = run('qemu-img', 'check', '-f', 'qcow2', '--output=json', side.out)
        report = json.loads(said)
        found.append((status, {name: value for name, value in report.items()
                               if name not in ('filename', 'image-end-offset', 'fragmented-clusters')}))
    return [] if found[0] == found[1] else [f'check finds {found[0]} and {found[1]}']


def properties(case, ours, stock, pair):
    """As info shows them, without what differs from file to file."""
    other = re.compile(r'"(actual-size|filename|full-backing-filename|(date|vm-clock)-n?sec)"')
    mine, theirs = ([line for line in run('qemu-img', 'info', '--output=json', side.out)[1].splitlines()
                     if not other.search(line)] for side in (ours, stock))
    return [] if mine == theirs else ['other properties']


def seed(case, ours, stock, pair):
    """The label, and the files with what is in them."""
    found = []
    for side in (ours, stock):
        about = [run('blkid', '-p', '-s', 'LABEL', '-s', 'TYPE', '-o', 'value', side.out)[1]]
        about += [run('isoinfo', '-i', side.out, '-R', '-x', '/' + name)[1] for name in ('user-data', 'meta-data')]
        found.append(about)
    return [] if found[0] == found[1] and found[0][1] else ['another seed']


CHECKS = {name: function for name, function in globals().items()
          if callable(function) and name not in ('run', 'differences')}


def size_ratio(ours, stock):
    """Of the files' lengths: both are without holes."""
    return os.path.getsize(ours.out) / os.path.getsize(stock.out)
