#!/usr/bin/env python3
"""expand_test.py QIMG: `qimg expand` on tables of every sort, in raw images, qcow2 images and overlays.

Afterwards sgdisk and sfdisk find nothing wrong, growpart makes the same of the same disk, what is in the partitions is
where it was, and a second run finds nothing to do; in one step as in many. QIMG_LONG=1 tries all combinations.
SPDX-License-Identifier: Apache-2.0
"""
import itertools
import os
import random
import subprocess
import sys
import tempfile

QIMG = os.path.abspath(sys.argv[1])
LONG = os.environ.get('QIMG_LONG') == '1'
KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
MARK = 4 * KiB
FULL, PARTITION_ONLY = 0, 5
LINUX, SWAP, ROOT = ('0FC63DAF-8483-4772-8E79-3D69D8477DE4', '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F',
                     '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709')

# sectors of a disk of 64 MiB; the partition that grows
TABLES = {
    'gpt, one': (f'label: gpt\nstart=2048, size=4096, type={LINUX}', 1),
    'gpt, unaligned': (f'label: gpt\nfirst-lba: 34\nstart=34, size=1001, type={LINUX}', 1),
    'gpt, root is first': (f'label: gpt\n1 : start=40960, type={ROOT}\n14 : start=2048, size=2048, type={SWAP}\n'
                           f'15 : start=4096, size=4096, type={LINUX}', 1),
    'gpt, eight entries': (f'label: gpt\ntable-length: 8\n2 : start=2048, size=2048, type={LINUX}\n'
                           f'8 : start=4096, size=2048, type={LINUX}', 8),
    'gpt, many': ('label: gpt\ntable-length: 200\n' + '\n'.join(
        f'{i + 1} : start={2048 + 512 * i}, size=512, type={LINUX}' for i in range(200)), 200),
    'mbr, one': ('label: dos\nstart=2048, size=4096, type=83, bootable', 1),
    'mbr, unaligned': ('label: dos\nstart=63, size=1001, type=83', 1),
    'mbr, out of order': ('label: dos\n1 : start=8192, size=4096, type=83\n2 : start=2048, size=4096, type=83', 1),
    'mbr, logical': ('label: dos\nstart=2048, size=4096, type=83\nstart=6144, size=40960, type=5\n'
                     'start=8192, size=2048, type=83\nstart=12288, size=2048, type=83', 6),
}
SIZES = [65 * MiB, 100 * MiB + 512, 4 * GiB + 33 * 512, 2 * TiB - 512, 2 * TiB, 2 * TiB + 512, 15 * TiB]
KINDS = ['raw', 'qcow2', 'overlay', 'qcow2, version 2', 'qcow2, 512-byte clusters', 'data file', 'raw data file', 'vmdk']
OPTIONS = {'qcow2, version 2': ['-o', 'compat=0.10'], 'qcow2, 512-byte clusters': ['-o', 'cluster_size=512'],
           'data file': ['-o', 'data_file=data'], 'raw data file': ['-o', 'data_file=data,data_file_raw=on']}


def run(*words, folder, status=(0,)):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode not in status:
        raise SystemExit(f'{words}: status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def dump(folder, disk):
    """The table as sfdisk has it, without the name of the file."""
    lines = run('sfdisk', '-d', disk, folder=folder).splitlines()
    return [line.removeprefix(disk) for line in lines if not line.startswith('device:')]


def make_disk(folder, script):
    """`disk`, with marks at both ends of every partition; where they are."""
    with open(f'{folder}/disk', 'wb') as file:
        file.truncate(64 * MiB)
    subprocess.run(['sfdisk', '-q', 'disk'], cwd=folder, check=True, input=script.encode(), capture_output=True)
    marks = {}
    with open(f'{folder}/disk', 'r+b') as file:
        for line in dump(folder, 'disk'):
            if ' start=' not in line or 'type=5' in line.split(','):
                continue
            fields = dict(part.strip().partition('=')[::2] for part in line.partition(':')[2].split(','))
            start, size = int(fields['start']) * 512, int(fields['size']) * 512
            if fields['type'].strip() == '5':
                continue
            for at in (start, start + size - MARK):
                marks[at] = random.randbytes(MARK)
                file.seek(at)
                file.write(marks[at])
    return marks


def make_image(folder, kind):
    """`image` with the disk in it; the options of its format."""
    if kind == 'raw':
        os.replace(f'{folder}/disk', f'{folder}/image')
        return ['-f', 'raw']
    name = 'base' if kind == 'overlay' else 'image'
    form = 'vmdk' if kind == 'vmdk' else 'qcow2'
    run('qemu-img', 'convert', '-f', 'raw', '-O', form, *OPTIONS.get(kind, []), 'disk', name, folder=folder)
    if kind == 'overlay':
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'image', folder=folder)
    return []


