"""Runs a case: qimg and the stock program in turn, what each took, and whether both made the same.

SPDX-License-Identifier: Apache-2.0
"""
import os
import shlex
import statistics
import subprocess
import time
from dataclasses import dataclass, field

import equal
import fixtures

SECONDS_A_CASE = 60  # after the first pair: fewer pairs where one takes long


@dataclass
class Took:
    wall: float        # seconds
    cpu: float         # seconds, user and system
    peak: int          # KiB
    flush: float = 0   # seconds that bringing the result to the disk took afterwards
    output: str = ''


@dataclass
class Figures:
    """Of a case: medians, and medians of the ratios of pairs (stock / ours: above 1 is faster)."""
    case: object
    pairs: int
    ours: Took
    stock: Took
    wall_ratio: float
    cpu_ratio: float
    flush_ratio: float | None   # against the stock program and a flush of what it wrote
    size_ratio: float | None    # ours / stock
    constant: float | None      # ours / ours with an eighth of the data
    floor: float | None = None  # seconds that moving the bytes alone takes
    differences: list = field(default_factory=list)


class Failed(Exception):
    """A program did, which says nothing about the cases after it."""


class Side:
    """One of the two, with a folder of its own, as long as a case needs it."""

    def __init__(self, bench, name, folder):
        self.bench, self.name = bench, name
        self.folder = os.path.join(folder, name)
        fixtures.remove(self.folder)
        os.makedirs(self.folder)
        self.out = os.path.join(self.folder, 'out')

    def names(self):
        return {'qimg': self.bench.qimg, 'mkseed': self.bench.mkseed, 'out': self.out, 'dir': self.folder}

    def prepare(self, case, sources):
        """What the command finds: copies of fixtures, and none of its results."""
        for name in os.listdir(self.folder):
            fixtures.remove(os.path.join(self.folder, name))
        for name, source in case.copies.items():
            fixtures.copy(sources[source], os.path.join(self.folder, name))

    def words(self, command, sources):
        return [word.format_map({**self.names(), **Sources(sources)}) for word in shlex.split(command)]

    def run(self, case, sources):
        self.prepare(case, sources)
        took = self.bench.launch(self.words(case.ours if self.name == 'ours' else case.stock, sources))
        if case.flushes and self.name == 'stock' and os.path.exists(self.out):
            start = time.monotonic()
            fixtures.settle(self.out)
            took.flush = time.monotonic() - start
        return took


class Sources(dict):
    """Fixtures by the names that commands have for them: `{disk_raw}`."""

    def __init__(self, paths):
        super().__init__({name.replace('.', '_').replace('-', '_'): path for name, path in paths.items()})


class Bench:
    def __init__(self, build, folder, scale, pairs):
        self.qimg = os.path.join(build, 'src/cli/qimg/qimg')
        self.mkseed = os.path.join(build, 'src/cli/mkseed/mkseed')
        self.launcher = os.path.join(build, 'tests/bench/launch')
        self.floor = os.path.join(build, 'tests/bench/floor')
        self.folder, self.scale, self.pairs = folder, scale, pairs
        self.fixtures = fixtures.Fixtures(folder, scale)

    def launch(self, words):
        read_end, write_end = os.pipe()
        with os.fdopen(read_end) as report:
            done = subprocess.run([self.launcher, str(write_end), *words], pass_fds=[write_end], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                                  env={**os.environ, 'LC_ALL': 'C'})
            os.close(write_end)
            numbers = report.read().split()
        if done.returncode != 0 or len(numbers) != 4:
            raise Failed(f'{shlex.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}')
        wall, user, system, peak = map(int, numbers)
        return Took(wall / 1e6, (user + system) / 1e6, peak, output=done.stdout)

    def sources(self, case, mounts):
        """Fixtures that the case needs, where it needs them."""
        paths = {name: self.fixtures.path(name) for name in case.needs()}
        if case.where and mounts:
            for name, path in paths.items():
                moved = os.path.join(mounts[case.where], name)
                if not os.path.exists(moved):
                    fixtures.copy(path, moved)
                paths[name] = moved
        return paths

    def measure(self, case, mounts, timed):
        """Figures of the case; only a first pair, to compare results, when not `timed`."""
        sources = self.sources(case, mounts)
        folder = os.path.join(mounts[case.where] if case.where and mounts else self.fixtures.folder, 'work')
        ours, stock = Side(self, 'ours', folder), Side(self, 'stock', folder)
        first = (ours.run(case, sources), stock.run(case, sources))
        misses = equal.differences(case, ours, stock, first)
        size = equal.size_ratio(ours, stock) if case.size_most else None
        pairs = []
        start = time.monotonic()
        if timed and first[1].wall > 10:
            pairs.append(first)  # long enough not to mind cold caches
            start -= first[0].wall + first[1].wall
        most = self.pairs * (8 if case.short else 1) if timed else 0
        while len(pairs) < most and (len(pairs) < 2 or time.monotonic() - start < SECONDS_A_CASE):
            pairs.append((ours.run(case, sources), stock.run(case, sources)))
        constant = self.growth_of(case, ours, sources) if timed and case.constant else None
        figures = summary(case, pairs or [first], size, constant, misses)
        figures.floor = self.floor_of(case, ours, sources) if case.floor else None
        fixtures.remove(folder)
        return figures

    def floor_of(self, case, side, sources):
        """Seconds, the median of as many runs as there are pairs."""
        times = []
        for _ in range(self.pairs):
            side.prepare(case, sources)
            times.append(self.launch([self.floor, *side.words(case.floor, sources)]).wall)
        return statistics.median(times)

    def growth_of(self, case, side, sources):
        """How much longer ours takes than with an eighth of the data."""
        small = {name: sources[name.replace('disk.', 'small.')] for name in sources if name.startswith('disk.')}
        times = [(side.run(case, sources).wall, side.run(case, {**sources, **small}).wall) for _ in range(self.pairs)]
        return statistics.median(large for large, _ in times) / statistics.median(few for _, few in times)


def summary(case, pairs, size, constant, misses):
    def median(side):
        return Took(*(statistics.median(getattr(pair[side], name) for pair in pairs)
                      for name in ('wall', 'cpu', 'peak', 'flush')))

    def ratio(value):
        return statistics.median(value(stock) / max(value(ours), 1e-6) for ours, stock in pairs)

    flush_ratio = statistics.median((stock.wall + stock.flush) / ours.wall for ours, stock in pairs) if case.flushes else None
    return Figures(case, len(pairs), median(0), median(1), ratio(lambda took: took.wall), ratio(lambda took: took.cpu),
                   flush_ratio, size, constant, misses)
