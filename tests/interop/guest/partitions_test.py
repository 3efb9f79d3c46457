#!/usr/bin/env python3
"""partitions_test.py QIMG: what `qimg partitions` says of tables and file systems is what sfdisk and blkid say.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import subprocess
import sys
import tempfile

QIMG = os.path.abspath(sys.argv[1])
MiB = 1 << 20
SIZE = 160 * MiB
NAMES = {'vfat': ('FAT12', 'FAT16', 'FAT32'), 'crypto_LUKS': ('LUKS',)}

# name, command that makes it in `disk`, whether qimg tells its label
FILE_SYSTEMS = [
    ('ext2', 'mkfs.ext2 -q -L one disk', True),
    ('ext3', 'mkfs.ext3 -q -L one disk', True),
    ('ext4', 'mkfs.ext4 -q -L one disk', True),
    ('ext4, 64bit, bigalloc', 'mkfs.ext4 -q -O 64bit,bigalloc -L one disk', True),
    ('xfs', 'truncate -s 400M disk && mkfs.xfs -q -L one disk', True),
    ('btrfs', 'mkfs.btrfs -q -L one disk', True),
    ('f2fs', 'mkfs.f2fs -q -l one disk', True),
    ('fat12', 'truncate -s 4M disk && mkfs.fat -F 12 -n ONE disk', True),
    ('fat16', 'mkfs.fat -F 16 -n ONE disk', True),
    ('fat32', 'mkfs.fat -F 32 -n ONE disk', True),
    ('ntfs', 'mkntfs -F -q -Q -L one disk', False),
    ('swap', 'mkswap -q -L one disk', True),
    ('luks', 'echo pass | cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000'
             ' --label one disk', True),
    ('luks1', 'echo pass | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 disk', True),
    ('iso9660', 'genisoimage -quiet -V ONE -o disk content', True),
    ('squashfs', 'rm disk && mksquashfs content disk -quiet -no-progress', True),
]

# sfdisk scripts; unused numbers, gaps, names, attributes
TABLES = [
    'label: gpt\nstart=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649, name="boot"\n'
    'start=40960, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="Wurzel ü", attrs="RequiredPartition GUID:63"\n',
    'label: gpt\ntable-length: 8\n3 : start=2048, size=4096\n7 : start=10240, size=100\n',
    'label: dos\nstart=63, size=1000, type=83, bootable\nstart=2048, size=20480, type=7\n',
    'label: dos\nstart=2048, size=20480, type=83\nstart=22528, type=f\nstart=24576, size=2048, type=83\n'
    'start=30720, size=4096, type=8e\nstart=40960, size=2048, type=82\n',
]


def run(command, folder):
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env={**os.environ, 'LC_ALL': 'C.UTF-8'})
    if done.returncode != 0:
        raise SystemExit(f'{command}: status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def partitions(folder):
    return json.loads(run(f'{QIMG} partitions -f raw --output=json disk', folder))


def blkid(folder):
    found = {}
    for line in run('blkid -p -o export disk', folder).splitlines():
        name, _, value = line.partition('=')
        found[name] = value.replace('\\', '')
    return found


def check_file_system(folder, command, tells_label):
    os.truncate(f'{folder}/disk', 0)
    os.truncate(f'{folder}/disk', SIZE)
    run(command, folder)
    ours, theirs = partitions(folder), blkid(folder)
    system = ours.get('file-system')
    if ours.get('table') or system is None:
        yield f'takes it for {ours}'
        return
    kind = theirs['TYPE']
    if system['type'].lower() != kind and system['type'] not in NAMES.get(kind, ()):
        yield f'type {system["type"]}, blkid says {kind}'
    if tells_label and system['label'] != theirs.get('LABEL', ''):
        yield f'label {system["label"]!r}, blkid says {theirs.get("LABEL")!r}'
    if kind not in ('iso9660',) and system['uuid'] != theirs.get('UUID', ''):
        yield f'uuid {system["uuid"]}, blkid says {theirs.get("UUID")}'
    length = os.stat(f'{folder}/disk').st_size
    if 'size' in system and not length - MiB <= system['size'] <= length:
        yield f'{system["size"]} bytes on a disk of {length}'


def check_table(folder, script):
    os.truncate(f'{folder}/disk', 0)
    os.truncate(f'{folder}/disk', SIZE)
    with open(f'{folder}/script', 'w', encoding='utf-8') as file:
        file.write(script)
    run('sfdisk -q disk < script', folder)
    ours = partitions(folder)
    theirs = json.loads(run('sfdisk --json disk', folder))['partitiontable']
    if {'gpt': 'gpt', 'mbr': 'dos'}[ours['table']] != theirs['label'] or ours['notes']:
        yield f'table {ours["table"]}, notes {ours["notes"]}'
    if int(ours['id'].replace('-', ''), 16) != int(theirs['id'].replace('-', ''), 16):
        yield f'id {ours["id"]}, sfdisk says {theirs["id"]}'
    expected = [(int(one['node'].removeprefix('disk')), one['start'] * 512, one['size'] * 512,
                 one['type'].lower(), one.get('name', ''), one.get('uuid', '').lower(), one.get('bootable', False))
                for one in theirs['partitions']]
    found = [(one['number'], one['start'], one['size'], one['type'].removeprefix('0x').lstrip('0' if '-' not in one['type'] else ''),
              one.get('name', ''), one.get('guid', ''), one['bootable']) for one in ours['partitions']]
    if found != expected:
        yield f'{found}\n  sfdisk says {expected}'


def main():
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f'{folder}/content')
        with open(f'{folder}/content/file', 'w', encoding='ascii') as file:
            file.write('content\n')
        open(f'{folder}/disk', 'wb').close()
        for name, command, tells_label in FILE_SYSTEMS:
            for finding in check_file_system(folder, command, tells_label):
                failures += 1
                print(f'{name}: {finding}')
        for script in TABLES:
            for finding in check_table(folder, script):
                failures += 1
                print(f'{script}: {finding}')
    print(f'{len(FILE_SYSTEMS)} file systems and {len(TABLES)} tables, {failures} differences')
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
