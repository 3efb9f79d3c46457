#!/usr/bin/env python3
"""Random writes, rebases and commits on chains of images, each command by qimg or by qemu-img.

After each command qemu-img check must find nothing in any image, and each disk must hold what it should.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import subprocess
import sys
import tempfile

QIMG = os.path.abspath(sys.argv[1])
ROUNDS = int(os.environ.get('QIMG_ROUNDS', '2'))
SEED = int(os.environ.get('QIMG_SEED', '1'))
KiB = 1 << 10

# Options of the images, and whether the image below them all is raw.
SHAPES = [
    ('512-byte clusters', ['cluster_size=512'], False),
    ('64 KiB clusters on a raw file', ['cluster_size=64k'], True),
    ('version 2', ['compat=0.10,cluster_size=4k'], False),
    ('extended L2', ['extended_l2=on,cluster_size=16k'], True),
    ('mixed', ['cluster_size=64k', 'cluster_size=1k', 'compat=0.10,cluster_size=8k',
               'extended_l2=on,cluster_size=32k', 'compression_type=zstd'], False),
    ('data file', ['data_file={}.data,cluster_size=4k'], True),
]


class Run:
    def __init__(self, folder, shape, seed):
        self.title, self.options, self.raw_base = shape
        self.random = random.Random(f'{self.title} {seed}')
        self.folder = folder
        self.chain = {}  # what each image stands on
        self.sizes = {}
        for name, below in [('base', None), ('mid', 'base'), ('top', 'mid'), ('other', None)]:
            self.make(name, below)
            self.write(name)
        self.model = self.read('qemu-img', 'top')

    def fail(self, what):
        raise SystemExit(f'{self.title}: {what}')

    def must(self, *words):
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.folder)
        if done.returncode != 0:
            self.fail(f'{words}: status {done.returncode}\n{done.stdout}{done.stderr}')

    def program(self):
        return self.random.choice([QIMG, QIMG, 'qemu-img'])

    def format_of(self, name):
        return 'raw' if name == 'base' and self.raw_base else 'qcow2'

    def make(self, name, below):
        self.sizes[name] = self.random.randrange(256, 1024) * KiB
        self.chain[name] = below
        words = ['create', '-q', '-f', self.format_of(name)]
        if self.format_of(name) == 'qcow2':
            words += ['-o', self.random.choice(self.options).format(name)]
        if below:
            words += ['-b', below, '-F', self.format_of(below)]
        self.must('qemu-img', *words, name, str(self.sizes[name]))

    def write(self, name):
        """Returns the writes as (start, count, value) in bytes."""
        words, writes = ['qemu-io', '-f', self.format_of(name)], []
        for _ in range(5):
            start = self.random.randrange(self.sizes[name] // 512)
            count = min(self.random.randrange(1, 300), self.sizes[name] // 512 - start)
            value = self.random.choice([0, 1, 1, 2, self.random.randrange(1, 255)])
            how = '-z' if value == 0 and self.random.random() < 0.5 else f'-P {value}'
            words += ['-c', f'write {how} {start * 512} {count * 512}']
            writes.append((start * 512, count * 512, value))
        self.must(*words, name)
        return writes

    def write_top(self):
        for start, count, value in self.write('top'):
            self.model[start:start + count] = bytes([value]) * count
        return 'write'

    def rebase(self):
        onto = self.random.choice(['', 'base', 'mid', 'other'])
        # qemu-img loses the zeroes of a version 2 image that had no backing image
        program = self.program() if self.chain['top'] else QIMG
        words = ['rebase', '-q', '-b', onto]
        if program == QIMG and self.title != 'data file' and self.random.random() < 0.4:
            words += ['-c']
        if onto:
            words += ['-F', self.format_of(onto)]
        self.must(program, *words, 'top')
        self.chain['top'] = onto or None
        return f'{program}: {words}'

    def commit(self):
        base = self.chain['top']
        if not base:
            return self.rebase()
        program = self.program()
        words = ['commit', '-q']
        if self.chain[base] and self.random.random() < 0.5:
            base = self.chain[base]
            words += ['-b', base]
        elif self.random.random() < 0.3:
            words += ['-d']
        force = ['--force'] if program == QIMG else []  # what is in between stands on the base, too
        self.must(program, *words, *force, 'top')
        if self.read('qemu-img', base)[:len(self.model)] != self.model:
            self.fail(f'{program}: {words}: {base} has something else than top')
        return f'{program}: {words}'

    def step(self):
        return self.random.choice([self.write_top, self.rebase, self.rebase, self.commit, self.commit])()

    def read(self, program, name):
        self.must(program, 'convert', '-f', self.format_of(name), '-O', 'raw', name, 'raw')
        with open(os.path.join(self.folder, 'raw'), 'rb') as file:
            return bytearray(file.read())

    def verify(self, what):
        for name in self.chain:
            if self.format_of(name) == 'qcow2':
                words = ['qemu-img', 'check', name]
                check = subprocess.run(words, capture_output=True, text=True, cwd=self.folder)
                if check.returncode != 0:
                    self.fail(f'{what}: {words}: {check.stdout}{check.stderr}')
            seen = self.read(QIMG, name)
            if seen != self.read('qemu-img', name):
                self.fail(f'{what}: qimg and qemu-img read something different in {name}')
            if name == 'top' and seen != self.model:
                self.fail(f'{what}: top holds something else')


def main():
    steps = 12
    for shape in SHAPES:
        for seed in range(SEED, SEED + ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                one = Run(folder, shape, seed)
                for number in range(steps):
                    one.verify(f'seed {seed}, step {number}: {one.step()}')
    print(f'{len(SHAPES)} shapes, {ROUNDS} rounds of {steps} commands each: all equal')


main()
