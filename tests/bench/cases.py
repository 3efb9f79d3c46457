"""What is measured: each row of the table, as a command of qimg's and one of the stock programs'.

In commands, `{disk_raw}` is the fixture disk.raw, `{out}` the result in a folder of the side's own, `{dir}` that folder.
SPDX-License-Identifier: Apache-2.0
"""
import re
from dataclasses import dataclass, field

from fixtures import KiB


@dataclass
class Case:
    name: str
    ours: str
    stock: str
    goal: float | None            # so many times as fast, at least
    equal: tuple                  # what is compared: functions of equal.py
    copies: dict = field(default_factory=dict)   # files that the command changes: name and fixture
    more: tuple = ()              # fixtures that no command names
    where: str | None = None      # a file system of its own: xfs or btrfs
    short: bool = False           # start-up bound: more pairs
    flushes: bool = False         # ours brings its result to the disk, the stock program does not
    size_most: float | None = None   # file size, ours / stock at most
    constant: bool = False        # takes as long with an eighth of the data
    tables: float = 0             # bytes of the tables that it goes through: memory may be as much
    floor: str | None = None      # a command that moves the same bytes and does nothing else

    def needs(self):
        """Names of its fixtures."""
        named = re.findall(r'\{(\w+_(?:raw|qcow2|data))\}', self.ours + self.stock + (self.floor or ''))
        names = [re.sub(r'_(raw|qcow2)$', r'.\1', name) for name in named] + list(self.copies.values()) + list(self.more)
        if self.constant:
            names += [name.replace('disk.', 'small.') for name in names if name.startswith('disk.')]
        return list(dict.fromkeys(names))


def both(name, words, goal, equal, **more):
    """The same words for both programs."""
    return Case(name, '{qimg} ' + words, 'qemu-img ' + words, goal, equal, **more)


def start_up():
    goal, more = 3, {'short': True}
    yield both('info', 'info {empty_qcow2}', goal, ('output',), **more)
    yield both('info --output=json', 'info --output=json {disk_qcow2}', goal, ('output',), **more)
    yield both('create 10 GiB', 'create -f qcow2 {out} 10G', goal, ('output', 'content', 'counts', 'properties'), **more)
    yield Case('snap', '{qimg} snap {base_qcow2} {out}', 'qemu-img create -f qcow2 -b {base_qcow2} -F qcow2 {out}', goal,
               ('content', 'clean'), **more)
    yield both('resize +1G', 'resize {out} +1G', goal, ('output', 'content', 'counts', 'properties'), copies={'out': 'empty.qcow2'}, **more)


def table_bytes(scale):
    """L2 entries, and refcounts of 16 bits, one of each a cluster."""
    return scale.tables / (64 * KiB) * (8 + 2)


def tables(scale):
    more = {'tables': table_bytes(scale)}
    yield both('check, full tables', 'check {full_qcow2}', 20, ('output',), **more)
    yield both('map, full tables', 'map --output=json {full_qcow2}', 20, ('output',), **more)
    yield both('measure, full tables', 'measure -O qcow2 {full_qcow2}', 20, ('output',), **more)


def table_changes(scale):
    more = {'tables': table_bytes(scale)}
    clusters = scale.tables // (64 * KiB)
    l2_tables, refcount_blocks = clusters * 8 // (64 * KiB), clusters * 2 // (64 * KiB)
    full = {'out': 'full.qcow2'}
    yield both('create preallocation=metadata', f'create -q -f qcow2 -o preallocation=metadata {{out}} {scale.tables}', 20,
               ('content', 'counts', 'properties'), flushes=True, **more,
               floor=f'write {{out}} {l2_tables + refcount_blocks} {64 * KiB} {scale.tables // (l2_tables + refcount_blocks)}')
    yield both('snapshot -c, full tables', 'snapshot -c two {out}', 20, ('content', 'counts', 'properties'), copies=full, **more)
    snapped = {'out': 'snapshot.qcow2'}
    yield both('snapshot -a, full tables', 'snapshot -a one {out}', 20, ('content', 'counts', 'properties'), copies=snapped, **more)
    yield both('snapshot -d, full tables', 'snapshot -d one {out}', 20, ('content', 'counts', 'properties'), copies=snapped, **more)
    yield both('amend refcount_bits, full tables', 'amend -o refcount_bits=64 {out}', 20,
               ('content', 'clean', 'properties'), copies=full, **more,
               floor=f'write {{out}} {4 * refcount_blocks} {64 * KiB} {64 * KiB}')


