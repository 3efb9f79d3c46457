#!/usr/bin/env python3
"""Random changes of bitmaps, and of the disks that they watch, by us and by QEMU in turn.

A model of sets of dirty units says what each bitmap must hold; the file is parsed here, by neither of the two.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

QIMG, IMAGE_IO = sys.argv[1:3]
ROUNDS = int(os.environ.get('QIMG_ROUNDS', '1'))
SEED = int(os.environ.get('QIMG_SEED', '1'))
TURNS = int(os.environ.get('QIMG_TURNS', '24'))
MiB = 1 << 20
IN_USE, AUTO = 1, 2

# name, create options, disk size, whether it has a backing file
SHAPES = [
    ('512-byte clusters', 'cluster_size=512', MiB, False),
    ('4 KiB clusters, backing', 'cluster_size=4k', 2 * MiB, True),
    ('64 KiB clusters', 'cluster_size=64k', 8 * MiB + 512, False),
    ('2 MiB clusters', 'cluster_size=2M', 16 * MiB, False),
    ('extended L2, backing', 'extended_l2=on,cluster_size=16k', 4 * MiB, True),
    ('raw data file', 'data_file=DATA,data_file_raw=on', 4 * MiB, False),
    ('preallocated', 'preallocation=metadata,cluster_size=4k', 4 * MiB, False),
]


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode != 0 or 'failed' in done.stdout or 'Lost' in done.stderr:
        raise SystemExit(f'{words}: status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def read_bitmaps(path):
    """{name: (granularity, flags, set of dirty units)}, from the bytes of the file."""
    with open(path, 'rb') as file:
        def at(offset, length):
            file.seek(offset)
            return file.read(length).ljust(length, b'\0')
        cluster = 1 << struct.unpack('>I', at(20, 4))[0]
        size, = struct.unpack('>Q', at(24, 8))
        autoclear, = struct.unpack('>Q', at(88, 8))
        place, = struct.unpack('>I', at(100, 4))
        extension = None
        while True:
            kind, length = struct.unpack('>II', at(place, 8))
            if kind == 0:
                break
            if kind == 0x23852875:
                extension = struct.unpack('>IIQQ', at(place + 8, 24))
            place += 8 + (length + 7) // 8 * 8
        if not autoclear & 1:
            assert extension is None, 'an extension without its autoclear bit'
            return {}
        count, _, directory_bytes, place = extension
        end = place + directory_bytes
        found = {}
        for _ in range(count):
            table, entries, flags, kind, bits, name_bytes, extra = struct.unpack('>QIIBBHI', at(place, 24))
            assert kind == 1 and extra == 0
            name = at(place + 24, name_bytes).decode()
            place += (24 + name_bytes + 7) // 8 * 8
            units = (size + (1 << bits) - 1) >> bits
            assert entries == ((units + 7) // 8 + cluster - 1) // cluster, 'length of a bitmap table'
            dirty = set()
            for number, entry in enumerate(struct.unpack(f'>{entries}Q', at(table, 8 * entries))):
                data = at(entry, cluster) if entry > 1 else bytes([255 * entry]) * cluster
                for index, byte in enumerate(data):
                    if byte:
                        dirty.update((number * cluster + index) * 8 + bit for bit in range(8) if byte >> bit & 1)
            found[name] = (1 << bits, flags, {unit for unit in dirty if unit < units})
        assert place == end, 'length of the bitmap directory'
        return found


class Bitmap:
    def __init__(self, granularity, recording):
        self.granularity, self.recording, self.dirty = granularity, recording, set()

    def mark(self, start, end):
        if start < end:
            self.dirty.update(range(start // self.granularity, (end - 1) // self.granularity + 1))

    def merge(self, other):
        for unit in list(other.dirty):
            self.mark(unit * other.granularity, (unit + 1) * other.granularity)

    def cut(self, size):
        self.dirty = {unit for unit in self.dirty if unit * self.granularity < size}


class Run:
    def __init__(self, folder, shape, seed):
        self.name, options, self.size, backing = shape
        self.cluster = 1
        self.random = random.Random(f'{self.name} {seed}')
        self.folder = folder
        self.image = os.path.join(folder, 'image')
        self.bitmaps = {}
        self.snapshots = 0
        self.data_file = 'data_file' in options
        create = ['create', '-q', '-f', 'qcow2', '-o', options.replace('DATA', os.path.join(folder, 'data'))]
        if backing:
            base = os.path.join(folder, 'base')
            with open(base, 'wb') as file:
                file.write(self.random.randbytes(self.size))
            create += ['-b', base, '-F', 'raw']
        run('qemu-img', *create, self.image, str(self.size))
        with open(self.image, 'rb') as file:
            self.cluster = 1 << struct.unpack('>I', file.read(24)[20:])[0]

    def write(self, ours):
        kinds = ['write'] * 3 + ['zero', 'zero-keep', 'discard', 'flush']
        script, words = '', ['qemu-io', '-f', 'qcow2', '-d', 'unmap']
        for _ in range(self.random.randrange(1, 8)):
            kind = self.random.choice(kinds)
            start = self.random.randrange(self.size // 512) * 512
            length = self.random.randrange(512, self.random.choice([4096, 70000, 2 * MiB])) // 512 * 512
            end = min(start + length, self.size)
            length = end - start
            script += f'{kind} {start} {length} 7\n' if kind == 'write' else f'{kind} {start} {length}\n'
            script = script.replace(f'flush {start} {length}\n', 'flush\n')
            words += ['-c', {'write': f'write {start} {length}', 'zero': f'write -z -u {start} {length}',
                             'zero-keep': f'write -z {start} {length}', 'discard': f'discard {start} {length}',
                             'flush': 'flush'}[kind]]
            if kind == 'discard' and ours:
                # only whole clusters change
                start = (start + self.cluster - 1) // self.cluster * self.cluster
                end = end if end == self.size else end // self.cluster * self.cluster
                if self.data_file:
                    continue
            if kind != 'flush':
                for bitmap in self.bitmaps.values():
                    if bitmap.recording:
                        bitmap.mark(start, end)
        if ours:
            run(IMAGE_IO, 'rw', self.image, input=script)
        else:
            run(*words, self.image)

    def change(self, program):
        kinds = ['add'] * 3 + ['remove', 'clear', 'enable', 'disable', 'merge', 'merge'] if self.bitmaps else ['add']
        kind = self.random.choice(kinds)
        if kind == 'add':
            name = f'b{self.random.randrange(1000)}'
            if name in self.bitmaps or len(self.bitmaps) > 8:
                return
            granularity = 1 << self.random.randrange(9, 24)
            recording = self.random.random() < 0.7
            self.bitmaps[name] = Bitmap(granularity, recording)
            run(program, 'bitmap', '--add', '-g', str(granularity), *([] if recording else ['--disable']), self.image, name)
            return
        name, other = (self.random.choice(list(self.bitmaps)) for _ in range(2))
        bitmap = self.bitmaps[name]
        if kind == 'remove':
            del self.bitmaps[name]
        elif kind == 'clear':
            bitmap.dirty.clear()
        elif kind == 'merge':
            bitmap.merge(self.bitmaps[other])
            bitmap.cut(self.size)
        else:
            bitmap.recording = kind == 'enable'
        run(program, 'bitmap', f'--{kind}', *([other] if kind == 'merge' else []), self.image, name)

    def resize(self, program):
        if self.snapshots:
            return
        size = self.random.randrange(self.size // 1024, self.size // 256) * 512
        run(program, 'resize', '-q', '--shrink', '-f', 'qcow2', self.image, str(size))
        self.size = size
        for bitmap in self.bitmaps.values():
            bitmap.cut(size)

    def snapshot(self, program):
        if self.data_file or self.snapshots > 1:
            return
        self.snapshots += 1
        run(program, 'snapshot', '-c', f's{self.snapshots}', self.image)

    def verify(self, path, turn):
        found = read_bitmaps(path)
        wanted = {name: (bitmap.granularity, AUTO if bitmap.recording else 0, bitmap.dirty)
                  for name, bitmap in self.bitmaps.items()}
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise SystemExit(f'{self.name}, {turn}: bitmap {name}:\nfound  {found.get(name)}\nwanted {wanted.get(name)}')
        for program in (QIMG, 'qemu-img'):
            check = subprocess.run([program, 'check', '-f', 'qcow2', path], capture_output=True, text=True)
            if check.returncode != 0:
                raise SystemExit(f'{self.name}, {turn}: {program} check: {check.stdout}{check.stderr}')

    def turn(self, number):
        ours = self.random.random() < 0.6
        program = QIMG if ours else 'qemu-img'
        step = self.random.choice(['write'] * 4 + ['change'] * 4 + ['resize', 'snapshot'])
        what = f'turn {number}, {step} by {"us" if ours else "QEMU"}'
        if step == 'write':
            self.write(ours)
        else:
            getattr(self, step)(program)
        self.verify(self.image, what)

    def convert(self):
        copy = os.path.join(self.folder, 'copy')
        cluster = self.random.choice(['512', '4k', '64k', '2M'])
        for program in (QIMG, 'qemu-img'):
            run(program, 'convert', '--bitmaps', '-O', 'qcow2', '-o', f'cluster_size={cluster}', self.image, copy)
            self.verify(copy, f'convert by {program}')
        other = os.path.join(self.folder, 'other')
        shutil.copy(copy, other)
        for name in self.bitmaps:
            run(QIMG, 'bitmap', '--clear', other, name)
            run(QIMG, 'bitmap', '--merge', name, '-b', copy, '-F', 'qcow2', other, name)
        self.verify(other, 'merge from another image')
        run(QIMG, 'bitmap', '--remove-all', other)
        self.bitmaps.clear()
        self.verify(other, 'remove all')


def main():
    for shape in SHAPES:
        for seed in range(SEED, SEED + ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                one = Run(folder, shape, seed)
                for number in range(TURNS):
                    one.turn(number)
                one.convert()
    print(f'{len(SHAPES)} shapes, {ROUNDS} rounds of {TURNS} turns each: all bitmaps right')


main()
