"""The table as bars and the growth as lines, in one SVG file.

SPDX-License-Identifier: Apache-2.0
"""
import math
from xml.sax.saxutils import escape

import report

WIDTH, LABELS, ROW = 900, 330, 18
GOOD, BAD, OURS, STOCK = '#2a7f4f', '#b5482f', '#2a5f9f', '#999999'


def text(x, y, words, anchor='start', colour='#222222'):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def bars(found, top):
    """A bar a case from 1 x to its ratio, on a logarithmic scale; a mark where the goal is."""
    low, high = 0.25, 1.5 * max([20, *(figures.wall_ratio for figures in found)])

    def x(ratio):
        share = math.log(max(ratio, low) / low) / math.log(high / low)
        return LABELS + share * (WIDTH - LABELS - 70)

    parts = []
    bottom = top + ROW * len(found)
    for ratio in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if ratio < high:
            parts.append(f'<line x1="{x(ratio):.1f}" x2="{x(ratio):.1f}" y1="{top}" y2="{bottom}" '
                         f'stroke="{"#222222" if ratio == 1 else "#dddddd"}"/>')
            parts.append(text(x(ratio), top - 6, f'{ratio:g} x', 'middle'))
    for index, figures in enumerate(found):
        y = top + ROW * index
        one, at = x(1), x(figures.wall_ratio)
        reached = not any(miss.startswith(('time', 'grows')) for miss in report.misses(figures))
        words = f'{figures.wall_ratio:.2g} x' if figures.wall_ratio < 10 else f'{figures.wall_ratio:.0f} x'
        parts.append(text(LABELS - 8, y + 13, figures.case.name, 'end'))
        parts.append(f'<rect x="{min(one, at):.1f}" y="{y + 3}" width="{abs(at - one):.1f}" height="{ROW - 6}" '
                     f'fill="{GOOD if reached else BAD}"/>')
        behind = max(one, at) + 5
        if figures.case.goal:
            mark = x(figures.case.goal)
            parts.append(f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y + 1}" y2="{y + ROW - 1}" stroke="#000000" '
                         'stroke-width="2"/>')
            behind = mark + 5 if behind < mark < behind + 35 else behind
        parts.append(text(behind, y + 13, words))
    return parts, bottom


def plot(name, points, left, top, width, height):
    """Seconds against the disk's size, both logarithmic; ours and the stock program's."""
    sizes = [size for size, _, _ in points]
    values = [value for _, ours, stock in points for value in (ours, stock)]
    low, high = min(values) / 1.5, max(max(values) * 1.5, min(values) * 15)

    def place(size, value):
        across = math.log(size / sizes[0]) / max(math.log(sizes[-1] / sizes[0]), 1e-9)
        return left + across * width, top + height * (1 - math.log(value / low) / math.log(high / low))

    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#cccccc"/>',
             text(left, top - 5, name)]
    for column, colour in ((1, OURS), (2, STOCK)):
        line = ' '.join('{:.1f},{:.1f}'.format(*place(point[0], point[column])) for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in (points[0], points[-1]):
            x, y = place(point[0], point[column])
            parts.append(text(x, y - 4, f'{point[column] * 1000:.0f} ms', 'start' if point is points[0] else 'end', colour))
    parts.append(text(left, top + height + 14, f'{sizes[0] >> 30} GiB'))
    parts.append(text(left + width, top + height + 14, f'{sizes[-1] >> 40} TiB', 'end'))
    return parts


def draw(path, found, growth):
    parts, bottom = bars(found, 50) if found else ([], 30)
    if found:
        parts.append(text(LABELS, 18, 'times as fast as the stock program; a line marks the goal'))
    if growth:
        top = bottom + 50
        parts.append(text(20, bottom + 25, 'the same data on larger disks: time of qimg (blue) and qemu-img (grey)'))
        width = (WIDTH - 40) / 3 - 30
        for index, (name, points) in enumerate(growth.items()):
            parts += plot(name, points, 20 + index % 3 * (width + 30), top + index // 3 * 190 + 15, width, 140)
        bottom = top + (len(growth) + 2) // 3 * 190
    with open(path, 'w', encoding='utf-8') as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 20}" '
                   'font-family="sans-serif" font-size="12">\n<!-- SPDX-License-Identifier: Apache-2.0 -->\n'
                   f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + '\n'.join(parts) + '\n</svg>\n')