def content_of(folder, name):
    path = f'{folder}/{name}'
    if not os.path.exists(path):
        return None
    with open(path, 'rb') as file:
        return file.read()


def to_raw(folder, kind):
    if kind != 'raw':
        run('qemu-img', 'check', '-q', 'image', folder=folder)
        run(QIMG, 'convert', '-O', 'raw', 'image', 'image.raw', folder=folder)
        if os.stat(f'{folder}/image.raw').st_size < 8 * GiB:
            run('qemu-img', 'compare', '-q', 'image', 'image.raw', folder=folder)
        os.replace(f'{folder}/image.raw', f'{folder}/image')


def judge(folder, table, marks, expected):
    """What is wrong with the raw disk `image`."""
    if table.startswith('gpt'):
        said = run('sgdisk', '-v', 'image', folder=folder)
        if 'No problems found' not in said:
            yield f'sgdisk: {said}'
    said = subprocess.run(['sfdisk', '--verify', 'image'], cwd=folder, capture_output=True, text=True)
    if said.returncode or 'No errors detected' not in said.stdout:
        yield f'sfdisk: {said.stdout}{said.stderr}'
    if expected is not None and dump(folder, 'image') != expected:
        yield f'growpart has another table: {dump(folder, "image")}\n  {expected}'
    with open(f'{folder}/image', 'rb') as file:
        for at, mark in marks.items():
            file.seek(at)
            if file.read(MARK) != mark:
                yield f'what was at {at:#x} is not there'


def by_growpart(folder, number, size):
    run('cp', '--sparse=always', 'disk', 'other', folder=folder)
    os.truncate(f'{folder}/other', size)
    run('growpart', 'other', str(number), folder=folder, status=(0, 1))
    return dump(folder, 'other')


def try_one(table, size, kind, steps):
    script, number = TABLES[table]
    with tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
        marks = make_disk(folder, script)
        # growpart(1) fails with logical partitions, tables of other than 128 entries, and an MBR past 2 TiB
        is_known = ('logical' not in table and 'table-length' not in script and
                    (table.startswith('gpt') or size < 2 * TiB - GiB))
        expected = by_growpart(folder, number, size) if is_known else None
        options = make_image(folder, kind)
        base = content_of(folder, 'base')
        for step in range(1, steps + 1):
            now = (64 * MiB + (size - 64 * MiB) * step // steps) // 512 * 512
            run(QIMG, 'expand', *options, 'image', str(now), folder=folder, status=(FULL, PARTITION_ONLY))
        said = run(QIMG, 'expand', *options, 'image', folder=folder)
        if 'Nothing to do' not in said:
            yield f'a second run: {said}'
        if content_of(folder, 'base') != base:
            yield 'the base changed'
        to_raw(folder, kind)
        if os.stat(f'{folder}/image').st_size != size:
            yield f'{os.stat(f"{folder}/image").st_size} bytes'
        yield from judge(folder, table, marks, expected if steps == 1 else None)


def cases():
    everything = list(itertools.product(TABLES, SIZES, KINDS, (1, 3)))
    # 512-byte clusters and a table of 32 MiB hold no more; with a raw data file, all tables are there
    possible = [case for case in everything
                if ('clusters' not in case[2] and case[2] != 'raw data file') or case[1] <= 100 * GiB]
    if LONG:
        return possible
    random.seed(int(os.environ.get('QIMG_SEED', '1')))
    # each table, size and kind comes several times
    chosen = []
    for table in TABLES:
        chosen += random.sample([case for case in possible if case[0] == table], 3)
    return chosen


def main():
    failures = 0
    tried = cases()
    for case in tried:
        for finding in try_one(*case):
            failures += 1
            print(f'{case}: {finding}')
    print(f'{len(tried)} disks, {failures} findings')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
