#!/usr/bin/env python3
"""Random guest I/O on one image by our library and by QEMU in turn.

After each turn the image must pass qemu-img check, and both must read what a plain byte array holds.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import subprocess
import sys
import tempfile

QIMG, IMAGE_IO = sys.argv[1:3]
ROUNDS = int(os.environ.get('QIMG_ROUNDS', '2'))
SEED = int(os.environ.get('QIMG_SEED', '1'))
MiB = 1 << 20

# name, create options, disk size, size of a raw backing file or None
SHAPES = [
    ('512-byte clusters, 1-bit refcounts', 'cluster_size=512,refcount_bits=1', MiB, None),
    ('512-byte clusters, 64-bit refcounts', 'cluster_size=512,refcount_bits=64', MiB, None),
    ('version 2', 'compat=0.10', 4 * MiB, None),
    ('version 2, backing', 'compat=0.10,cluster_size=4k', 2 * MiB, 3 * MiB),
    ('2-bit refcounts, shorter backing', 'cluster_size=1k,refcount_bits=2', 2 * MiB, MiB + 512),
    ('4-bit refcounts', 'cluster_size=4k,refcount_bits=4', 2 * MiB, None),
    ('8-bit refcounts', 'cluster_size=8k,refcount_bits=8', 2 * MiB + 1536, None),
    ('32-bit refcounts, 2 MiB clusters', 'cluster_size=2M,refcount_bits=32', 16 * MiB, None),
    ('extended L2', 'extended_l2=on', 4 * MiB, None),
    ('extended L2, backing', 'extended_l2=on,cluster_size=16k', 4 * MiB, 3 * MiB + 512),
    ('lazy refcounts', 'lazy_refcounts=on', 4 * MiB, None),
    ('data file', 'data_file=DATA', 4 * MiB, None),
    ('raw data file', 'data_file=DATA,data_file_raw=on', 4 * MiB, None),
    ('extended L2, preallocated, backing', 'extended_l2=on,preallocation=metadata', 4 * MiB, 3 * MiB + 512),
    ('preallocated', 'preallocation=metadata', 4 * MiB, None),
]
# every cluster size, with the refcount widths in turn
for number, bits in enumerate(range(9, 22)):
    width = 1 << number % 7
    SHAPES.append((f'{1 << bits}-byte clusters, {width}-bit refcounts', f'cluster_size={1 << bits},refcount_bits={width}',
                   max(MiB, 5 << bits), None))


def run(*words, **more):
    done = subprocess.run(words, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f'{words}: status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


class Run:
    def __init__(self, folder, shape, seed):
        self.name, options, self.size, backing = shape
        self.random = random.Random(f'{self.name} {seed}')
        self.image = os.path.join(folder, 'image')
        self.model = bytearray(self.size)
        self.discarded = []
        create = ['create', '-q', '-f', 'qcow2', '-o', options.replace('DATA', os.path.join(folder, 'data'))]
        if backing:
            base = os.path.join(folder, 'base')
            content = self.random.randbytes(backing)
            with open(base, 'wb') as file:
                file.write(content)
            create += ['-b', base, '-F', 'raw']
            self.model[:min(backing, self.size)] = content[:self.size]
        run(self.random.choice([QIMG, 'qemu-img']), *create, self.image, str(self.size))
        self.verify('new')

    def some_range(self):
        start = self.random.randrange(self.size // 512) * 512
        longest = self.random.choice([4096, 70000, 300000])
        length = self.random.randrange(512, longest + 512) // 512 * 512
        return start, min(length, self.size - start)

    def operations(self):
        for _ in range(12):
            start, length = self.some_range()
            kind = self.random.choice(['write'] * 5 + ['zero', 'zero-keep'])
            value = self.random.randrange(1, 255)
            self.model[start:start + length] = bytes([value if kind == 'write' else 0]) * length
            yield kind, start, length, value
        # last, since what they leave is known only when it is read: old bytes or zeroes
        for _ in range(2):
            start, length = self.some_range()
            self.discarded.append((start, length))
            yield 'discard', start, length, 0

    def settle_discards(self, content):
        for start, length in self.discarded:
            old, new = self.model[start:start + length], content[start:start + length]
            if any(b != a and b != 0 for a, b in zip(old, new)):
                raise SystemExit(f'{self.name}: a discarded byte is neither old nor zero')
            self.model[start:start + length] = new
        self.discarded.clear()

    def turn_ours(self):
        script = ''
        for kind, start, length, value in self.operations():
            script += f'{kind} {start} {length}' + (f' {value}\n' if kind == 'write' else '\n')
        run(IMAGE_IO, 'rw', self.image, input=script)

    def turn_qemu(self):
        words = ['qemu-io', '-f', 'qcow2', '-d', 'unmap']
        for kind, start, length, value in self.operations():
            words += ['-c', {'write': f'write -P {value} {start} {length}', 'zero': f'write -z -u {start} {length}',
                             'zero-keep': f'write -z {start} {length}',
                             'discard': f'discard {start} {length}'}[kind]]
        output = run(*words, self.image)
        if 'failed' in output:
            raise SystemExit(output)

    def verify(self, turn):
        check = subprocess.run(['qemu-img', 'check', '-f', 'qcow2', self.image], capture_output=True, text=True)
        if check.returncode != 0:
            raise SystemExit(f'{self.name}, {turn}: qemu-img check: {check.stdout}{check.stderr}')
        dump = self.image + '.dump'
        run(IMAGE_IO, 'ro', self.image, input=f'dump {dump}\n')
        with open(dump, 'rb') as file:
            content = file.read()
        self.settle_discards(content)
        if content != self.model:
            raise SystemExit(f'{self.name}, {turn}: we read something else')
        with open(dump, 'wb') as file:
            file.write(self.model)
        run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', dump, self.image)


def main():
    for shape in SHAPES:
        for seed in range(SEED, SEED + ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                one = Run(folder, shape, seed)
                for turn in range(4):
                    if (turn + seed) % 2:
                        one.turn_ours()
                    else:
                        one.turn_qemu()
                    one.verify(f'seed {seed}, turn {turn}')
    print(f'{len(SHAPES)} shapes, {ROUNDS} rounds of 4 turns each: all equal')


main()
