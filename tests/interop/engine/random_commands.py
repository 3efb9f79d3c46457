#!/usr/bin/env python3
"""Random snapshots, sizes and writes on one image, each command by qimg or by qemu-img.

After each command qemu-img check must find nothing, and the disk and every snapshot must hold what they should.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import subprocess
import sys
import tempfile

QIMG = sys.argv[1]
ROUNDS = int(os.environ.get('QIMG_ROUNDS', '2'))
SEED = int(os.environ.get('QIMG_SEED', '1'))
KiB, MiB = 1 << 10, 1 << 20

SHAPES = [
    ('512-byte clusters', 'cluster_size=512', MiB),
    ('2-bit refcounts', 'cluster_size=4k,refcount_bits=2', 2 * MiB),
    ('64-bit refcounts', 'cluster_size=1k,refcount_bits=64', MiB),
    ('64 KiB clusters', 'cluster_size=64k', 8 * MiB),
    ('version 2', 'compat=0.10,cluster_size=4k', 2 * MiB),
    ('extended L2', 'extended_l2=on,cluster_size=16k', 4 * MiB),
]


def run(*words):
    return subprocess.run(words, capture_output=True, text=True)


def must(*words):
    done = run(*words)
    if done.returncode != 0:
        raise SystemExit(f'{words}: status {done.returncode}\n{done.stdout}{done.stderr}')


class Run:
    def __init__(self, folder, shape, seed):
        self.name, options, size = shape
        # applying a snapshot counts a cluster once more before the old disk lets it go
        self.most_snapshots = 1 if 'refcount_bits=2' in options else 2
        self.version_2 = 'compat=0.10' in options
        self.random = random.Random(f'{self.name} {seed}')
        self.image = os.path.join(folder, 'image')
        self.raw = os.path.join(folder, 'raw')
        self.model = bytearray(size)
        self.snapshots = {}
        self.count = 0
        must(self.program(), 'create', '-q', '-f', 'qcow2', '-o', options, self.image, str(size))

    def program(self):
        return self.random.choice([QIMG, 'qemu-img'])

    def write(self):
        words = ['qemu-io', '-f', 'qcow2']
        for _ in range(6):
            start = self.random.randrange(len(self.model) // 512) * 512
            length = min(self.random.randrange(1, 200) * 512, len(self.model) - start)
            value = self.random.randrange(1, 255)
            words += ['-c', f'write -P {value} {start} {length}']
            self.model[start:start + length] = bytes([value]) * length
        must(*words, self.image)

    def snapshot(self):
        choice = self.random.choice('cad')
        if not self.snapshots or (choice == 'c' and len(self.snapshots) < self.most_snapshots):
            self.count += 1
            name = f's{self.count}'
            must(self.program(), 'snapshot', '-c', name, self.image)
            self.snapshots[name] = bytes(self.model)
            return f'create {name}'
        name = self.random.choice(list(self.snapshots))
        if choice == 'a' and (not self.version_2 or len(self.snapshots[name]) == len(self.model)):
            must(self.program(), 'snapshot', '-a', name, self.image)
            self.model = bytearray(self.snapshots[name])
            return f'apply {name}'
        must(self.program(), 'snapshot', '-d', name, self.image)
        del self.snapshots[name]
        return f'delete {name}'

    def resize(self):
        if self.version_2 and self.snapshots:
            return 'nothing'
        size = max(64 * KiB, len(self.model) + self.random.randrange(-300, 300) * 512)
        program = self.program()
        if program != QIMG:
            # QEMU leaves old data behind an end inside a cluster, and shows it when the disk grows again
            size = size // (64 * KiB) * 64 * KiB
        must(program, 'resize', '-q', '--shrink', self.image, str(size))
        self.model = self.model[:size] + bytes(max(0, size - len(self.model)))
        return f'resize {size}'

    def step(self):
        kind = self.random.choice([self.write, self.write, self.snapshot, self.snapshot, self.resize])
        return kind() or 'write'

    def compare(self, content, what, *options):
        # a snapshot of another size is converted with the size that the disk has now
        common = min(len(content), len(self.model))
        for program in QIMG, 'qemu-img':
            must(program, 'convert', '-O', 'raw', *options, self.image, self.raw)
            with open(self.raw, 'rb') as file:
                if file.read(common) != content[:common]:
                    raise SystemExit(f'{self.name}: {what}: {program} reads something else')

    def verify(self, what):
        check = run('qemu-img', 'check', '-f', 'qcow2', self.image)
        if check.returncode != 0:
            raise SystemExit(f'{self.name}: {what}: qemu-img check: {check.stdout}{check.stderr}')
        self.compare(self.model, what)
        for name, content in self.snapshots.items():
            self.compare(content, f'{what}: snapshot {name}', '-l', name)


def main():
    steps = 14
    for shape in SHAPES:
        for seed in range(SEED, SEED + ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                one = Run(folder, shape, seed)
                for number in range(steps):
                    one.verify(f'seed {seed}, step {number}: {one.step()}')
    print(f'{len(SHAPES)} shapes, {ROUNDS} rounds of {steps} commands each: all equal')


main()