def compression():
    same, to = ('content', 'clean', 'properties'), '{packed_raw} {out}'
    yield both('convert raw → qcow2 -c zlib', f'convert -f raw -O qcow2 -c {to}', 15, same, flushes=True, size_most=1.12)
    yield Case('convert raw → qcow2 -c zlib, as small', f'{{qimg}} convert -f raw -O qcow2 -c -o compression_level=6 {to}',
               f'qemu-img convert -f raw -O qcow2 -c {to}', 1.9, same, flushes=True, size_most=1.005)
    zstd = f'-f raw -O qcow2 -c -o compression_type=zstd {to}'
    yield Case('convert raw → qcow2 -c zstd', f'{{qimg}} convert {zstd}', f'qemu-img convert -W -m 16 {zstd}', 2, same,
               flushes=True, size_most=1.12)
    for codec in ('zlib', 'zstd'):
        source = f'{{{codec}_qcow2}}'
        yield both(f'convert {codec} → {codec}', f'convert -O qcow2 -c -o compression_type={codec} {source} {{out}}', 20,
                   same, flushes=True, size_most=1.12)
        yield both(f'convert {codec} → raw', f'convert -O raw {source} {{out}}', 2.5, ('content',), flushes=True)


def copying(where):
    """On ext4 1.5 times as fast; with reflinks in a time that does not depend on how much there is."""
    on = f' on {where}' if where else ''
    more = {'where': where, 'flushes': True, 'constant': bool(where)}
    goal = None if where else 1.5
    same = ('content', 'clean', 'properties')
    from_raw, from_qcow2 = (None, None) if where else ('copy {disk_raw} {out}', 'copy {disk_qcow2} {out}')
    yield both('convert raw → qcow2' + on, 'convert -f raw -O qcow2 {disk_raw} {out}', goal, same, floor=from_raw, **more)
    yield both('convert qcow2 → raw' + on, 'convert -f qcow2 -O raw {disk_qcow2} {out}', goal, ('content',), floor=from_qcow2, **more)
    yield both('dd raw → qcow2' + on, 'dd -f raw -O qcow2 bs=1M if={disk_raw} of={out}', goal, same, **more)
    yield both('dd qcow2 → raw' + on, 'dd -f qcow2 -O raw bs=1M if={disk_qcow2} of={out}', goal, ('content',), **more)


def whole_images():
    yield both('compare two overlays on one base', 'compare {overlay_qcow2} {twin_qcow2}', 10, ('output',), more=('base.qcow2',))
    yield both('compare with its conversion', 'compare -f raw -F qcow2 {disk_raw} {disk_qcow2}', 1.5, ('output',),
               floor='read {disk_raw} {disk_qcow2}')
    yield both('compare with its compression', 'compare -f raw -F qcow2 {packed_raw} {zlib_qcow2}', 1.5, ('output',))
    pair = {'base.qcow2': 'base.qcow2', 'out': 'overlay.qcow2'}
    yield both('commit', 'commit {out}', 3, ('content', 'base_content', 'clean', 'counts'), copies=pair,
               floor='move {out} {dir}/base.qcow2')
    yield both('rebase to another base', 'rebase -b {other_qcow2} -F qcow2 {out}', 3, ('content', 'clean', 'properties'), copies=pair)
    yield Case('rebase to none', "{qimg} rebase -b '' {out}", "qemu-img rebase -b '' {out}", 3, ('content', 'clean', 'properties'),
               copies=pair, floor='copy {base_qcow2} {dir}/new')


def random_requests(scale):
    """In an order that looks like none: steps of an odd number of units, near the golden section of the disk."""
    for way, target in (('read', None), ('write', 'random.qcow2'), ('write, allocating', 'vacant.qcow2')):
        for bytes_each in (4 * KiB, 64 * KiB):
            unit = 64 * KiB if target == 'vacant.qcow2' else bytes_each
            step = (int(scale.random // unit * 0.618) | 1) * unit
            # reads are answered from memory: more of them, so that starting the program does not count
            count = scale.requests * (1 if unit == 64 * KiB else 4) * (1 if target else 4)
            for depth, goal in ((1, 1), (32, 1.5)):
                image = '{out}' if target else '{random_qcow2}'
                yield both(f'{way} {bytes_each // KiB} KiB, depth {depth}',
                           f'bench {"-w --pattern 7" if target else ""} -f qcow2 -c {count} -d {depth} -s {bytes_each} -S {step} {image}',
                           goal, ('requests', 'content', 'clean') if target else ('requests',),
                           copies={'out': target} if target else {},
                           floor=f'write {{out}} {count} {bytes_each} {unit}' if target == 'random.qcow2' else None)


def seeds():
    ours = '{mkseed} {out} {user_data} {meta_data}'
    floor = f'write {{out}} 1 {56 * KiB} 0'
    yield Case('mkseed, genisoimage', ours, 'genisoimage -quiet -output {out} -volid cidata -joliet -rock '
               '-graft-points user-data={user_data} meta-data={meta_data}', 10, ('seed',), short=True, flushes=True, floor=floor)
    yield Case('mkseed, cloud-localds', ours, 'cloud-localds {out} {user_data} {meta_data}', 10, ('seed',), short=True, flushes=True,
               floor=floor)


def all_cases(scale):
    yield from start_up()
    yield from tables(scale)
    yield from table_changes(scale)
    yield from compression()
    for where in (None, 'xfs', 'btrfs'):
        yield from copying(where)
    yield from whole_images()
    yield from random_requests(scale)
    yield from seeds()
