"""How cost grows with the size of a disk that holds the same data: 1 GiB to 64 TiB.

SPDX-License-Identifier: Apache-2.0
"""
import os
import statistics

import fixtures

COMMANDS = {
    'info': 'info {image}',
    'check': 'check {image}',
    'map': 'map --output=json {image}',
    'create': 'create -q -f qcow2 {out} {size}',
    'convert': 'convert -O qcow2 {image} {out}',
}


def measure(bench, timed):
    """{command: [(disk size, seconds ours, seconds stock)]}."""
    out = os.path.join(bench.fixtures.folder, 'growth-out')
    found = {}
    for name, command in COMMANDS.items():
        print(f'growth of {name}', flush=True)
        found[name] = []
        for size in bench.scale.growth:
            words = command.format(image=bench.fixtures.growth(size), out=out, size=size).split()
            times = {bench.qimg: [], 'qemu-img': []}
            outputs = set()
            for _ in range(bench.pairs + 1 if timed else 1):
                for program in times:
                    fixtures.remove(out)
                    took = bench.launch([program, *words])
                    times[program].append(took.wall)
                    outputs.add(took.output)
            if len(outputs) != 1:
                raise SystemExit(f'bench: {command}: another output at {size} bytes')
            ours, stock = (statistics.median(walls[1:] or walls) for walls in times.values())
            found[name].append((size, ours, stock))
    fixtures.remove(out)
    return found
