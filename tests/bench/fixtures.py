"""The images that the benchmark works on, made of this machine's files; each once, kept for later runs.

SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SOURCES = ('/usr/lib', '/usr/bin', '/usr/share', '/usr/sbin')


@dataclass(frozen=True)
class Scale:
    """How large they are. Data is in bytes of files; each disk is twice as large, half of it holes."""
    name: str
    plain: int        # data of disks that are copied as they are
    compressed: int   # data of disks that are compressed
    tables: int       # disk size of the images with full tables
    random: int       # disk size of the images for random requests
    requests: int     # how many 64 KiB writes those get; of 4 KiB four times as many, and four times as many reads
    growth: tuple     # disk sizes for the plot


FULL = Scale('full', GiB, 512 * MiB, TiB, GiB, 8000, tuple(GiB << shift for shift in range(0, 17, 2)))
SHORT = Scale('short', 4 * MiB, 2 * MiB, 2 * GiB, 16 * MiB, 64, (GiB, 64 * TiB))


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f'bench: {" ".join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def settle(path):
    """Brings the file to the disk, so that nobody's measurement pays for that."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def machine_files():
    """Regular files of the machine in a fixed order."""
    for top in SOURCES:
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    about = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISREG(about.st_mode) and about.st_size and os.access(path, os.R_OK):
                    yield path


def raw_disk(path, data):
    """Files one after the other from 4 KiB boundaries on, as in a file system; after each sixteenth of the
    data a hole of the same length."""
    part = data // 16
    with open(path, 'wb') as disk:
        disk.truncate(2 * data)
        written = 0
        for name in machine_files():
            with open(name, 'rb') as source:
                while written < data and (block := source.read(min(MiB, part - written % part))):
                    disk.seek(written // part * 2 * part + written % part)
                    disk.write(block)
                    written += -(-len(block) // 4096) * 4096
            if written >= data:
                return
    raise SystemExit(f'bench: less than {data} bytes of files in {" ".join(SOURCES)}')


class Fixtures:
    """Each method named like a file (a dot as `_`) makes it at `path`."""

    def __init__(self, folder, scale):
        self.folder = os.path.join(folder, scale.name)
        self.scale = scale
        os.makedirs(self.folder, exist_ok=True)

    def path(self, name):
        """Of the fixture, which is made now when it is not there yet."""
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            print(f'making {name}', flush=True)
            getattr(self, name.replace('.', '_').replace('-', '_'))(path)
            settle(path)
        return path

    def make(self, path, *commands, source=None):
        """Runs qemu-img commands, on a copy of `source` when there is one. `new` in them stands for the name that
        the file has until it is complete."""
        new = path + '.new'
        remove(new)
        if source:
            copy(self.path(source), new)
        for command in commands:
            run('qemu-img', *(new if word == 'new' else word for word in command.split()))
        os.rename(new, path)

    def raw(self, path, data):
        raw_disk(path + '.new', data)
        os.rename(path + '.new', path)

    def convert(self, path, source, options=''):
        self.make(path, f'convert -f raw -O qcow2 {options} {self.path(source)} new')

    def disk_raw(self, path):
        self.raw(path, self.scale.plain)

    def small_raw(self, path):
        self.raw(path, self.scale.plain // 8)

    def packed_raw(self, path):
        self.raw(path, self.scale.compressed)

    def disk_qcow2(self, path):
        self.convert(path, 'disk.raw')

    def small_qcow2(self, path):
        self.convert(path, 'small.raw')

    def zlib_qcow2(self, path):
        self.convert(path, 'packed.raw', '-c -W -m 16')

    def zstd_qcow2(self, path):
        self.convert(path, 'packed.raw', '-c -W -m 16 -o compression_type=zstd')

    def empty_qcow2(self, path):
        self.make(path, f'create -q -f qcow2 new {10 * GiB}')

    def full_qcow2(self, path):
        self.make(path, f'create -q -f qcow2 -o preallocation=metadata new {self.scale.tables}')

    def snapshot_qcow2(self, path):
        # changed since
        self.make(path, 'snapshot -c one new', 'bench -w -f qcow2 -c 16 -s 64k --pattern 3 new', source='full.qcow2')

    def base_qcow2(self, path):
        self.make(path, source='disk.qcow2')

    def other_qcow2(self, path):
        """The base after scattered changes of an eighth of its clusters."""
        self.make(path, self.writes(8, 2), source='base.qcow2')

    def overlay_qcow2(self, path):
        """Holds a quarter of the base's clusters, changed."""
        self.path('base.qcow2')
        self.make(path, 'create -q -f qcow2 -b base.qcow2 -F qcow2 new', self.writes(4, 1))

    def twin_qcow2(self, path):
        self.make(path, source='overlay.qcow2')

    def writes(self, part, pattern):
        count = 2 * self.scale.plain // (64 * KiB) // part
        return f'bench -w -f qcow2 -c {count} -s 64k -S {part * 64}k --pattern {pattern} new'

    def random_qcow2(self, path):
        self.make(path, f'create -q -f qcow2 new {self.scale.random}',
                  f'bench -w -f qcow2 -c {self.scale.random // MiB} -s 1M --pattern 85 new')

    def vacant_qcow2(self, path):
        self.make(path, f'create -q -f qcow2 new {self.scale.random}')

    def user_data(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            file.write('#cloud-config\npackages:\n' + ''.join(f' - package-{number}\n' for number in range(40)))

    def meta_data(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            file.write('instance-id: bench\nlocal-hostname: bench\n')

    def growth(self, size):
        """An image of that disk size: the same 32 MiB, in 64 pieces all over the disk."""
        path = os.path.join(self.folder, f'growth-{size // GiB}.qcow2')
        if not os.path.exists(path):
            new = path + '.new'
            run('qemu-img', 'create', '-q', '-f', 'qcow2', new, size)
            commands = [word for piece in range(64)
                        for word in ('-c', f'write -P {piece + 1} {piece * (size // 64)} 512k')]
            run('qemu-io', '-f', 'qcow2', *commands, new)
            settle(new)
            os.rename(new, path)
        return path


def copy(source, to):
    """Holes stay holes."""
    run('cp', '--sparse=auto', '--reflink=auto', source, to)
    settle(to)


def remove(path):
    """A file or a whole folder; none is fine."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
