#!/usr/bin/env python3
"""flushes.py QIMG: that the last thing done to a file is a flush, and that no flush follows another, by system calls.

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
CALL = re.compile(r'^\d+ +(\w+)\(\d+<([^>]*)>.* = ')
OPENED = re.compile(r'^\d+ +openat\(.* = \d+<([^>]*)>')
CHANGES = ('pwrite64', 'fallocate', 'ftruncate')
FLUSHES = ('fdatasync', 'fsync')

COMMANDS = [
    ['create', '-f', 'qcow2', 'new', '1G'],
    ['create', '-f', 'qcow2', '-o', 'preallocation=full', 'new', '1M'],
    ['snap', 'base', 'over'],
    ['resize', 'disk', '+1M'],
    ['resize', '--preallocation=full', 'disk', '+1M'],
    ['snapshot', '-c', 'one', 'disk'],
    ['snapshot', '-a', 'one', 'disk'],
    ['snapshot', '-d', 'one', 'disk'],
    ['bitmap', '--add', 'disk', 'changes'],
    ['bitmap', '--remove', 'disk', 'changes'],
    ['amend', '-o', 'refcount_bits=64', 'disk'],
    ['amend', '-o', 'compat=0.10,refcount_bits=16', 'disk'],
    ['convert', '-O', 'qcow2', 'disk', 'copy'],
    ['convert', '-c', '-O', 'qcow2', 'disk', 'copy'],
    ['convert', '-n', '-O', 'qcow2', 'disk', 'other'],
    ['commit', 'top'],
    ['rebase', '-b', '', 'top'],
]


def calls_of(words, folder):
    """Of each file that was changed: its calls in order, 'open', 'change' or 'flush'."""
    trace = os.path.join(folder, 'trace')
    subprocess.run(['strace', '-f', '-y', '-o', trace, '-e', 'trace=' + ','.join(('openat', *CHANGES, *FLUSHES)), QIMG, *words],
                   cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    files = {}
    with open(trace, encoding='utf-8', errors='replace') as lines:
        for line in lines:
            if opened := OPENED.match(line):
                files.setdefault(opened[1], []).append('open')
            elif (call := CALL.match(line)) and call[1] in CHANGES + FLUSHES:
                files.setdefault(call[2], []).append('flush' if call[1] in FLUSHES else 'change')
    return {name: calls for name, calls in files.items() if 'change' in calls}


def judge(words, folder):
    files = calls_of(words, folder)
    if not files:
        return 'changes no file'
    for name, calls in files.items():
        changing = [call for call in calls if call != 'open']
        if changing[-1] != 'flush':
            return f'{name} ends with a change'
        # who has just opened a file cannot know whether others have flushed it
        if any(pair == ('flush', 'flush') for pair in zip(calls, calls[1:])):
            return f'{name} is flushed twice'
    return None


def main():
    with tempfile.TemporaryDirectory(prefix='qimg-flushes.') as folder:
        def run(*words):
            subprocess.run([QIMG, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for name, size in (('base', '8M'), ('disk', '8M'), ('other', '16M')):
            run('create', '-f', 'qcow2', name, size)
        run('snap', 'base', 'top')
        for name in ('disk', 'top'):
            run('bench', '-w', '-c', '8', '-s', '65536', name)
        failed = 0
        for words in COMMANDS:
            fault = judge(words, folder)
            print(f'{"FAIL" if fault else "ok  "} {" ".join(words)}{": " + fault if fault else ""}')
            failed += fault is not None
            for name in ('new', 'over', 'copy'):
                if os.path.exists(os.path.join(folder, name)):
                    os.remove(os.path.join(folder, name))
        print(f'{len(COMMANDS)} commands, {failed} failed')
        return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
