#!/usr/bin/env python3
"""sandbox_test.py QIMG: when the commands that only read images give up what they do not need, by their system calls.

SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import subprocess
import sys
import tempfile

QIMG = os.path.abspath(sys.argv[1])
# one traces another, and a sanitizer that looks for leaks wants to trace, too
ENVIRONMENT = {**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'}
CALL = re.compile(r'^(?:\[pid +\d+\] +)?(\w+)\((.*)\) += (-?\d+)')
IMAGES = ('"top"', '"base"', '"other"')

# command line, and which filters there are: before any image is opened, and after the last one
COMMANDS = [
    (['info', 'top'], 0, 1),
    (['info', '--untrusted', 'top'], 0, 1),
    (['info', '-U', 'top'], 0, 1),
    (['info', '--backing-chain', 'top'], 1, 2),
    (['check', 'top'], 1, 2),
    (['check', '--backing-chain', 'top'], 1, 2),
    (['map', 'top'], 1, 2),
    (['measure', '-O', 'qcow2', 'top'], 1, 2),
    (['partitions', 'top'], 1, 2),
    (['compare', 'top', 'other'], 1, 2),
]


def run(*words, folder):
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def calls_of(words, folder):
    """The calls that worked, each with its name and arguments."""
    trace = os.path.join(folder, 'trace')
    done = subprocess.run(['strace', '-f', '-o', trace, '-e', 'trace=open,openat,pread64,seccomp', *words],
                          cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode not in (0, 1, 4):
        raise SystemExit(f'{words}: status {done.returncode}\n{done.stderr}')
    calls = []
    with open(trace, encoding='utf-8', errors='replace') as file:
        for line in file:
            found = CALL.match(re.sub(r'^\d+ +', '', line))
            if found and int(found[3]) >= 0:
                calls.append((found[1], found[2]))
    return calls


def is_filter(call):
    return call[0] == 'seccomp' and 'SECCOMP_SET_MODE_FILTER' in call[1]


def is_image(call):
    return call[0] == 'openat' and call[1].split(', ')[1] in IMAGES


def judge(words, first, last, folder):
    calls = calls_of([QIMG, *words], folder)
    opened = [i for i, call in enumerate(calls) if is_image(call)]
    filters = [i for i, call in enumerate(calls) if is_filter(call)]
    before = sum(i < opened[0] for i in filters)
    if (before, len(filters)) != (first, last):
        return f'{before} filters before the first image, {len(filters)} in all'
    if filters[-1] < opened[-1]:
        return 'an image is opened after the last filter'
    if any(call[0] == 'openat' for call in calls[filters[-1]:]):
        return 'something is opened after the last filter'
    if first == 0 and any(call[0] == 'pread64' for call in calls[opened[0]:filters[0]]):
        return 'the image is read before the filter'
    return None


def main():
    with tempfile.TemporaryDirectory(prefix='qimg-sandbox.') as folder:
        run(QIMG, 'create', '-q', '-f', 'qcow2', 'base', '8M', folder=folder)
        run(QIMG, 'create', '-q', '-f', 'qcow2', 'other', '8M', folder=folder)
        run(QIMG, 'snap', '-q', 'base', 'top', folder=folder)
        wrong = 0
        for words, first, last in COMMANDS:
            trouble = judge(words, first, last, folder)
            if trouble:
                wrong += 1
                print(f'qimg {" ".join(words)}: {trouble}')
        if calls := [call for call in calls_of([QIMG, '--no-sandbox', 'info', 'top'], folder) if is_filter(call)]:
            wrong += 1
            print(f'qimg --no-sandbox info: {calls}')
    print(f'{len(COMMANDS) + 1} command lines, {wrong} wrong')
    raise SystemExit(wrong != 0)


if __name__ == '__main__':
    main()
